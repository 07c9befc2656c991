# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The client of the resource manager: what it sends, and what it says of answers that the emulator does not give."""

from __future__ import annotations

import io
import json
from typing import NamedTuple

import pytest
import requests
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.errors import DpsError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps_management import amendment, resource_manager
from azure.core.credentials import AccessToken
from urllib3 import HTTPResponse

SUBSCRIPTION = "5d3f1e0c-52a1-4c0b-9f57-f1c2a6a1a9c4"
DOCUMENT = {
    "id": "/subscriptions/s",
    "name": "fleet-dps",
    "type": "Microsoft.Devices/provisioningServices",
    "location": "westeurope",
    "tags": {"a": "b"},
    "etag": "AAAA",
    "resourcegroup": "fleet",
    "subscriptionid": SUBSCRIPTION,
    "sku": {"name": "S1", "tier": "Standard", "capacity": 1},
    "identity": {"type": "SystemAssigned", "principalId": "p", "tenantId": "t"},
    "properties": {
        "state": "Active",
        "provisioningState": "Succeeded",
        "idScope": "0ne00000001",
        "serviceOperationsHostName": "fleet-dps.azure-devices-provisioning.net",
        "deviceProvisioningHostName": "global.azure-devices-provisioning.net",
        "allocationPolicy": "Hashed",
        "publicNetworkAccess": "Enabled",
        "disableLocalAuth": False,
        "comesLater": {"x": 1},
        "iotHubs": [
            {
                "name": "h.azure-devices.net",
                "connectionString": "HostName=h.azure-devices.net;SharedAccessKeyName=p;SharedAccessKey=****",
                "location": "westeurope",
                "allocationWeight": 3,
            }
        ],
    },
}


class Credential:
    """Whoever we are."""

    def get_token(self, *scopes, **_options):
        return AccessToken("token", 9_999_999_999)


class Answer:
    """One HTTP answer, as requests hands it to azure-core."""

    def __init__(self, status: int, body: object, headers: dict | None = None) -> None:
        self.status, self.body, self.headers = status, body, headers or {}


class Sent(NamedTuple):
    """One HTTP request."""

    method: str
    headers: dict
    content: str | bytes | None


@pytest.fixture
def manager(monkeypatch):
    """A manager over the unmodified SDK, for which the test writes the answers; ``sent`` is what it sent."""
    sent: list[Sent] = []
    answers: list[Answer] = []

    def request(_session, method, url, *, headers, data=None, **_options):
        sent.append(Sent(method, dict(headers), data))
        answer = answers.pop(0)
        made = requests.Response()
        made.status_code, made.url, made.reason = answer.status, url, "reason"
        made.headers.update({"Content-Type": "application/json", **answer.headers})
        made.raw = HTTPResponse(io.BytesIO(json.dumps(answer.body).encode()), preload_content=False)
        return made

    monkeypatch.setattr(requests.Session, "request", request)
    client, transport = resource_manager.open_client(
        Credential(), SUBSCRIPTION, resource_manager.PUBLIC_ENDPOINT, ca_file=None, timeout=5
    )
    opened = resource_manager.ResourceManager(
        client, transport, "fleet", endpoint=resource_manager.PUBLIC_ENDPOINT, operation_timeout=5
    )
    opened.sent, opened.answers = sent, answers
    yield opened
    opened.close()


def test_each_cloud_has_its_own_scope():
    for endpoint, scope in (
        ("https://management.azure.com", "https://management.azure.com/.default"),
        ("https://management.usgovcloudapi.net", "https://management.core.usgovcloudapi.net/.default"),
        ("https://localhost:8443", "https://localhost:8443/.default"),
    ):
        assert resource_manager.scopes_of(endpoint) == [scope]


