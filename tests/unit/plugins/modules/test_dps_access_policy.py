# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""dps_access_policy and its info module: who gets in after what, by the emulated service's own API."""

from __future__ import annotations

import base64
import json

import pytest

MAKER = ["EnrollmentRead", "EnrollmentWrite", "RegistrationStatusRead", "RegistrationStatusWrite"]


@pytest.fixture
def policy(run_module, azure):
    def run(*, check: bool = False, **options):
        options = {"name": "maker", "rights": ["EnrollmentWrite"], **options}
        given = {name: value for name, value in options.items() if value is not None}
        return run_module("dps_access_policy", check=check, diff=True, **azure.options(**given))

    return run


@pytest.fixture
def keys(run_module, azure):
    """The policy's keys and connection strings."""

    def read(name: str = "maker") -> dict:
        (found,) = run_module("dps_access_policy_info", **azure.options(name=name, with_keys=True))["access_policies"]
        return found

    return read


@pytest.fixture
def lets_in(run_module, dps):
    """Whether a connection string reads an enrollment, and writes one."""

    def ask(connection_string: str, **write: object) -> bool:
        options = {"connection_string": connection_string, "ca_file": dps.where["ca_file"]}
        if write:
            return not run_module("dps_enrollment", **options, **write).get("failed")
        return not run_module("dps_enrollment_info", **options, registration_ids=["unit-1"]).get("failed")

    return ask


def test_made_changed_removed(policy, run_module, azure):
    predicted = policy(check=True)
    assert predicted["action"] == "created" and predicted["access_policy"]["primary_key_sha256"] is None
    made = policy()
    assert made["action"] == "created" and made["access_policy"]["rights"] == MAKER
    assert made["diff"]["before"] == {} and made["diff"]["after"] == made["access_policy"]
    assert {**made["access_policy"], **dict.fromkeys(("primary_key_sha256", "secondary_key_sha256"))} == predicted[
        "access_policy"
    ]
    again = policy(name="MAKER")
    assert not again["changed"] and again["access_policy"] == made["access_policy"]
    less = policy(rights=["EnrollmentRead"])
    assert less["action"] == "updated" and less["access_policy"]["rights"] == MAKER[::2]
    assert less["access_policy"]["primary_key_sha256"] == made["access_policy"]["primary_key_sha256"]
    assert policy(rights=None)["access_policy"] == less["access_policy"]
    assert policy(check=True, state="absent")["action"] == "deleted"
    gone = policy(state="absent")
    assert gone["action"] == "deleted" and gone["access_policy"] is None and gone["diff"]["after"] == {}
    assert not policy(state="absent")["changed"]
    listed = run_module("dps_access_policy_info", **azure.options())["access_policies"]
    assert [one["name"] for one in listed] == ["provisioningserviceowner"]


def test_the_owners_policy_which_azure_tells_in_short_is_as_wanted(policy):
    owner = policy(name="provisioningserviceowner", rights=["ServiceConfig", "EnrollmentWrite"])
    assert not owner["changed"] and owner["access_policy"]["rights"] == [*MAKER, "ServiceConfig", "DeviceConnect"]


def test_rights_are_what_the_service_lets_one_do(policy, keys, lets_in, make_ek):
    policy(rights=["EnrollmentRead"])
    line = keys()["primary_connection_string"]
    write = {"registration_id": "unit-1", "endorsement_key": make_ek(1)}
    assert lets_in(line) and not lets_in(line, **write)
    policy()
    assert lets_in(line, **write) and lets_in(line)
    policy(state="absent")
    assert not lets_in(line)


