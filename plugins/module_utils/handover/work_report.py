# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A work report: what became of each unit of a work order that the line has seen.

JSON, of which meta/work-report.schema.json has the fields. An equal journal gives equal bytes. All of it is the word of
the line that signed it, but for the answers of the TPMs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from ..ledger.stored import fault_of
from ..outside.moments import moment_of
from ..record.orders import DONE, FAILED, failure_of_all, order_in
from ..trust.derived import checked_record_fields
from ..trust.findings import TrustError
from ..trust.hierarchy_auth import SET_BY
from .signed_document import check_names, document_bytes, is_text, of_version
from .work_order import MOST_UNITS, checked_number

VERSION = 1
NAMESPACE = "tpmfleet-work-report"
MOST_BYTES = 256 << 20
STEP = "software_install"
# Of the record, and of what is said of the unit besides.
RECORDED = (
    "serial_number",
    "device_id",
    "registration_id",
    "endorsement_key",
    "endorsement_key_template",
    "endorsement_key_certificate",
    "endorsement_key_certificate_chain",
    "tpm_type",
    "tpm_manufacturer",
    "tpm_model",
    "tpm_firmware_version",
    "storage_root_key",
    "ownership",
)
_SAID = ("state", "at", "station", "reason", "not_proven", "answer", "outcome")
_PARTS = ("ownership", "possession", "dps_client", "dps_identity")
_OUTCOMES = ("done", "verified")
_TEXTS = ("tpm_manufacturer", "tpm_model", "tpm_firmware_version")
# As much as is kept of a chain. A record that is longer than a ledger reads spoils the ledger.
_MOST_CERTIFICATES = 64 << 10
_ONE_OF = {"tpm_type": ("hardware", "software"), "endorsement_key_template": ("tcg", "nv", "sdk", "other")}
_MOST_OF = {**dict.fromkeys(_TEXTS, 255), "endorsement_key_certificate": _MOST_CERTIFICATES}
_LONGEST_MOMENT = 40
_LONGEST = {"serial_number": 255, "device_id": 128, "registration_id": 128, "station": 255, "reason": 2000}


class Report(NamedTuple):
    """A report that was read: *units* with ``record`` (what is said of the device) beside what else is said of each."""

    number: str
    units: list[dict[str, Any]]


def document_of(
    number: str,
    records: Iterable[Mapping[str, Any]],
    failures: Mapping[str, Sequence[Mapping[str, Any]]],
    customer: str | None = None,
) -> bytes:
    """The report on those of *records*, a journal's, that are on the order *number* of *customer*.

    *failures* are those of the history of units of it, by their endorsement keys: others may have failed unread, and of
    these a run that was cut off has left no other word.
    """
    ordered = ((record, order_in(record, number, customer)) for record in records)
    units = [
        _unit(record, _as_told(order, failures.get(record["endorsement_key"], ())))
        for record, order in ordered
        if order
    ]
    known = {one["endorsement_key"] for one in units}
    unread = {key: failure_of_all(some) for key, some in failures.items() if key not in known}
    units += [{"endorsement_key": key, **_said(failure)} for key, failure in unread.items()]
    units.sort(key=lambda one: str(one["endorsement_key"]))
    return document_bytes({"work_report_version": VERSION, "number": number, "count": len(units), "units": units})


