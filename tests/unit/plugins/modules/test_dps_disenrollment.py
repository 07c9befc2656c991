# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Devices are taken out of a service: in an order that lets none back in, cut off anywhere, and only the ones meant."""

from __future__ import annotations

import pytest

DISABLED, UNREGISTERED, REMOVED = "enrollment disabled", "registration removed", "enrollment removed"
ALL = [DISABLED, UNREGISTERED, REMOVED]
# The calls that change something, in their order, and what is done before each.
CUTS = [("PUT", "/enrollments/", 0), ("DELETE", "/registrations/", 1), ("DELETE", "/enrollments/", 2)]


@pytest.fixture
def disenroll(dps, run_module):
    def run(*records, check=False, **options):
        return run_module("dps_disenrollment", check=check, **dps.connection(enrollments=list(records), **options))

    return run


@pytest.fixture
def enroll(dps, run_module, make_ek):
    """Enrolls devices that have never registered; their records."""

    def run(*registration_ids, **fields):
        records = [
            {"registration_id": one, "endorsement_key": make_ek(number), **fields}
            for number, one in enumerate(registration_ids)
        ]
        assert run_module("dps_enrollments", **dps.connection(enrollments=records))["changed"]
        return records

    return run


@pytest.fixture
def registered(dps, run_module, register):
    """The record of a device that has registered."""
    key, register_as = register
    record = {"registration_id": "pump-1", "endorsement_key": key}
    run_module("dps_enrollment", **dps.connection(**record))
    register_as("pump-1")
    wait = {"registration_ids": ["pump-1"], "wait_for": "assigned", "wait_timeout": 20}
    assert not run_module("dps_registration_info", **dps.connection(**wait))["timed_out"]
    return record


def test_a_registered_device_is_taken_out_and_check_mode_predicts_it(disenroll, registered, service):
    record = {**registered, "host": "rack1-slot01", "dps_id_scope": "0ne1", "serial_number": "SN"}
    predicted = disenroll(record, check=True)
    assert service.enrollment("pump-1")["provisioningStatus"] == "enabled"
    done = disenroll(record)
    assert predicted == done and done["changed"]
    assert done["results"] == [
        {
            "host": "rack1-slot01",
            "dps_id_scope": "0ne1",
            "endorsement_key": registered["endorsement_key"],
            "registration_id": "pump-1",
            "action": "disenrolled",
            "done": ALL,
            "reason": None,
        }
    ]
    assert done["diff"] == {
        "before": {"pump-1": {"provisioning_status": "enabled", "registration": "assigned"}},
        "after": {},
    }
    assert service.enrollment("pump-1") is None and service.registration("pump-1") is None
    again = disenroll(record)
    assert not again["changed"] and again["counts"] == {"disenrolled": 0, "absent": 1, "failed": 0}


@pytest.mark.parametrize(("method", "path", "done"), CUTS)
@pytest.mark.parametrize("drop", ["before", "after"])
def test_cut_off_at_any_call_it_lets_nobody_in_and_a_rerun_completes_it(
    dps, disenroll, registered, service, method, path, done, drop
):
    """The connection breaks before or after the service has done what it was asked, and stays broken."""
    dps.fault(method=method, path=path, drop=drop, count=1)
    dps.fault(method=method, path=path, status=503, count=1000)
    cut = disenroll(registered, timeout=5, retry_budget=1)
    assert cut["failed"] and "run again to complete" in cut["msg"]
    assert cut["results"][0]["done"] == ALL[:done] and cut["changed"] == bool(done)
    dps.control("DELETE", "faults")
    left = service.enrollment("pump-1")
    changed_nothing = done == 0 and drop == "before"
    assert left is None or left["provisioningStatus"] == ("enabled" if changed_nothing else "disabled")
    assert not disenroll(registered).get("failed")
    assert service.enrollment("pump-1") is None and service.registration("pump-1") is None


def test_what_was_disabled_before_is_completed(disenroll, enroll, service):
    (record,) = enroll("pump-1", provisioning_status="disabled")
    assert disenroll(record)["results"][0]["done"] == [REMOVED]
    assert service.enrollment("pump-1") is None


def test_the_enrollment_of_another_tpm_is_left_alone(disenroll, enroll, make_ek, service):
    """The device's own is gone, and somebody else has its registration ID now."""
    enroll("pump-1")
    result = disenroll({"registration_id": "PUMP-1", "endorsement_key": make_ek(7)})
    assert not result["changed"] and result["results"][0]["action"] == "absent"
    assert "is of another TPM" in result["results"][0]["reason"]
    assert service.enrollment("pump-1")["provisioningStatus"] == "enabled"
    # Without a key whichever is there is meant.
    assert disenroll({"registration_id": "pump-1"})["changed"]


def test_one_that_is_refused_holds_up_no_other(dps, disenroll, enroll, service):
    records = enroll("pump-1", "pump-2", "pump-3")
    records[1] = {"registration_id": "pump 2"}
    dps.fault(method="DELETE", path="/enrollments/pump-3", status=400, error_code=400000)
    result = disenroll(*records)
    assert result["failed"] and "2 of 3 enrollments were not ended" in result["msg"]
    assert [one["action"] for one in result["results"]] == ["disenrolled", "failed", "failed"]
    assert result["failed_records"] == result["results"][1:]
    assert "may hold letters" in result["results"][1]["reason"]
    # Never half-done silently: what was done is told of the refused one too.
    assert result["results"][2]["done"] == [DISABLED]
    assert service.enrollment("pump-1") is None and service.enrollment("pump-3")["provisioningStatus"] == "disabled"
    assert not disenroll(*records, fail_on_record_error=False).get("failed")


def test_one_that_others_change_meanwhile_is_read_again(monkeypatch, disenroll, enroll, service):
    """Its ETag is another one by the time it is to be disabled, and again when it is to be removed."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.service import Service

    (record,) = enroll("pump-1")
    read, reads = Service.enrollment, []

    def disturbed(self, registration_id):
        found = read(self, registration_id)
        reads.append(registration_id)
        if len(reads) < 3:
            document = {name: found[name] for name in ("registrationId", "attestation", "provisioningStatus")}
            service.put_enrollment({**document, "deviceId": f"d{len(reads)}"}, etag="*")
        return found

    monkeypatch.setattr(Service, "enrollment", disturbed)
    result = disenroll(record)
    assert result["results"][0]["done"] == [DISABLED, REMOVED] and len(reads) == 3


def test_a_rack_costs_four_calls_a_device(dps, disenroll, enroll):
    records = enroll(*(f"pump-{number}" for number in range(10)))
    dps.control("DELETE", "stats")
    assert disenroll(*records)["counts"]["disenrolled"] == 10
    assert sum(dps.calls().values()) == 40


def test_a_concurrency_that_makes_no_sense_is_refused(disenroll):
    assert "it has to be 1 to 64" in disenroll({"registration_id": "a"}, concurrency=0)["msg"]
