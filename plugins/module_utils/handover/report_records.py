# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a work report is to the ledger: records of step 3 of the units that are taken, and events of the others."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..ledger.causes import LATE, STOPPED
from ..ledger.devices import Devices
from ..outside.visible import visible
from ..record.model import IDENTITIES
from ..record.orders import CLOSED, DONE, LAST, MOST_REASON, order_in, with_failure, with_order, without_failure
from ..trust.derived import derived_from_endorsement_key
from .order_challenge import as_noted
from .report_intake import Intake
from .work_report import STEP


class Enrolling(NamedTuple):
    """How the units that are taken are to be enrolled: where, with which settings, and whether to be enabled."""

    id_scope: str
    settings: Mapping[str, Any]
    enabled: bool


class TakenUnits:
    """What is said of the units that are taken, one after the other."""

    def __init__(self, enrolling: Enrolling, *, software_tpms_allowed: bool) -> None:
        self._enrolling = enrolling
        self._exceptions = ["software_tpm"] if software_tpms_allowed else None
        self._hosts: set[str] = set()

    def said_of(self, known: Mapping[str, Any], unit: Mapping[str, Any]) -> dict[str, Any]:
        """A device record of step 3 of a *unit* of the report, which the ledger has as *known*."""
        # What it is called is not for the line to say, but for its serial number where the ledger has none: by a device
        # ID or a registration ID it would take another device's place in the hub or at the DPS.
        names = {name: known.get(name) for name in IDENTITIES}
        names["serial_number"] = names["serial_number"] or unit["record"].get("serial_number")
        key = derived_from_endorsement_key(base64.b64decode(known["endorsement_key"]))
        names["registration_id"] = names["registration_id"] or key["registration_id"]
        said = {**unit["record"], **names, **self._enrolling.settings}
        if self._enrolling.enabled and "provisioning_status" not in self._enrolling.settings:
            said["provisioning_status"] = "enabled" if known.get("provisioning_status") else None
        said.update(host=self._host(known, names), proven=unit["record"]["endorsement_key_sha256"])
        said.update(enrolling=self._enrolling.id_scope, exceptions=self._exceptions)
        return {name: value for name, value in said.items() if value is not None}

    def _host(self, known: Mapping[str, Any], names: Mapping[str, Any]) -> str:
        """What no other of them is called."""
        host = str(known.get("host") or names["serial_number"] or names["registration_id"])
        if host in self._hosts:
            host = str(names["serial_number"] or names["device_id"] or names["registration_id"])
        self._hosts.add(host)
        return host


def when_enrolled(said: Mapping[str, Any], unit: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    """What is written of a *unit* of which that was *said*, once it is enrolled; *order* is its own as it is known."""
    done = {"state": DONE, "at": unit["at"], "station": unit["station"]}
    # The place is noted by now, and is the unit's own from now on.
    record = {name: value for name, value in said.items() if name != "enrolling"}
    record.update(dps_id_scope=said["enrolling"], outcome=dict(unit["outcome"]))
    return {**record, LAST: {**without_failure(order), **done}}


def reason_of(intake: Intake, row: int) -> str:
    """Why the unit in *row* is not taken: why it failed there, or is not believed."""
    return intake.stopped.get(row) or said_by_line(intake.failed[row])


def said_by_line(unit: Mapping[str, Any]) -> str:
    """Why the line says that *unit* failed, for people."""
    return visible(unit.get("reason") or "the line gives no reason", most=MOST_REASON)


def note_failures(
    devices: Devices,
    known: dict[int, dict[str, Any]],
    intake: Intake,
    *,
    at: str,
    signed_by: str,
    by: Mapping[str, Any],
) -> tuple[bool, dict[int, dict[str, Any]]]:
    """Notes in the ledger which units failed at the line, and which ones are not believed.

    (Whether the former was news, which *known* has then; what has still to be noted of those that did not prove
    themselves, by row, once it is known what became of their enrollments: of one cause there is one event.)
    """
    changed, still = False, {}
    histories = devices.histories(list(intake.failed))
    for row, unit in intake.failed.items():
        answer = {"answer": as_noted(unit["answer"])} if unit.get("answer") else {}
        reason, before = reason_of(intake, row), order_in(known[row], by["order"])
        order = with_failure(before, {**unit, **answer, "reason": reason})
        what = {"reasons": [reason], "order": by["order"], "failed": unit["at"]}
        what.update({"not_proven": True} if row in intake.unproven else {})
        is_new = not any(what.items() <= event.items() for event in histories[row])
        # Else another station's word is the later one, or the graver.
        counts = order != before
        if counts:
            changed = True
            known[row] = with_order(known[row], order)
            devices.save(row, known[row])
        if row in intake.unproven:
            still[row] = {**what, "station": unit["station"], "is_new": is_new}
        elif is_new:
            changed = True
            what = {"state": STOPPED if counts else LATE, **what, **by}
            devices.note(row, known[row].get("host"), at=at, step=STEP, station=unit["station"], what=what)
    for row in intake.stopped:
        what = {"reasons": [reason_of(intake, row)], "order": by["order"]}
        if row in intake.unproven:
            still[row] = {**what, "not_proven": True, "station": signed_by, "is_new": True}
            continue
        what = {"state": STOPPED, **what, **by}
        devices.note(row, known[row].get("host"), at=at, step=STEP, station=signed_by, what=what)
    devices.write()
    return changed, still


def note_overtaken(
    devices: Devices, known: Mapping[int, Mapping[str, Any]], intake: Intake, *, at: str, by: Mapping[str, Any]
) -> bool:
    """Notes in the history which units failed at the line before the owner did a later step, and whether that was news.

    Neither the order nor where the unit stands is another one for it.
    """
    changed = False
    histories = devices.histories(list(intake.overtaken))
    for row, (unit, _since) in intake.overtaken.items():
        said = {"state": LATE, "reasons": [said_by_line(unit)], "order": by["order"], "failed": unit["at"]}
        if any(said.items() <= event.items() for event in histories[row]):
            continue
        changed = True
        devices.note(row, known[row].get("host"), at=at, step=STEP, station=unit["station"], what={**said, **by})
    devices.write()
    return changed


def note_closed(
    devices: Devices,
    known: dict[int, dict[str, Any]],
    intake: Intake,
    *,
    at: str,
    signed_by: str,
    by: Mapping[str, Any],
) -> bool:
    """Closes the units on the order that the owner did otherwise meanwhile, so that none of them is asked for again."""
    for row, why in intake.closing.items():
        order = {
            **without_failure(order_in(known[row], by["order"])),
            "state": CLOSED,
            "at": at,
            "reason": visible(why, most=MOST_REASON),
        }
        known[row] = with_order(known[row], order)
        devices.save(row, known[row])
        what = {"state": LATE, "reasons": [why], **by}
        devices.note(row, known[row].get("host"), at=at, step=STEP, station=signed_by, what=what)
    devices.write()
    return bool(intake.closing)