def test_a_change_sends_everything_back_but_what_azure_decides(manager):
    policies = [{"keyName": "owner", "primaryKey": "p", "secondaryKey": "s", "rights": "ServiceConfig"}]
    manager.answers += [
        Answer(200, DOCUMENT),
        Answer(200, {"value": policies}),
        Answer(200, {**DOCUMENT, "etag": "BBBB"}),
    ]

    def weigh(document):
        document["properties"]["iotHubs"][0]["allocationWeight"] = 4
        return document

    amended = amendment.amend_instance(manager, "fleet-dps", weigh, check_mode=False)
    assert amended.changed and amended.after["etag"] == "BBBB"
    put = manager.sent[-1]
    assert put.method == "PUT" and put.headers["If-Match"] == '"AAAA"'
    body = json.loads(put.content)
    properties = body.pop("properties")
    assert body == {name: DOCUMENT[name] for name in ("location", "tags", "etag", "sku", "identity")}
    hub = DOCUMENT["properties"]["iotHubs"][0]
    assert properties == {
        "allocationPolicy": "Hashed",
        "publicNetworkAccess": "Enabled",
        "disableLocalAuth": False,
        "comesLater": {"x": 1},
        "iotHubs": [
            {
                "hostName": "h.azure-devices.net",
                "connectionString": hub["connectionString"],
                "location": "westeurope",
                "allocationWeight": 4,
            }
        ],
        "authorizationPolicies": policies,
    }


def test_check_mode_writes_nothing(manager):
    manager.answers += [Answer(200, DOCUMENT)]
    amended = amendment.amend_instance(manager, "fleet-dps", lambda document: {**document, "tags": {}}, check_mode=True)
    assert amended.changed and [request.method for request in manager.sent] == ["GET"]


def test_a_change_that_others_always_come_before_is_given_up(manager):
    conflict = {"code": 412001, "httpStatusCode": "PreconditionFailed", "message": "Invalid ETag supplied."}
    for _try in range(resource_manager.TRIES):
        manager.answers += [Answer(200, DOCUMENT), Answer(200, {"value": []}), Answer(412, conflict)]
    with pytest.raises(DpsError, match="changed by others 5 times"):
        amendment.amend_instance(manager, "fleet-dps", lambda document: {**document, "tags": {}}, check_mode=False)


def test_an_operation_that_was_accepted_and_failed_is_told(manager):
    url = f"{resource_manager.PUBLIC_ENDPOINT}/subscriptions/{SUBSCRIPTION}/operation?asyncinfo"
    failed = {"status": "Failed", "error": {"code": "HubUnreachable", "message": "The hub does not answer."}}
    manager.answers += [Answer(201, DOCUMENT, {"Azure-AsyncOperation": url}), Answer(200, failed)]
    with pytest.raises(DpsError, match="accepted and then failed: The hub does not answer") as caught:
        manager.create("fleet-dps", {"location": "westeurope"})
    assert caught.value.error_code == "HubUnreachable"
    assert manager.sent[0].headers["If-None-Match"] == "*"


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Answer(404, {"error": {"code": "SubscriptionNotFound", "message": "No such."}}), "Check subscription_id, and"),
        (Answer(401, {"error": {"code": "InvalidAuthenticationTokenTenant", "message": "Wrong."}}), "same cloud"),
        (Answer(403, {"error": {"code": "AuthorizationFailed", "message": "No."}}), "Give the identity a role"),
        (Answer(409, {"code": 409301, "message": "IotDpsState: Transitioning."}), "409301"),
        (Answer(418, ["odd"]), "Azure answered 418"),
    ],
)
def test_refusals_of_both_kinds_are_told(manager, answer, told):
    manager.answers.append(answer)
    with pytest.raises(DpsError, match=told):
        manager.instance("fleet-dps")


def test_an_instance_that_stays_in_transition_is_told(manager, no_sleep, monkeypatch):
    moving = {**DOCUMENT, "properties": {**DOCUMENT["properties"], "state": "Transitioning"}}
    manager.answers += [Answer(200, moving), Answer(200, moving), Answer(200, DOCUMENT)]
    assert manager.settled("fleet-dps")["properties"]["state"] == "Active"
    assert no_sleep == [resource_manager.POLL_SECONDS] * 2
    manager.answers += [Answer(200, moving)] * 500
    manager._operation_timeout = 0.05
    with pytest.raises(DpsError, match="was still Transitioning"):
        manager.settled("fleet-dps")
