# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A work report held against its order: what of it the owner can believe, and why the rest is refused.

A line is believed in what it says of a unit whose TPM answered the order's challenge, but in nothing that would
overwrite what is known: a unit that was taken in is not taken in again, so that a report may come twice, or an older
one later, and several stations may each report a part.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..ledger.ordered import Units
from ..outside.visible import visible
from ..record.model import IDENTITIES, called
from ..record.orders import (
    CLOSED,
    DONE,
    FAILED,
    NOT_BACK,
    OPEN,
    ORDERED,
    REVOKED,
    order_in,
    orders_in,
    spent_key_version,
)
from .order_challenge import is_answered
from .work_report import Report

# How often it is looked whose an answer is that is not its unit's: a report may have 10,000 of them.
_MOST_TRIES = 20_000
# The step that is done with a unit before a line has it.
_BEFORE = "tpm_install"


@dataclass
class Intake:
    """What became of each unit, by the row of the ledger: what the report says of those *taken* and those *failed*.

    *known* were taken in before, *missing* are those of which no report has said anything yet, *late* those that were
    done after the order had expired, *overtaken* those that failed there before the owner did a later step with them,
    with the words on that. *refused* and *unexpected* are pairs of a unit's name and the reason; of the refused ones
    that were not taken in before *stopped* has the reason, too, and *closing* that of those which the owner did
    otherwise meanwhile: they are *closed* when a report tells of them again. *unproven* has those of the stopped and of
    the failed ones whose TPM did not prove itself.
    """

    taken: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    failed: dict[int, Mapping[str, Any]] = field(default_factory=dict)
    known: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    late: list[int] = field(default_factory=list)
    overtaken: dict[int, tuple[Mapping[str, Any], str]] = field(default_factory=dict)
    stopped: dict[int, str] = field(default_factory=dict)
    closing: dict[int, str] = field(default_factory=dict)
    closed: list[int] = field(default_factory=list)
    unproven: list[int] = field(default_factory=list)
    refused: list[tuple[str, str]] = field(default_factory=list)
    unexpected: list[tuple[str, str]] = field(default_factory=list)


class _Answers:
    """The answers to the challenges of the order *number*, whose *units* may have given each other's."""

    def __init__(self, master_key: str, number: str, units: Units) -> None:
        self._master_key = master_key
        self._number = number
        self._records = list(units.records.values())
        self._tries = _MOST_TRIES

    def why_not(self, unit: Mapping[str, Any], record: Mapping[str, Any]) -> str | None:
        """Why the TPM of *record* has not proven itself by what is said of its *unit*; None where it has."""
        if self._is_of(record, unit.get("answer"), self._number):
            return None
        whose = self._whose(record, unit.get("answer"))
        return (
            f"the answer is not that of its TPM to this work order: {whose}. Have the unit sent in, and ask the line "
            "how it came to that"
        )

    def _is_of(self, record: Mapping[str, Any], said: object, number: str) -> bool:
        return is_answered(self._master_key, number, base64.b64decode(record["endorsement_key"]), said)

    def _whose(self, record: Mapping[str, Any], said: object) -> str:
        if not said:
            return "there is none"
        for order in orders_in(record)[:-1]:
            if self._is_of(record, said, str(order.get("number"))):
                return f"it is the one to the work order {visible(order['number'], most=80)}"
        for other in self._records[: self._tries]:
            self._tries -= 1
            if self._is_of(other, said, self._number):
                return f"it is that of the TPM of {visible(called(other), most=120)}"
        return "it was made up, or is of another order, or another TPM gave it"


def new_serial_numbers(report: Report, units: Units) -> list[str]:
    """Those that *report* says of units of which the ledger has none."""
    unnamed = {one.get("endorsement_key_sha256") for one in units.records.values() if not one.get("serial_number")}
    said = [unit["record"] for unit in report.units]
    told = [one.get("serial_number") for one in said if one["endorsement_key_sha256"] in unnamed]
    return [one for one in told if one]


