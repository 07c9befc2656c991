# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A work report held against its order: what of it the owner can believe, and why the rest is refused.

A line is believed in what it says of a unit whose TPM answered the order's challenge, but in nothing that would
overwrite what is known: a unit that was taken in is not taken in again, so that a report may come twice, or an older
one later.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..ledger.ordered import DONE, FAILED, OPEN, REVOKED, on_order, order_in
from ..outside.visible import visible
from ..record.model import called
from .order_challenge import is_answered
from .work_order import IDENTITIES
from .work_report import Report


@dataclass
class Intake:
    """What became of each unit, by the row of the ledger: the report's unit that is *taken*, the reason of one that is
    *failed*. *known* were taken in before. *refused* and *unexpected* are pairs of a unit's name and the reason; of the
    refused ones that were not taken in before *stopped* has the reason, too.
    """

    taken: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    failed: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    known: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    stopped: dict[int, str] = field(default_factory=dict)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unexpected: list[tuple[str, str]] = field(default_factory=list)


def held_against(report: Report, records: Mapping[int, Mapping[str, Any]], master_key: str) -> Intake:
    """*report* against the ledger's *records*, by row. MasterKeyError where the key is none."""
    ordered = on_order(records, report.number)
    rows = {record.get("endorsement_key_sha256"): row for row, record in ordered.items()}
    taken_names = {str(one["serial_number"]).lower() for one in records.values() if one.get("serial_number")}
    intake = Intake()
    for unit in report.units:
        said = unit["record"]
        row = rows.pop(said["endorsement_key_sha256"], None)
        if row is None:
            name = visible(called({**said, "host": said.get("registration_id")}), most=120)
            intake.unexpected.append((name, f"it is not on the work order {report.number}"))
            continue
        record = ordered[row]
        answered = unit["state"] == DONE and is_answered(
            master_key, report.number, base64.b64decode(said["endorsement_key"]), unit.get("answer")
        )
        why = _why_not(unit, record, answered)
        if not why and not record.get("serial_number") and str(said.get("serial_number")).lower() in taken_names:
            name = visible(said["serial_number"], most=100)
            why = f"the line says the serial number {name}, which is another device's"
        if why:
            intake.refused.append((visible(called(record), most=120), why))
            if order_in(record).get("state") != DONE:
                intake.stopped[row] = why
        elif order_in(record).get("state") == DONE:
            intake.known.append(row)
        elif unit["state"] == DONE:
            intake.taken[row] = unit
        else:
            intake.failed[row] = unit
    intake.missing = sorted(row for row in rows.values() if order_in(ordered[row]).get("state") in OPEN)
    return intake


def _why_not(unit: Mapping[str, Any], record: Mapping[str, Any], answered: bool) -> str | None:
    """Why what the report says of a unit is not taken in, to follow its name."""
    said, order = unit["record"], order_in(record)
    if unit["state"] == DONE and not answered:
        return (
            "the answer is not that of its TPM to this work order: it was made up, is of another order or unit, or "
            "another TPM gave it. Have the unit sent in, and ask the line how it came to that"
        )
    if order.get("state") == REVOKED:
        return f"the work order was revoked on {order['at']}"
    for name in IDENTITIES:
        if record.get(name) and said.get(name) and str(said[name]).lower() != str(record[name]).lower():
            words = name.replace("_", " ").replace(" id", " ID")
            return (
                f"its {words} is {visible(record[name], most=100)}, and the line says {visible(said[name], most=100)}"
            )
    if unit["state"] == FAILED:
        return None
    version = (said.get("ownership") or {}).get("key_version")
    if version != order.get("key_version"):
        return f"the line says key version {version}, and the order has {order.get('key_version')}"
    if not said.get("storage_root_key"):
        return "the line says that it is done, and no storage root key of it"
    recorded = record.get("storage_root_key_name")
    if order.get("state") == DONE and recorded and recorded != said.get("storage_root_key_name"):
        return "it was taken in with another storage root key: have it go through step 4, or order it anew"
    return None
