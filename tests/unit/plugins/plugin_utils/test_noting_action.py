# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What becomes of the failures of a batch: one call of the ledger, one of the service; whose enrollment is disabled."""

from __future__ import annotations

import json
import multiprocessing
import re
import time
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible import constants, template
from ansible.parsing.dataloader import DataLoader
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.possession import PossessionError
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils import noting_action, unproven_enrollments
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import DeviceAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.host_variables import HostVariables
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.proving_action import ProvingAction

SCOPE = "0ne00000A0A"


@pytest.fixture(autouse=True)
def of_this_run(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "DEFAULT_LOCAL_TMP", str(tmp_path))


def leave(number, calls, answers):
    """One process of a run, whose unit fails; what is told takes until each of the others has failed too."""

    def tell(entries):
        with open(calls, "a") as file:
            file.write(f"{len(entries)}\n")
        until = time.monotonic() + 60
        # Who waits, and who was told.
        while sum(len(list(calls.parent.glob(f"tpmfleet-failures-*/*.{what}"))) for what in ("left", "said")) < 12:
            assert time.monotonic() < until
            time.sleep(0.01)
        return [{"more": f"told {one['number']}"} for one in entries]

    answers.put((number, noting_action._together({"number": number}, ["shared"], tell)))


def test_units_that_fail_together_share_a_call_and_each_gets_its_own_answer(tmp_path):
    context = multiprocessing.get_context("fork")
    answers, calls = context.Queue(), tmp_path / "calls"
    processes = [context.Process(target=leave, args=(number, calls, answers)) for number in range(12)]
    for one in processes:
        one.start()
    said = dict(answers.get(timeout=90) for _one in processes)
    for one in processes:
        one.join()
    assert said == {number: {"more": f"told {number}"} for number in range(12)}
    told = [int(line) for line in calls.read_text().split()]
    # Of the first, with who was there by then, and of all others.
    assert sum(told) == 12 and len(told) <= 2


def test_one_whose_process_died_is_told_by_the_next(tmp_path):
    def dies(_entries):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        noting_action._together({"number": 1}, ["shared"], dies)
    told = []
    noting_action._together({"number": 2}, ["shared"], lambda entries: told.extend(entries) or [{} for _one in entries])
    assert [one["number"] for one in told] == [1, 2]


def test_what_is_shared_is_in_no_file(tmp_path):
    noting_action._together({"number": 1}, [{"connection_string": "geheim"}], lambda entries: [{}])
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and "geheim" in path.read_text()]


@pytest.fixture
def service(dps):
    return {"connection_string": dps.where["connection_string"], "ca_file": dps.where["ca_file"]}


@pytest.fixture
def failing(run_module, service, make_ek, tmp_path):
    """Has units fail their proof; what is said of each, and what the service has then."""

    def run(*records, service=service, enrolled=True, then=lambda: None):
        shared = {"ledger": str(tmp_path / "ledger.sqlite"), "step": "software_install", "station": "line-1"}
        entries = []
        for number, record in enumerate(records):
            named = {"registration_id": f"unit-{number}", "endorsement_key": make_ek(number)}
            if enrolled:
                run_module("dps_enrollments", **service, enrollments=[{**named, "device_id": f"device-{number}"}])
            entries.append(
                {
                    "record": {"host": f"slot{number}", "failed": {"reason": "it does not hold the key."}},
                    "enrollment": unproven_enrollments.claim_of({**named, **record}, SCOPE),
                }
            )
        then()
        return noting_action._tell(entries, shared, service), entries

    return run


def made(hours=0, outcome="done", **record):
    """What is known of a unit that a step has enrolled."""
    at = (datetime.now(timezone.utc) - timedelta(hours=hours)).strftime("%Y-%m-%dT%H:%M:%SZ")
    steps = {"tpm_install": {"at": at, "station": "", "outcome": {"enrollment": outcome}}}
    return {"dps_id_scope": SCOPE, "steps": steps, **record}


