# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory as ``ansible-inventory`` shows it, from the emulated service: what it costs, and what it did not check.

Registration states are written into the emulated service's database: devices with a TPM are another test's matter.
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ANSIBLE_INVENTORY = Path(sys.executable).with_name("ansible-inventory")


class Inventory:
    """What one run showed."""

    def __init__(self, done: subprocess.CompletedProcess) -> None:
        self.status = done.returncode
        self.told = " ".join(done.stderr.split())
        self.shown = json.loads(done.stdout, object_hook=self._plain) if done.returncode == 0 else {}
        self.hosts = self.shown.get("_meta", {}).get("hostvars", {})

    @staticmethod
    def _plain(value: dict) -> object:
        """Ansible marks what may hold no template."""
        return value["__ansible_unsafe"] if list(value) == ["__ansible_unsafe"] else value

    def group(self, name: str) -> list[str]:
        return sorted(self.shown.get(name, {}).get("hosts", []))


@pytest.fixture
def enroll(dps, make_ek, run_module):
    def run(count, first=0, **fields):
        records = [
            {"registration_id": f"unit-{number:03}", "endorsement_key": make_ek(number), **fields}
            for number in range(first, first + count)
        ]
        # No list may give one device ID to two, a service may hold that all the same.
        for batch in [[one] for one in records] if "device_id" in fields else [records]:
            assert "failed" not in run_module("dps_enrollments", **dps.connection(enrollments=batch))
        dps.control("DELETE", "stats")

    return run


@pytest.fixture
def register(dps):
    """Gives the service a registration state."""
    database = Path(dps.where["state_dir"]) / "dps.sqlite"

    def write(registration_id, **state):
        whole = {
            "registrationId": registration_id,
            "createdDateTimeUtc": "2026-01-01T00:00:00.0000000Z",
            "lastUpdatedDateTimeUtc": "2026-11-01T00:00:00.0000000Z",
            "status": "assigned",
            **state,
        }
        with sqlite3.connect(database, timeout=10) as connection:
            connection.execute(
                "INSERT OR REPLACE INTO registrations VALUES (?, ?, ?, ?)",
                (registration_id.lower(), '"1"', json.dumps(whole), "[]"),
            )
        connection.close()

    return write


@pytest.fixture
def show(dps, tmp_path):
    """Runs ``ansible-inventory --list`` over a file of this plugin."""

    def run(*, name="fleet.dps.yml", environment=(), **options):
        source = tmp_path / name
        source.write_text(
            yaml.safe_dump({"plugin": "tpmfleet.azure_dps.dps", "ca_file": dps.where["ca_file"], **options})
        )
        variables = {
            **os.environ,
            "ANSIBLE_INVENTORY_ENABLED": "tpmfleet.azure_dps.dps",
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
            "TPMFLEET_DPS_CONNECTION_STRING": dps.where["connection_string"],
            **dict(environment),
        }
        command = [str(ANSIBLE_INVENTORY), "--inventory", str(source), "--list"]
        return Inventory(subprocess.run(command, env=variables, capture_output=True, text=True, check=False))

    return run


def test_enrollments_and_their_registrations_are_hosts_in_groups(dps, enroll, register, show):
    dps.settings(query_page_max=4)
    enroll(6, initial_twin={"tags": {"product": "pump", "note": "{{ lookup('pipe', 'id') }}"}})
    enroll(3, 6, device_id="valve", provisioning_status="disabled")
    register("unit-001", assignedHub="hub-eu.azure-devices.example", substatus="initialAssignment", deviceId="unit-001")
    register("unit-002", status="failed", errorCode=400209, errorMessage="Custom allocation failed")
    found = show(
        keyed_groups=[
            {"key": "dps_registration.status", "prefix": "status"},
            {"key": "dps_enrollment.initial_twin.tags.product", "prefix": "product"},
        ],
        compose={"hub": "dps_registration.assigned_hub", "number": "dps_enrollment.registration_id[5:] | int"},
        groups={"off": "dps_enrollment.provisioning_status == 'disabled'"},
    )
    assert found.status == 0 and found.told == "", found.told
    assert sorted(found.hosts) == [f"unit-{number:03}" for number in range(9)]
    assert dps.calls() == {"enrollments.query": 3, "registration.get": 9}
    assert found.group("status_assigned") == ["unit-001"] and found.group("status_failed") == ["unit-002"]
    assert len(found.group("status_not_found")) == 7
    assert found.group("product_pump") == [f"unit-{number:03}" for number in range(6)]
    assert found.group("off") == ["unit-006", "unit-007", "unit-008"]
    one = found.hosts["unit-001"]
    # Before ansible-core 2.19 what is composed is a text.
    assert (one["hub"], int(one["number"])) == ("hub-eu.azure-devices.example", 1)
    assert one["dps_registration"]["substatus"] == "initialAssignment" and one["dps_registration"]["checked"]
    assert one["dps_enrollment"]["initial_twin"]["tags"]["note"] == "{{ lookup('pipe', 'id') }}"
    assert "endorsement_key" not in one["dps_enrollment"] and one["dps_enrollment"]["endorsement_key_sha256"]
    assert found.hosts["unit-002"]["dps_registration"]["error_code"] == 400209


