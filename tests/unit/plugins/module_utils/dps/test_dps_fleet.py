# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an inventory knows of a fleet: times, filters, names, and states within a budget."""

from __future__ import annotations

import time
from datetime import date, datetime, timedelta, timezone

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.enrollment import registration_result
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.errors import DpsError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.fleet import (
    Filters,
    Registrations,
    host_names,
    is_unit,
    unit_of,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.moments import moment_of
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.progress import Progress

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=timezone.utc)


def unit(registration_id, **fields):
    document = {"registrationId": registration_id, "attestation": {"type": "tpm", "tpm": {"endorsementKey": "AAAA"}}}
    return {**unit_of(document), "created": "2026-01-01T00:00:00Z", **fields}


def state(status="assigned", last_updated="2026-11-01T00:00:00.1234567Z", hub="hub-eu.example"):
    return {"status": status, "assigned_hub": hub, "last_updated": last_updated}


class Service:
    """A service that counts who was asked for."""

    def __init__(self, refuse_after=None, status=429):
        self.asked = []
        self.refuse_after = refuse_after
        self.status = status

    def registration(self, registration_id):
        if self.refuse_after is not None and len(self.asked) >= self.refuse_after:
            raise DpsError("The service refused", status=self.status)
        self.asked.append(registration_id)
        return {"registrationId": registration_id, "status": "assigned"}


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2026-11-24", datetime(2026, 11, 24, tzinfo=timezone.utc)),
        ("2026-11-24T11:19:54.4392650Z", datetime(2026, 11, 24, 11, 19, 54, tzinfo=timezone.utc)),
        ("2026-11-24T11:19:54+02:00", datetime(2026, 11, 24, 9, 19, 54, tzinfo=timezone.utc)),
        ("2026-11-24 11:19 -0130", datetime(2026, 11, 24, 12, 49, tzinfo=timezone.utc)),
        ("2026-13-24", None),
        ("yesterday", None),
        ("None", None),
    ],
)
def test_moments(text, moment):
    assert moment_of(text) == moment


def test_a_unit_shows_no_key_but_its_digest():
    found = unit("unit-1")
    assert "endorsement_key" not in found and len(found["endorsement_key_sha256"]) == 64
    assert found["attestation_type"] == "tpm"
    other = unit_of({"registrationId": "edge", "attestation": {"type": "x509", "x509": {}}})
    assert (other["attestation_type"], other["endorsement_key_sha256"]) == ("x509", None)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({}, True),
        ({"registration_id": "PUMP-*"}, True),
        ({"registration_id": "valve-*"}, False),
        ({"tags": {"team": "pumps"}}, True),
        ({"tags": {"team": "valves"}}, False),
        ({"optional_device_information": {"site": 1}}, False),
        ({"provisioning_status": "enabled"}, True),
        ({"provisioning_status": ["disabled"], "registration_id": "pump-*"}, False),
    ],
)
def test_filters_of_the_enrollment(given, taken):
    one = unit("pump-1", initial_twin={"tags": {"team": "pumps"}, "properties": {"desired": {}}})
    filters = Filters(given, now=NOW)
    assert filters.take_enrollment(one) is taken and not filters.need_registration


@pytest.mark.parametrize(
    ("given", "registration", "taken"),
    [
        ({"status": "assigned"}, state(), True),
        ({"status": ["failed", "not_found"]}, state(), False),
        ({"assigned_hub": "HUB-EU.example"}, state(), True),
        ({"assigned_hub": ["hub-us.example"]}, state(), False),
        ({"not_seen_since": "30d"}, state(), False),
        ({"not_seen_since": "2w"}, state(), True),
        ({"not_seen_since": date(2026, 11, 2)}, state(), True),
        ({"not_seen_since": datetime(2026, 11, 1)}, state(), False),
        ({"not_seen_since": "2026-11-24T00:00:00Z"}, state("not_found", None, None), True),
        ({"not_seen_since": "1d", "status": "failed"}, state(), False),
    ],
)
def test_filters_of_the_registration(given, registration, taken):
    filters = Filters(given, now=NOW)
    assert filters.need_registration and filters.take_registration(registration) is taken


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"statuss": "failed"}, "unknown key statuss"),
        ({"status": "broken"}, "filters.status has broken"),
        ({"provisioning_status": {"a": 1}}, "not a name or a list"),
        ({"not_seen_since": "soon"}, "neither a time nor an age"),
        ({"not_seen_since": "9" * 5000 + "w"}, "neither a time nor an age"),
    ],
)
def test_filters_that_make_no_sense(given, told):
    with pytest.raises(DpsError, match=told):
        Filters(given, now=NOW)