def status_of(run_module, service):
    listed = run_module("dps_enrollment_info", **service)["enrollments"]
    assert all(one["device_id"] == f"device-{one['registration_id'][-1]}" for one in listed)
    return {one["registration_id"]: one["provisioning_status"] for one in listed}


def test_an_enrollment_that_stands_on_the_units_word_alone_is_disabled(failing, run_module, service):
    said, entries = failing(made(), made())
    assert [one["more"] for one in said] == [f"Its enrollment unit-{number} was disabled." for number in (0, 1)]
    assert status_of(run_module, service) == {"unit-0": "disabled", "unit-1": "disabled"}
    assert [one["record"]["failed"]["enrollment"] for one in entries] == ["disabled"] * 2


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (made(endorsement_key_proven="2026-11-01T08:00:00Z"), "its key was proven on 2026-11-01T08:00:00Z"),
        (made(outcome="verified"), "it was not made for this unit by a step of this line"),
        (made(hours=72), "it was not made for this unit by a step of this line"),
        ({**made(), "dps_id_scope": "0neOTHER"}, "it was not made for this unit by a step of this line"),
        ({}, "it was not made for this unit by a step of this line"),
    ],
)
def test_one_that_may_be_another_units_is_left_and_that_is_said_first(failing, run_module, service, record, why):
    [said], [entry] = failing(record)
    assert said["first"].startswith(f"its enrollment unit-0 was left enabled, for {why}")
    assert entry["record"]["failed"]["enrollment"] == "left enabled"
    assert status_of(run_module, service) == {"unit-0": "enabled"}


def test_one_in_another_dps_is_not_forgotten(failing):
    said, entries = failing({**made(), "dps_id_scope": "0neOTHER"}, made(), enrolled=False)
    words = "look after its enrollment unit-0 in the DPS of the ID scope 0neOTHER first, where this run does not look."
    assert said == [{"first": words}, {}]
    assert entries[0]["record"]["failed"]["enrollment"] == "not seen"


def test_where_the_station_may_not_that_is_said_first(failing, service):
    nobody = {**service, "connection_string": "HostName=x.example;SharedAccessKeyName=a"}
    [said], [entry] = failing(made(), service=nobody)
    words = "disable its enrollment unit-0 first, of which could not be seen whether it is enabled: "
    assert said["first"].startswith(words)


def test_where_the_service_refuses_that_is_said_first_and_noted(failing, run_module, service, dps):
    def refuse():
        for method in ("PUT", "POST"):
            dps.fault(method=method, path="/enrollments", status=403, count=50)

    [said], [entry] = failing(made(), then=refuse)
    assert said["first"].startswith("disable its enrollment unit-0 first, which is enabled and could not be disabled: ")
    assert entry["record"]["failed"]["enrollment"] == "left enabled"
    dps.control("DELETE", "faults")
    assert status_of(run_module, service) == {"unit-0": "enabled"}


def test_who_has_no_enrollment_is_said_nothing_of(failing):
    [said], [entry] = failing(made(), enrolled=False)
    assert said == {} and "enrollment" not in entry["record"]["failed"]


def test_a_ledger_that_cannot_be_written_is_told_and_hides_nothing(failing, tmp_path):
    (tmp_path / "ledger.sqlite").mkdir()
    [said], _entries = failing(made())
    assert said["more"] == "Its enrollment unit-0 was disabled."
    assert "could not be noted in the ledger" in said["warning"] and "is a directory" in said["warning"]


def test_what_keeps_a_failure_from_being_noted_does_not_take_its_place(monkeypatch):
    """A unit that cannot be reached stays one, whatever its serial number is to be made of."""

    def note(*_arguments):
        raise re.error("unterminated subpattern")

    monkeypatch.setattr(noting_action.NotingAction, "_note", note)
    action = object.__new__(noting_action.NotingAction)
    action._task, action._host = SimpleNamespace(check_mode=False), "slot1"
    said = {"msg": "it is off", "unreachable": True}
    action._noted(said, "noting", {})
    [warning] = said["warnings"]
    assert warning == "slot1: its failure could not be noted in the ledger: unterminated subpattern"
    assert said["msg"] == "it is off"


