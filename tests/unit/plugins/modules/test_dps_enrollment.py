# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One enrollment by its module: idempotent, predicted by check mode, told in a diff, refused in words."""

from __future__ import annotations

import json

import pytest

EVERY_FIELD = {
    "device_id": "pump-0001",
    "provisioning_status": "disabled",
    "iot_edge": True,
    "initial_twin": {"tags": {"product": "pump"}, "properties": {"desired": {"interval": 30}}},
    "reprovision_policy": {"update_hub_assignment": False, "migrate_device_data": False},
    "allocation_policy": "static",
    "iot_hubs": ["hub-eu.azure-devices.example"],
    "custom_allocation": {"webhook_url": "https://localhost/x", "api_version": "2021-10-01"},
    "optional_device_information": {"line": 4},
}


@pytest.fixture
def enroll(dps, run_module, make_ek):
    def run(**options):
        known = {"registration_id": "unit-1", "endorsement_key": make_ek(), **options}
        return run_module("dps_enrollment", **dps.connection(**known))

    return run


def test_every_field_is_written_and_then_nothing_is(enroll):
    predicted = enroll(check=True, **EVERY_FIELD)
    made = enroll(**EVERY_FIELD)
    again = enroll(**EVERY_FIELD)
    assert (made["changed"], made["action"], again["changed"]) == (True, "created", False)
    for name, value in EVERY_FIELD.items():
        assert made["enrollment"][name] == value
    unknown = dict.fromkeys(("etag", "created", "last_updated"))
    assert predicted["enrollment"] == {**made["enrollment"], **unknown}
    assert (predicted["action"], predicted["changed_fields"]) == ("created", made["changed_fields"])
    assert predicted["diff"] == made["diff"]


@pytest.mark.parametrize("name", sorted(EVERY_FIELD))
def test_each_field_by_itself(enroll, name):
    enroll(iot_hubs=["hub-eu.azure-devices.example"])
    value = ["hub-us.azure-devices.example"] if name == "iot_hubs" else EVERY_FIELD[name]
    assert enroll(check=True, **{name: value})["changed_fields"] == [name]
    changed = enroll(**{name: value})
    assert (changed["action"], changed["changed_fields"]) == ("updated", [name])
    assert changed["diff"]["after"] == {name: value} and list(changed["diff"]["before"]) == [name]
    assert not enroll(**{name: value})["changed"]


def test_check_mode_writes_nothing(dps, enroll):
    enroll(check=True)
    assert dps.control("GET", "stats")["enrollments"] == 0


def test_the_id_can_come_from_the_key(dps, run_module, make_ek):
    made = run_module("dps_enrollment", **dps.connection(endorsement_key=make_ek()))
    assert len(made["enrollment"]["registration_id"]) == 52


def test_absent(enroll):
    assert not enroll(state="absent")["changed"]
    enroll()
    predicted = enroll(state="absent", check=True)
    gone = enroll(state="absent")
    assert predicted == gone and gone["action"] == "deleted" and gone["enrollment"] is None
    assert gone["diff"]["before"]["endorsement_key_sha256"]
    assert not enroll(state="absent")["changed"]


def test_an_etag_that_is_not_the_enrollments_is_refused(enroll):
    made = enroll()
    stale = enroll(device_id="d", etag='"other"')
    assert stale["failed"] and "etag" in stale["msg"]
    assert enroll(device_id="d", etag=made["enrollment"]["etag"])["changed"]


def test_another_tpm_needs_to_be_said(enroll, make_ek):
    enroll()
    refused = enroll(endorsement_key=make_ek(1))
    assert refused["failed"] and "endorsement_key_change" in refused["msg"]
    assert enroll(endorsement_key=make_ek(1), endorsement_key_change=True)["changed_fields"] == ["endorsement_key"]


