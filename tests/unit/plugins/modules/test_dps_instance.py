# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dps_instance and dps_instance_info against the emulated resource manager, through the Azure SDK."""

from __future__ import annotations

import pytest

NEW = {"instance": "fleet-dps", "location": "West Europe", "tags": {"line": "pumps"}}


@pytest.fixture
def ensure(run_module, azure):
    def run(*, check: bool = False, **options):
        return run_module("dps_instance", check=check, diff=True, **azure.options(**{**NEW, **options}))

    return run


def test_made_read_changed_removed(ensure, azure, dps, run_module):
    dps.settings(management_seconds=0.3)
    predicted = ensure(check=True)
    made = ensure()
    assert (made["changed"], made["action"]) == (predicted["changed"], predicted["action"]) == (True, "created")
    instance = made["instance"]
    assert instance["id_scope"].startswith("0ne") and instance["state"] == "Active"
    assert instance["service_host"] == "fleet-dps.azure-devices-provisioning.example" and instance["device_host"]
    assert (instance["location"], instance["sku"], instance["units"]) == ("westeurope", "S1", 1)
    for name in ("location", "sku", "units", "tags", "allocation_policy", "linked_hubs"):
        assert predicted["instance"][name] == instance[name]
    assert predicted["instance"]["id_scope"] is None and predicted["instance"]["etag"] is None
    again = ensure()
    assert not again["changed"] and again["instance"] == instance
    assert again["diff"]["before"] == again["diff"]["after"]
    found = run_module("dps_instance_info", **azure.options(instance="fleet-dps"))
    assert found["instances"] == [instance]
    predicted = ensure(check=True, allocation_policy="static", units=2)
    changed = ensure(allocation_policy="static", units=2)
    assert changed["action"] == predicted["action"] == "updated"
    assert changed["diff"] == predicted["diff"]
    assert changed["diff"]["before"]["allocation_policy"] == "hashed"
    assert changed["diff"]["after"]["allocation_policy"] == "static" and changed["instance"]["units"] == 2
    assert changed["instance"]["id_scope"] == instance["id_scope"]
    assert ensure(check=True, state="absent")["action"] == "deleted"
    removed = ensure(state="absent")
    assert removed["action"] == "deleted" and removed["instance"] is None and removed["diff"]["after"] == {}
    assert not ensure(state="absent")["changed"]
    assert run_module("dps_instance_info", **azure.options(instance="fleet-dps"))["instances"] == []


def test_tags_are_added_or_are_all(ensure):
    ensure()
    assert ensure(tags={"site": 7})["instance"]["tags"] == {"line": "pumps", "site": "7"}
    assert not ensure(tags={"site": "7"})["changed"]
    assert ensure(tags={"site": "7"}, append_tags=False)["instance"]["tags"] == {"site": "7"}
    assert not ensure(tags=None, location=None)["changed"]


def test_a_change_keeps_what_it_does_not_mention(ensure, azure, dps):
    def others(document):
        document["properties"]["authorizationPolicies"].append({"keyName": "reader", "rights": "EnrollmentRead"})
        document["properties"]["iotHubs"].append(
            {"connectionString": "HostName=h.example;SharedAccessKeyName=p;SharedAccessKey=c2Vj", "location": "x"}
        )
        document["properties"].update(publicNetworkAccess="Disabled", ipFilterRules=[{"filterName": "a"}])

    attached = azure.where["instance"]
    azure.change(attached, others)
    policies = azure.call("POST", attached, "/listkeys")
    before = azure.call("GET", attached)
    changed = ensure(instance=attached, location=None, allocation_policy="geoLatency")
    assert changed["action"] == "updated" and changed["instance"]["id_scope"] == dps.where["id_scope"]
    after = azure.call("GET", attached)
    assert azure.call("POST", attached, "/listkeys") == policies
    for name in ("iotHubs", "publicNetworkAccess", "ipFilterRules"):
        assert after["properties"][name] == before["properties"][name]
    # The hub's key itself, which no answer shows, is still there: the masked one would be refused without it.
    assert ensure(instance=attached, location=None, allocation_policy="hashed")["changed"]


