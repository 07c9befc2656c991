# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The published schema of a manifest says what the code says."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.enrollment import (
    FIELDS,
    OTHER_RECORD_FIELDS,
    wanted_of,
)

SCHEMA = json.loads((Path(__file__).parents[5] / "meta" / "enrollment-manifest.schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)

RECORDS = [
    {"registration_id": "a"},
    {"registration_id": "a."},
    {"registration_id": "x" * 129},
    {"registration_id": 4},
    {},
    {"registration_id": "a", "colour": "red"},
    {"registration_id": "a", "serial_number": "x", "steps": {}},
    {"registration_id": "a", "device_id": ""},
    {"registration_id": "a", "device_id": "a b"},
    {"registration_id": "a", "device_id": None, "iot_edge": None},
    {"registration_id": "a", "iot_edge": "true"},
    {"registration_id": "a", "provisioning_status": "off"},
    {"registration_id": "a", "initial_twin": {}},
    {"registration_id": "a", "initial_twin": {"tags": {"a": {"b": [1]}}, "properties": {"desired": {}}}},
    {"registration_id": "a", "initial_twin": {"tags": {"a": {"b.c": 1}}}},
    {"registration_id": "a", "initial_twin": {"desired": {}}},
    {"registration_id": "a", "reprovision_policy": {"migrate_device_data": True}},
    {"registration_id": "a", "reprovision_policy": {"migrate": True}},
    {"registration_id": "a", "allocation_policy": ""},
    {"registration_id": "a", "allocation_policy": "Hashed"},
    {"registration_id": "a", "iot_hubs": ["h"]},
    {"registration_id": "a", "iot_hubs": [""]},
    {"registration_id": "a", "custom_allocation": {}},
    {"registration_id": "a", "custom_allocation": {"webhook_url": "https://x", "api_version": "1"}},
    {"registration_id": "a", "custom_allocation": {"webhook_url": "https://x"}},
    {"registration_id": "a", "optional_device_information": {"$a": 1}},
    {"registration_id": "a", "optional_device_information": 4},
]


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_the_schema_has_every_field_and_no_other():
    assert set(SCHEMA["properties"]) == {"registration_id", *FIELDS, *OTHER_RECORD_FIELDS}


@pytest.mark.parametrize("record", RECORDS, ids=str)
def test_schema_and_code_agree(record):
    assert VALIDATOR.is_valid(record) == (wanted_of(record)[1] == [])
