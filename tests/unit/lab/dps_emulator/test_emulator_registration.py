# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Devices register: by TPM attestation, and not otherwise."""

from __future__ import annotations

import base64
import hashlib
import hmac
import http.server
import json
import threading
import time

import pytest
from tpm2_pytss.constants import TPM2_ALG, TPMA_OBJECT


def test_a_device_registers(client, device, refused):
    client.put(device.enrollment(deviceId="Machine-7"))
    refused(client.call("GET", "/registrations/device-1"), 404)
    result = device.register(payload={"model": "x"})
    state = result["registrationState"]
    assert result["status"] == state["status"] == "assigned"
    assert state["substatus"] == "initialAssignment"
    assert state["assignedHub"] in client.where["linked_hubs"]
    assert (state["registrationId"], state["deviceId"]) == ("device-1", "Machine-7")
    assert {"createdDateTimeUtc", "lastUpdatedDateTimeUtc", "etag"} <= set(state)
    # The second key signs hub tokens, and the service knows it.
    device.activate(state["tpm"]["authenticationKey"])
    hub_key = client.control("GET", "hub_keys/Machine-7").json()
    assert hub_key["hub"] == state["assignedHub"]
    assert device.mac(b"hub") == hmac.new(base64.b64decode(hub_key["key"]), b"hub", hashlib.sha256).digest()
    # The service API tells the same, without the key, and a query leaves it out.
    del state["tpm"]
    assert client.call("GET", "/registrations/device-1").json() == state
    assert client.call("GET", "/enrollments/device-1").json()["registrationState"] == state
    (queried,) = client.call("POST", "/enrollments/query", {"query": "SELECT * FROM enrollments"}).json()
    assert "registrationState" not in queried


def test_the_challenge(client, device):
    client.put(device.enrollment())
    answer = device.challenge()
    assert answer.status_code == 401 and answer.json()["keyName"] == "registration"
    device.activate(answer.json()["authenticationKey"])
    assert device.identity.type == TPM2_ALG.KEYEDHASH and device.identity.nameAlg == TPM2_ALG.SHA256
    assert device.identity.objectAttributes == TPMA_OBJECT.SIGN_ENCRYPT | TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.NODA


@pytest.mark.parametrize("version", ["2018-11-01", "2019-03-31", "2021-06-01"])
def test_the_short_second_body_and_the_versions(client, device, version):
    client.put(device.enrollment())
    token = device.prove()
    short = {"registrationId": device.registration_id, "payload": {"a": 1}}
    answer = device.call("PUT", "/register", short, token=token, version=version)
    assert answer.status_code == 202 and answer.json()["status"] == "assigning" and answer.headers["Retry-After"] == "1"
    assert device.poll(answer.json()["operationId"], token)["status"] == "assigned"


def test_who_is_not_challenged(client, device, refused):
    refused(device.challenge(), 404201)
    client.put(device.enrollment())
    enrolled = device.endorsement_key
    device.endorsement_key = device.other_endorsement_key()
    assert "authenticationKey" not in refused(device.challenge(), 401)
    device.endorsement_key = enrolled[:-8]
    refused(device.challenge(), 400004)
    device.endorsement_key = enrolled
    storage, device.storage_root_key = device.storage_root_key, "AAAA"
    refused(device.challenge(), 400004)
    device.storage_root_key = storage
    assert "authenticationKey" not in refused(device.call("PUT", "/register", {"registrationId": "device-1"}), 401)
    refused(device.call("PUT", "/register", {"registrationId": "device-2"}), 400)
    refused(device.call("PUT", "/register", device.body(extra=1)), 400)
    refused(device.call("PUT", "/register", device.body(), version="1999-01-01"), 400)
    device.scope = "0ne00000000"
    refused(device.challenge(), 404)
    device.scope = client.where["id_scope"]
    client.put(device.enrollment(provisioningStatus="disabled"), If_Match="*")
    assert "authenticationKey" not in refused(device.challenge(), 401)


def test_an_enrolled_storage_root_key_is_held_to(client, device, refused):
    record = device.enrollment()
    record["attestation"]["tpm"]["storageRootKey"] = device.other_endorsement_key()
    client.put(record)
    assert "authenticationKey" not in refused(device.challenge(), 401)
    record["attestation"]["tpm"]["storageRootKey"] = device.storage_root_key
    client.put(record, If_Match="*")
    assert device.register()["status"] == "assigned"


