# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the ledger kept, read again: a database outlives its disks, its restores and its administrators.

What is no record any more stops the device that it is about, and no other one.
"""

from __future__ import annotations

from typing import Any

from ..outside.strict_json import JsonError, parse
from ..outside.visible import visible
from ..record.orders import EARLIER, fault_of_order, orders_in
from ..trust.derived import checked_record_fields
from .database import LedgerError

RESTORE = "restore the ledger from its backup"
# A list's line of 1 MB in another script is six times as long, as JSON that is ASCII only.
MOST_OF_A_RECORD = 1 << 23
_TEXTS = (
    "registration_id",
    "endorsement_key",
    "endorsement_key_sha256",
    "endorsement_key_certificate",
    "storage_root_key",
    "storage_root_key_name",
    "dps_id_scope",
    "host",
    "maker",
    "batch",
)
_OF_THE_KEY = ("endorsement_key", "endorsement_key_sha256", "endorsement_key_name")
_OBJECTS = ("ownership", "decommission", "certified_tpm", "steps", "work_order")
_MOMENTS = ("done", "begun")
_PLACE = ("dps_id_scope", "registration_id", "endorsement_key")


class DamagedRecord(LedgerError):
    """Something in the ledger is not what was written there; says what, and why."""


def stored(text: Any, what: str) -> dict[str, Any]:
    """The object that was stored as *text*. DamagedRecord, which calls it *what*, where it is none."""
    if not isinstance(text, str):
        raise DamagedRecord(f"{visible(what, most=300)} is damaged: it is no text; {RESTORE}")
    try:
        value = parse(text, most=MOST_OF_A_RECORD)
    except JsonError as error:
        raise DamagedRecord(f"{visible(what, most=300)} is damaged: it {error}; {RESTORE}") from None
    if not isinstance(value, dict):
        raise DamagedRecord(f"{visible(what, most=300)} is damaged: it is no object; {RESTORE}")
    return value


def stored_record(text: Any, what: str) -> dict[str, Any]:
    """The same of a device record, whose fields are of their types too, and whose key is the one that it says."""
    # Nothing is said by null, as in a record that is taken in.
    record = {name: value for name, value in stored(text, what).items() if value is not None}
    fault = fault_of(record)
    if fault:
        raise DamagedRecord(f"{visible(what, most=300)} is damaged: its {fault}; {RESTORE}")
    return record


def fault_of(record: dict[str, Any]) -> str | None:
    """Why *record*, without nulls, is no device record, as the end of "its …"; None where it is one."""
    return _fault(record) or _contradiction(record)


def _fault(record: dict[str, Any]) -> str | None:
    for name in _TEXTS:
        if not isinstance(record.get(name, ""), str):
            return f"{name} is no text"
    for name in _OBJECTS:
        if not isinstance(record.get(name, {}), dict):
            return f"{name} is no object"
    if record.get("endorsement_key_sha256") and not record.get("endorsement_key"):
        return "endorsement key is not there, whose digest it has"
    for name, step in record.get("steps", {}).items():
        if not isinstance(step, dict) or not isinstance(step.get("outcome", {}), dict):
            return f"step {visible(name, most=40)} is no step"
    decommission = record.get("decommission")
    if decommission and not any(decommission.get(one) and isinstance(decommission[one], str) for one in _MOMENTS):
        return "decommission has no date"
    places = record.get("places")
    if places is not None and not (isinstance(places, list) and all(map(_is_place, places))):
        return "places are no list of places"
    earlier = record.get(EARLIER)
    if earlier is not None and not (isinstance(earlier, list) and all(isinstance(one, dict) for one in earlier)):
        return f"{EARLIER} are no list of orders"
    return next((f"work order is wrong: {fault}" for fault in map(fault_of_order, orders_in(record)) if fault), None)


def _contradiction(record: dict[str, Any]) -> str | None:
    # Of a key that is not there nothing follows.
    said = {name: record.get(name) for name in _OF_THE_KEY} if record.get("endorsement_key") else {}
    _fields, wrong = checked_record_fields(said)
    return "endorsement key is not the one that it says the digest or the name of" if wrong else None


def _is_place(place: Any) -> bool:
    return isinstance(place, dict) and all(isinstance(place.get(name), str) for name in _PLACE)