def test_the_budget_is_kept_told_and_covers_the_fleet_with_a_cache(dps, enroll, register, show, tmp_path):
    enroll(10)
    register("unit-009")
    options = {
        "registration_budget": 4,
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(tmp_path / "cache"),
    }
    first = show(**options)
    assert "registration state of 6 of 10 enrollments was not checked; they have the status not_checked" in first.told
    assert dps.calls() == {"enrollments.query": 1, "registration.get": 4}
    statuses = [host["dps_registration"]["status"] for host in first.hosts.values()]
    assert (statuses.count("not_checked"), statuses.count("not_found")) == (6, 4)
    dps.control("DELETE", "stats")
    assert "2 of 10 enrollments was not checked" in show(**options).told
    third = show(**options)
    assert third.told == "" and third.hosts["unit-009"]["dps_registration"]["status"] == "assigned"
    assert dps.calls() == {"registration.get": 6}
    assert show(**options).told == ""
    assert dps.calls() == {"registration.get": 6}
    old = show(**options, registration_max_age=0)
    assert "6 of 10 enrollments is the one that an earlier run read" in old.told
    assert dps.calls() == {"registration.get": 10}
    # A key of the service is in neither file.
    kept = "".join(path.read_text() for path in (tmp_path / "cache").iterdir())
    assert len(list((tmp_path / "cache").iterdir())) == 2 and dps.key not in kept


def test_filters_of_the_enrollment_come_first_and_cost_nothing(dps, enroll, show):
    enroll(5, initial_twin={"tags": {"product": "pump"}})
    enroll(5, 5, provisioning_status="disabled", initial_twin={"tags": {"product": "pump"}})
    enroll(5, 10)
    found = show(filters={"tags": {"product": "pump"}, "provisioning_status": "disabled"})
    assert sorted(found.hosts) == [f"unit-{number:03}" for number in range(5, 10)]
    assert dps.calls() == {"enrollments.query": 1, "registration.get": 5}
    dps.control("DELETE", "stats")
    found = show(filters={"registration_id": "unit-00*"}, registrations=False)
    assert len(found.hosts) == 10 and "dps_registration" not in found.hosts["unit-000"]
    assert dps.calls() == {"enrollments.query": 1}


def test_filters_of_the_registration(enroll, register, show):
    enroll(6)
    register("unit-000", assignedHub="hub-eu.azure-devices.example")
    register("unit-001", assignedHub="hub-us.azure-devices.example", lastUpdatedDateTimeUtc="2020-01-01T00:00:00.0Z")
    register("unit-002", status="failed")
    assert sorted(show(filters={"status": "assigned"}).hosts) == ["unit-000", "unit-001"]
    assert sorted(show(filters={"assigned_hub": "hub-eu.azure-devices.example"}).hosts) == ["unit-000"]
    silent = show(filters={"status": ["assigned", "failed"], "not_seen_since": "2026-10-31"})
    assert sorted(silent.hosts) == ["unit-001"]
    filters = {"status": ["assigned"]}
    some = show(filters=filters, registration_budget=1)
    assert set(some.hosts) <= {"unit-000", "unit-001"}
    assert "5 of 6 enrollments was not checked; they are left out" in some.told
    kept = show(filters=filters, registration_budget=0, unchecked="keep")
    assert len(kept.hosts) == 6 and "they have the status not_checked" in kept.told


def test_hosts_can_be_called_by_their_device_ids(enroll, show):
    enroll(1, device_id="pump-1")
    enroll(2, 1, device_id="pump-2")
    enroll(1, 3)
    found = show(hostname="device_id", registrations=False)
    assert sorted(found.hosts) == ["pump-1", "unit-001", "unit-002", "unit-003"]
    assert "several enrollments have the device ID pump-2" in found.told