def held_against(report: Report, units: Units, master_key: str, *, others: Collection[str]) -> Intake:
    """*report* against the ledger's *units* of its order. MasterKeyError where the key is none.

    *others* are those of :func:`new_serial_numbers` that other devices have, in small letters.
    """
    rows = {record.get("endorsement_key_sha256"): row for row, record in units.records.items()}
    damaged = {one.endorsement_key_sha256: one.why for one in units.damaged.values()}
    answers = _Answers(master_key, report.number, units)
    orders = [order_in(record, report.number) for record in units.records.values()]
    revocation = next((order for order in orders if order.get("state") == REVOKED), None)
    intake = Intake()
    for unit in report.units:
        said = unit["record"]
        key = said["endorsement_key_sha256"]
        row = rows.pop(key, None)
        if row is None:
            name = visible(called({**said, "host": said.get("registration_id")}), most=120)
            if key in damaged:
                intake.refused.append((name, damaged[key]))
            else:
                intake.unexpected.append((name, f"it is not on the work order {report.number}"))
            continue
        record = units.records[row]
        order = order_in(record, report.number)
        if revocation and order.get("state") in NOT_BACK:
            # It was not to be read when the others of the batch were revoked, or is of another site.
            order = {**order, "state": REVOKED, "at": revocation["at"]}
        # One that failed may have proven itself before, which undoes that another report said it had not.
        unproven = answers.why_not(unit, record) if unit["state"] == DONE or unit.get("answer") else None
        why = unproven or _why_not(unit, record, order, others)
        if why:
            intake.refused.append((visible(called(record), most=120), why))
            if order.get("state") not in (DONE, CLOSED):
                intake.stopped[row] = why
                intake.unproven += [row] if unproven else []
        elif order.get("state") == CLOSED:
            intake.closed.append(row)
        elif unit["state"] == DONE and order.get("state") in OPEN and (why := _overtaken(said, record, order)):
            intake.refused.append((visible(called(record), most=120), why))
            intake.closing[row] = why
        elif order.get("state") == DONE:
            intake.known.append(row)
        elif unit["state"] == FAILED and (since := _done_since(unit, record, order)):
            intake.overtaken[row] = (unit, since)
        elif unit["state"] == FAILED:
            intake.failed[row] = unit
            intake.unproven += [row] if unit.get("not_proven") else []
        else:
            intake.taken[row] = unit
            intake.late += [row] if unit["at"] > str(order.get("expires") or unit["at"]) else []
    silent = sorted(rows.values())
    intake.missing = [row for row in silent if order_in(units.records[row], report.number).get("state") == ORDERED]
    return intake


def _why_not(
    unit: Mapping[str, Any], record: Mapping[str, Any], order: Mapping[str, Any], others: Collection[str]
) -> str | None:
    """Why what the report says of a unit that has proven itself or failed is not taken in, to follow its name."""
    said = unit["record"]
    if order.get("state") == REVOKED:
        return f"the work order was revoked on {order['at']}"
    for name, words in IDENTITIES.items():
        if record.get(name) and said.get(name) and str(said[name]).lower() != str(record[name]).lower():
            return (
                f"its {words} is {visible(record[name], most=100)}, and the line says {visible(said[name], most=100)}"
            )
    if not record.get("serial_number") and str(said.get("serial_number")).lower() in others:
        name = visible(said["serial_number"], most=100)
        return f"the line says the serial number {name}, which is another device's"
    if unit["state"] == FAILED or order.get("state") == CLOSED:
        return None
    if not said.get("storage_root_key"):
        return "the line says that it is done, and no storage root key of it"
    if order.get("state") == DONE:
        return _why_not_again(said, record, order)
    ownership = said.get("ownership") or {}
    version = ownership.get("key_version")
    if version != order.get("key_version"):
        return f"the line says key version {version}, and the order has {order.get('key_version')}"
    profile = ownership.get("profile")
    # Notes of before orders were noted with it have none.
    if profile != order.get("profile", profile):
        says = f"the ownership profile {profile}" if profile else "no ownership profile"
        return f"the line says {says}, and the order has {order['profile']}"
    if ownership.get("endorsement_auth_set"):
        return "the line says that its endorsement hierarchy has an authorization, which no order gives one"
    spent, revoked = spent_key_version(record)
    if isinstance(version, int) and version <= spent:
        return (
            f"the line of the work order {visible(revoked, most=80)}, which was revoked, was given authorizations of "
            f"key version {spent}: revoke this order as well, and take a later version"
        )
    return None


def _done_since(unit: Mapping[str, Any], record: Mapping[str, Any], order: Mapping[str, Any]) -> str:
    """The step that the owner did with a unit since it was ordered and failed at the line, in words; empty for none."""
    steps = {name: one for name, one in (record.get("steps") or {}).items() if name != _BEFORE}
    done_at, step = max(((str(one.get("at")), name) for name, one in steps.items()), default=("", ""))
    return f"{step} on {done_at}" if done_at > max(str(order.get("written") or ""), unit["at"]) else ""


def _overtaken(said: Mapping[str, Any], record: Mapping[str, Any], order: Mapping[str, Any]) -> str | None:
    """Why what the owner did with a unit that was still on the order counts, and what the line says of it does not."""
    steps = record.get("steps") or {}
    done_at, step = max(((str(one.get("at")), name) for name, one in steps.items()), default=("", ""))
    if done_at <= str(order.get("written") or done_at):
        return None
    facts = (
        ("key version", (record.get("ownership") or {}).get("key_version"), order.get("key_version")),
        ("ID scope", record.get("dps_id_scope"), order.get("id_scope")),
        ("storage root key", record.get("storage_root_key_name"), said.get("storage_root_key_name")),
    )
    differs = [
        f"the {words} {visible(here, most=80)}" for words, here, there in facts if here and there and here != there
    ]
    if not differs:
        return None
    return (
        f"it went through {step} here on {done_at}, after it was ordered, and has {differs[0]} since, which the line's "
        "word would undo: it stays as it is here, and is closed on the order"
    )


def _why_not_again(said: Mapping[str, Any], record: Mapping[str, Any], order: Mapping[str, Any]) -> str | None:
    """The same of a unit that was taken in before."""
    if order_in(record).get("number") != order.get("number"):
        # What became of it by a later order is nothing that this one could tell.
        return None
    recorded = record.get("storage_root_key_name")
    if recorded and recorded != said.get("storage_root_key_name"):
        return "it was taken in with another storage root key: have it go through step 4, or order it anew"
    return None
