# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The published Azure library for the provisioning service, unmodified, reads what was written and is read.

azure-iot-deviceprovisioning, pointed at the emulated service by nothing but its connection string and the bundle of the
authority. (Its beta has no list of enrollments, so each is read by itself.)
"""

from __future__ import annotations

import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.iot.deviceprovisioning import DeviceProvisioningClient

EVERY_FIELD = {
    "device_id": "machine-1",
    "provisioning_status": "disabled",
    "iot_edge": True,
    "initial_twin": {
        "tags": {"product": "pump", "line": 4, "nested": {"spare": True}},
        "properties": {"desired": {"interval": 1.5}},
    },
    "reprovision_policy": {"update_hub_assignment": True, "migrate_device_data": False},
    "allocation_policy": "static",
    "iot_hubs": ["hub-us.azure-devices.example"],
    "optional_device_information": {"batch": "2026-11"},
}


@pytest.fixture
def azure(dps):
    """The stock client."""
    client = DeviceProvisioningClient.from_connection_string(
        dps.where["connection_string"], connection_verify=dps.where["ca_file"], retry_total=0
    )
    with client:
        yield client


@pytest.fixture
def enroll(dps, run_module):
    def run(records, **options):
        result = run_module("dps_enrollments", **dps.connection(enrollments=records, **options))
        assert "failed" not in result, result
        return result

    return run


def test_it_reads_every_field_that_was_written(azure, enroll, make_ek):
    record = {"registration_id": "unit-1", "endorsement_key": make_ek(1), **EVERY_FIELD}
    enroll([record])
    found = azure.enrollment.get("unit-1")
    for name in ("etag", "createdDateTimeUtc", "lastUpdatedDateTimeUtc"):
        assert found.pop(name)
    assert found == {
        "registrationId": "unit-1",
        "deviceId": "machine-1",
        "attestation": {"type": "tpm", "tpm": {"endorsementKey": record["endorsement_key"]}},
        "capabilities": {"iotEdge": True},
        "initialTwin": EVERY_FIELD["initial_twin"],
        "provisioningStatus": "disabled",
        "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": False},
        "allocationPolicy": "static",
        "iotHubs": ["hub-us.azure-devices.example"],
        "optionalDeviceInformation": {"batch": "2026-11"},
    }
    keys = azure.enrollment.get_attestation_mechanism("unit-1")
    assert keys["tpm"]["endorsementKey"] == record["endorsement_key"]


def test_a_fleet_that_was_written_is_read_one_by_one(azure, enroll, make_ek):
    enroll([{"registration_id": f"unit-{one}", "endorsement_key": make_ek(one)} for one in range(25)])
    found = [azure.enrollment.get(f"unit-{one}") for one in range(25)]
    assert [one["attestation"]["tpm"]["endorsementKey"] for one in found] == [make_ek(one) for one in range(25)]


def test_what_it_reads_and_writes_back_is_no_change(azure, enroll, make_ek):
    record = {"registration_id": "unit-1", "endorsement_key": make_ek(1), **EVERY_FIELD}
    enroll([record])
    found = azure.enrollment.get("unit-1")
    azure.enrollment.create_or_update("unit-1", found, if_match=found["etag"])
    assert not enroll([record])["changed"]


def test_what_it_wrote_is_planned_and_changed_by_us(azure, enroll, make_ek):
    for one in range(2):
        document = {
            "registrationId": f"unit-{one}",
            "attestation": {"type": "tpm", "tpm": {"endorsementKey": make_ek(one)}},
            "provisioningStatus": "enabled",
            "optionalDeviceInformation": {"theirs": True},
        }
        azure.enrollment.create_or_update(f"unit-{one}", document)
    records = [{"registration_id": f"unit-{one}", "endorsement_key": make_ek(one)} for one in range(2)]
    assert not enroll(records)["changed"]
    assert enroll([{**record, "iot_edge": True} for record in records])["counts"]["updated"] == 2
    found = azure.enrollment.get("unit-1")
    assert found["capabilities"]["iotEdge"] and found["optionalDeviceInformation"] == {"theirs": True}
    enroll(records, state="absent")
    with pytest.raises(ResourceNotFoundError):
        azure.enrollment.get("unit-1")


def test_an_etag_that_it_holds_is_outdated_by_our_write(azure, enroll, make_ek):
    record = {"registration_id": "unit-1", "endorsement_key": make_ek(1)}
    enroll([record])
    held = azure.enrollment.get("unit-1")
    enroll([{**record, "iot_edge": True}])
    with pytest.raises(HttpResponseError) as refused:
        azure.enrollment.create_or_update("unit-1", held, if_match=held["etag"])
    assert refused.value.status_code == 412