def test_instances_of_a_group_and_of_a_subscription(ensure, azure, run_module):
    ensure()
    for group in ("lab", None):
        options = azure.options(instance=None, resource_group=group)
        found = run_module("dps_instance_info", **{name: value for name, value in options.items() if value})
        assert [one["name"] for one in found["instances"]] == ["fleet-dps", "lab-dps"]
    options = {name: value for name, value in azure.options().items() if name != "resource_group"}
    assert run_module("dps_instance_info", **options)["failed"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"location": None}, "to make it location is needed"),
        ({"resource_group": "nowhere", "check": True}, "Resource group 'nowhere' could not be found"),
        ({"resource_group": "nowhere", "state": "absent"}, "resource groups are not made here"),
        ({"subscription_id": "00000000-0000-0000-0000-000000000000"}, "Check subscription_id"),
        ({"instance": "no_good"}, "3 to 64 letters"),
        ({"instance": "lab-dps", "location": "eastus"}, "cannot be moved"),
        ({"instance": "lab-dps", "state": "absent"}, "Remove the lock"),
        ({"secret": "wrong"}, "AADSTS7000215"),
        ({"client_id": "nobody"}, "AADSTS700016"),
        ({"resource_manager": "management.azure.com"}, "Give the whole address"),
        ({"ca_file": "/nowhere"}, "ca_file /nowhere does not exist"),
        ({"operation_timeout": 0}, "operation_timeout is 0 s"),
        ({"units": 0}, "units is 0"),
    ],
)
def test_what_goes_wrong_is_told(ensure, options, told):
    refused = ensure(**options)
    assert refused["failed"] and told in refused["msg"], refused
    assert "exception" not in refused


def test_an_application_without_a_role_is_told(ensure, dps):
    dps.settings(applications={"reader": ["EnrollmentRead"]})
    refused = ensure(client_id="reader", secret=dps.control("GET", "applications")["reader"])
    assert refused["failed"] and "Give the identity a role" in refused["msg"]
    assert (refused["status"], refused["error_code"]) == (403, "AuthorizationFailed") and refused["tracking_id"]


def test_an_untrusted_certificate_is_told(ensure):
    refused = ensure(ca_file=None)
    assert refused["failed"] and "CERTIFICATE_VERIFY_FAILED" in refused["msg"]


def test_the_environment_can_say_who_we_are(azure, run_module, monkeypatch):
    monkeypatch.setenv("AZURE_SUBSCRIPTION_ID", azure.where["subscription_id"])
    monkeypatch.setenv("AZURE_TENANT_ID", azure.where["tenant"])
    monkeypatch.setenv("AZURE_CLIENT_ID", azure.where["client_id"])
    monkeypatch.setenv("AZURE_CLIENT_SECRET", azure.where["secret"])
    own = ("subscription_id", "tenant", "client_id", "secret")
    options = {name: value for name, value in azure.options().items() if name not in own}
    for source in ("env", "auto"):
        found = run_module("dps_instance_info", **options, auth_source=source)
        assert [one["name"] for one in found["instances"]] == ["lab-dps"]


def test_a_change_that_is_under_way_is_waited_for(ensure, dps, monkeypatch):
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps_management import resource_manager

    monkeypatch.setattr(resource_manager, "POLL_SECONDS", 0.1)
    ensure()
    dps.settings(management_seconds=2.5)
    slow = ensure(units=2, operation_timeout=1)
    assert slow["failed"] and "was not done after 1 s" in slow["msg"] and "goes on in Azure" in slow["hint"]
    after = ensure(units=3)
    assert after["diff"]["before"]["units"] == 2 and after["instance"]["units"] == 3


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_an_answer_that_was_lost_is_settled_by_reading(ensure, azure, dps, monkeypatch, seconds):
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps_management import resource_manager

    monkeypatch.setattr(resource_manager, "POLL_SECONDS", 0.1)
    dps.settings(management_seconds=seconds)
    dps.fault(method="PUT", path="/provisioningServices/", drop="after")
    made = ensure(units=2)
    assert made["action"] == "created" and made["instance"]["units"] == 2 and made["instance"]["state"] == "Active"
    dps.fault(method="DELETE", path="/provisioningServices/", drop="after")
    removed = ensure(state="absent")
    assert removed.get("action") == "deleted", removed
    assert azure.call("GET", "fleet-dps", check=False)["error"]["code"] == "ResourceNotFound"
