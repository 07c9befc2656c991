# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Holds a work report against its order, and has the enrollments disabled of units that did not prove themselves.

That is done after the ledger is free for others again, and noted in it then.
"""

from __future__ import annotations

from ansible_collections.tpmfleet.azure_dps.plugins.action.device_records import ActionModule as RecordsAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.unproven_enrollments import (
    answer_of,
    claim_of,
    disabled,
)


class ActionModule(RecordsAction):
    """The module; of each unit in ``unproven`` is said what became of its enrollment."""

    def run(self, tmp=None, task_vars=None):
        """Runs the task; a part of ``service`` that is empty is one that was left out, as the role gives them."""
        service = {name: value for name, value in (self._task.args.get("service") or {}).items() if value}
        self._task.args = {**self._task.args, "service": service}
        return super().run(tmp, task_vars)

    def work(self, tmp, task_vars) -> dict:
        """The result of the module."""
        given = self._task.args
        service = given["service"]
        # The module has no use for a right at the service.
        self._task.args = {name: value for name, value in given.items() if name != "service"}
        try:
            result = super().work(tmp, task_vars)
        finally:
            args, self._task.args = self._task.args, given
        units = result.get("unproven") or []
        if result.get("failed") or not units:
            return result
        claims = [claim_of(one["record"], str(self._task.args["id_scope"])) for one in units]
        told = {} if self._task.check_mode else disabled(claims, service)
        for place, outcome in told.items():
            units[place].update(outcome)
        said: dict[str, list] = {}
        for one in units:
            if not self._task.check_mode and (one["event"]["is_new"] or one.get("is")):
                said.setdefault(one["event"]["station"], []).append(failure_of(one))
        by = {name: args.get(name) or "" for name in ("ledger", "operator", "run_id")}
        for station, records in said.items():
            noted = {"step": "software_install", "station": station, "records": records}
            why = answer_of("device_records", {**by, **noted})["failed"]
            result["changed"] = True
            if why:
                words = f"which units did not prove themselves could not be noted in the ledger: {why}"
                result["warnings"] = [*(result.get("warnings") or ()), words]
        # At once: what comes next may fail for the same cause.
        first = [f"{one['unit']}: {one['first']}" for one in units if one.get("first")]
        if first:
            result["warnings"] = [*first, *(result.get("warnings") or ())]
        for one in units:
            del one["record"], one["event"]
        return result


def failure_of(unit):
    """A unit that did not prove itself, for the ledger."""
    record, event = unit["record"], unit["event"]
    named = {name: record[name] for name in ("serial_number", "device_id") if record.get(name)}
    said = {name: event[name] for name in ("order", "failed") if event.get(name)}
    failed = {"reason": unit["reason"], "not_proven": True, "stopped": True, **said}
    failed.update({"enrollment": unit["is"]} if unit.get("is") else {})
    return {"host": str(record.get("host") or unit["unit"]), **named, "failed": failed}