@pytest.mark.parametrize("refuted", [True, False])
def test_whose_proof_the_ledger_has_noted_is_not_noted_again_and_his_owner_is_told_first(monkeypatch, refuted):
    """The task of a line with a work order, for a unit that was asked when another one named its key too."""
    noted = []
    monkeypatch.setattr(noting_action.NotingAction, "_noted", lambda *arguments: noted.append(arguments))
    said = {"failed": True, "msg": "slot1: it has not the key", **({"not_proven": True} if refuted else {})}
    monkeypatch.setattr(DeviceAction, "run", lambda *_arguments: dict(said))
    action = object.__new__(noting_action.NotingAction)
    action._task, action._host = SimpleNamespace(args={"noting": "noting"}, check_mode=False), "slot1"
    action.judged, action.disabled_elsewhere = {"accepted": False}, "tell the owner first."
    result = action.run(None, {})
    assert noted == []
    assert result["msg"] == ("slot1: tell the owner first. it has not the key" if refuted else said["msg"])
    assert result.get("reason") == ("it has not the key" if refuted else None)


def tasks_in(tasks):
    for task in tasks or ():
        yield task
        for part in ("block", "rescue", "always"):
            yield from tasks_in(task.get(part))


def test_each_task_of_a_step_that_speaks_to_a_device_notes_its_failures():
    roles = Path(__file__).resolve().parents[4] / "roles"
    found = set()
    for path in sorted(roles.glob("*/tasks/*.yml")):
        role = path.parents[1]
        for task in tasks_in(yaml.safe_load(path.read_text())):
            for name in ("device_read", "device_work"):
                options = task.get(f"tpmfleet.azure_dps.{name}")
                if options is not None and role.name in ("endorsement_key", "device_work"):
                    named = yaml.safe_load((role / "vars" / "main.yml").read_text())[options["noting"]]
                    assert {"ledger", "step", "station"} <= set(named), path
                    found.add(name)
    assert found == {"device_read", "device_work"}


@pytest.mark.parametrize(
    ("step", "order"), [("software_install", "software_install_opened"), ("tpm_install", ""), ("warehouse", "")]
)
def test_a_failure_of_another_step_of_the_run_is_none_of_its_work_order(step, order):
    roles = Path(__file__).resolve().parents[4] / "roles"
    noting = yaml.safe_load((roles / "endorsement_key" / "vars" / "main.yml").read_text())["__endorsement_key_noting"]
    trusted = getattr(template, "trust_as_template", str)
    variables = {"order": trusted(noting["order"]), "endorsement_key_step": step}
    assert (HostVariables(variables, DataLoader()).value("order") or "") == order


def test_a_unit_of_a_work_order_that_is_off_is_reported_by_the_task_in_which_that_is_found(tmp_path, ssh_key, make_ek):
    """It leaves the play, and with the last one nobody is left to do it."""
    ordered = {"customer": "owner@example.org", "endorsement_key": make_ek(1)}
    failed = {"reason": "it is off", "unreachable": True, "order": "WO-1", **ordered}
    unit = {**ordered, "number": "WO-1", "state": "failed", "reason": "it is off"}
    entry = {"record": {"host": "slot1", "failed": failed}, "enrollment": None, "unit": unit}
    shared = {"ledger": str(tmp_path / "journal.sqlite"), "step": "software_install", "station": "line-1"}
    report = {"numbers": ["WO-1"], "customers": {"WO-1": ordered["customer"]}, "dest": str(tmp_path)}
    told = noting_action._tell([entry], shared, {}, report={**report, "signing_key": str(tmp_path / "nothing")})
    assert told[0]["warning"].startswith("its failure could not be reported: ")
    assert noting_action._tell([entry], shared, {}, report={**report, "signing_key": str(ssh_key("line"))}) == [{}]
    said = json.loads((tmp_path / "WO-1.report").read_text().partition("-----END SSH SIGNATURE-----\n")[2])
    [reported] = said["units"]
    assert (reported["endorsement_key"], reported["reason"], reported["station"]) == (make_ek(1), "it is off", "line-1")


