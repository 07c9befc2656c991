# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The TPM makers' lists of endorsement keys: read, checked to the last line, taken into the ledger."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, Union

from ..dps.endorsement_key import EndorsementKeyError, decode_endorsement_key, default_registration_id
from ..dps.enrollment import registration_id_fault
from ..dps.manifest import Problem
from ..lists.reader import MOST_PROBLEMS
from ..lists.source import FileSource
from ..outside.progress import Progress
from ..outside.visible import visible
from ..trust.listing import CertificateReader
from .certificate_files import CertificateFiles, holds_certificates
from .database import LISTED_KEYS, chunks, sqlalchemy
from .stored import DamagedRecord, stored

CERTIFICATE = "endorsement_key_certificate"
# What a module says of a list that it would take in, for another one to hold devices against.
PLANNED_LIST = ("src", "format", "delimiter", "columns", "endorsement_key_template", "maker", "batch")
_CHUNK = 500
# So many remarks are kept; they are about certificates that were taken in all the same.
_REMARKS = 100

# What no two of the TPMs on a list may share beside their key.
_IDENTITIES = ("device_id", "serial_number", "tpm_serial_number", "registration_id")
# What a column of the ledger has room for.
_MOST_NAME = 255

Source = Union[FileSource, CertificateFiles]
Reasons = list[tuple[str, str]]