def test_tokens_that_do_not_answer_the_challenge(client, device, refused, sas):
    client.put(device.enrollment())
    resource = f"{device.scope}/registrations/device-1"
    refused(device.call("PUT", "/register", device.body(), token=sas(resource, b"guess", "registration")), 401)
    device.prove()
    for token in (
        device.token(expiry=int(time.time()) - 1),
        device.token(resource=f"{device.scope}/registrations/device-2"),
        device.token(resource=f"0ne00000000/registrations/{device.registration_id}"),
        device.token(policy="owner"),
        device.token()[:-20],
        sas(resource, b"guess", "registration"),
        client.authorization,
    ):
        refused(device.call("PUT", "/register", device.body(), token=token), 401)
    # None of these used the challenge up.
    assert device.call("PUT", "/register", device.body(), token=device.token()).status_code == 202


def test_replay(client, device, refused):
    client.put(device.enrollment())
    token = device.prove()
    first = device.call("PUT", "/register", device.body(), token=token).json()
    # The same request while the operation goes on is the client's retry after a lost answer.
    again = device.call("PUT", "/register", device.body(), token=token)
    assert again.status_code == 202 and again.json() == first
    device.poll(first["operationId"], token)
    refused(device.call("PUT", "/register", device.body(), token=token), 401)
    # A token of an older challenge is worth nothing.
    device.challenge()
    refused(device.call("PUT", "/register", device.body(), token=token), 401)
    refused(device.call("GET", f"/operations/{first['operationId']}", token=token), 401)


def test_a_challenge_expires(client, device, refused):
    client.put(device.enrollment())
    client.settings(challenge_seconds=0.0)
    refused(device.call("PUT", "/register", device.body(), token=device.prove()), 401)


def test_other_keys_than_challenged(client, device, refused):
    # First, because the TPM has no room for a fourth key.
    other = device.other_endorsement_key()
    client.put(device.enrollment())
    token = device.prove()
    changed = device.body()
    changed["tpm"]["storageRootKey"] = other
    refused(device.call("PUT", "/register", changed, token=token), 401)
    record = device.enrollment()
    record["attestation"]["tpm"]["endorsementKey"] = other
    client.put(record, If_Match="*")
    refused(device.call("PUT", "/register", {"registrationId": "device-1"}, token=token), 401)


def test_operations_are_the_devices_own(client, device, refused):
    client.put(device.enrollment())
    token = device.prove()
    refused(device.call("GET", "/operations/4.0.none", token=token), 404)
    refused(device.call("GET", "/operations/4.0.none"), 401)


def test_polls_and_registrations_are_throttled(client, device, refused):
    client.put(device.enrollment())
    token = device.prove()
    client.settings(poll_throttle=True)
    for _poll in range(5):
        refused(device.call("GET", "/operations/4.0.none", token=token), 404)
    limited = device.call("GET", "/operations/4.0.none", token=token)
    refused(limited, 429)
    assert 1 <= int(limited.headers["Retry-After"]) <= 10
    client.settings(throttle=True, registrations_per_window=1, window_seconds=30.0)
    client.control("DELETE", "quotas")
    device.challenge()
    refused(device.challenge(), 429)
    client.settings(throttle=False)


def test_the_device_asks_for_itself(client, device, refused):
    client.put(device.enrollment())
    assert "authenticationKey" in refused(device.call("POST", "", device.body()), 401)
    token = device.prove()
    refused(device.call("POST", "", device.body(), token=token), 404)
    operation = device.call("PUT", "/register", device.body(), token=token).json()["operationId"]
    device.poll(operation, token)
    found = device.call("POST", "", device.body(), token=token).json()
    assert found["status"] == "assigned" and "tpm" not in found


def test_keys_roll(client, device):
    client.put(device.enrollment())
    keys = []
    for _time in range(2):
        device.register()
        keys.append(client.control("GET", "hub_keys/device-1").json()["key"])
    assert keys[0] != keys[1]


