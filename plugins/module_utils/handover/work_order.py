# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A work order: what somebody else's line needs for the units that it is to make ready, and nothing besides.

JSON, of which meta/work-order.schema.json has the fields. The authorizations of a unit are sealed to its TPM, so that
who reads the whole order has none of them. What binds the order to its readers is in the signed document.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from ..outside.moments import moment_of
from ..outside.visible import visible
from ..record.model import IDENTITIES, called
from ..tpm.sealed_authorizations import as_message
from ..trust.derived import checked_record_fields
from ..trust.findings import TrustError
from ..trust.hierarchy_auth import SET_BY, derive
from .order_challenge import order_challenge
from .signed_document import check_names, document_bytes, is_text, of_version

VERSION = 2
# In the first one an order did not say whose key has to sign the report on it.
_WITHOUT_SIGNERS = 1
_REVOCATION_VERSION = 1
NAMESPACE = "tpmfleet-work-order"
REVOCATION_NAMESPACE = "tpmfleet-work-order-revocation"
# The end of the name of a file that revokes an order.
NOTICE = ".revoked"
MOST_BYTES = 64 << 20
# A report on so many has as many values as JSON is read with.
MOST_UNITS = 10_000
MOST_CERTIFICATES = 256 << 10
CLIENTS = ("builtin", "aziot")
_NUMBER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}")
_CHALLENGE = ("credential", "encrypted_secret", "nonce", "sealed")
_MOST_TEXT = 4096


class Terms(NamedTuple):
    """What all units of an order have in common. *expires* is in UTC, *recipients* are in the one form of age_file.

    *install* has ``client``, ``profile``, ``id_scope``, ``global_endpoint`` and may have ``ca_certificates``.
    *report_signers* are the fingerprints of the keys of which one has to sign the report; an order of the first version
    says none.
    """

    number: str
    owner: str
    expires: str
    key_version: int
    recipients: Sequence[str]
    install: Mapping[str, str]
    report_signers: Sequence[str] = ()

    @property
    def version(self) -> int:
        """That of the form which an order with these terms has."""
        return VERSION if self.report_signers else _WITHOUT_SIGNERS

    def as_document(self) -> dict[str, Any]:
        """Its part of the order."""
        said = {**self._asdict(), "recipients": list(self.recipients), "install": dict(self.install)}
        signers = list(said.pop("report_signers"))
        return {**said, "report_signers": signers} if signers else said


class Order(NamedTuple):
    """An order that was read: *units* by the SHA-256 of their endorsement keys."""

    terms: Terms
    written: str
    units: Mapping[str, Mapping[str, Any]]


def checked_number(text: object) -> str:
    """The number of an order. TrustError where it is none."""
    if not isinstance(text, str) or not _NUMBER.fullmatch(text):
        raise TrustError(
            f"'{visible(text, most=80)}' is no number of a work order: it has up to 64 letters, digits, dots, dashes "
            "and underscores, and begins with a letter or digit."
        )
    return text


def faults_of_units(records: Iterable[Mapping[str, Any]]) -> list[str]:
    """Why *records*, device records, cannot be the units of one order, as sentences without their end."""
    found = []
    seen: dict[tuple[str, str], tuple[int, str]] = {}
    for number, record in enumerate(records, start=1):
        name = visible(called({"host": record.get("registration_id"), **record}), most=120)
        fields, wrong = checked_record_fields({"endorsement_key": record.get("endorsement_key")})
        if wrong or "endorsement_key_sha256" not in fields:
            found.append(f"{name} has no endorsement key that is known" if not wrong else f"{name}: {wrong[0]}")
            continue
        marks = [("endorsement_key", fields["endorsement_key_sha256"])]
        marks += [(one, str(record[one]).lower()) for one in IDENTITIES if record.get(one)]
        if record.get("registration_id") and not record.get("device_id"):
            # Which a hub takes for it.
            marks.append(("device_id", str(record["registration_id"]).lower()))
        shared = [mark for mark in marks if seen.setdefault(mark, (number, name))[0] != number]
        if shared:
            found.append(f"{name} and {seen[shared[0]][1]} have the same {shared[0][0]}")
    return found


def content_sha256(terms: Terms, records: Sequence[Mapping[str, Any]]) -> str:
    """The same for the same order, however often it is written, and whatever is learnt of its units meanwhile."""
    return hashlib.sha256(
        document_bytes([terms.as_document(), sorted(one["endorsement_key"] for one in records)])
    ).hexdigest()


def document_of(terms: Terms, records: Sequence[Mapping[str, Any]], master_key: str, *, written: str) -> bytes:
    """The order for *records*, which are without :func:`faults_of_units`. MasterKeyError as of :func:`derive`."""
    units = [_unit(terms, record, master_key) for record in _sorted(records)]
    head = {"work_order_version": terms.version, **terms.as_document(), "written": written, "count": len(units)}
    return document_bytes({**head, "units": units})


def revocation_of(number: str, *, at: str) -> bytes:
    """The document that tells a line that an order counts no longer."""
    return document_bytes({"work_order_revocation_version": _REVOCATION_VERSION, "number": number, "revoked": at})