def _as_told(order: Mapping[str, Any], failures: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """*order* as it is noted in the journal, or as the history has it, where that has more."""
    return failure_of_all([order, *failures]) if order["state"] == FAILED else order


def _said(order: Mapping[str, Any]) -> dict[str, Any]:
    return {name: order[name] for name in _SAID if order.get(name)}


def _unit(record: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    # What a device makes too much of is left out, so that the report of the others is one.
    unit = {name: record[name] for name in RECORDED if record.get(name) and _fits(name, record[name])}
    unit.update(_said(order))
    if order["state"] == DONE:
        outcome = (record.get("steps") or {}).get(STEP, {}).get("outcome") or {}
        unit["outcome"] = {name: outcome[name] for name in _PARTS if outcome.get(name) in _OUTCOMES}
    return unit


def report_of(document: Any) -> Report:
    """The report that *document* is. TrustError, as the end of a sentence about it, where it is none."""
    document = of_version(document, "work report", (VERSION,))
    check_names(document, ("work_report_version", "number", "count", "units"), "the work report")
    units = document.get("units")
    count = document.get("count")
    if not isinstance(units, list) or isinstance(count, bool) or count != len(units) or len(units) > MOST_UNITS:
        raise TrustError("does not have as many units as it says")
    read = [_read(unit, f"unit {place}") for place, unit in enumerate(units, start=1)]
    seen: set[str] = set()
    for unit in read:
        key = unit["record"]["endorsement_key_sha256"]
        if key in seen:
            raise TrustError(f"has the unit with the endorsement key of SHA-256 {key} twice")
        seen.add(key)
    return Report(checked_number(document.get("number")), read)


def _read(unit: Any, where: str) -> dict[str, Any]:
    if not isinstance(unit, Mapping):
        raise TrustError(f"is wrong: {where} is no object")
    check_names(unit, (*RECORDED, *_SAID), where)
    record = {name: unit[name] for name in RECORDED if unit.get(name) is not None}
    fields, wrong = checked_record_fields(record)
    fault = fault_of(record) or _fault(unit, record)
    wrong = wrong or ([f"its {fault}"] if fault else [])
    if not wrong and "endorsement_key_sha256" not in fields:
        wrong = ["it has no endorsement key"]
    if wrong:
        raise TrustError(f"is wrong: {where}: {wrong[0]}")
    said = {name: unit[name] for name in _SAID if unit.get(name) is not None}
    moment = moment_of(unit["at"])
    if moment is not None:
        # One text for one moment, however it was written there.
        said["at"] = f"{moment.replace(tzinfo=None).isoformat()}Z"
    return {"station": "", "outcome": {}, **said, "record": {**record, **fields}}


def _fault(unit: Mapping[str, Any], record: Mapping[str, Any]) -> str | None:
    """What of a unit is not of its type, as the end of "its …"."""
    if unit.get("state") not in (DONE, FAILED):
        return "state is neither done nor failed"
    if not isinstance(unit.get("not_proven", False), bool):
        return "not_proven is neither true nor false"
    if unit.get("not_proven") and (unit["state"] == DONE or unit.get("answer")):
        return "not_proven is true, and it has proven itself"
    at = unit.get("at")
    if not isinstance(at, str) or len(at) > _LONGEST_MOMENT or moment_of(at) is None:
        return "time is none"
    for name, longest in _LONGEST.items():
        if not is_text(unit.get(name, " "), longest):
            return f"{name} is no text of 1 to {longest} characters"
    unfit = [name for name, value in record.items() if not _fits(name, value)]
    if unfit:
        return f"{unfit[0]} is {_form_of(unfit[0])}"
    outcome = {} if unit.get("outcome") is None else unit["outcome"]
    if not isinstance(outcome, Mapping) or not all(
        name in _PARTS and one in _OUTCOMES for name, one in outcome.items()
    ):
        return "outcome is none"
    ownership = record.get("ownership") or {}
    flags = ("owner_auth_set", "lockout_auth_set", "endorsement_auth_set")
    version = ownership.get("key_version", 1)
    if (
        set(ownership) - {"profile", "key_version", *flags}
        or ownership.get("profile", "fleet") not in tuple(SET_BY)
        or isinstance(version, bool)
        or not isinstance(version, int)
        or version < 1
        or not all(isinstance(ownership.get(one, False), bool) for one in flags)
    ):
        return "ownership is none"
    chain = record.get("endorsement_key_certificate_chain", [])
    if not isinstance(chain, list) or not all(isinstance(one, str) for one in chain):
        return "chain of certificates is none"
    if sum(map(len, chain)) > _MOST_CERTIFICATES:
        return f"chain of certificates is longer than {_MOST_CERTIFICATES:,} characters"
    return None


def _fits(name: str, value: Any) -> bool:
    if name in _ONE_OF:
        return value in _ONE_OF[name]
    return name not in _MOST_OF or (isinstance(value, str) and len(value) <= _MOST_OF[name])


def _form_of(name: str) -> str:
    """What a value of *name* that does not fit is not."""
    if name in _ONE_OF:
        return f"none of {', '.join(_ONE_OF[name])}"
    return f"no text of {_MOST_OF[name]:,} characters at most"
