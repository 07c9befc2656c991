# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A unit that fails on the device, or cannot be reached, is noted in the ledger by the task in which that happens.

Later there may be nobody left to do it: a task for a batch does not run where all of it failed, or where the play was
ended for too many failures. Units that fail together share one call of the ledger, and one of the service: each leaves
its failure in a directory of the run, and who comes first takes all that are there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.causes import FAILED
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.failure_kind import SETUP
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.orders import IN_EVENTS
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import end_of, parted
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import DeviceAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.failure import failure_of
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.host_variables import HostVariables
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.run_identity import operator, run_id
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.station_path import from_here, ledger_from_here
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.unproven_enrollments import (
    answer_of,
    claim_of,
    disabled,
)

_NAMES = {name: f"tpmfleet_{name}" for name in ("serial_number", "device_id")}


class NotingAction(DeviceAction):
    """Has what fails in its :meth:`work` noted, as its option ``noting`` says, the name of a variable.

    That has ``ledger``, ``step`` and ``station``, and ``dps`` with the options of a service where the enrollment of a
    unit is disabled that does not prove its key. At a line with work orders it has as ``order`` the name of the
    variable with what ``work_order_units`` returned, and as ``report`` options of ``work_report_export``: a unit that
    cannot be reached leaves the play, and with the last one nobody is left to report it.
    """

    # The verdict of the ledger on the unit, where there is one.
    judged: Mapping[str, Any] | None = None
    # Where nobody here may disable an enrollment: what is said first of a unit that does not prove its key.
    disabled_elsewhere = ""

    def proof_given(self) -> dict[str, Any]:
        """What a failure has of the proof that the unit gave before it: ``proven``, and ``order`` with the answer."""
        return {}

    def run(self, tmp=None, task_vars=None):
        """Runs the task."""
        given = self._task.args
        self._task.args = {name: value for name, value in given.items() if name != "noting"}
        try:
            result = super().run(tmp, task_vars)
        except AnsibleConnectionFailure as error:
            if given.get("noting") and self._is_of_the_unit(error, task_vars):
                self._noted_of(
                    {"msg": error.message, "unreachable": True, **self.proof_given()}, given["noting"], task_vars
                )
            raise
        except Exception as error:
            if self._gave_up is not None and given.get("noting"):
                self._noted_of({"msg": str(error), **self.proof_given()}, given["noting"], task_vars)
            raise
        finally:
            self._task.args = given
        # What is wrong with the inventory or the station says so, and is no failure of the unit.
        of_the_unit = result.get("failed") and not isinstance(result.get("failure"), Mapping)
        if of_the_unit and (not self._is_stopped or result.get("not_proven")):
            self._of_the_unit(result, given.get("noting"), task_vars)
        return result

    @property
    def _is_stopped(self) -> bool:
        """Whether the ledger has stopped the unit, and noted that."""
        return self.judged is not None and not self.judged["accepted"]

    def _is_of_the_unit(self, error, task_vars) -> bool:
        """Whether it is not for the inventory to have the unit reached, by what the closing summary makes of it."""
        said = {"msg": error.message}
        return failure_of(said, self._task, task_vars["inventory_hostname"], unreachable=True).kind != SETUP

    def _of_the_unit(self, result, named, task_vars) -> None:
        """Puts into the failed *result* why the unit failed, whether it proved nothing, and who is to act on that."""
        result["reason"], _explains = self._reason(result)
        if not result.get("not_proven"):
            result.update(self.proof_given())
        if named and not self._is_stopped:
            self._noted(result, named, task_vars)
        if result.get("not_proven") and self.disabled_elsewhere:
            head = f"{self._host}: "
            result["msg"] = f"{head}{self.disabled_elsewhere} {str(result['msg']).removeprefix(head)}"

    def _reason(self, result) -> tuple[str, str]:
        """(Why the unit failed, in one line; what explains that, which is no part of what happened)."""
        said = str(result.get("msg") or "no reason was given").removeprefix(f"{self._host}: ")
        reason, explains = parted(said)
        return " ".join(" ".join(line.removeprefix("| ") for line in reason.splitlines()).split()), explains

    def _noted_of(self, said, named, task_vars) -> None:
        """The same of what is no result, so that a warning is Ansible's to show."""
        self._noted(said, named, task_vars)
        for one in said.get("warnings") or ():
            self._display.warning(visible(one, most=1000))

    def _noted(self, result, named, task_vars) -> None:
        """Has the failed *result* noted, and puts into it what is to be said of that."""
        if self.is_check:
            return
        try:
            self._note(result, named, task_vars)
        except Exception as error:
            # Whatever a filter in a template raises: before ansible-core 2.19 not every error comes as Ansible's.
            words = f"{self._host}: its failure could not be noted in the ledger: {error}"
            result["warnings"] = [*(result.get("warnings") or ()), words]

    def _note(self, result, named, task_vars) -> None:
        values = HostVariables(task_vars, self._loader)
        options = dict(values.value(named))
        ordered = ((task_vars.get(options.get("order")) or {}).get("meant") or {}).get(task_vars["inventory_hostname"])
        if not options.get("ledger"):
            return
        head = f"{self._host}: "
        reason, explains = self._reason(result)
        variables = values.of_the_record()
        record = {name: variables[variable] for name, variable in _NAMES.items() if variables.get(variable)}
        record = {"host": task_vars["inventory_hostname"], **record, "failed": {"reason": reason}}
        if result.get("unreachable"):
            record["failed"]["unreachable"] = True
        if ordered:
            record["failed"].update({name: ordered[one] for name, one in IN_EVENTS.items()})
        # Who was asked again, and answered, is no longer the one that did not prove itself.
        answer = {"answer": result["order"]["answer"]} if ordered and result.get("order") else {}
        record["failed"].update({"proven": True} if result.get("proven") else {}, **answer)
        unproven = None
        if result.get("not_proven"):
            record["failed"]["not_proven"] = True
            unproven = self.judged["record"] if self.judged and options.get("dps") else None
        shared = {
            "ledger": ledger_from_here(options["ledger"], "ledger"),
            "step": options["step"],
            "station": options.get("station") or "",
            "operator": operator(task_vars, self._templar.template),
            "run_id": run_id(task_vars, self._templar.template),
        }
        service = dict(options.get("dps") or {})
        report = _placed(options.get("report") or {}) if ordered and result.get("unreachable") else {}
        entry = {"record": record, "enrollment": claim_of(unproven, str(service.pop("id_scope", "")))}
        if report:
            entry["unit"] = {**ordered, "state": FAILED, "reason": reason, **answer}
        said = _together(
            entry, [shared, service, report], lambda entries: _tell(entries, shared, service, report=report)
        )
        if said.get("first") and not result.get("failed"):
            # Of one that cannot be reached the message is the connection's.
            result["warnings"] = [*(result.get("warnings") or ()), f"{head}{said['first']}"]
        elif said.get("first"):
            result["msg"] = f"{head}{said['first']} {reason}{end_of(explains)}"
        elif said.get("more"):
            result["msg"] = f"{head}{reason} {said['more']}{end_of(explains)}"
        if said.get("warning"):
            result["warnings"] = [*(result.get("warnings") or ()), f"{head}{said['warning']}"]


