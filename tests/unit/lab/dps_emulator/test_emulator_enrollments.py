# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Single enrollments: what is accepted, what is refused and how."""

from __future__ import annotations

import base64

import pytest

FULL = {
    "deviceId": "Machine.7",
    "capabilities": {"iotEdge": True},
    "initialTwin": {"tags": {"batch": "b1"}, "properties": {"desired": {"rate": 5}}},
    "provisioningStatus": "disabled",
    "reprovisionPolicy": {"updateHubAssignment": True, "migrateDeviceData": False},
    "allocationPolicy": "static",
    "iotHubs": ["hub-eu.azure-devices.example"],
    "optionalDeviceInformation": {"shelf": "3"},
}


def test_written_is_read(client, enrollment):
    created = client.put(enrollment(**FULL))
    assert created.status_code == 200
    read = client.call("GET", "/enrollments/unit-1").json()
    assert read == created.json()
    assert enrollment(**FULL).items() <= read.items()
    assert read["etag"].startswith('"') and read["createdDateTimeUtc"] == read["lastUpdatedDateTimeUtc"]


def test_read_is_written_back(client, enrollment):
    record = client.put(enrollment(**FULL)).json()
    again = client.put(record, If_Match=record["etag"]).json()
    changed = {"etag", "lastUpdatedDateTimeUtc"}
    assert {k: v for k, v in again.items() if k not in changed} == {k: v for k, v in record.items() if k not in changed}
    assert again["etag"] != record["etag"]


def test_defaults(client, enrollment):
    record = client.put(enrollment()).json()
    assert record["provisioningStatus"] == "enabled"
    assert record["capabilities"] == {"iotEdge": False}
    assert record["reprovisionPolicy"] == {"updateHubAssignment": True, "migrateDeviceData": True}


def test_null_is_absent(client, enrollment):
    assert "deviceId" not in client.put(enrollment(deviceId=None, registrationState=None)).json()


def test_etags(client, enrollment, refused):
    first = client.put(enrollment()).json()
    refused(client.put(enrollment()), 409)
    second = client.put(enrollment(deviceId="a"), If_Match=first["etag"]).json()
    refused(client.put(enrollment(deviceId="b"), If_Match=first["etag"]), 412)
    assert client.call("GET", "/enrollments/unit-1").json()["deviceId"] == "a"
    assert client.put(enrollment(deviceId="c"), If_Match="*").status_code == 200
    refused(client.call("DELETE", "/enrollments/unit-1", If_Match=second["etag"]), 412)
    assert client.call("DELETE", "/enrollments/unit-1", If_Match="*").status_code == 204
    refused(client.call("DELETE", "/enrollments/unit-1"), 404201)
    refused(client.call("GET", "/enrollments/unit-1"), 404201)
    refused(client.put(enrollment(), If_Match="*"), 404201)
    refused(client.put(enrollment(), If_Match=first["etag"]), 404201)


def test_registration_ids_are_case_insensitive(client, enrollment, refused):
    assert client.put(enrollment("Unit-A")).json()["registrationId"] == "Unit-A"
    refused(client.put(enrollment("unit-a")), 409)
    assert client.call("GET", "/enrollments/UNIT-A").json()["registrationId"] == "Unit-A"


@pytest.mark.parametrize("good", ["a", "x" * 128, "a-b.c_d:e", "ends-"])
def test_legal_registration_ids(client, enrollment, good):
    assert client.put(enrollment(good)).status_code == 200


@pytest.mark.parametrize("bad", ["x" * 129, "a b", "a.", "a_", ":a", "-a", "a%23b", "ä", "a@b"])
def test_illegal_registration_ids(client, enrollment, refused, bad):
    refused(client.put(enrollment(bad)), 400)


def cut(data):
    return data[:-1]


@pytest.mark.parametrize(
    "change",
    [
        cut,
        lambda data: data + b"\0",
        lambda data: data[2:],
        lambda data: data[:40],
        lambda data: b"",
        lambda data: data[:2] + b"\x00\x23" + data[4:],
        lambda data: data[:4] + b"\x00\x04" + data[6:],
        lambda data: data[:6] + b"\x00\x06\x00\xb2" + data[10:],
        lambda data: data[:6] + b"\x00\x02\x00\xb2" + data[10:],
    ],
    ids=["cut", "longer", "bare area", "half", "empty", "ECC", "SHA-1", "signing", "unrestricted"],
)
def test_malformed_endorsement_keys(client, enrollment, refused, make_key, change):
    tpm = {"endorsementKey": make_key(change=change)}
    refused(client.put(enrollment(attestation={"type": "tpm", "tpm": tpm})), 400004)