class ListedKeys:
    """The keys that TPM makers have shipped, in an open ledger."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._texts: dict[str | None, Any] = {None: None}

    def any(self) -> bool:
        """Whether any list was taken in when this was first asked."""
        return self._any

    @cached_property
    def _any(self) -> bool:
        return self._connection.execute(sqlalchemy.select(LISTED_KEYS.c.maker).limit(1)).first() is not None

    def expect(self, digests: Iterable[str | None]) -> None:
        """Looks up what will be asked of :meth:`entry`, which looks up one by one what it was not told of."""
        for some in chunks(sorted({one for one in digests if one not in self._texts})):
            columns = (LISTED_KEYS.c.endorsement_key_sha256, LISTED_KEYS.c.entry)
            found = sqlalchemy.select(*columns).where(LISTED_KEYS.c.endorsement_key_sha256.in_(some))
            self._texts.update(dict.fromkeys(some))
            for sha256, text in self._connection.execute(found):
                self._texts[sha256] = text

    def entry(self, sha256: str | None) -> dict[str, Any] | None:
        """What a list says of a key, None where none has it. DamagedRecord where that is no entry any more."""
        self.expect([sha256])
        text = self._texts[sha256]
        return None if text is None else _entry(text, sha256)

    def entries(self, digests: list[str]) -> dict[str, dict[str, Any]]:
        """What lists say of those of *digests* that are listed."""
        found = sqlalchemy.select(LISTED_KEYS).where(LISTED_KEYS.c.endorsement_key_sha256.in_(digests))
        return {
            row.endorsement_key_sha256: _entry(row.entry, row.endorsement_key_sha256)
            for row in self._connection.execute(found)
        }

    def replace(self, entry: dict[str, Any]) -> None:
        """Writes *entry* in the place of the one that is listed under its key."""
        this = LISTED_KEYS.c.endorsement_key_sha256 == entry["endorsement_key_sha256"]
        self._connection.execute(LISTED_KEYS.update().where(this).values(entry=json.dumps(entry, sort_keys=True)))

    def add(self, entries: list[dict[str, Any]], *, taken_in: str) -> None:
        """Takes in entries that are not listed yet."""
        if entries:
            self._connection.execute(
                LISTED_KEYS.insert(),
                [
                    {
                        "endorsement_key_sha256": entry["endorsement_key_sha256"],
                        "maker": entry["maker"],
                        "batch": entry["batch"],
                        "entry": json.dumps(entry, sort_keys=True),
                        "taken_in": taken_in,
                    }
                    for entry in entries
                ],
            )


def _entry(text: Any, sha256: str | None) -> dict[str, Any]:
    what = f"what a TPM maker's list said of the key {visible(sha256, most=16)}… in the ledger"
    entry = stored(text, what)
    texts = ("maker", "batch", "endorsement_key", CERTIFICATE)
    if not all(isinstance(entry.get(name), (str, type(None))) for name in texts) or "maker" not in entry:
        raise DamagedRecord(f"{what} is damaged: it has not what an entry has")
    return entry


def checked_entry(
    record: Any, maker: str, batch: str, template: str | None = None
) -> tuple[dict[str, Any] | None, Reasons]:
    """(The entry of a list's record, or None; why not, as pairs of field and reason).

    A device record's fields are taken as they are, so that one station's export is another one's list. *template* is
    what a key is completed with of which the record has the modulus only.
    """
    if not isinstance(record, Mapping):
        return None, [("", "is not an object")]
    try:
        key = decode_endorsement_key(record.get("endorsement_key"), template)
    except EndorsementKeyError as error:
        return None, [("endorsement_key", str(error))]
    digest = hashlib.sha256(key).hexdigest()
    said = record.get("endorsement_key_sha256")
    if said and str(said).lower() != digest:
        return None, [("endorsement_key_sha256", "is not the SHA-256 of endorsement_key")]
    entry = {
        **record,
        "endorsement_key": base64.b64encode(key).decode("ascii"),
        "endorsement_key_sha256": digest,
        "registration_id": record.get("registration_id") or default_registration_id(key),
        "maker": maker or str(record.get("maker") or ""),
        "batch": batch or str(record.get("batch") or ""),
    }
    return entry, _faults(entry)


def _faults(entry: Mapping[str, Any]) -> Reasons:
    """What the ledger has no room for, or what its reader would fall over."""
    fault = registration_id_fault(entry["registration_id"])
    found = [("registration_id", fault)] if fault else []
    for name in ("maker", "batch"):
        if len(entry[name]) > _MOST_NAME:
            found.append((name, f"has {len(entry[name]):,} characters; {_MOST_NAME} are the most"))
        elif not entry[name].isprintable():
            found.append((name, "holds characters that nobody can see"))
    if not isinstance(entry.get(CERTIFICATE), (str, type(None))):
        found.append((CERTIFICATE, "is not text"))
    return found


def open_list(params: Mapping[str, Any], *, sums: Mapping[str, str] | None = None) -> Source:
    """The list that *params* (``src``, ``format``, ``columns``) name, as what its format says it is.

    *sums*, from a signed file, has the SHA-256 of every file of a directory.
    """
    src, form = params["src"], params["format"]
    if form == "certificates" or (form == "auto" and holds_certificates(src)):
        return CertificateFiles(src, sums=sums)
    return FileSource(
        src,
        kind="EK list",
        form=form,
        delimiter=params["delimiter"],
        columns={field: str(column) for field, column in params["columns"].items()},
        one_of=("endorsement_key", CERTIFICATE),
    )


class Intake:
    """One list on its way into the ledger. Every bad line is told, and a list with one is not taken in at all.

    *certificates* reads the certificates that are on the list. *added* counts new keys, *certified* keys that were
    listed without a certificate and now have one, *passed_over* certificates of keys that cannot be enrolled.
    """

    def __init__(
        self,
        listed: ListedKeys,
        *,
        certificates: CertificateReader,
        maker: str = "",
        batch: str = "",
        template: str | None = None,
        progress: Progress | None = None,
    ) -> None:
        self._progress = progress or Progress(None)
        self._listed = listed
        self._certificates = certificates
        self._maker = maker
        self._batch = batch
        self._template = template
        self.problems: list[Problem] = []
        self.remarks: list[Problem] = []
        self.total = 0
        self.added = 0
        self.certified = 0
        self.passed_over = 0

    def take_in(self, source: Source, *, at: str) -> None:
        """Reads the whole list. The caller rolls back if there are problems; *at* is the time that is noted."""
        self._progress.begin("read", None)
        seen: dict[str, dict[bytes, int]] = {name: {} for name in ("endorsement_key", *_IDENTITIES)}
        for chunk in self._chunks(source):
            self.total += len(chunk)
            fresh, certified = [], []
            known = self._listed.entries([entry["endorsement_key_sha256"] for _place, entry, _why in chunk if entry])
            for place, entry, problems in chunk:
                if entry:
                    problems = [*problems, *_twins(entry, place, seen, source)]
                if entry and not problems:
                    listed = known.get(entry["endorsement_key_sha256"])
                    problems = self._contradictions(entry, listed)
                    if listed is None:
                        fresh.append(entry)
                    elif entry.get(CERTIFICATE) and not listed.get(CERTIFICATE):
                        certified.append({**listed, CERTIFICATE: entry[CERTIFICATE]})
                self.problems += self._told(source, place, entry, problems)
            self.added += len(fresh)
            self.certified += len(certified)
            if not self.problems:
                self._listed.add(fresh, taken_in=at)
                for entry in certified:
                    self._listed.replace(entry)
            if len(self.problems) >= MOST_PROBLEMS:
                told = f"is the last one that was read: the list has {MOST_PROBLEMS:,} problems or more"
                self.problems += self._told(source, chunk[-1][0], None, [("", told)])
                return
        for place, field, reason in source.lost():
            self.problems += self._told(source, place, None, [(field, reason)])

    def _chunks(self, source: Source) -> Iterator[list[tuple[int, dict[str, Any] | None, Reasons]]]:
        chunk: list[tuple[int, dict[str, Any] | None, Reasons]] = []
        for _position, place, record, wrong in source.scan():
            if record is None:
                chunk.append((place, None, wrong or [("", "is not an object")]))
            else:
                entry, more = self._checked(record, place, source)
                chunk.append((place, entry, [*wrong, *more]))
            self._progress.step(failed=bool(chunk[-1][2]))
            if len(chunk) == _CHUNK:
                yield chunk
                chunk = []
        if chunk:
            yield chunk

    def _checked(self, record: Any, place: int, source: Source) -> tuple[dict[str, Any] | None, Reasons]:
        if not isinstance(record, Mapping) or not record.get(CERTIFICATE):
            return checked_entry(record, self._maker, self._batch, self._template)
        listed = self._certificates.read(record)
        if len(self.remarks) < _REMARKS:
            self.remarks += self._told(source, place, None, listed.remarks)
        if listed.passed_over:
            self.passed_over += 1
        if not listed.record.get("endorsement_key"):
            return None, listed.problems
        entry, problems = checked_entry(listed.record, self._maker, self._batch, self._template)
        return entry, problems or listed.problems

    @staticmethod
    def _told(source: Source, place: int, entry: Mapping[str, Any] | None, reasons: Reasons) -> list[Problem]:
        name = entry["registration_id"] if entry else None
        return [Problem(place, name, field, reason, source.where(place)) for field, reason in reasons]

    @staticmethod
    def _contradictions(entry: Mapping[str, Any], listed: Mapping[str, Any] | None) -> Reasons:
        if listed and (listed["maker"], listed["batch"]) != (entry["maker"], entry["batch"]):
            where = f"batch '{listed['batch']}' of '{listed['maker']}'"
            return [("endorsement_key", f"was listed before, in {where}: no two TPMs have one endorsement key")]
        return []


def take_in_planned(connection: Any, params: Mapping[str, Any], *, at: str) -> None:
    """Takes in the list that *params* (PLANNED_LIST) name, which was checked when it was planned."""
    intake = Intake(
        ListedKeys(connection),
        certificates=CertificateReader(None),
        maker=params["maker"],
        batch=params["batch"],
        template=params["endorsement_key_template"],
    )
    source = open_list(params)
    try:
        intake.take_in(source, at=at)
    finally:
        source.close()


def _twins(entry: Mapping[str, Any], place: int, seen: dict[str, dict[bytes, int]], source: Source) -> Reasons:
    """What *entry* shares with an earlier one; *seen* has the first place of each value of each field."""
    # Half the memory of the text, for a list of a million.
    values = {"endorsement_key": bytes.fromhex(entry["endorsement_key_sha256"])}
    for name in _IDENTITIES:
        value = entry.get(name)
        # The default registration ID follows from the key.
        if value and not (name == "registration_id" and value == _default_id(entry)):
            text = str(value).lower() if name == "registration_id" else str(value)
            values[name] = hashlib.blake2b(text.encode(), digest_size=16).digest()
    found = []
    for name, value in values.items():
        first = seen[name].setdefault(value, place)
        if first != place:
            words = name.replace("_id", " ID").replace("_", " ").replace("tpm ", "TPM ")
            also = f"is also that of {source.where(first)}"
            found.append((name, f"{also}: no two TPMs have one {words}"))
            if name == "endorsement_key":
                break
    return found


def _default_id(entry: Mapping[str, Any]) -> str:
    digest = bytes.fromhex(entry["endorsement_key_sha256"])
    return base64.b32encode(digest).decode("ascii").rstrip("=").lower()
