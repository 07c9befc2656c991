# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The TPM makers' lists of endorsement keys: read, checked to the last line, taken into the ledger."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..dps.endorsement_key import EndorsementKeyError, decode_endorsement_key, default_registration_id
from ..dps.manifest import FileSource, Problem
from .database import LISTED_KEYS, sqlalchemy

# Fields of an entry; a device record's fields are taken as well, so that one station's export is another one's list.
_CHUNK = 500


class ListedKeys:
    """The keys that TPM makers have shipped, in an open ledger."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def any(self) -> bool:
        """Whether any list was taken in."""
        return self._connection.execute(sqlalchemy.select(LISTED_KEYS.c.maker).limit(1)).first() is not None

    def entry(self, sha256: str | None) -> dict[str, Any] | None:
        """What a list says of a key, None where none has it."""
        found = sqlalchemy.select(LISTED_KEYS.c.entry).where(LISTED_KEYS.c.endorsement_key_sha256 == sha256)
        text = self._connection.execute(found).scalar()
        return None if text is None else json.loads(text)

    def shipments(self, digests: list[str]) -> dict[str, tuple[str, str]]:
        """(maker, batch) of those of *digests* that are listed."""
        found = sqlalchemy.select(LISTED_KEYS).where(LISTED_KEYS.c.endorsement_key_sha256.in_(digests))
        return {row.endorsement_key_sha256: (row.maker, row.batch) for row in self._connection.execute(found)}

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


def checked_entry(record: Any, maker: str, batch: str) -> tuple[dict[str, Any] | None, list[tuple[str, str]]]:
    """(The entry of a list's record, or None; why not, as pairs of field and reason)."""
    if not isinstance(record, Mapping):
        return None, [("", "is not an object")]
    try:
        key = decode_endorsement_key(record.get("endorsement_key"))
    except EndorsementKeyError as error:
        return None, [("endorsement_key", str(error))]
    digest = hashlib.sha256(key).hexdigest()
    said = record.get("endorsement_key_sha256")
    if said and str(said).lower() != digest:
        return None, [("endorsement_key_sha256", "is not the SHA-256 of endorsement_key")]
    entry = {
        **record,
        "endorsement_key": "".join(str(record["endorsement_key"]).split()),
        "endorsement_key_sha256": digest,
        "registration_id": record.get("registration_id") or default_registration_id(key),
        "maker": maker or str(record.get("maker") or ""),
        "batch": batch or str(record.get("batch") or ""),
    }
    return entry, []


def _chunks(source: FileSource, maker: str, batch: str) -> Iterator[list[tuple[int, dict[str, Any] | None, list]]]:
    chunk = []
    for _position, place, record, fault in source.scan():
        entry, problems = (None, [("", fault)]) if fault else checked_entry(record, maker, batch)
        chunk.append((place, entry, problems))
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


class Intake:
    """One list on its way into the ledger. Every bad line is told, and a list with one is not taken in at all."""

    def __init__(self, listed: ListedKeys, *, maker: str = "", batch: str = "") -> None:
        self._listed = listed
        self._maker = maker
        self._batch = batch
        self.problems: list[Problem] = []
        self.total = 0
        self.added = 0

    def take_in(self, source: FileSource, *, at: str) -> None:
        """Reads the whole list. The caller rolls back if there are problems; *at* is the time that is noted."""
        seen: dict[bytes, int] = {}
        for chunk in _chunks(source, self._maker, self._batch):
            self.total += len(chunk)
            fresh = []
            known = self._listed.shipments([entry["endorsement_key_sha256"] for _place, entry, _why in chunk if entry])
            for place, entry, problems in chunk:
                if entry:
                    problems = self._contradictions(entry, place, seen, known)
                    if not problems and entry["endorsement_key_sha256"] not in known:
                        fresh.append(entry)
                name = entry["registration_id"] if entry else None
                self.problems += [Problem(place, name, field, reason) for field, reason in problems]
            self.added += len(fresh)
            if not self.problems:
                self._listed.add(fresh, taken_in=at)

    @staticmethod
    def _contradictions(
        entry: dict[str, Any], place: int, seen: dict[bytes, int], known: dict[str, tuple[str, str]]
    ) -> list[tuple[str, str]]:
        digest = entry["endorsement_key_sha256"]
        first = seen.setdefault(bytes.fromhex(digest), place)
        if first != place:
            return [("endorsement_key", f"is also that of line {first}: no two TPMs have one endorsement key")]
        maker, batch = known.get(digest, (entry["maker"], entry["batch"]))
        if (maker, batch) != (entry["maker"], entry["batch"]):
            where = f"batch '{batch}' of '{maker}'"
            return [("endorsement_key", f"was listed before, in {where}: no two TPMs have one endorsement key")]
        return []
