# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks that have the enrollments disabled of units that did not prove themselves, once the ledger is free for others.

The module returns these as ``unproven``, each with ``record``, ``id_scope`` and ``event``, which are for this alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.events_action import EventsAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.unproven_enrollments import (
    DISABLED,
    answer_of,
    claim_of,
    disabled,
)

# The modules that find such units; others are led to the same action.
_FIND_THEM = ("device_records", "work_report_import")


class DisablingAction(EventsAction):
    """The module; of each unit in ``unproven`` is said what became of its enrollment, by the option ``service``."""

    # Whether without a service it is said that somebody has to do it.
    SAYS_WITHOUT_SERVICE = True

    def run(self, tmp=None, task_vars=None):
        """Runs the task; a part of ``service`` that is empty is one that was left out, as roles give them."""
        service = self._task.args.get("service")
        if isinstance(service, Mapping) and self.module in _FIND_THEM:
            service = {name: value for name, value in service.items() if value}
            self._task.args = {**self._task.args, "service": service}
        return super().run(tmp, task_vars)

    def work(self, tmp, task_vars) -> dict:
        """The result of the module."""
        given = self._task.args
        service = given.get("service")
        if self.module not in _FIND_THEM or not isinstance(service, Mapping | None):
            # What is no mapping the module refuses.
            return super().work(tmp, task_vars)
        # The module has no use for a right at the service, and looks whether its parts are called right.
        self._task.args = {**given, "service": dict.fromkeys(service)} if service is not None else dict(given)
        try:
            result = super().work(tmp, task_vars)
        finally:
            args, self._task.args = self._task.args, given
        units = result.get("unproven") or []
        if units and not self._task.check_mode and (service is not None or self.SAYS_WITHOUT_SERVICE):
            by = {name: args.get(name) or "" for name in ("ledger", "operator", "run_id")}
            self._look_after(units, service or {}, by, result)
        for one in units:
            for name in ("record", "id_scope", "event"):
                one.pop(name, None)
        return result

    def _look_after(self, units, service, by, result) -> None:
        """Disables the enrollments of *units*, says in each what became of it, and notes that; *result* has faults."""
        told = disabled([claim_of(one["record"], one["id_scope"]) for one in units], service)
        for place, outcome in told.items():
            units[place].update(outcome)
        said: dict[tuple[str, str], list] = {}
        for one in units:
            event = one["event"]
            if event["is_new"] or one.get("is"):
                said.setdefault((event["step"], event["station"]), []).append(failure_of(one))
            if event["is_new"] or one.get("is") == DISABLED:
                result["changed"] = True
        for (step, station), records in said.items():
            why = answer_of("device_records", {**by, "step": step, "station": station, "records": records})["failed"]
            if why:
                words = f"which units did not prove themselves could not be noted in the ledger: {why}"
                result["warnings"] = [*(result.get("warnings") or ()), words]


def failure_of(unit: Mapping[str, Any]) -> dict[str, Any]:
    """A unit that did not prove itself, for the ledger."""
    record, event = unit["record"], unit["event"]
    named = {name: record[name] for name in ("serial_number", "device_id") if record.get(name)}
    said = {name: event[name] for name in ("order", "failed") if event.get(name)}
    # What stopped it is noted once.
    reason = unit["reason"] if event["is_new"] else "it did not prove its endorsement key, as was noted"
    failed = {"reason": reason, "not_proven": True, "stopped": True, **said}
    failed.update({"enrollment": unit["is"]} if unit.get("is") else {})
    return {"host": str(record.get("host") or unit["unit"]), **named, "failed": failed}