@pytest.mark.parametrize("key", ["not base64!", 5, None, "", base64.b64encode(b"-----BEGIN PUBLIC KEY-----").decode()])
def test_no_endorsement_key(client, enrollment, refused, key):
    refused(client.put(enrollment(attestation={"type": "tpm", "tpm": {"endorsementKey": key}})), 400004)


def test_url_safe_and_unpadded_base64_are_refused(client, enrollment, refused, make_key):
    key = make_key(modulus=b"\xff" * 256)
    for wrong in (key.rstrip("="), key.replace("/", "_")):
        assert wrong != key
        refused(client.put(enrollment(attestation={"type": "tpm", "tpm": {"endorsementKey": wrong}})), 400004)


@pytest.mark.parametrize(
    "fields",
    [
        {"device_id": "x"},
        {"deviceId": "a b"},
        {"deviceId": "x" * 129},
        {"deviceId": 7},
        {"provisioningStatus": "Enabled"},
        {"capabilities": {"iotEdge": "yes"}},
        {"capabilities": {"edge": True}},
        {"initialTwin": {"desired": {}}},
        {"initialTwin": {"tags": []}},
        {"initialTwin": {"properties": {"reported": {}}}},
        {"reprovisionPolicy": {"updateHubAssignment": 1}},
        {"allocationPolicy": "random"},
        {"allocationPolicy": "static"},
        {"allocationPolicy": "custom"},
        {"allocationPolicy": "custom", "customAllocationDefinition": {"webhookUrl": "https://localhost/x"}},
        {"iotHubs": "hub-eu.azure-devices.example"},
        {"iotHubs": ["stranger.azure-devices.example"]},
        {"iotHubHostName": "stranger.azure-devices.example"},
        {"optionalDeviceInformation": "x"},
        {"attestation": None},
        {"attestation": {"type": "x509", "x509": {}}},
        {"attestation": {"type": "tpm"}},
    ],
)
def test_what_is_not_an_enrollment(client, enrollment, refused, fields):
    refused(client.put(enrollment(**fields)), 400)
    refused(client.call("GET", "/enrollments/unit-1"), 404)


def test_read_only_properties(client, enrollment, refused):
    written = enrollment(registrationState={"status": "assigned"}, createdDateTimeUtc="2001-01-01T00:00:00Z")
    record = client.put(written).json()
    assert "registrationState" not in record and not record["createdDateTimeUtc"].startswith("2001")
    client.settings(refuse_read_only=True)
    refused(client.put(written, If_Match="*"), 400)


def test_one_key_in_two_enrollments(client, enrollment, refused):
    assert client.put(enrollment("one")).status_code == 200
    assert client.put(enrollment("two")).status_code == 200
    client.settings(unique_endorsement_keys=True)
    refused(client.put(enrollment("three")), 409)


def test_the_form_of_requests(client, enrollment, refused):
    endpoint, session = client.where["endpoint"], client.session
    headers = {"Authorization": client.authorization}

    def raw(data, kind, version="2021-10-01"):
        sent = {**headers, "Content-Type": kind}
        return session.put(f"{endpoint}/enrollments/unit-1", data=data, headers=sent, params={"api-version": version})

    refused(raw("{}", "text/plain"), 415)
    refused(raw("{", "application/json"), 400)
    refused(raw("[]", "application/json"), 400)
    refused(raw('{"x":"' + "y" * 98304 + '"}', "application/json"), 413)
    refused(raw("{}", "application/json", "2020-13-01"), 400)
    refused(session.get(f"{endpoint}/enrollments/unit-1", headers=headers), 400)
    refused(client.call("PUT", "/enrollments", enrollment()), 405)
    refused(client.call("GET", "/nowhere"), 404)
    refused(client.call("PUT", "/enrollments/other", enrollment()), 400)
    for version in ("2018-09-01-preview", "2019-03-31"):
        sent = {**headers, "Content-Type": "application/json"}
        refused(session.get(f"{endpoint}/enrollments/unit-1", headers=sent, params={"api-version": version}), 404201)


def test_attestation_mechanism(client, enrollment):
    client.put(enrollment())
    answer = client.call("POST", "/enrollments/unit-1/attestationmechanism")
    assert answer.json() == enrollment()["attestation"]
