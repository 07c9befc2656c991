# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One enrollment: validation, the normal form, the difference, and that reading and writing back is no change."""

from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps import enrollment
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.endorsement_key import default_registration_id

EVERY_FIELD = {
    "device_id": "pump-0001",
    "provisioning_status": "disabled",
    "iot_edge": True,
    "initial_twin": {"tags": {"product": "pump", "sizes": [1, 2.5, {"a": None}]}, "properties": {"desired": {"on": 1}}},
    "reprovision_policy": {"update_hub_assignment": False, "migrate_device_data": False},
    "allocation_policy": "custom",
    "iot_hubs": ["hub-us.azure-devices.example", "hub-eu.azure-devices.example"],
    "custom_allocation": {"webhook_url": "https://localhost/x", "api_version": "2021-10-01"},
    "optional_device_information": {"line": 4},
}


def problems_of(**record):
    return enrollment.wanted_of(record)[1]


def wanted(make_ek, **fields):
    found, problems = enrollment.wanted_of({"registration_id": "unit-1", "endorsement_key": make_ek(), **fields})
    assert problems == []
    return found


@pytest.mark.parametrize("good", ["a", "A-1", "a.b_c:d-", "x" * 128])
def test_legal_registration_ids(good):
    assert enrollment.registration_id_fault(good) is None


@pytest.mark.parametrize("bad", ["", None, 7, "-a", "a.", "a b", "ä", "a/b", "x" * 129])
def test_illegal_registration_ids(bad):
    assert enrollment.registration_id_fault(bad)


def test_the_default_registration_id_is_that_of_the_stock_clients(make_ek):
    found, problems = enrollment.wanted_of({"endorsement_key": make_ek(3)})
    assert problems == []
    assert found.registration_id == default_registration_id(base64.b64decode(make_ek(3)))
    assert len(found.registration_id) == 52


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"attributes": 0x00030472 & ~0x20000}, "not a restricted decryption key"),
        ({"attributes": 0x00040072}, "not a restricted decryption key"),
        ({"kind": 0x0023}, "is ECC"),
        ({"change": lambda data: data[2:-1]}, "bytes missing or left over"),
        ({"change": lambda data: data[:-1]}, "not a whole TPM2B_PUBLIC"),
        ({"change": lambda data: data[:2]}, "not a whole"),
        ({"change": lambda data: b"\x00\x04\x00\x01\x00\x0b"}, "cut short"),
        ({"change": lambda data: b"\x30\x82" + data}, "DER"),
        ({"change": lambda data: data[:-256] + bytes(256)}, "template"),
        ({"change": lambda data: data[:-256] + bytes(255) + b"\1"}, "even, or shorter than its 2048 bits"),
        ({"change": lambda data: data[:-1] + b"\2"}, "even, or shorter than its 2048 bits"),
        ({"change": lambda data: data[:-262] + b"\0\0\0\1" + data[-258:]}, "the exponent 1"),
        ({"change": lambda data: b""}, "empty"),
    ],
)
def test_what_is_no_endorsement_key_is_told(make_ek, options, told):
    ((field, reason),) = problems_of(registration_id="a", endorsement_key=make_ek(**options))
    assert field == "endorsement_key" and told in reason


@pytest.mark.parametrize("text", ["%%%", "AToA", "-----BEGIN PUBLIC KEY-----\nMII\n-----END PUBLIC KEY-----"])
def test_wrong_encodings_are_told(text):
    assert [field for field, _reason in problems_of(registration_id="a", endorsement_key=text)] == ["endorsement_key"]


@pytest.mark.parametrize(
    "record",
    [
        {"device_id": "a b"},
        {"provisioning_status": "on"},
        {"iot_edge": "yes"},
        {"initial_twin": {"tagz": {}}},
        {"initial_twin": {"tags": {"a.b": 1}}},
        {"initial_twin": {"properties": {"desired": {"a": {"$b": 1}}}}},
        {"reprovision_policy": {"update_hub_assignment": "no"}},
        {"allocation_policy": "random"},
        {"iot_hubs": "hub"},
        {"custom_allocation": {"webhook_url": "x"}},
        {"optional_device_information": []},
        {"provisioning_state": "enabled"},
    ],
)
def test_each_bad_field_is_named(record):
    (name,) = record
    assert [field for field, _reason in problems_of(registration_id="a", **record)] == [name]


def test_all_problems_are_told_at_once():
    found = problems_of(registration_id="?", endorsement_key="%", iot_edge=3, colour="red")
    assert {field for field, _reason in found} == {"registration_id", "endorsement_key", "iot_edge", "colour"}


def test_a_digest_that_contradicts_the_key_is_refused(make_ek):
    key = make_ek()
    right = enrollment.key_digest(key)
    assert problems_of(registration_id="a", endorsement_key=key, endorsement_key_sha256=right.upper()) == []
    assert problems_of(registration_id="a", endorsement_key=key, endorsement_key_sha256="00" * 32)


def test_a_device_record_is_taken_as_it_is(make_ek):
    record = dict.fromkeys(enrollment.OTHER_RECORD_FIELDS, "x")
    record["endorsement_key_sha256"] = enrollment.key_digest(make_ek())
    assert set(wanted(make_ek, **record).fields) == {"endorsement_key"}


