# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The resource manager and Entra ID of the emulator, as the unmodified Azure libraries see them over TLS."""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import time

import pytest
from azure.core.exceptions import ClientAuthenticationError, HttpResponseError, ResourceNotFoundError
from azure.identity import ClientSecretCredential
from azure.mgmt.iothubprovisioningservices import IotDpsClient
from dps_emulator.allocation import choose_hub
from dps_emulator.errors import ServiceError
from dps_emulator.instance import Instance

MAKER = "EnrollmentRead, EnrollmentWrite, RegistrationStatusRead, RegistrationStatusWrite"
HUB = {
    "connectionString": "HostName=hub-new.azure-devices.example;SharedAccessKeyName=dps;SharedAccessKey=c2VjcmV0",
    "location": "westeurope",
}


def sign_in(announcement, **changed):
    """A credential of the owner's application."""
    management = {**announcement["management"], **changed}
    return ClientSecretCredential(
        management["tenant"],
        management["client_id"],
        management["secret"],
        authority=announcement["endpoint"],
        disable_instance_discovery=True,
        connection_verify=announcement["ca_file"],
        retry_total=0,
    )


def open_manager(announcement, credential=None):
    """The SDK's client, which waits for nothing long."""
    return IotDpsClient(
        credential or sign_in(announcement),
        announcement["management"]["subscription_id"],
        announcement["endpoint"],
        credential_scopes=[f"{announcement['endpoint']}/.default"],
        connection_verify=announcement["ca_file"],
        polling_interval=0.1,
        retry_total=0,
    )


@pytest.fixture
def manager(client):
    """The operations on provisioning services; what a test made is gone afterwards."""
    client.settings(management_seconds=0.0)
    with open_manager(client.where) as opened:
        yield opened.iot_dps_resource
        attached = client.where["management"]
        for one in opened.iot_dps_resource.list_by_subscription():
            if one.name != attached["instance"]:
                opened.iot_dps_resource.begin_delete(one.name, one.resourcegroup).result()
        document = opened.iot_dps_resource.get(attached["instance"], attached["resource_group"])
        keys = opened.iot_dps_resource.list_keys(attached["instance"], attached["resource_group"])
        owner = [one for one in keys if one.key_name == "provisioningserviceowner"]
        document.properties.authorization_policies = owner
        document.properties.iot_hubs = [hub for hub in document.properties.iot_hubs if not hub.connection_string]
        document.tags = {}
        opened.iot_dps_resource.begin_create_or_update("lab", attached["instance"], document).result()


def create(manager, name="made", **properties):
    body = {
        "location": "westeurope",
        "sku": {"name": "S1", "capacity": 1},
        "properties": properties,
        "tags": {"a": "b"},
    }
    return manager.begin_create_or_update("lab", name, body).result()


def test_a_service_is_made_read_listed_and_removed(client, manager):
    client.settings(management_seconds=0.2)
    made = create(manager, allocationPolicy="GeoLatency")
    assert made.properties.provisioning_state == "Succeeded" and made.properties.state == "Active"
    assert made.properties.id_scope.startswith("0ne") and made.properties.id_scope != client.where["id_scope"]
    assert made.properties.service_operations_host_name == "made.azure-devices-provisioning.example"
    assert (made.sku.tier, made.sku.capacity, made.tags) == ("Standard", 1, {"a": "b"})
    assert made.properties.authorization_policies is None
    assert manager.get("made", "lab").as_dict() == made.as_dict()
    assert {one.name for one in manager.list_by_resource_group("lab")} == {"lab-dps", "made"}
    assert [one.name for one in manager.list_valid_skus("made", "lab")] == ["S1"]
    manager.begin_delete("made", "lab").result()
    with pytest.raises(ResourceNotFoundError, match="was not found"):
        manager.get("made", "lab")


def test_an_operation_takes_its_time_and_holds_off_others(client, manager):
    client.settings(management_seconds=1.0)
    body = {"location": "westeurope", "sku": {"name": "S1", "capacity": 1}, "properties": {}}
    started = manager.begin_create_or_update("lab", "slow", body, polling=False).result()
    assert started.properties.state == "Activating" and started.properties.provisioning_state == "Accepted"
    assert started.properties.id_scope is None and started.etag is None
    assert manager.get("slow", "lab").properties.service_operations_host_name is None
    with pytest.raises(HttpResponseError, match="IotDpsState: Activating") as refused:
        manager.begin_create_or_update("lab", "slow", body)
    assert refused.value.status_code == 409
    deadline = time.monotonic() + 10
    while manager.get("slow", "lab").properties.state != "Active" and time.monotonic() < deadline:
        time.sleep(0.1)
    client.settings(management_seconds=0.0)
    assert manager.begin_create_or_update("lab", "slow", body).result().properties.state == "Active"


