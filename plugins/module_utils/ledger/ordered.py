# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which devices of a ledger are on which work order, what is noted of that, and why one cannot be put on another.

Only the devices of an order are read, by the index of the orders, however many others there are. Nothing secret is kept
for it: what a line was given can be made again from the master key.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from ..outside.visible import visible
from ..record.model import IDENTITIES, called, decommission_in_words, merged
from ..record.orders import OPEN, ORDERED, order_in, own_orders_in, spent_key_version, with_order
from ..trust.derived import derived_from_endorsement_key
from .database import LedgerError
from .devices import Devices
from .stored import DamagedRecord

STEP = "work_order"


class Damaged(NamedTuple):
    """A device whose record cannot be read: the digest of the key that it is found by, if it still is, and why."""

    endorsement_key_sha256: str | None
    why: str


@dataclass
class Units:
    """The devices of a work order by row: their *records*, and those that are *damaged* in the ledger."""

    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    damaged: dict[int, Damaged] = field(default_factory=dict)


def units_on(devices: Devices, number: str) -> Units:
    """The devices that are or were on the order *number*."""
    found = Units()
    rows = devices.rows_on(number)
    devices.know(rows)
    for row in rows:
        key = None
        try:
            record = devices.record(row)
        except DamagedRecord as error:
            with contextlib.suppress(DamagedRecord):
                key = devices.found_by(row)["endorsement_key_sha256"]
            found.damaged[row] = Damaged(key, str(error))
            continue
        # The record counts; another TPM has none of the orders of the one before.
        if order_in(record, number):
            found.records[row] = record
    return found


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
    for one, words in IDENTITIES.items():
        if known.get(one) and said.get(one) and str(known[one]).lower() != str(said[one]).lower():
            raise LedgerError(f"{visible(called(said), most=120)} is known with another {words}")
        in_hub = one == "device_id" and devices.other_row_in_hub({**known, **said}, row) is not None
        if in_hub or devices.other_row_with(one, said.get(one), row) is not None:
            raise LedgerError(f"{visible(called(said), most=120)} has the {words} of another device")
    if known:
        del said["host"]
    return row, merged(known, said)


def noted(
    devices: Devices,
    meant: Iterable[tuple[int | None, Mapping[str, Any]]],
    news: Mapping[str, Any],
    *,
    at: str,
    by: Mapping[str, str],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Writes *news* into the order of each of *meant*; (before, after) of those that it changes."""
    before, after = {}, {}
    for row, record in meant:
        same = order_in(record, news["number"])
        order = {**(same or {"state": ORDERED}), **news}
        if order == same:
            continue
        if order["state"] != same.get("state"):
            order["at"] = at
        name = visible(called(record), most=120)
        before[name], after[name] = {"work_order": same}, {"work_order": order}
        row = devices.save(row, with_order(record, order))
        what = {"state": order["state"], "order": order["number"], **by}
        devices.note(row, record.get("host"), at=at, step=STEP, station="", what=what)
    devices.write()
    return before, after


def also_open(devices: Devices, rows: Iterable[int]) -> Iterator[str]:
    """What is to be said of those of *rows* that are on another order with what a revoked line was given."""
    for record in map(devices.record, rows):
        spent, revoked = spent_key_version(record)
        for order in own_orders_in(record):
            if order.get("state") in OPEN and int(order.get("key_version") or 0) <= spent:
                yield (
                    f"{visible(called(record), most=120)} is on the work order {order['number']} too, with key version "
                    f"{order['key_version']}, which the line of {revoked} was given: revoke that one as well."
                )


def faults_of(record: Mapping[str, Any], number: str, key_version: int) -> Iterable[str]:
    """Why the device as *record* has it cannot be put on the order *number*, as sentences without their end."""
    name = visible(called(record), most=120)
    gone = decommission_in_words(record)
    if gone:
        yield f"{name} {gone}"
    for order in own_orders_in(record):
        if order.get("number") != number and order.get("state") in OPEN:
            yield f"{name} is on the work order {order['number']}, which is open: take its report in, or revoke it"
    spent, revoked = spent_key_version(record)
    if spent >= key_version:
        yield (
            f"{name} was on the work order {revoked}, which was revoked: what that line was given is of key version "
            f"{spent}, so take a later one"
        )
    ownership = record.get("ownership") or {}
    if ownership and ownership.get("key_version") != key_version:
        version = ownership.get("key_version")
        yield f"{name} is owned with key version {version}: rotate it first, or order with that one"
    if ownership.get("endorsement_auth_set"):
        yield f"{name} has an authorization of its endorsement hierarchy, which no work order carries"
