# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The filters through which records go from step to step, over what modules return and inventories say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible_collections.tpmfleet.azure_dps.plugins.filter.activation_records import activation_records
from ansible_collections.tpmfleet.azure_dps.plugins.filter.device_records import device_records
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils import device_record

READ = {
    "changed": False,
    "endorsement_key": {
        "registration_id": "unit-1",
        "public": "AToA",
        "sha256": "4ad1",
        "name": "000b",
        "template": "tcg",
        "certificate": None,
        "persisted": False,
    },
    "tpm": {"manufacturer": "IFX", "model": "SLB9670", "firmware_version": "7.85", "tpm_type": "hardware"},
}
CLAIMED = {
    "changed": True,
    "storage_root_key": {"public": "ARoA", "name": "000c", "persisted": True},
    "hierarchies": {"owner_auth_set": True, "endorsement_auth_set": False, "lockout_auth_set": True},
}


def records(variables=None, /, *, hosts=("slot1",), **options):
    return device_records(list(hosts), variables or {host: {} for host in hosts}, **options)


def record_of(variables, *results):
    """The record of a device, where modules returned *results*, and without any the filter's."""
    if results:
        return device_record.record_of("slot1", variables, results)
    [record] = records({"slot1": variables})
    return record


# device_records


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("tpmfleet_serial_number", "{{ 1 // 0 }}", "integer division or modulo by zero"),
        ("tpmfleet_serial_number", "{{ printed }}", "undefined"),
        ("tpmfleet_enrollment", {"initial_twin": {"tags": {"line": ["{{ printed }}"]}}}, "undefined"),
    ],
)
def test_what_cannot_be_made_of_a_hosts_template_is_told_with_host_and_variable(tmp_path, name, value, why):
    """Of all versions of ansible-core; a task that runs once is told as one of the first host."""
    units = {"unit1": {"tpmfleet_serial_number": "TF-1"}, "unit2": {name: value}}
    (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"all": {"hosts": units}}))
    records = "{{ ['unit1', 'unit2'] | tpmfleet.azure_dps.device_records(hostvars) }}"
    tasks = [{"ansible.builtin.debug": {"msg": records}, "run_once": True}]
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "hosts.yml", "play.yml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    told = " ".join((done.stdout + done.stderr).split())
    assert done.returncode == 2, told
    found = re.search(rf"unit2: {name} cannot be made of its template: (.*?) \(errors.md#undefined-variable\)", told)
    assert found and why in found[1], told
    tasks[0]["ansible.builtin.debug"]["msg"] = records.replace("(hostvars)", "(hostvars, tolerant=true)")
    (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and "TF-1" in done.stdout and '"unit2"' not in done.stdout, done.stdout


def test_a_host_is_called_as_its_work_order_calls_it_and_one_that_is_on_none_is_left_out():
    units = {"units": {"slot1": {"serial_number": "TF-1", "challenge": {}}}, "refused": {"slot2": "on none"}}
    hostvars = {host: {"units": units, "tpmfleet_serial_number": "own"} for host in ("slot1", "slot2", "slot3")}
    found = records(hostvars, hosts=tuple(hostvars), units="units")
    assert [(one["host"], one["serial_number"]) for one in found] == [("slot1", "TF-1"), ("slot3", "own")]
    assert "challenge" not in found[0]


def test_a_record_holds_what_was_read_and_what_the_inventory_says():
    variables = {
        "tpmfleet_serial_number": "TF-1",
        "tpmfleet_device_id": "pump-1",
        "tpmfleet_production": True,
        "tpmfleet_enrollment": {"iot_edge": True, "allocation_policy": None},
    }
    assert record_of(variables, READ) == {
        "host": "slot1",
        "registration_id": "unit-1",
        "serial_number": "TF-1",
        "device_id": "pump-1",
        "endorsement_key": "AToA",
        "endorsement_key_sha256": "4ad1",
        "endorsement_key_name": "000b",
        "endorsement_key_template": "tcg",
        "tpm_type": "hardware",
        "tpm_manufacturer": "IFX",
        "tpm_model": "SLB9670",
        "tpm_firmware_version": "7.85",
        "iot_edge": True,
    }


def test_the_inventory_outweighs_what_was_read():
    variables = {"tpmfleet_registration_id": "pump-1", "tpmfleet_tpm_type": "software"}
    record = record_of(variables, READ)
    assert (record["registration_id"], record["tpm_type"]) == ("pump-1", "software")


def test_a_later_result_outweighs_an_earlier_one():
    again = {"endorsement_key": {**READ["endorsement_key"], "sha256": "ffff"}}
    assert record_of({}, READ, again)["endorsement_key_sha256"] == "ffff"
    assert record_of({}, again, READ)["endorsement_key_sha256"] == "4ad1"


def test_ownership_is_recorded_with_its_profile_and_no_authorization():
    assert record_of({}, CLAIMED)["ownership"] == {
        "profile": "fleet",
        "key_version": 1,
        "owner_auth_set": True,
        "lockout_auth_set": True,
        "endorsement_auth_set": False,
    }
    said = {"tpmfleet_ownership_profile": "sdk", "tpmfleet_key_version": 3}
    record = record_of(said, CLAIMED)
    assert (record["ownership"]["profile"], record["ownership"]["key_version"]) == ("sdk", 3)
    assert (record["storage_root_key"], record["storage_root_key_name"]) == ("ARoA", "000c")


def test_the_version_that_a_play_gave_its_role_alone_is_the_one_that_is_recorded():
    claimed = {**CLAIMED, "key_version": 2}
    assert record_of({"tpmfleet_key_version": 1}, claimed)["ownership"]["key_version"] == 2


@pytest.mark.parametrize(
    "result",
    [None, {"skipped": True, "changed": False}, {"failed": True, "record": {}}],
    ids=["none", "skipped", "failed"],
)
def test_a_host_without_a_record_is_left_out_or_named_by_the_inventory(result):
    read = {"record": {"host": "slot1", "registration_id": "unit-1"}}
    variables = {"slot1": {"read": read}, "slot2": {"read": result, "tpmfleet_serial_number": "TF-2"}}
    hosts = ("slot1", "slot2")
    assert records(variables, hosts=hosts, device="read") == [read["record"]]
    named = {"host": "slot2", "serial_number": "TF-2"}
    assert records(variables, hosts=hosts, device="read", unread=True) == [read["record"], named]


def test_without_a_device_every_host_is_named():
    assert records(hosts=("slot1", "slot2"))[1] == {"host": "slot2"}
    assert device_records([], {}, device="read", enrollments="batch") == []


@pytest.mark.parametrize(
    ("said", "exceptions"),
    [
        ({}, None),
        ({"tpmfleet_production": True}, None),
        ({"tpmfleet_production": "true"}, None),
        ({"tpmfleet_production": False}, ["software_tpm"]),
        ({"tpmfleet_production": "false"}, ["software_tpm"]),
        ({"tpmfleet_production": "no"}, ["software_tpm"]),
        ({"tpmfleet_software_tpm_allowed": "true"}, ["software_tpm"]),
        ({"tpmfleet_software_tpm_allowed": "false"}, None),
        ({"tpmfleet_replace_tpm": "yes"}, ["tpm_replacement"]),
        ({"tpmfleet_replace_tpm": "false"}, None),
        ({"tpmfleet_replace_tpm": True, "tpmfleet_production": 0}, ["software_tpm", "tpm_replacement"]),
    ],
    ids=str,
)
def test_exceptions_are_what_the_inventory_says_also_in_words(said, exceptions):
    """Extra variables of the command line and of a survey are words."""
    assert record_of(said).get("exceptions") == exceptions


def test_an_exception_that_is_neither_yes_nor_no_is_refused():
    with pytest.raises(TypeError, match="perhaps"):
        record_of({"tpmfleet_replace_tpm": "perhaps"})


def test_the_enrollment_of_a_batch_is_an_outcome_of_each_device():
    batch = {
        "results": [
            {"registration_id": "unit-1", "action": "created"},
            {"registration_id": "unit-2", "action": "unchanged"},
            {"registration_id": "unit-3", "action": "failed"},
        ]
    }
    variables = {
        f"slot{number}": {"read": {"record": {"registration_id": f"unit-{number}"}}, "batch": batch}
        for number in (1, 2, 3)
    }
    made = records(variables, hosts=tuple(variables), device="read", enrollments="batch")
    assert [one.get("outcome") for one in made] == [{"enrollment": "done"}, {"enrollment": "verified"}, None]


# activation_records


KNOWN = {
    "host": "slot1",
    "serial_number": "TF-1",
    "registration_id": "Unit-1",
    "endorsement_key": "AToA",
    "steps": {"field_activation": {"outcome": {"assigned_hub": "hub-before"}}},
}


def state(status, hub=None):
    return {"registration_id": "unit-1", "status": status, "assigned_hub": hub}


def test_a_device_that_is_assigned_is_told_to_the_ledger():
    assert activation_records([KNOWN], [state("assigned", "hub-eu")]) == [
        {
            "host": "slot1",
            "serial_number": "TF-1",
            "registration_id": "Unit-1",
            "outcome": {"assigned_hub": "hub-eu"},
        }
    ]


@pytest.mark.parametrize("status", ["unassigned", "assigning", "failed", "disabled", "not_found"])
def test_a_device_that_is_not_assigned_is_not(status):
    assert activation_records([KNOWN], [state(status)]) == []
    assert activation_records([KNOWN], []) == []


@pytest.mark.parametrize("status", ["unassigned", "assigning", "failed", "not_found"])
def test_a_device_that_a_run_waits_for_is_planned(status):
    [record] = activation_records([KNOWN], [state(status)], planned=True)
    assert record["outcome"] == {"assigned_hub": "hub-before"}
    [record] = activation_records([{**KNOWN, "steps": {}}], [state(status)], planned=True)
    assert record["outcome"] == {"assigned_hub": "not yet told"}
    [record] = activation_records([KNOWN], [state("assigned", "hub-eu")], planned=True)
    assert record["outcome"] == {"assigned_hub": "hub-eu"}


def test_a_disabled_device_is_not_waited_for():
    assert activation_records([KNOWN], [state("disabled")], planned=True) == []


def test_parts_of_the_enrollment_are_merged_in_the_order_of_their_names():
    """A fleet, a product and a unit each say what is theirs."""
    variables = {
        "tpmfleet_enrollment_90_unit": {"initial_twin": {"tags": {"slot": 1}}, "iot_edge": None},
        "tpmfleet_enrollment_50_pumps": {
            "initial_twin": {"tags": {"product": "pump", "line": None}},
            "iot_hubs": ["c"],
        },
        "tpmfleet_enrollment": {
            "iot_edge": True,
            "iot_hubs": ["a", "b"],
            "initial_twin": {"tags": {"line": 4, "product": "?"}, "properties": {"desired": {"x": 1}}},
        },
        # No part of it.
        "tpmfleet_enroll_at": "tpm_install",
    }
    record = record_of(variables, READ)
    assert record["iot_hubs"] == ["c"] and "iot_edge" not in record
    assert record["initial_twin"] == {"tags": {"product": "pump", "slot": 1}, "properties": {"desired": {"x": 1}}}
    alone = record_of({"tpmfleet_enrollment_x": {"iot_edge": True}}, READ)
    assert alone["iot_edge"] is True


@pytest.mark.parametrize("name", ["tpmfleet_enrollment", "tpmfleet_enrollment_unit"])
def test_a_part_that_is_none_is_told_with_its_host(name):
    with pytest.raises(AnsibleFilterError, match=f"slot1: {name} is no mapping"):
        record_of({name: ["iot_edge"]})


@pytest.mark.parametrize(
    ("result", "why"),
    [
        ({}, None),
        ({"unreadable": [{"handle": "0x01c00003", "reason": "locked"}]}, None),
        (
            {"unreadable": [{"handle": "0x01c00002", "reason": "it is locked"}]},
            "the one at 0x01c00002 in its NV memory could not be read: it is locked",
        ),
        (
            {
                "certificates": [
                    {"kind": "endorsement", "nv_index": "0x01c00012", "key": "RSA-2048", "certificate": "AAAA"},
                    {"kind": "endorsement", "nv_index": "0x01c00016", "key": "ECC P-384", "certificate": "AAAA"},
                    {"kind": "chain", "nv_index": "0x01c00100", "certificate": "AAAA"},
                ]
            },
            "what is in its NV memory is about keys that cannot be enrolled: RSA-2048 at 0x01c00012, "
            "ECC P-384 at 0x01c00016",
        ),
        ({"endorsement_key": {**READ["endorsement_key"], "certificate": "AAAA"}}, None),
    ],
)
def test_a_record_says_why_there_is_no_certificate_of_its_key(result, why):
    record = record_of({}, {**READ, **result})
    assert record.get("endorsement_key_certificate_missing") == why