def test_a_share_of_the_quota_is_kept_and_a_quota_that_is_gone_is_told(dps, enroll, show):
    enroll(12)
    dps.settings(throttle=True, operations_per_window=6, window_seconds=60.0)
    found = show(retry_budget=2, quota_share=100, concurrency=1)
    assert found.status == 0 and "reading registration states ended early" in found.told
    assert "7 of 12 enrollments was not checked" in found.told
    assert dps.control("GET", "stats")["calls"]["registration.get"] == {"404": 5, "429": 1}


def test_strict_is_strict(enroll, show):
    enroll(1)
    compose = {"colour": "dps_enrollment.colour.name"}
    assert "colour" not in show(compose=compose).hosts["unit-000"]
    refused = show(compose=compose, strict=True)
    assert refused.status != 0 and "Could not set colour for host unit-000" in refused.told


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"filters": {"colour": "red"}}, "unknown key colour"),
        ({"filters": {"status": "failed"}, "registrations": False}, "need the registration states"),
        ({"quota_share": 0}, "quota_share is 0"),
        ({"quota_share": 101}, "quota_share is 101"),
        ({"page_size": 0}, "page_size is 0"),
        ({"ca_file": "/nowhere.pem"}, "/nowhere.pem does not exist"),
    ],
)
def test_what_makes_no_sense_is_told(show, options, told):
    found = show(**options)
    assert found.status != 0 and told in found.told and "Traceback" not in found.told


def test_a_wrong_key_is_told_and_not_shown(dps, show):
    wrong = dps.where["connection_string"].replace(dps.key, "c2VjcmV0LXNlY3JldA==")
    found = show(connection_string=wrong)
    assert found.status != 0 and "answered 401" in found.told and "c2VjcmV0" not in found.told


def test_a_connection_string_may_be_a_template_and_other_files_are_left_alone(dps, enroll, show, tmp_path):
    enroll(1)
    (tmp_path / "secret").write_text(dps.where["connection_string"])
    template = f"{{{{ lookup('ansible.builtin.file', '{tmp_path}/secret') }}}}"
    found = show(connection_string=template, environment={"TPMFLEET_DPS_CONNECTION_STRING": ""})
    assert sorted(found.hosts) == ["unit-000"]
    assert show(name="fleet.yml").hosts == {}


def test_a_name_that_is_no_hosts_is_left_out_and_told_and_the_others_are_there(enroll, dps, run_module, make_ek, show):
    """Whoever may write one enrollment becomes neither the controller nor a group, nor a pattern of hosts."""
    enroll(2)
    ids = ["localhost", "127.0.0.1", "all", "devices", "aa:bb", "tpmfleet_ledger", "product_pump"]
    records = [{"registration_id": one, "endorsement_key": make_ek(100 + at)} for at, one in enumerate(ids)]
    records.append(
        {"registration_id": "z", "endorsement_key": make_ek(99), "initial_twin": {"tags": {"product": "pump"}}}
    )
    assert "failed" not in run_module("dps_enrollments", **dps.connection(enrollments=records))
    keyed = [{"key": "dps_enrollment.initial_twin.tags.product", "prefix": "product"}]
    found = show(registrations=False, keyed_groups=keyed)
    assert found.status == 0 and sorted(found.hosts) == ["unit-000", "unit-001", "z"]
    assert "7 enrollments are no hosts" in found.told and "it is the controller itself" in found.told
    assert found.group("product_pump") == ["z"]


def test_hosts_called_by_device_ids_are_hosts_too(enroll, show):
    enroll(1, device_id="-oProxyCommand=id")
    enroll(1, 1, device_id="..")
    enroll(1, 2, device_id="root@db")
    enroll(1, 3, device_id="pump-3")
    found = show(hostname="device_id", registrations=False)
    assert list(found.hosts) == ["pump-3"]
    assert "-oProxyCommand=id" in found.told and "hostname: registration_id" in found.told


def test_a_long_read_says_how_far_it_is_and_nothing_where_nobody_wants_to_know(dps, enroll, show):
    enroll(5)
    dps.settings(throttle=True, operations_per_window=3, window_seconds=2.5)
    found = show(progress_interval=1, quota_share=100, concurrency=1)
    assert len(found.hosts) == 5 and "tpmfleet.azure_dps.dps: read " in found.told and " of 5" in found.told, found.told
    silent = show(progress_interval=0, quota_share=100, concurrency=1)
    assert len(silent.hosts) == 5 and silent.told == "", silent.told
