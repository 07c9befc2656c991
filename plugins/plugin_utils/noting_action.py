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
from datetime import timedelta
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleConnectionFailure, AnsibleError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.causes import FAILED
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.failure_kind import SETUP
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.moments import moment_of
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.model import DONE, is_proven
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import end_of, parted
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import DeviceAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.failure import failure_of
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.host_variables import HostVariables
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.in_worker import run_here
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.run_identity import operator, run_id
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.station_path import from_here, ledger_from_here

# What a TPM that cannot open the challenge makes the device say. Who lies about that has failed all the same.
NOT_HELD = "does not hold the endorsement key that it reports"
DISABLED, LEFT = "disabled", "left enabled"
# Within which a step notes an enrollment that it has made.
_A_DAY = timedelta(days=1)
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
    _proved_nothing = False

    def refusal(self, error):
        """The task's result where the device proved nothing."""
        self._proved_nothing = True
        return super().refusal(error)

    def run(self, tmp=None, task_vars=None):
        """Runs the task."""
        given = self._task.args
        self._task.args = {name: value for name, value in given.items() if name != "noting"}
        try:
            result = super().run(tmp, task_vars)
        except AnsibleConnectionFailure as error:
            if given.get("noting") and self._is_of_the_unit(error, task_vars):
                self._noted({"msg": error.message, "unreachable": True}, given["noting"], task_vars)
            raise
        except Exception as error:
            if self._gave_up is not None and given.get("noting"):
                self._noted({"msg": str(error)}, given["noting"], task_vars)
            raise
        finally:
            self._task.args = given
        # What is wrong with the inventory or the station says so, and is no failure of the unit.
        of_the_unit = result.get("failed") and not isinstance(result.get("failure"), Mapping)
        # What the ledger has stopped it has noted.
        stopped = self.judged is not None and not self.judged["accepted"]
        if of_the_unit and not stopped:
            self._of_the_unit(result, given.get("noting"), task_vars)
        return result

    def _is_of_the_unit(self, error, task_vars) -> bool:
        """Whether it is not for the inventory to have the unit reached, by what the closing summary makes of it."""
        said = {"msg": error.message}
        return failure_of(said, self._task, task_vars["inventory_hostname"], unreachable=True).kind != SETUP

    def _of_the_unit(self, result, named, task_vars) -> None:
        """Puts into the failed *result* why the unit failed, whether it proved nothing, and who is to act on that."""
        result["reason"], _explains = self._reason(result)
        if self._proved_nothing or NOT_HELD in result["reason"]:
            result["not_proven"] = True
        if named:
            self._noted(result, named, task_vars)
        if result.get("not_proven") and self.disabled_elsewhere:
            head = f"{self._host}: "
            result["msg"] = f"{head}{self.disabled_elsewhere} {str(result['msg']).removeprefix(head)}"

    def _reason(self, result) -> tuple[str, str]:
        """(Why the unit failed, in one line; what explains that, which is no part of what happened)."""
        said = str(result.get("msg") or "no reason was given").removeprefix(f"{self._host}: ")
        reason, explains = parted(said)
        return " ".join(line.removeprefix("| ") for line in reason.splitlines()), explains

    def _noted(self, result, named, task_vars) -> None:
        """Has the failed *result* noted, and puts into it what is to be said of that."""
        if self.is_check:
            return
        try:
            self._note(result, named, task_vars)
        except (AnsibleError, OSError, ValueError) as error:
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
            named_by = {"order": "number", "customer": "customer", "endorsement_key": "endorsement_key"}
            record["failed"].update({name: ordered[one] for name, one in named_by.items()})
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
        report = _placed(options["report"]) if ordered and result.get("unreachable") else {}
        entry = {"record": record, "enrollment": _enrollment(unproven, str(service.pop("id_scope", "")))}
        if report:
            entry["unit"] = {**ordered, "state": FAILED, "reason": reason}
        said = _together(
            entry, [shared, service, report], lambda entries: _tell(entries, shared, service, report=report)
        )
        if said.get("first"):
            result["msg"] = f"{head}{said['first']} {reason}{end_of(explains)}"
        elif said.get("more"):
            result["msg"] = f"{head}{reason} {said['more']}{end_of(explains)}"
        if said.get("warning"):
            result["warnings"] = [*(result.get("warnings") or ()), f"{head}{said['warning']}"]


def _enrollment(record: Mapping[str, Any] | None, id_scope: str) -> dict[str, Any] | None:
    """What is needed of the *record* of a unit that did not prove its key, to find its enrollment."""
    if not record or not record.get("registration_id"):
        return None
    named = {name: record[name] for name in ("registration_id", "endorsement_key")}
    steps = (record.get("steps") or {}).values()
    made = [str(step.get("at")) for step in steps if (step.get("outcome") or {}).get("enrollment") == DONE]
    here = record.get("dps_id_scope") == id_scope
    return {**named, "proven": record.get("endorsement_key_proven") or is_proven(record), "made": made if here else []}