def test_a_budget_covers_the_fleet_run_by_run_the_oldest_first():
    fleet = [unit(f"Unit-{number}") for number in range(5)]
    kept, service = {}, Service()
    for number in range(3):
        registrations = Registrations(kept, now=NOW + timedelta(hours=number), max_age=5 * 3600)
        registrations.read(service, fleet, budget=2, concurrency=1, progress=Progress(None))
        kept = registrations.kept_for(fleet)
    assert service.asked == [f"Unit-{number}" for number in range(5)]
    assert registrations.of(fleet[0])["checked"] == NOW.isoformat()
    assert not any(registrations.is_outdated(one) for one in fleet)
    later = Registrations(kept, now=NOW + timedelta(hours=6), max_age=5 * 3600)
    assert [later.is_outdated(one) for one in fleet] == [True, True, False, False, False]
    later.read(service, fleet, budget=1, concurrency=1, progress=Progress(None))
    assert service.asked[5:] == ["Unit-0"]
    assert (later.is_outdated(fleet[0]), later.is_outdated(fleet[1])) == (False, True)


def test_what_a_run_of_the_same_second_read_is_its_own():
    """With an age of 0 a run takes nothing from an earlier one, however soon it comes."""
    fleet, service = [unit("a"), unit("b")], Service()
    first = Registrations({}, now=NOW, max_age=0)
    first.read(service, fleet, budget=2, progress=Progress(None))
    assert not any(first.is_outdated(one) for one in fleet)
    second = Registrations(first.kept_for(fleet), now=NOW, max_age=0)
    assert all(second.is_outdated(one) for one in fleet)


def test_what_was_not_checked_says_so():
    registrations = Registrations({}, now=NOW, max_age=60)
    registrations.read(Service(), [unit("a")], budget=0, progress=Progress(None))
    found = registrations.of(unit("a"))
    assert (found["registration_id"], found["status"], found["checked"]) == ("a", "not_checked", None)
    assert not registrations.is_checked(unit("a")) and registrations.kept_for([unit("a")]) == {}


def test_the_state_of_an_earlier_enrollment_is_none():
    registrations = Registrations({}, now=NOW, max_age=60)
    registrations.read(Service(), [unit("a")], budget=5, progress=Progress(None))
    kept = registrations.kept_for([unit("a")])
    again = unit("a", created="2026-11-24T11:59:00Z")
    assert not Registrations(kept, now=NOW, max_age=60).is_checked(again)
    assert Registrations(kept, now=NOW, max_age=60).kept_for([unit("b")]) == {}


def test_a_quota_that_is_used_up_ends_the_reading_and_other_refusals_the_run():
    fleet = [unit(f"unit-{number}") for number in range(5)]
    registrations = Registrations({}, now=NOW, max_age=60)
    registrations.read(Service(refuse_after=2), fleet, budget=5, concurrency=1, progress=Progress(None))
    assert "refused" in registrations.stopped
    assert [registrations.is_checked(one) for one in fleet] == [True, True, False, False, False]
    with pytest.raises(DpsError):
        registrations.read(Service(refuse_after=0, status=401), fleet, budget=5, progress=Progress(None))


def test_names():
    fleet = [unit("a", device_id="pump"), unit("b", device_id=None), unit("c", device_id="b")]
    assert host_names(fleet, "registration_id") == ({"a": "a", "b": "b", "c": "c"}, [])
    assert host_names(fleet, "device_id") == ({"a": "pump", "b": "b", "c": "c"}, ["b"])
    shared = [unit("a", device_id="x"), unit("b", device_id="x"), unit("c", device_id="a")]
    assert host_names(shared, "device_id") == ({"a": "a", "b": "b", "c": "c"}, ["x", "a"][::-1])


def test_names_that_push_each_other_away_take_no_longer_than_others():
    """Each is called as the next one's ID, so that one name that two have moves all of them, one after the other."""
    count = 20_000
    fleet = [unit("0", device_id="x"), unit("1", device_id="x")]
    fleet += [unit(str(number), device_id=str(number - 1)) for number in range(2, count)]
    begun = time.process_time()
    names, shared = host_names(fleet, "device_id")
    assert time.process_time() - begun < 1
    assert all(name == registration_id for registration_id, name in names.items()) and len(shared) == count - 1


@pytest.mark.parametrize(
    "kept",
    [
        *(None, [], 7, "x", {}, {"enrolled": "E"}, {"state": {}}, {"enrolled": "E", "state": []}),
        {"enrolled": "E", "state": {"status": "assigned", "checked": "2026-11-24T00:00:00+00:00"}},
        {"enrolled": "E", "state": {**registration_result(None, "a"), "checked": "soon"}},
        {"enrolled": "E", "state": {**registration_result(None, "a"), "checked": "2999-01-01T00:00:00+00:00"}},
    ],
)
def test_what_a_cache_kept_and_is_no_state_is_not_known(kept):
    """Nor is one that was read at a time that is to come: it would never be read again."""
    known = Registrations({"a": kept}, now=NOW, max_age=3600)
    assert not known.is_checked(unit("a", created="E")) and known.of(unit("a", created="E"))["status"] == "not_checked"


@pytest.mark.parametrize("kept", [None, 7, [], {}, {"registration_id": "a"}, {**unit("a"), "device_id": 7}])
def test_what_a_cache_kept_and_is_no_unit_is_none(kept):
    assert is_unit(unit("a")) and not is_unit(kept)