def test_an_enrollment_that_is_still_to_be_looked_after_is_said_first_whatever_else_the_unit_fails_for(
    failing, run_module, make_ek, tmp_path
):
    """The service was down when the unit did not prove itself; then it was pulled, as its operator was told."""
    nobody = {"connection_string": "HostName=x.example;SharedAccessKeyName=a"}
    ledger = str(tmp_path / "ledger.sqlite")
    shared = {"ledger": ledger, "step": "software_install", "station": "line-1"}
    unit = {"host": "slot0", "endorsement_key": make_ek(0), "registration_id": "unit-0"}

    def fails(**failed):
        [said] = noting_action._tell([{"record": {"host": "slot0", "failed": failed}, "enrollment": None}], shared, {})
        return said.get("first", "")

    def proves(**more):
        done = {**unit, "outcome": {"possession": "verified"}, **more}
        run_module("device_records", ledger=ledger, step="software_install", station="line-1", records=[done])

    run_module("device_records", ledger=ledger, step="tpm_install", station="line-1", records=[unit])
    claim = unproven_enrollments.claim_of({**unit, **made()}, SCOPE)
    entry = {"record": {"host": "slot0", "failed": {"reason": "no key", "not_proven": True}}, "enrollment": claim}
    assert noting_action._tell([entry], shared, nobody)[0]["first"].startswith("disable its enrollment unit-0 first, ")
    for lesser in ({"reason": "No route to host", "unreachable": True}, {"reason": "Missing sudo password"}):
        assert fails(**lesser).startswith("it did not prove its endorsement key on ")
        assert "its enrollment was not seen then: look after that first" in fails(**lesser)
    # Nor by being read.
    run_module("device_records", ledger=ledger, step="software_install", station="line-1", records=[unit])
    assert fails(reason="it is off", unreachable=True)
    # It answered, and then something else failed; or all of it was done.
    assert fails(reason="This TPM has an owner", proven=True) == "" == fails(reason="it is off", unreachable=True)
    noting_action._tell([entry], shared, nobody)
    assert fails(reason="it is off", unreachable=True)
    proves()
    assert fails(reason="it is off", unreachable=True) == ""


class Proof:
    """Of which one answer is right."""

    challenge = SimpleNamespace(as_option=dict)

    @staticmethod
    def check_answer(answer):
        if answer != "right":
            raise PossessionError("the answer is not that of the TPM.")


@pytest.mark.parametrize(
    ("said", "answered"),
    [
        ({"failed": True, "msg": "This TPM has an owner", "answer": "right"}, True),
        ({"failed": True, "msg": "the TPM could not open the challenge"}, False),
        ({"failed": True, "msg": "This TPM has an owner", "answer": "wrong"}, None),
        ({"changed": True, "answer": "right"}, True),
        ({"changed": True, "answer": "wrong"}, None),
    ],
)
def test_a_device_that_answered_has_proven_itself_whatever_failed_after_that(said, answered):
    action = object.__new__(ProvingAction)
    action._host, action._task = "slot1", SimpleNamespace(check_mode=False)
    action.run_module = lambda *_arguments: dict(said)
    unlocking = SimpleNamespace(sealed=dict, secrets=[])
    if answered is None:
        with pytest.raises(PossessionError):
            action.prove(Proof, {}, unlocking, {})
    else:
        result = action.prove(Proof, {}, unlocking, {})
        assert "answer" not in result and result.get("failed") == said.get("failed")
    assert action.answered is bool(answered)