def move(client, device, hub, **fields):
    client.put(device.enrollment(allocationPolicy="static", iotHubs=[hub], **fields), If_Match="*")
    state = device.register()["registrationState"]
    return state["assignedHub"], state["substatus"]


def test_reprovisioning(client, device):
    europe, america, asia = client.where["linked_hubs"]
    client.put(device.enrollment(allocationPolicy="static", iotHubs=[europe]))
    assert move(client, device, europe) == (europe, "initialAssignment")
    assert move(client, device, europe) == (europe, "initialAssignment")
    never = {"updateHubAssignment": False, "migrateDeviceData": False}
    assert move(client, device, america, reprovisionPolicy=never) == (europe, "initialAssignment")
    assert move(client, device, america) == (america, "deviceDataMigrated")
    reset = {"updateHubAssignment": True, "migrateDeviceData": False}
    assert move(client, device, asia, reprovisionPolicy=reset) == (asia, "deviceDataReset")
    assert move(client, device, europe) == (europe, "reprovisionedToInitialAssignment")


def test_a_withdrawn_registration_is_the_first_again(client, device, refused):
    client.put(device.enrollment())
    device.register()
    state = client.call("GET", "/registrations/device-1").json()
    refused(client.call("DELETE", "/registrations/device-1", If_Match='"other"'), 412)
    assert client.call("DELETE", "/registrations/device-1", If_Match=state["etag"]).status_code == 204
    refused(client.call("DELETE", "/registrations/device-1"), 404)
    assert "registrationState" not in client.call("GET", "/enrollments/device-1").json()
    assert device.register()["registrationState"]["substatus"] == "initialAssignment"


def test_latency(client, device):
    _europe, america, asia = client.where["linked_hubs"]
    client.settings(hub_latency_ms={america: 90, asia: 20})
    client.put(device.enrollment(allocationPolicy="geoLatency"))
    assert device.register()["registrationState"]["assignedHub"] == asia


def test_disabled_while_it_goes_on(client, device):
    client.put(device.enrollment())
    client.settings(assignment_seconds=0.5)
    token = device.prove()
    operation = device.call("PUT", "/register", device.body(), token=token).json()["operationId"]
    assert client.call("GET", "/registrations/device-1").json()["status"] == "assigning"
    client.put(device.enrollment(provisioningStatus="disabled"), If_Match="*")
    assert device.poll(operation, token)["registrationState"]["errorCode"]


@pytest.fixture
def webhook():
    """A webhook for custom allocation: ``answer`` is what it says, ``asked`` what it was asked."""

    class Webhook(http.server.BaseHTTPRequestHandler):
        status, answer, asked = 200, {}, []

        def do_POST(self):
            self.asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(self.status)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(self.answer).encode())

        def log_message(self, *_arguments):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Webhook)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Webhook.asked = []
    Webhook.url = f"http://127.0.0.1:{server.server_port}/allocate"
    yield Webhook
    server.shutdown()
    server.server_close()


def custom(device, url):
    definition = {"webhookUrl": url, "apiVersion": "2021-10-01"}
    return device.enrollment(allocationPolicy="custom", customAllocationDefinition=definition)


def test_custom_allocation(client, device, webhook):
    hub = client.where["linked_hubs"][2]
    webhook.answer = {"iotHubHostName": hub, "payload": {"welcome": True}}
    client.put(custom(device, webhook.url))
    state = device.register(payload={"from": "device"})["registrationState"]
    assert state["assignedHub"] == hub and state["payload"] == {"welcome": True}
    (asked,) = webhook.asked
    assert asked["linkedHubs"] == client.where["linked_hubs"]
    assert asked["deviceRuntimeContext"]["payload"] == {"from": "device"}


@pytest.mark.parametrize("what", ["status", "stranger", "unreachable", "elsewhere"])
def test_custom_allocation_that_fails(client, device, webhook, what):
    webhook.status = 500 if what == "status" else 200
    webhook.answer = {"iotHubHostName": "stranger.example"}
    urls = {"unreachable": "http://127.0.0.1:1/", "elsewhere": "https://example.org/"}
    client.put(custom(device, urls.get(what, webhook.url)))
    result = device.register()
    assert result["status"] == "failed" and result["registrationState"]["errorCode"] == 400209
    assert client.call("GET", "/registrations/device-1").json()["status"] == "failed"
