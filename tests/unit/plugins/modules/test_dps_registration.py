# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Registrations by their modules: what is not there is a value, waiting ends when it can, removing is idempotent.

Where a registration has to be true it is made by a TPM, in this test's own words; elsewhere the states are given.
"""

from __future__ import annotations

import json
import time

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps import watch as watching
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.progress import Progress

ASSIGNED = {
    "registrationId": "unit-1",
    "status": "assigned",
    "substatus": "initialAssignment",
    "assignedHub": "hub-eu.azure-devices.example",
    "deviceId": "pump-0001",
    "createdDateTimeUtc": "2026-11-24T11:19:54.4392650Z",
    "lastUpdatedDateTimeUtc": "2026-11-24T11:19:54.6419320Z",
    "etag": '"1"',
}


class Registrations:
    """A service that knows registration states; each call is noted."""

    def __init__(self) -> None:
        self.states: dict[str, list] = {}
        self.asked: list[str] = []
        self.deleted: list[tuple] = []

    def registration(self, registration_id):
        self.asked.append(registration_id)
        states = self.states.get(registration_id, [None])
        return states.pop(0) if len(states) > 1 else states[0]

    def delete_registration(self, registration_id, *, etag):
        self.deleted.append((registration_id, etag))
        return True


@pytest.fixture
def clock(monkeypatch):
    """Time that passes by sleeping only."""
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))
    return now


def test_waiting_ends_when_all_are_assigned_and_asks_only_for_the_rest(clock):
    service = Registrations()
    service.states = {
        "a": [ASSIGNED],
        "b": [None, {"status": "failed", "errorCode": 400209}, {"status": "assigning"}, ASSIGNED],
        "c": [{"status": "disabled"}],
    }
    states, waiting = watching.watch(service, ["a", "b", "c"], 300, Progress(None))
    assert waiting == [] and states["b"] == ASSIGNED
    assert sorted(service.asked) == ["a", "b", "b", "b", "b", "c"]
    assert clock[0] < 10


def test_waiting_ends_in_time_and_says_for_whom(clock):
    service = Registrations()
    service.states = {"a": [ASSIGNED]}
    _states, waiting = watching.watch(service, ["a", "b"], 300, Progress(None))
    assert waiting == ["b"] and clock[0] == pytest.approx(300)
    assert len(service.asked) < 40


def test_a_large_batch_takes_half_of_the_quota(clock):
    service = Registrations()
    watching.watch(service, [f"unit-{number}" for number in range(2000)], 600, Progress(None))
    # The first and the last look come when they are wanted.
    assert len(service.asked) <= 2 * 2000 + 500 * 10


def test_without_waiting_each_is_asked_once(clock):
    service = Registrations()
    watching.watch(service, ["a", "b"], 0, Progress(None))
    assert sorted(service.asked) == ["a", "b"] and clock[0] == 0


def test_none_is_no_call(clock):
    service = Registrations()
    assert watching.watch(service, [], 300, Progress(None)) == ({}, [])


def test_who_is_waited_for_is_called_as_the_inventory_has_it(clock, tmp_path):
    progress = tmp_path / "progress.json"
    service = Registrations()
    service.states = {"a": [ASSIGNED], "b": [{"status": "assigning"}]}
    _states, waiting = watching.watch(
        service, ["a", "b", "Pump-C", "d"], 9, Progress(str(progress)), {"a": "slot1", "b": "slot2", "pump-c": "slot3"}
    )
    # What is returned is by ID.
    assert waiting == ["b", "Pump-C", "d"]
    assert json.loads(progress.read_text())["silent"] == ["slot3", "d"]


def test_what_is_not_there_is_a_value(dps, run_module):
    found = run_module("dps_registration_info", **dps.connection(registration_ids=["unit-1", "unit-2"]))
    assert [one["status"] for one in found["registrations"]] == ["not_found", "not_found"]
    assert "never registered" in found["registrations"][0]["error_message"]
    assert (found["timed_out"], found["waiting"]) == (False, [])
    options = {"registration_ids": ["unit-1"], "wait_for": "assigned", "wait_timeout": 1}
    waited = run_module("dps_registration_info", **dps.connection(**options))
    assert (waited["timed_out"], waited["waiting"]) == (True, ["unit-1"])


def test_an_assigned_device_is_told_whole(monkeypatch, dps, run_module):
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.service import Service

    monkeypatch.setattr(Service, "registration", lambda _self, _one: ASSIGNED)
    found = run_module("dps_registration_info", **dps.connection(registration_ids=["unit-1"], wait_for="assigned"))
    assert found["registrations"] == [
        {
            "registration_id": "unit-1",
            "status": "assigned",
            "substatus": "initialAssignment",
            "assigned_hub": "hub-eu.azure-devices.example",
            "device_id": "pump-0001",
            "error_code": None,
            "error_message": None,
            "created": ASSIGNED["createdDateTimeUtc"],
            "last_updated": ASSIGNED["lastUpdatedDateTimeUtc"],
            "etag": '"1"',
        }
    ]


@pytest.mark.parametrize("check", [False, True])
def test_removing_takes_the_registration_that_was_read(monkeypatch, dps, run_module, check):
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.service import Service

    known = Registrations()
    known.states = {"unit-1": [ASSIGNED]}
    monkeypatch.setattr(Service, "registration", lambda _self, one: known.registration(one))
    monkeypatch.setattr(Service, "delete_registration", lambda _self, one, **k: known.delete_registration(one, **k))
    done = run_module("dps_registration", check=check, **dps.connection(registration_ids=["unit-1", "unit-2"]))
    assert (done["changed"], done["removed"], done["not_found"]) == (True, ["unit-1"], ["unit-2"])
    assert known.deleted == ([] if check else [("unit-1", '"1"')])
    assert list(done["diff"]["before"]) == ["unit-1"]


def test_removing_what_is_not_there_is_no_change(dps, run_module):
    done = run_module("dps_registration", **dps.connection(registration_ids=["unit-1"], state="absent"))
    assert not done["changed"]


def test_a_device_that_registers_is_waited_for_told_and_forgotten(dps, run_module, register):
    key, register_as = register
    one = {"registration_ids": ["pump-0001"]}
    enrollment = {"registration_id": "pump-0001", "endorsement_key": key, "device_id": "machine-1"}
    assert run_module("dps_enrollment", **dps.connection(**enrollment))["changed"]
    dps.settings(assignment_seconds=1.0)
    register_as("pump-0001")
    found = run_module("dps_registration_info", **dps.connection(**one, wait_for="assigned", wait_timeout=20))
    (state,) = found["registrations"]
    assert not found["timed_out"]
    assert (state["status"], state["substatus"]) == ("assigned", "initialAssignment")
    assert state["device_id"] == "machine-1" and state["assigned_hub"] in dps.where["linked_hubs"]
    (read,) = run_module("dps_enrollment_info", **dps.connection(**one))["enrollments"]
    assert read["registration"] == state
    assert not run_module("dps_enrollment", **dps.connection(**enrollment))["changed"]

    assert run_module("dps_registration", check=True, **dps.connection(**one))["removed"] == ["pump-0001"]
    assert run_module("dps_registration", **dps.connection(**one))["changed"]
    assert not run_module("dps_registration", **dps.connection(**one))["changed"]
    (after,) = run_module("dps_registration_info", **dps.connection(**one))["registrations"]
    assert after["status"] == "not_found"
    assert run_module("dps_enrollment_info", **dps.connection(**one))["not_found"] == []