def _placed(report: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a *report* with their paths as they begin here."""
    return {**report, **{name: from_here(report[name], name) for name in ("dest", "signing_key") if name in report}}


def _tell(
    entries: list[dict[str, Any]],
    shared: Mapping[str, Any],
    service: Mapping[str, Any],
    *,
    report: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Disables enrollments and writes the ledger for *entries*, and the *report*; what is to be said of each."""
    said: list[dict[str, Any]] = [{} for _entry in entries]
    for number, outcome in disabled([one["enrollment"] for one in entries], service).items():
        entries[number]["record"]["failed"]["enrollment"] = outcome["is"]
        said[number].update({name: text for name, text in outcome.items() if name != "is"})
    records = [one["record"] for one in entries]
    answer = answer_of("device_records", {**shared, "records": records})
    failed = answer["failed"]
    for one, words in zip(entries, said):
        remarks = (answer.get("verdicts") or {}).get(one["record"]["host"], {}).get("remarks")
        if remarks:
            words.setdefault("first", " ".join(remarks))
    if failed:
        for one in said:
            one["warning"] = f"its failure could not be noted in the ledger: {failed}"
    if report:
        known = {name: shared[name] for name in ("ledger", "station")}
        reported = answer_of("work_report_export", {**known, **report, "units": [one["unit"] for one in entries]})
        for one in said if reported["failed"] else ():
            one["warning"] = f"its failure could not be reported: {reported['failed']}"
    return said


def _together(
    entry: dict[str, Any], shared: Any, tell: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]
) -> dict[str, Any]:
    """What *tell* said of *entry*: to this process, or to another one of the run that took it along."""
    # What is *shared* may hold a secret.
    mark = hashlib.sha256(json.dumps(shared, sort_keys=True).encode()).hexdigest()[:16]
    place = os.path.join(C.DEFAULT_LOCAL_TMP, f"tpmfleet-failures-{mark}")
    os.makedirs(place, mode=0o700, exist_ok=True)
    name = f"{time.monotonic_ns():020}-{os.getpid()}"
    _write(os.path.join(place, f"{name}.left"), entry)
    with open(os.path.join(place, "lock"), "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        said = os.path.join(place, f"{name}.said")
        if not os.path.exists(said):
            left = sorted(one for one in os.listdir(place) if one.endswith(".left"))
            entries = [_read(os.path.join(place, one)) for one in left]
            for one, words in zip(left, tell(entries)):
                _write(os.path.join(place, one.replace(".left", ".said")), words)
                os.unlink(os.path.join(place, one))
        return _read(said)


def _write(path: str, value: Any) -> None:
    with open(f"{path}.new", "w") as file:
        json.dump(value, file)
    os.rename(f"{path}.new", path)


def _read(path: str) -> Any:
    with open(path) as file:
        return json.load(file)