def test_an_operation_goes_on_after_a_kill(emulator_command, tmp_path):
    state_dir = str(tmp_path / "dps")
    announced = emulator_command("start", "--state-dir", state_dir)
    try:
        with open_manager(announced) as opened:
            body = {"location": "westeurope", "sku": {"name": "S1", "capacity": 1}, "properties": {}}
            opened.iot_dps_resource.begin_create_or_update("lab", "slow", body, polling=False)
        os.kill(announced["pid"], signal.SIGKILL)
        again = emulator_command("start", "--state-dir", state_dir)
        assert again["management"] == announced["management"]
        with open_manager(again) as opened:
            # As long as the first takes, and begun after it.
            opened.iot_dps_resource.begin_create_or_update("lab", "other", body).result()
            assert opened.iot_dps_resource.get("slow", "lab").properties.state == "Active"
    finally:
        emulator_command("stop", "--state-dir", state_dir)


def test_names(manager):
    check = manager.check_provisioning_service_name_availability
    assert check({"name": "free"}).name_available
    taken = check({"name": "LAB-DPS"})
    assert (taken.name_available, taken.reason) == (False, "AlreadyExists")
    assert check({"name": "-"}).reason == "Invalid"
    with pytest.raises(HttpResponseError, match="not valid"):
        create(manager, "no_good")


def test_a_stale_etag_is_refused_and_keys_stay_where_none_are_sent(client, manager):
    made = create(manager)
    keys = [one.as_dict() for one in manager.list_keys("made", "lab")]
    assert [one["rights"] for one in keys] == ["ServiceConfig, DeviceConnect, EnrollmentWrite"]
    stale = made.etag
    made.tags = {"c": "d"}
    changed = manager.begin_create_or_update("lab", "made", made).result()
    assert changed.tags == {"c": "d"} and changed.etag != stale
    assert [one.as_dict() for one in manager.list_keys("made", "lab")] == keys
    for how in ({}, {"headers": {"If-Match": f'"{stale}"'}}):
        made.etag = None if how else stale
        with pytest.raises(HttpResponseError, match="Invalid ETag supplied") as refused:
            manager.begin_create_or_update("lab", "made", made, **how)
        assert refused.value.status_code == 412 and '"code":412001' in refused.value.response.text().replace(" ", "")
    patched = manager.begin_update("lab", "made", {"tags": {"e": "f"}}).result()
    assert patched.tags == {"e": "f"} and patched.etag != changed.etag


def test_what_a_body_may_not_say(client, manager):
    for change, told in (
        ({"location": None}, "location property is required"),
        ({"sku": {"name": "F1"}}, "sku is missing or unknown"),
        ({"sku": {"name": "S1", "capacity": 0}}, "out of range"),
        ({"tags": {"a": 1}}, "tags are names to texts"),
        ({"properties": {"allocationPolicy": "Random"}}, "Invalid allocationPolicy"),
        ({"properties": {"iotHubs": [HUB, HUB]}}, "duplicate iot hubs"),
        ({"properties": {"iotHubs": [{"location": "westeurope"}]}}, "neither a connectionString nor a hostName"),
        ({"properties": {"iotHubs": ["x"]}}, "no list of objects"),
        ({"properties": {"authorizationPolicies": [{"keyName": "x", "rights": "All"}]}}, "Invalid rights"),
        ({"properties": {"authorizationPolicies": [{"keyName": "x", "rights": MAKER, "primaryKey": "?"}]}}, "base64"),
    ):
        body = {"location": "westeurope", "sku": {"name": "S1", "capacity": 1}, "properties": {}, **change}
        with pytest.raises(HttpResponseError, match=told):
            manager.begin_create_or_update("lab", "made", body)
    with pytest.raises(ResourceNotFoundError, match="Resource group 'nowhere' could not be found"):
        manager.begin_create_or_update("nowhere", "made", {"location": "westeurope"})
    with pytest.raises(HttpResponseError, match="following scope\\(s\\) are locked"):
        manager.begin_delete("lab-dps", "lab")


def write(manager, change):
    """Changes the attached service."""
    document = manager.get("lab-dps", "lab")
    document.properties.authorization_policies = list(manager.list_keys("lab-dps", "lab"))
    change(document)
    return manager.begin_create_or_update("lab", "lab-dps", document).result()


def test_a_policy_lets_in_with_its_rights_and_locks_out_when_it_goes(client, manager, sas, refused, enrollment):
    write(manager, lambda one: one.properties.authorization_policies.append({"keyName": "maker", "rights": MAKER}))
    keys = manager.list_keys_for_key_name("lab-dps", "maker", "lab")
    primary, secondary = (base64.b64decode(key) for key in (keys.primary_key, keys.secondary_key))
    for key in (primary, secondary):
        client.authorization = sas(client.host, key, "maker")
        assert client.put(enrollment("unit-1"), If_Match="*" if key == secondary else None).status_code == 200

    def less(document):
        document.properties.authorization_policies[-1].rights = "EnrollmentRead"
        document.properties.authorization_policies[-1].primary_key = base64.b64encode(b"n" * 32).decode()

    write(manager, less)
    refused(client.call("DELETE", "/enrollments/unit-1"), 401002)
    assert client.call("GET", "/enrollments/unit-1").status_code == 200
    client.authorization = sas(client.host, primary, "maker")
    refused(client.call("GET", "/enrollments/unit-1"), 401002)
    write(manager, lambda document: document.properties.authorization_policies.pop())
    client.authorization = sas(client.host, secondary, "maker")
    refused(client.call("GET", "/enrollments/unit-1"), 401002)