def test_keys_are_replaced_without_a_gap(policy, keys, lets_in):
    first = policy()["access_policy"]
    old = keys()
    step = {"regenerate": ["secondary"], "regenerate_only_sha256": first["secondary_key_sha256"]}
    assert policy(check=True, **step)["diff"]["after"]["secondary_key_sha256"] is None
    assert policy(**step)["action"] == "updated"
    between = keys()
    assert between["secondary_key"] != old["secondary_key"] and between["primary_key"] == old["primary_key"]
    assert not policy(**step)["changed"]
    assert lets_in(old["primary_connection_string"]) and lets_in(between["secondary_connection_string"])
    assert not lets_in(old["secondary_connection_string"])
    policy(regenerate=["primary"], regenerate_only_sha256=first["primary_key_sha256"])
    new = keys()
    assert lets_in(between["secondary_connection_string"]) and lets_in(new["primary_connection_string"])
    assert not lets_in(old["primary_connection_string"])
    policy(regenerate=["primary", "secondary"])
    assert not lets_in(new["primary_connection_string"]) and not lets_in(new["secondary_connection_string"])


def test_keys_of_ones_own(policy, keys):
    mine = base64.b64encode(b"m" * 32).decode()
    policy(secondary_key=mine)
    assert keys()["secondary_key"] == mine
    assert not policy(secondary_key=mine)["changed"]
    for options, told in (
        ({"primary_key": "short"}, "primary_key is not base64"),
        ({"primary_key": mine, "regenerate": ["primary"]}, "is given and is to be made anew"),
    ):
        refused = policy(**options)
        assert refused["failed"] and told in refused["msg"]


def test_no_key_is_returned_unless_it_is_asked_for(policy, keys, run_module, azure):
    results = [policy(), policy(regenerate=["secondary"]), run_module("dps_access_policy_info", **azure.options())]
    found = keys()
    results.append(policy(primary_key=found["primary_key"], rights=["EnrollmentRead"]))
    results.append(policy(state="absent"))
    for result in results:
        for which in ("primary_key", "secondary_key"):
            assert found[which] not in json.dumps(result)
    assert found["primary_connection_string"].endswith(found["primary_key"])


def test_nobody_elses_change_is_lost(policy, azure, dps, monkeypatch):
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps_management import resource_manager

    attached, put, changes = azure.where["instance"], resource_manager.ResourceManager._put, []

    def slow_put(self, *arguments):
        if len(changes) < 2:
            name = f"other-{len(changes)}"
            changes.append(name)
            azure.change(
                attached,
                lambda document: document["properties"]["authorizationPolicies"].append(
                    {"keyName": name, "rights": "EnrollmentRead"}
                ),
            )
        return put(self, *arguments)

    monkeypatch.setattr(resource_manager.ResourceManager, "_put", slow_put)
    assert policy()["action"] == "created"
    names = [one["keyName"] for one in azure.call("POST", attached, "/listkeys")["value"]]
    assert names == ["provisioningserviceowner", "other-0", "other-1", "maker"]


def test_a_change_whose_answer_was_lost_is_not_done_twice(policy, dps, keys):
    made = policy()["access_policy"]
    dps.fault(method="PUT", path="/provisioningServices/", drop="after")
    changed = policy(regenerate=["secondary"])
    assert changed["changed"] and changed["access_policy"]["primary_key_sha256"] == made["primary_key_sha256"]
    # Made; done and not answered; tried again by the SDK and refused, since the ETag is another by now.
    assert dps.control("GET", "stats")["calls"]["arm.put"] == {"201": 1, "500": 1, "412": 1}
    assert keys()["secondary_key_sha256"] == changed["access_policy"]["secondary_key_sha256"]


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rights": None}, "to make it rights are needed"),
        ({"name": "no/good"}, "Invalid key name"),
        ({"instance": "nowhere"}, "There is no DPS instance nowhere"),
        ({"rights": ["Everything"]}, "value of rights must be one or more of"),
    ],
)
def test_what_goes_wrong_is_told(policy, options, told):
    refused = policy(**options)
    assert refused["failed"] and told in refused["msg"], refused


def test_a_policy_of_an_instance_that_is_gone_is_gone(policy):
    assert not policy(instance="nowhere", state="absent")["changed"]