def test_bad_input_is_told_and_nothing_is_sent(dps, enroll):
    for options, told in (
        ({"registration_id": "-"}, "registration_id may hold"),
        ({"endorsement_key": "AAAA"}, "endorsement_key is"),
        ({"initial_twin": {"a": 1}}, "initial_twin has the unknown key a"),
    ):
        refused = enroll(**options)
        assert refused["failed"] and told in refused["msg"]
    assert dps.calls() == {}


def test_the_services_refusal_comes_with_its_ids(enroll):
    refused = enroll(iot_hubs=["nowhere.example"])
    assert refused["failed"] and "not linked" in refused["msg"]
    assert refused["status"] == 400 and refused["error_code"] == 400000 and refused["tracking_id"]


def test_no_secret_is_in_what_is_returned(dps, run_module, make_ek):
    wrong = dps.where["connection_string"].replace("SharedAccessKey=", "SharedAccessKey=AAAA")
    options = {"connection_string": wrong, "ca_file": dps.where["ca_file"], "registration_id": "unit-1"}
    refused = run_module("dps_enrollment", **options)
    assert refused["failed"] and refused["status"] == 401
    assert dps.key not in json.dumps(refused)


def test_the_connection_string_of_the_environment(dps, run_module, monkeypatch):
    monkeypatch.setenv("TPMFLEET_DPS_CONNECTION_STRING", dps.where["connection_string"])
    found = run_module("dps_enrollment_info", ca_file=dps.where["ca_file"], registration_ids=["unit-1"])
    assert found["not_found"] == ["unit-1"]


def test_enrollment_info(dps, enroll, run_module, make_ek):
    enroll()
    enroll(registration_id="unit-2", endorsement_key=make_ek(2))
    info = run_module("dps_enrollment_info", **dps.connection(registration_ids=["unit-2", "unit-9", "UNIT-1"]))
    assert [one["registration_id"] for one in info["enrollments"]] == ["unit-2", "unit-1"]
    assert info["not_found"] == ["unit-9"]
    everything = run_module("dps_enrollment_info", **dps.connection())
    assert len(everything["enrollments"]) == 2 and everything["complete"]
    assert not run_module("dps_enrollment_info", **dps.connection(limit=1))["complete"]
    assert run_module("dps_enrollment_info", **dps.connection(registration_ids=[]))["enrollments"] == []
    assert run_module("dps_enrollment_info", **dps.connection(registration_ids=["?"]))["failed"]


def test_what_was_read_and_is_written_back_is_no_change(enroll):
    read = enroll(**EVERY_FIELD)["enrollment"]
    assert not enroll(**{name: read[name] for name in EVERY_FIELD})["changed"]


def test_a_missing_ca_file_and_odd_numbers_are_told(dps, run_module):
    for options in ({"ca_file": "/nowhere"}, {"timeout": 0}):
        refused = run_module("dps_enrollment_info", **{**dps.connection(), **options, "registration_ids": ["a"]})
        assert refused["failed"] and next(iter(options)) in refused["msg"]


def test_entra_id_instead_of_a_key(dps, azure, run_module, make_ek):
    own = ("tenant", "client_id", "secret", "authority_host", "ca_file")
    entra = {"host": dps.host, **{name: azure.options()[name] for name in own}}
    made = run_module("dps_enrollment", **entra, registration_id="unit-1", endorsement_key=make_ek(1))
    assert made["action"] == "created"
    dps.settings(applications={"reader": ["EnrollmentRead"]})
    reader = {**entra, "client_id": "reader", "secret": dps.control("GET", "applications")["reader"]}
    assert run_module("dps_enrollment_info", **reader, registration_ids=["unit-1"])["enrollments"]
    refused = run_module("dps_enrollment", **reader, registration_id="unit-1", state="absent")
    assert refused["failed"] and refused["status"] == 401
    refused = run_module("dps_enrollment_info", **{**entra, "secret": "wrong"}, registration_ids=["unit-1"])
    assert refused["failed"] and "AADSTS7000215" in refused["msg"] and "az login" in refused["hint"]