def test_a_linked_hub_can_be_named_and_its_key_is_in_no_answer(client, manager, refused, enrollment):
    refused(client.put(enrollment(iotHubs=["hub-new.azure-devices.example"])), 400)
    after = write(manager, lambda document: document.properties.iot_hubs.append(HUB))
    linked = after.properties.iot_hubs[-1]
    assert linked.name == linked.host_name == "hub-new.azure-devices.example"
    assert linked.connection_string.endswith("SharedAccessKey=****")
    assert client.put(enrollment(iotHubs=["hub-new.azure-devices.example"])).status_code == 200

    def weigh(document):
        document.properties.iot_hubs[-1].allocation_weight = 7

    assert write(manager, weigh).properties.iot_hubs[-1].allocation_weight == 7
    masked = {**HUB, "connectionString": linked.connection_string.replace("hub-new", "hub-other")}
    with pytest.raises(HttpResponseError, match="has no key"):
        write(manager, lambda document: document.properties.iot_hubs.append(masked))


def test_what_the_settings_declare_and_what_was_made_stand_side_by_side(client, manager):
    write(manager, lambda one: one.properties.authorization_policies.append({"keyName": "maker", "rights": MAKER}))
    write(manager, lambda document: document.properties.iot_hubs.append(HUB))
    client.settings(policies={"reader": ["EnrollmentRead"]}, linked_hubs=["one.example"])
    names = [one.key_name for one in manager.list_keys("lab-dps", "lab")]
    assert names == ["provisioningserviceowner", "maker", "reader"]
    hubs = [one.name for one in manager.get("lab-dps", "lab").properties.iot_hubs]
    assert hubs == ["one.example", "hub-new.azure-devices.example"]
    client.settings(policies={})
    assert [one.key_name for one in manager.list_keys("lab-dps", "lab")] == names[:2]


def test_entra_id_says_why_there_is_no_token(client):
    for changed, told in (
        ({"secret": "wrong"}, "AADSTS7000215"),
        ({"client_id": "nobody"}, "AADSTS700016"),
    ):
        with pytest.raises(ClientAuthenticationError, match=told):
            sign_in(client.where, **changed).get_token("https://management.azure.com/.default")
    with pytest.raises(ClientAuthenticationError, match="AADSTS500011"):
        sign_in(client.where).get_token("https://vault.azure.net/.default")
    with pytest.raises(ClientAuthenticationError, match="tenant"):
        sign_in(client.where, tenant="00000000-0000-0000-0000-000000000000").get_token("https://x/.default")


def test_the_service_api_takes_tokens_of_entra_id_that_are_for_it(client, refused):
    client.settings(applications={"reader": ["EnrollmentRead"]})
    secret = client.control("GET", "applications").json()["reader"]
    scope = "https://azure-devices-provisioning.net/.default"
    owner, reader = sign_in(client.where), sign_in(client.where, client_id="reader", secret=secret)
    client.authorization = f"Bearer {owner.get_token(scope).token}"
    refused(client.call("DELETE", "/enrollments/unit-1"), 404201)
    token = reader.get_token(scope).token
    client.authorization = f"Bearer {token}"
    refused(client.call("GET", "/enrollments/unit-1"), 404201)
    refused(client.call("DELETE", "/enrollments/unit-1"), 401002)
    client.authorization = f"Bearer {owner.get_token('https://management.azure.com/.default').token}"
    refused(client.call("GET", "/enrollments/unit-1"), 401000)
    head, _dot, signature = token.rpartition(".")
    client.authorization = f"Bearer {head}.{'A' * len(signature)}"
    refused(client.call("GET", "/enrollments/unit-1"), 401000)
    with open_manager(client.where, reader) as opened:
        with pytest.raises(HttpResponseError, match="does not have authorization") as caught:
            opened.iot_dps_resource.get("lab-dps", "lab")
        assert caught.value.status_code == 403
    client.settings(token_seconds=0)
    client.authorization = f"Bearer {sign_in(client.where).get_token(scope).token}"
    refused(client.call("GET", "/enrollments/unit-1"), 401000)


def test_weights_share_out_what_is_hashed():
    instance = Instance()
    instance.allocation = {"light.example": 1, "heavy.example": 9}

    async def choose(number):
        hub, _payload = await choose_hub({"registrationId": f"unit-{number}"}, {}, instance, {})
        return hub

    chosen = [asyncio.run(choose(number)) for number in range(300)]
    assert 10 <= chosen.count("light.example") <= 60
    instance.allocation = {}
    with pytest.raises(ServiceError, match="No hub"):
        asyncio.run(choose(0))
