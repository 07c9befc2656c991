# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dps_linked_hub against the emulated resource manager, through the Azure SDK, and what the service makes of it."""

from __future__ import annotations

import json

import pytest

HUB = "hub-new.azure-devices.example"
STRING = f"HostName={HUB};SharedAccessKeyName=dps;SharedAccessKey=c2VjcmV0a2V5"


@pytest.fixture
def link(run_module, azure):
    def run(*, check: bool = False, **options):
        options = {"connection_string": STRING, "location": "westeurope", **options}
        given = {name: value for name, value in options.items() if value is not None}
        return run_module("dps_linked_hub", check=check, diff=True, **azure.options(**given))

    return run


def test_linked_changed_unlinked(link, azure, dps, run_module, make_ek):
    enroll = dps.connection(registration_id="unit-1", endorsement_key=make_ek(1), iot_hubs=[HUB])
    assert "not linked" in run_module("dps_enrollment", **enroll)["msg"]
    predicted = link(check=True)
    linked = link()
    assert linked["action"] == predicted["action"] == "linked" and linked["diff"] == predicted["diff"]
    assert linked["linked_hub"] == {
        "hub": HUB,
        "location": "westeurope",
        "authentication": "key",
        "hub_policy": "dps",
        "user_assigned_identity": None,
        "allocation_weight": None,
        "apply_allocation_policy": None,
    }
    assert "c2VjcmV0a2V5" not in json.dumps(linked)
    assert run_module("dps_enrollment", **enroll)["action"] == "created"
    assert not link()["changed"]
    weighed = link(connection_string=None, hub=HUB.upper(), allocation_weight=7, apply_allocation_policy=False)
    assert weighed["action"] == "updated" and weighed["linked_hub"]["allocation_weight"] == 7
    others = [hub["name"] for hub in azure.call("GET", azure.where["instance"])["properties"]["iotHubs"][:-1]]
    assert others == dps.where["linked_hubs"]
    assert link(check=True, state="absent")["action"] == "unlinked"
    gone = link(state="absent")
    assert gone["action"] == "unlinked" and gone["linked_hub"] is None and gone["diff"]["before"]["hub"] == HUB
    assert not link(state="absent")["changed"]
    assert run_module("dps_enrollment", **enroll, optional_device_information={"a": 1})["failed"]


def test_a_key_is_written_where_it_is_another_or_asked_for(link):
    link()
    other = STRING.replace("SharedAccessKeyName=dps", "SharedAccessKeyName=dps2")
    assert link(connection_string=other)["linked_hub"]["hub_policy"] == "dps2"
    assert not link(connection_string=other)["changed"]
    renewed = link(connection_string=other, renew_key=True)
    assert renewed["action"] == "updated"
    assert renewed["diff"]["before"]["key"] != renewed["diff"]["after"]["key"]
    assert "c2VjcmV0a2V5" not in json.dumps(renewed)


def test_a_managed_identity_instead_of_a_key(link):
    link()
    own = link(connection_string=None, hub=HUB, authentication="system_assigned")["linked_hub"]
    assert (own["authentication"], own["hub_policy"]) == ("system_assigned", None)
    identity = "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i"
    lent = {
        "connection_string": None,
        "hub": HUB,
        "authentication": "user_assigned",
        "user_assigned_identity": identity,
    }
    assert link(**lent)["linked_hub"]["user_assigned_identity"] == identity
    assert not link(**lent)["changed"]
    assert link()["linked_hub"]["authentication"] == "key"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"location": None}, "location (the hub's) is needed"),
        ({"connection_string": None, "hub": HUB}, "connection_string is needed"),
        ({"connection_string": "HostName=a;SharedAccessKey=b"}, "lacks SharedAccessKeyName"),
        ({"hub": "other.example"}, "the connection string is for hub-new"),
        ({"allocation_weight": 0}, "it goes from 1 to 1000"),
        ({"authentication": "system_assigned"}, "is for authentication key"),
        (
            {"connection_string": None, "hub": HUB, "authentication": "user_assigned"},
            "user_assigned_identity goes with",
        ),
        ({"connection_string": None, "hub": "h.service.azure-devices.net"}, "cannot be linked"),
        ({"instance": "nowhere"}, "There is no DPS instance nowhere in the resource group lab"),
        ({"connection_string": None}, "one of the following is required"),
    ],
)
def test_what_goes_wrong_is_told(link, azure, options, told):
    before = azure.call("GET", azure.where["instance"])["etag"]
    refused = link(**options)
    assert refused["failed"] and told in refused["msg"], refused
    assert azure.call("GET", azure.where["instance"])["etag"] == before