def test_every_field_survives_the_way_to_the_service_and_back(make_ek):
    found = wanted(make_ek, **EVERY_FIELD)
    after = enrollment.merged(found, None)
    document = json.loads(json.dumps(enrollment.to_document("unit-1", after, None)))
    assert enrollment.changed_fields(enrollment.normal(document), after) == []
    assert set(EVERY_FIELD) | {"endorsement_key"} == set(enrollment.FIELDS)
    assert enrollment.to_document("unit-1", enrollment.normal(document), document) == document


def test_every_field_can_be_changed_by_itself(make_ek):
    bare = enrollment.merged(wanted(make_ek), None)
    for name, value in EVERY_FIELD.items():
        changed = wanted(make_ek, **{name: value})
        assert enrollment.changed_fields(bare, enrollment.merged(changed, bare)) == [name]


def test_read_only_and_alien_properties_never_go_back(make_ek):
    actual = {
        "registrationId": "unit-1",
        "attestation": {
            "type": "tpm",
            "tpm": {"endorsementKey": make_ek(), "storageRootKey": make_ek(9), "alien": 1},
            "x509": None,
        },
        "capabilities": {"iotEdge": False, "alien": 1},
        "initialTwin": {"tags": {"a": 1, "$version": 4}, "properties": {"desired": {"$metadata": {}}}, "alien": 1},
        "registrationState": {"status": "assigned"},
        "createdDateTimeUtc": "x",
        "lastUpdatedDateTimeUtc": "x",
        "etag": '"1"',
        "alien": {"a": 1},
    }
    before = enrollment.normal(actual)
    sent = enrollment.to_document("unit-1", before, actual)
    text = json.dumps(sent)
    assert not any(word in text for word in ("alien", "registrationState", "DateTimeUtc", "etag", "$", "x509"))
    assert sent["attestation"]["tpm"]["storageRootKey"] == make_ek(9)
    assert enrollment.same_document(sent, actual)


def test_what_is_not_mentioned_is_left_alone(make_ek):
    before = enrollment.merged(wanted(make_ek, **EVERY_FIELD), None)
    change, _none = enrollment.wanted_of(
        {"registration_id": "unit-1", "reprovision_policy": {"migrate_device_data": True}}
    )
    after = enrollment.merged(change, before)
    assert enrollment.changed_fields(before, after) == ["reprovision_policy"]
    assert after["reprovision_policy"] == {"update_hub_assignment": False, "migrate_device_data": True}


def test_tags_are_replaced_and_desired_properties_stay(make_ek):
    before = enrollment.merged(wanted(make_ek, **EVERY_FIELD), None)
    change, _none = enrollment.wanted_of({"registration_id": "unit-1", "initial_twin": {"tags": {"new": True}}})
    after = enrollment.merged(change, before)
    assert after["initial_twin"] == {"tags": {"new": True}, "properties": {"desired": {"on": 1}}}


def test_an_empty_value_empties(make_ek):
    before = enrollment.merged(wanted(make_ek, **EVERY_FIELD), None)
    empty = {"device_id": "", "initial_twin": {}, "iot_hubs": [], "custom_allocation": {}, "allocation_policy": ""}
    change, problems = enrollment.wanted_of({"registration_id": "unit-1", **empty, "optional_device_information": {}})
    assert problems == []
    after = enrollment.merged(change, before)
    assert not any(after[name] for name in empty if name != "initial_twin")
    document = enrollment.to_document("unit-1", after, None)
    assert not {"deviceId", "initialTwin", "iotHubs", "customAllocationDefinition", "allocationPolicy"} & set(document)


def test_true_is_not_one(make_ek):
    before = enrollment.merged(wanted(make_ek, optional_device_information={"a": 1}), None)
    assert (
        enrollment.changed_fields(
            before, enrollment.merged(wanted(make_ek, optional_device_information={"a": 1.0}), before)
        )
        == []
    )
    assert enrollment.changed_fields(
        before, enrollment.merged(wanted(make_ek, optional_device_information={"a": True}), before)
    )


def test_the_order_of_hubs_counts_for_static_alone(make_ek):
    one = enrollment.merged(wanted(make_ek, iot_hubs=["a", "b"], allocation_policy="hashed"), None)
    other = enrollment.merged(wanted(make_ek, iot_hubs=["B", "a"]), one)
    assert enrollment.changed_fields(one, other) == []
    one["allocation_policy"] = other["allocation_policy"] = "static"
    assert enrollment.changed_fields(one, other) == ["iot_hubs"]


def test_a_new_endorsement_key_drops_the_storage_root_key_of_the_old_tpm(make_ek):
    keys = {"endorsementKey": make_ek(1), "storageRootKey": make_ek(2)}
    actual = {"registrationId": "unit-1", "attestation": {"type": "tpm", "tpm": keys}}
    after = enrollment.merged(wanted(make_ek), enrollment.normal(actual))
    assert enrollment.to_document("unit-1", after, actual)["attestation"]["tpm"] == {"endorsementKey": make_ek()}