def revoked_number(document: Any) -> str:
    """The number of the order that *document* revokes. TrustError, as the end of a sentence, where it is none."""
    if not isinstance(document, Mapping) or document.get("work_order_revocation_version") != _REVOCATION_VERSION:
        raise TrustError("is no revocation of a work order that this version of the collection knows")
    return _text(document, "number", _NUMBER)


def order_of(document: Any) -> Order:
    """The order that *document* is. TrustError, as the end of a sentence about it, where it is none."""
    document = of_version(document, "work order", (_WITHOUT_SIGNERS, VERSION))
    without = document["work_order_version"] == _WITHOUT_SIGNERS
    known = [name for name in Terms._fields if name != "report_signers" or not without]
    check_names(document, ("work_order_version", *known, "written", "count", "units"), "the work order")
    install = document.get("install")
    if not isinstance(install, Mapping):
        raise TrustError("does not say what is to be installed")
    check_names(install, ("client", "profile", "id_scope", "global_endpoint", "ca_certificates"), "install")
    wanted = {name: _text(install, name) for name in ("client", "profile", "id_scope", "global_endpoint")}
    if wanted["client"] not in CLIENTS or wanted["profile"] not in SET_BY:
        raise TrustError("says a client or an ownership profile that is not known here: update the collection")
    if install.get("ca_certificates") is not None:
        wanted["ca_certificates"] = _text(install, "ca_certificates", most=MOST_CERTIFICATES)
    recipients = document.get("recipients")
    if not isinstance(recipients, list) or not recipients or not all(isinstance(one, str) for one in recipients):
        raise TrustError("does not say whom it is for")
    terms = Terms(
        number=_text(document, "number", _NUMBER),
        owner=_text(document, "owner"),
        expires=_moment(document, "expires"),
        key_version=_whole(document, "key_version", 1, 2**32 - 1),
        recipients=recipients,
        install=wanted,
        report_signers=() if without else _signers(document),
    )
    units = document.get("units")
    if not isinstance(units, list) or _whole(document, "count", 1, MOST_UNITS) != len(units):
        raise TrustError("does not have as many units as it says")
    faults = faults_of_units(one if isinstance(one, Mapping) else {} for one in units)
    if faults:
        raise TrustError(f"is wrong: {faults[0]}")
    read = [_read_unit(one) for one in units]
    return Order(terms, _moment(document, "written"), {one["endorsement_key_sha256"]: one for one in read})


def is_expired(terms: Terms, now: datetime) -> bool:
    """Whether an order counts no longer; one that says no moment counts never."""
    expires = moment_of(terms.expires)
    return expires is None or expires <= now


def _unit(terms: Terms, record: Mapping[str, Any], master_key: str) -> dict[str, Any]:
    fields, _wrong = checked_record_fields({"endorsement_key": record["endorsement_key"]})
    auths = {
        f"{one}_auth": derive(master_key, fields["endorsement_key_name"], one, terms.key_version)
        for one in SET_BY[terms.install["profile"]]
    }
    public = base64.b64decode(record["endorsement_key"])
    challenge, answer_sha256 = order_challenge(master_key, terms.number, public, as_message(auths))
    return {**_named(record), "challenge": challenge.as_option(), "answer_sha256": answer_sha256}


def _named(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("endorsement_key", *IDENTITIES) if record.get(name)}


def _sorted(records: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return sorted(records, key=lambda one: (str(one.get("serial_number") or ""), str(one["endorsement_key"])))


def _read_unit(unit: Mapping[str, Any]) -> dict[str, Any]:
    check_names(unit, ("endorsement_key", *IDENTITIES, "challenge", "answer_sha256"), "a unit")
    fields, _wrong = checked_record_fields({"endorsement_key": unit["endorsement_key"]})
    named = {name: _text(unit, name) for name in ("endorsement_key", *IDENTITIES) if unit.get(name) is not None}
    if "registration_id" not in named:
        raise TrustError("has a unit without a registration ID")
    challenge = unit.get("challenge")
    if not isinstance(challenge, Mapping):
        raise TrustError("has a unit without a challenge")
    check_names(challenge, _CHALLENGE, "a challenge")
    answer = _text(unit, "answer_sha256", _SHA256)
    return {**named, **fields, "challenge": {one: _text(challenge, one) for one in _CHALLENGE}, "answer_sha256": answer}


def _signers(document: Mapping[str, Any]) -> list[str]:
    signers = document.get("report_signers")
    fit = isinstance(signers, list) and all(isinstance(one, str) and _FINGERPRINT.fullmatch(one) for one in signers)
    if not fit or not signers:
        raise TrustError("does not say whose key signs the report")
    return signers


def _text(given: Mapping[str, Any], name: str, form: re.Pattern[str] | None = None, most: int = _MOST_TEXT) -> str:
    value = given.get(name)
    if not is_text(value, most) or (form is not None and not form.fullmatch(str(value))):
        raise TrustError(f"says no {name} that is one")
    return str(value)


def _moment(given: Mapping[str, Any], name: str) -> str:
    value = _text(given, name)
    if moment_of(value) is None:
        raise TrustError(f"says no {name} that is a time")
    return value


def _whole(given: Mapping[str, Any], name: str, least: int, most: int) -> int:
    value = given.get(name)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise TrustError(f"says no {name} from {least} to {most}")
    return value
