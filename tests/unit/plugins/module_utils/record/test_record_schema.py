# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The published schema of a device record says what the code says. What a run leaves in the ledger is held against it
by the tests of the line."""

from __future__ import annotations

import copy
import hashlib
from base64 import b64decode

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.filter.device_records import device_records
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.enrollment import (
    wanted_of,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.fields import RECORD_FIELDS
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.model import (
    RECORD_VERSION,
    STEPS,
    merged,
    with_step,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_record import record_of


@pytest.fixture
def schema(record_schema):
    return record_schema.schema


@pytest.fixture
def record(make_ek):
    """A record with every field."""
    key = make_ek(1)
    digest = hashlib.sha256(b64decode(key)).hexdigest()
    made = {
        "host": "rack1-slot01",
        "serial_number": "TF-000001",
        "registration_id": "unit-1",
        "device_id": "pump-1",
        "provisioning_status": "enabled",
        "iot_edge": False,
        "initial_twin": {"tags": {"product": "pump"}, "properties": {"desired": {}}},
        "reprovision_policy": {"update_hub_assignment": True, "migrate_device_data": True},
        "allocation_policy": "hashed",
        "iot_hubs": ["hub-eu.azure-devices.example"],
        "custom_allocation": {"webhook_url": "https://allocate.example", "api_version": "2019-03-31"},
        "optional_device_information": {"line": "1"},
        "dps_id_scope": "0ne00000000",
        "places": [{"dps_id_scope": "0ne00000000", "registration_id": "unit-1", "endorsement_key": key}],
        "decommission": {"begun": "2026-11-24T12:00:00Z", "done": "2026-11-24T12:01:00Z"},
        "tpm_type": "hardware",
        "tpm_manufacturer": "IFX",
        "tpm_model": "SLB9670",
        "tpm_firmware_version": "7.85.17.4555",
        "endorsement_key": key,
        "endorsement_key_sha256": digest,
        "endorsement_key_name": f"000b{digest}",
        "endorsement_key_proven": "2026-11-24T12:00:00Z",
        "endorsement_key_template": "tcg",
        "endorsement_key_certificate": "MIIC",
        "endorsement_key_certificate_chain": ["MIIC"],
        "certified_tpm": {
            "maker": "Infineon",
            "manufacturer": "IFX",
            "model": "SLB9670",
            "firmware_version": "7.85",
            "software": False,
            "root": "CN=Root",
            "certificate_sha256": digest,
        },
        "maker": "Maker",
        "batch": "2026-11",
        "storage_root_key": "ARoA",
        "storage_root_key_name": f"000b{digest}",
        "work_order": {
            "number": "WO-1",
            "state": "failed",
            "at": "2026-11-24T12:00:00Z",
            "key_version": 1,
            "profile": "fleet",
            "master_key_check": digest[:8],
            "content_sha256": digest,
            "file_sha256": digest,
            "written": "2026-11-24T12:00:00Z",
            "expires": "2026-12-24T12:00:00Z",
            "report_signers": ["SHA256:" + "A" * 43],
            "station": "line-1",
            "reason": "it is off",
            "answer": {"answer": digest, "nonce": digest, "digests": 3 * digest},
        },
        "earlier_work_orders": [{"number": "WO-0", "state": "revoked", "at": "2026-11-23T12:00:00Z", "key_version": 1}],
        "ownership": {
            "profile": "fleet",
            "key_version": 1,
            "owner_auth_set": True,
            "lockout_auth_set": True,
            "endorsement_auth_set": False,
        },
    }
    for step in STEPS:
        made = with_step(made, step, {"enrollment": "done"}, at="2026-11-24T12:00:00Z", station="line-1")
    return merged({}, made)


def test_the_schema_is_one(record_schema, schema):
    record_schema.check_schema(schema)
    assert schema["title"].endswith(f"version {RECORD_VERSION}")
    assert schema["properties"]["record_version"] == {"const": RECORD_VERSION}


def test_the_schema_has_every_field_that_is_kept_and_no_other(schema):
    assert set(schema["properties"]) == set(RECORD_FIELDS)
    assert all(name in merged({}, {name: ["x"]}) for name in RECORD_FIELDS)


def test_the_schema_has_every_step(schema):
    assert list(schema["properties"]["steps"]["properties"]) == list(STEPS)


def test_a_whole_record_is_one(record_schema, schema, record):
    record_schema.validate(record)
    assert set(record) == set(schema["properties"])


def test_a_record_is_a_line_of_a_manifest(record):
    """So that what one station exports, another one enrolls."""
    assert wanted_of(record)[1] == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"record_version": 2},
        {"colour": "red"},
        {"owner_auth": "secret"},
        {"serial_number": 83},
        {"registration_id": "a."},
        {"endorsement_key": "not base64"},
        {"endorsement_key_name": "4b74"},
        {"endorsement_key_template": "TCG"},
        {"tpm_type": "firmware"},
        {"ownership": {"profile": "fleet"}},
        {"places": [{"dps_id_scope": "0ne00000000"}]},
        {"decommission": {}},
        {"steps": {"painting": {}}},
        {"steps": {"warehouse": {"at": "yesterday", "station": "", "outcome": {}}}},
        {"steps": {"warehouse": {"at": "2026-11-24T12:00:00Z", "station": "", "outcome": {"enrollment": True}}}},
    ],
    ids=str,
)
def test_what_is_wrong_is_found(record_schema, record, wrong):
    assert not record_schema.is_valid({**copy.deepcopy(record), **wrong})


def test_what_the_filter_makes_of_results_is_one(record_schema, make_ek):
    """With what the modules return, and nothing that the schema does not have."""
    key = make_ek(1)
    digest = hashlib.sha256(b64decode(key)).hexdigest()
    facts = {
        "endorsement_key": {
            "registration_id": "unit-1",
            "public": key,
            "sha256": digest,
            "name": f"000b{digest}",
            "template": "tcg",
            "certificate": None,
        },
        "tpm": {"manufacturer": "IBM", "model": "SWTPM", "firmware_version": "8217.4131", "tpm_type": "software"},
        "storage_root_key": {"public": "ARoA", "name": f"000b{digest}"},
        "hierarchies": {"owner_auth_set": True, "endorsement_auth_set": False, "lockout_auth_set": True},
        "changed": True,
    }
    variables = {
        "tpmfleet_serial_number": "TF-1",
        "tpmfleet_dps_id_scope": "0ne00000000",
        "tpmfleet_enrollment": {"iot_edge": True},
    }
    done = {"record": {**record_of("slot1", variables, [facts]), "outcome": {"ownership": "done"}}}
    [made] = device_records(["slot1"], {"slot1": {**variables, "done": done}}, device="done")
    record_schema.validate(merged({}, made))