def _placed(report: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a *report* with their paths as they begin here."""
    return {**report, **{name: from_here(report[name], name) for name in ("dest", "signing_key")}}


def _tell(
    entries: list[dict[str, Any]],
    shared: Mapping[str, Any],
    service: Mapping[str, Any],
    *,
    report: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Disables enrollments and writes the ledger for *entries*, and the *report*; what is to be said of each."""
    said: list[dict[str, Any]] = [{} for _entry in entries]
    asked = {
        one["enrollment"]["registration_id"].lower(): number for number, one in enumerate(entries) if one["enrollment"]
    }
    for registration_id, outcome in (_disable(entries, asked, service) if asked else {}).items():
        entry, words = entries[asked[registration_id]], said[asked[registration_id]]
        entry["record"]["failed"]["enrollment"] = outcome["is"]
        words.update({name: text for name, text in outcome.items() if name != "is"})
    records = [one["record"] for one in entries]
    failed = _answer("device_records", {**shared, "records": records})["failed"]
    if failed:
        for one in said:
            one["warning"] = f"its failure could not be noted in the ledger: {failed}"
    if report:
        known = {name: shared[name] for name in ("ledger", "station")}
        failed = _answer("work_report_export", {**known, **report, "units": [one["unit"] for one in entries]})["failed"]
        for one in said if failed else ():
            one["warning"] = f"its failure could not be reported: {failed}"
    return said


def _disable(entries: list[dict[str, Any]], asked: Mapping[str, int], service: Mapping[str, Any]) -> dict[str, Any]:
    """What became of the enrollments that are enabled, by registration IDs in small letters as in *asked*.

    Another unit's is left alone, since anybody can name its key.
    """
    options = {name: value for name, value in service.items() if value}
    found = _answer("dps_enrollment_info", {**options, "registration_ids": sorted(asked)})
    if found["failed"]:
        first = "whether its enrollment {} is enabled could not be seen: {} Disable it first."
        return {one: {"is": "not seen", "first": first.format(one, found["failed"])} for one in asked}
    told: dict[str, Any] = {}
    wanted = {}
    for one in found["enrollments"]:
        name = one["registration_id"]
        claimed = entries[asked[name.lower()]]["enrollment"]
        if one["provisioning_status"] == "disabled" or one["endorsement_key"] != claimed["endorsement_key"]:
            continue
        why = _whose(claimed, one)
        if why:
            words = (
                f"its enrollment {name} was left enabled, for {why}: find out whose it is, and disable it where it is"
            )
            told[name.lower()] = {"is": LEFT, "first": f"{words} this unit's."}
        else:
            wanted[name.lower()] = {
                **{field: one[field] for field in ("registration_id", "endorsement_key")},
                "provisioning_status": "disabled",
            }
    if wanted:
        asked_for = {"enrollments": list(wanted.values()), "fail_on_record_error": False}
        done = _answer("dps_enrollments", {**options, **asked_for})
        refused = {one["registration_id"].lower(): one["reason"] for one in done.get("failed_records") or ()}
        for name in wanted:
            why = done["failed"] or refused.get(name)
            first = f"its enrollment {name} is enabled and could not be disabled: {why} Disable it first."
            more = f"Its enrollment {name} was disabled."
            told[name] = {"is": LEFT, "first": first} if why else {"is": DISABLED, "more": more}
    return told


def _whose(claimed: Mapping[str, Any], enrollment: Mapping[str, Any]) -> str:
    """Why an *enrollment* may be another unit's than that which *claimed* its key; empty where it is that one's own.

    Its own is one that this line has made for it, on no more than its word: whoever has the key elsewhere was not
    enrolled by that.
    """
    if claimed["proven"]:
        return "its key was proven " + (f"on {claimed['proven']}" if isinstance(claimed["proven"], str) else "before")
    created = moment_of(str(enrollment.get("created")))
    for made in map(moment_of, claimed["made"]):
        if created and made and made - _A_DAY <= created <= made + _A_DAY:
            return ""
    return "it was not made for this unit by a step of this line"


def _answer(module: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the *module* of the station returned; ``failed`` in it is why it did not do what it should."""
    said = run_here(module, arguments, {})
    try:
        found = json.loads(said["stdout"])
    except ValueError:
        lines = str(said["stderr"]).strip().splitlines() or ["it said nothing"]
        return {"failed": f"{module}: {lines[-1]}"}
    return {**found, "failed": str(found.get("msg") or "no reason was given") if found.get("failed") else None}


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
