# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which devices of a ledger are on which work order, and what became of them.

A device's record has the last order that it was on. Nothing secret is kept for it: what a line was given can be made
again from the master key.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from typing import Any

from ..outside.visible import visible
from ..record.model import called, decommission_in_words, merged
from ..trust.derived import derived_from_endorsement_key
from .database import EVENTS, LedgerError, sqlalchemy
from .devices import Devices, event_of
from .reading import each_record

STEP = "work_order"
ORDERED, DONE, FAILED, REVOKED = "ordered", "done", "failed", "revoked"
# What a line may still work on.
OPEN = (ORDERED, FAILED)


def order_in(record: Mapping[str, Any]) -> dict[str, Any]:
    """What *record* says of its last work order; empty where it was on none."""
    found = record.get("work_order")
    return dict(found) if isinstance(found, Mapping) else {}


def each_known(connection: Any) -> dict[int, dict[str, Any]]:
    """Row to record of every device. LedgerError where one is damaged: an order has all that were meant."""
    damaged: list[str] = []
    found = dict(each_record(connection, damaged))
    if damaged:
        raise LedgerError(f"Nothing was written: {damaged[0]}.")
    return found


def on_order(known: Mapping[int, Mapping[str, Any]], number: str) -> dict[int, Mapping[str, Any]]:
    """Those of *known* that are on the order *number*."""
    return {row: record for row, record in known.items() if order_in(record).get("number") == number}


def was_written(connection: Any, number: str) -> bool:
    """Whether there ever was an order *number*, also where all of its units are on later ones by now."""
    written = EVENTS.c.what.contains(json.dumps(number), autoescape=True)
    found = sqlalchemy.select(EVENTS).where(EVENTS.c.step == STEP, written)
    # What a database compares may count small letters as capital ones.
    return any(event_of(event).get("order") == number for event in connection.execute(found))


def listed(devices: Devices, entry: Mapping[str, Any]) -> tuple[int | None, dict[str, Any]]:
    """(The row, the record) of the device that *entry* of a list is about; no row for one that is new.

    LedgerError where it says otherwise than the ledger.
    """
    key = derived_from_endorsement_key(base64.b64decode(entry["endorsement_key"]))
    name = " ".join(str(entry[one]) for one in ("tray", "position") if entry.get(one))
    said = {one: entry[one] for one in ("serial_number", "device_id", "host", "maker", "batch") if entry.get(one)}
    if name and not (said.get("serial_number") or said.get("device_id")):
        # By its host alone it is found again, and trays of two shipments are called the same.
        name = f"{name} {key['registration_id'][:8]}"
    said = {"host": name or key["registration_id"], **said, "endorsement_key": entry["endorsement_key"]}
    said = {**said, "endorsement_key_sha256": key["sha256"], "endorsement_key_name": key["name"]}
    row = devices.other_row_with("endorsement_key_sha256", key["sha256"], None)
    if row is None and devices.row_of(said) is not None:
        raise LedgerError(f"{visible(called(said), most=120)} is known with another endorsement key")
    known = {} if row is None else devices.record(row)
    said["registration_id"] = entry.get("registration_id") or known.get("registration_id") or key["registration_id"]
    for one in ("serial_number", "device_id", "registration_id"):
        if known.get(one) and said.get(one) and str(known[one]).lower() != str(said[one]).lower():
            words = one.replace("_", " ")
            raise LedgerError(f"{visible(called(said), most=120)} is known with another {words}")
        if devices.other_row_with(one, said.get(one), row) is not None:
            raise LedgerError(f"{visible(called(said), most=120)} has the {one.replace('_', ' ')} of another device")
    if known:
        del said["host"]
    return row, merged(known, said)


def faults_of(record: Mapping[str, Any], number: str, key_version: int) -> Iterable[str]:
    """Why the device as *record* has it cannot be put on the order *number*, as sentences without their end."""
    name = visible(called(record), most=120)
    gone = decommission_in_words(record)
    if gone:
        yield f"{name} {gone}"
    order = order_in(record)
    if order.get("number") != number and order.get("state") in OPEN:
        yield f"{name} is on the work order {order['number']}, which is open: take its report in, or revoke it"
    if order.get("state") == REVOKED and int(order.get("key_version") or 0) >= key_version:
        yield (
            f"{name} was on the work order {order['number']}, which was revoked: what that line was given is of key "
            f"version {order['key_version']}, so take a later one"
        )
    ownership = record.get("ownership") or {}
    if ownership and ownership.get("key_version") != key_version:
        version = ownership.get("key_version")
        yield f"{name} is owned with key version {version}: rotate it first, or order with that one"
    if ownership.get("endorsement_auth_set"):
        yield f"{name} has an authorization of its endorsement hierarchy, which no work order carries"
