# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A ledger as ``ansible-inventory`` shows it: who is taken by what is known of him, and what names may not do."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.inventory import ledger as plugin
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.judgement import Step
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.policy import CertificatePolicy

COLLECTION = Path(__file__).resolve().parents[4]
ANSIBLE_INVENTORY = Path(sys.executable).with_name("ansible-inventory")
LONG_AGO = (datetime.now(timezone.utc) - timedelta(days=300)).strftime("%Y-%m-%dT%H:%M:%SZ")
LATELY = (datetime.now(timezone.utc) - timedelta(days=3)).strftime("%Y-%m-%dT%H:%M:%SZ")
OWNED = {"profile": "fleet", "owner_auth_set": True, "lockout_auth_set": True, "endorsement_auth_set": True}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def take(path):
    """Has a step take records into the ledger."""

    def run(*records, step="tpm_install", station="line-1", at=LATELY):
        with opened(str(path), Access.WRITE) as connection:
            work = Step(
                connection,
                step=step,
                station=station,
                at=at,
                list_policy="ignored",
                certificates=CertificatePolicy("ignored"),
            )
            return work.take(records)

    return run


@pytest.fixture
def fleet(take, make_ek):
    """Units 0 to 5: two boxed long ago, one lately, one installed, one that failed on its way, one in the field."""

    def one(number, **more):
        return {
            "host": f"rack1-slot{number}",
            "serial_number": f"TF-{number}",
            "registration_id": f"unit-{number}",
            "endorsement_key": make_ek(number),
            "dps_id_scope": "0ne0000000A" if number % 2 else "0ne0000000B",
            "ownership": {**OWNED, "key_version": 1 + number % 3},
            "outcome": {"ownership": "done"},
            "maker": "Maker A",
            **more,
        }

    take(*map(one, range(6)), step="software_install", at=LONG_AGO)
    take(one(0), one(1), one(5), step="warehouse", station="store-1", at=LONG_AGO)
    take(one(2), step="warehouse", station="store-2", at=LATELY)
    take(one(5), step="field_activation", station="field", at=LATELY)
    refused = take(
        one(4, endorsement_key=make_ek(99)), step="software_install", station="line9", at="2026-03-03T12:00:00Z"
    )
    assert refused["rack1-slot4"].reasons
    return one


@pytest.fixture
def show(path, tmp_path):
    """Runs ``ansible-inventory --list``: (status, what was told, what was shown)."""

    def run(name="fleet.ledger.yml", **options):
        source = tmp_path / name
        source.write_text(yaml.safe_dump({"plugin": "tpmfleet.azure_dps.ledger", "ledger": str(path), **options}))
        environment = {
            **os.environ,
            "ANSIBLE_INVENTORY_ENABLED": "tpmfleet.azure_dps.ledger",
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "true",
        }
        done = subprocess.run(
            [str(ANSIBLE_INVENTORY), "--inventory", str(source), "--list"],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in done.stderr, done.stderr
        shown = json.loads(done.stdout, object_hook=_plain) if done.returncode == 0 else {}
        return done.returncode, " ".join(done.stderr.split()), shown

    return run


def _plain(value):
    """Ansible marks what may hold no template."""
    return value["__ansible_unsafe"] if list(value) == ["__ansible_unsafe"] else value


def hosts(shown):
    return shown["_meta"]["hostvars"]


@pytest.mark.parametrize(
    ("filters", "taken"),
    [
        ({}, "012345"),
        ({"last_step": "warehouse"}, "012"),
        ({"last_step": "warehouse", "before": "39w"}, "01"),
        ({"last_step": "warehouse", "after": "39w"}, "2"),
        ({"step": "warehouse"}, "0125"),
        ({"step": "warehouse", "before": "39w"}, "015"),
        ({"step": ["warehouse", "field_activation"], "after": "30d"}, "25"),
        ({"station": ["store-1", "field"]}, "015"),
        ({"step": "warehouse", "station": "store-1"}, "015"),
        ({"key_version": 1}, "03"),
        ({"key_version": [2, 3], "dps_id_scope": "0ne0000000A"}, "15"),
        ({"failed_step": "software_install"}, "4"),
        ({"failed_step": "software_install", "failed_after": "2026-03-03", "failed_before": "2026-03-04"}, "4"),
        ({"failed_after": "2026-03-04"}, ""),
        ({"failed_step": "warehouse"}, ""),
        ({"decommissioned": True}, ""),
        ({"decommissioned": False, "maker": "Nobody"}, ""),
    ],
)
def test_devices_are_taken_by_what_is_known_of_them(fleet, show, filters, taken):
    status, told, shown = show(filters=filters)
    assert status == 0, told
    assert sorted(hosts(shown)) == [f"TF-{number}" for number in taken]
    assert "WARNING" not in told.replace("provided hosts list is empty", ""), told


def test_what_is_known_is_in_variables_groups_and_composed_ones(fleet, show):
    status, told, shown = show(
        filters={"failed_step": "software_install"},
        keyed_groups=[
            {"key": "unit_failure.station", "prefix": "failed_at"},
            {"key": "unit_ownership.key_version", "prefix": "key_version"},
        ],
        compose={"version": "unit_ownership.key_version"},
        groups={"in_b": "unit_dps_id_scope == '0ne0000000B'"},
        variable_prefix="unit_",
        hostname=["registration_id"],
    )
    assert status == 0 and told == "", told
    ((name, known),) = hosts(shown).items()
    # Before ansible-core 2.19 what is composed is a text.
    assert name == "unit-4" and int(known["version"]) == 2 and known["unit_last_step"] == "software_install"
    assert known["unit_failure"]["at"] == "2026-03-03T12:00:00Z" and known["unit_failure"]["reasons"]
    assert shown["failed_at_line9"]["hosts"] == shown["in_b"]["hosts"] == ["unit-4"]
    assert shown["key_version_2"]["hosts"] == ["unit-4"]
    # Ansible itself has an ansible_local for each host where facts are no variables.
    assert set(known) - {"version", "ansible_local"} <= {
        f"unit_{field}" for field in (*plugin.ASKED_FOR, "last_step", "failure")
    }


def test_variables_are_fields_of_the_published_schema():
    schema = json.loads((COLLECTION / "meta" / "device-record.schema.json").read_text())
    left_out = set(schema["properties"]) - set(plugin.ASKED_FOR)
    assert set(plugin.ASKED_FOR) <= set(schema["properties"])
    assert left_out == {
        "record_version",
        "places",
        "endorsement_key",
        "endorsement_key_certificate",
        "endorsement_key_certificate_chain",
        "storage_root_key",
        "earlier_work_orders",
    }


HOSTILE = ("localhost", "127.1", "all", "in_field", "-oProxyCommand=id", "../x", "a b", "x\x1b[2Jy", "tpmfleet_x", "é")


def test_hostile_names_and_values_are_harmless(take, show):
    records = [
        {"host": f"slot{number}", "serial_number": name, "outcome": {"part": "done"}, "tpm_model": "{{ 7 * 6 }}"}
        for number, name in enumerate(HOSTILE)
    ]
    stations = ("localhost", "TF-2", "all", "good")
    good = [
        {"host": f"other{number}", "serial_number": f"TF-{number}", "outcome": {"part": "done"}, "tpm_model": "{{ 1 }}"}
        for number in range(len(stations))
    ]
    take(*records)
    for record, station in zip(good, stations):
        take(record, station=station)
    status, told, shown = show(
        keyed_groups=[{"key": "ledger_steps.tpm_install.station", "separator": ""}],
        groups={"in_field": "ledger_last_step == 'field_activation'"},
        strict=False,
    )
    assert status == 0, told
    assert sorted(hosts(shown)) == [f"TF-{number}" for number in range(len(stations))]
    assert {one["ledger_tpm_model"] for one in hosts(shown).values()} == {"{{ 1 }}"}
    assert f"{len(HOSTILE)} devices are no hosts" in told and "\x1b" not in told
    assert shown["good"]["hosts"] == ["TF-3"] and "localhost" not in shown and "TF-2" not in shown


def test_slots_that_share_a_name_hide_no_unit(take, show):
    take(*({"host": "slot1", "serial_number": f"TF-{number}"} for number in range(1)))
    take({"host": "slot1", "serial_number": "TF-1"})
    status, told, shown = show(hostname=["host"])
    assert status == 0 and hosts(shown) == {}
    assert "several devices would be called slot1" in told
    status, told, shown = show(hostname=["device_id"])
    assert status == 0 and "2 devices have no device_id and are no hosts" in told


def test_a_stranger_that_was_stopped_is_told(take, show, make_ek):
    take({"host": "rack1-slot9", "serial_number": 83, "endorsement_key": make_ek(1)})
    status, told, shown = show(filters={"failed_step": "tpm_install"})
    assert status == 0 and hosts(shown) == {}
    assert "1 hosts were stopped before the ledger knew a device" in told and "rack1-slot9" in told


def test_a_unit_that_failed_itself_is_among_the_failures(take, show):
    named = {"host": "rack1-slot1", "serial_number": "TF-1"}
    take(named)
    take({**named, "failed": {"reason": "the claim was refused"}}, step="software_install")
    status, told, shown = show(filters={"failed_step": "software_install"})
    assert status == 0, told
    assert hosts(shown)["TF-1"]["ledger_failure"]["reasons"] == ["the claim was refused"]


def test_the_cache_is_for_the_same_question_and_tells_no_url(fleet, take, show, tmp_path, path):
    cache = {
        "cache": True,
        "cache_plugin": "ansible.builtin.jsonfile",
        "cache_connection": str(tmp_path / "cache"),
        "filters": {"last_step": "warehouse"},
    }
    assert len(hosts(show(**cache)[2])) == 3
    take(fleet(3), step="warehouse")
    assert len(hosts(show(**cache)[2])) == 3
    assert len(hosts(show(**{**cache, "filters": {"step": "warehouse"}})[2])) == 5
    (file,) = (one for one in (tmp_path / "cache").rglob("*") if one.is_file())
    assert str(path) not in file.read_text()
    # Whatever else stands in its place is read anew.
    file.write_text(re.sub(r'"units": *\[', '"units": ["spoilt", ', file.read_text()))
    assert len(hosts(show(**{**cache, "filters": {"step": "warehouse"}})[2])) == 5


def test_a_damaged_record_is_told_and_the_others_are_hosts(fleet, show, path):
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE devices SET record = 'x' WHERE serial_number = 'TF-3'")
        edited = json.dumps({"maker": "M", "serial_number": "TF-2", "host": "rack1-slot2", "tpm_type": ["x"]})
        connection.execute(
            "UPDATE devices SET record = ?, registration_id = NULL, endorsement_key_sha256 = NULL"
            " WHERE serial_number = 'TF-2'",
            (edited,),
        )
    connection.close()
    status, told, shown = show()
    assert status == 0 and sorted(hosts(shown)) == ["TF-0", "TF-1", "TF-2", "TF-4", "TF-5"]
    assert "1 records are damaged and are no hosts" in told and "TF-3" in told
    assert sorted(hosts(show(filters={"tpm_type": "x"})[2])) == []


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"filters": {"colour": "red"}}, "unknown key colour"),
        ({"filters": {"step": "unpack"}}, "It is one of tpm_install"),
        ({"filters": {"step": 3}}, "which is no text"),
        ({"filters": {"before": "Tuesday"}}, "neither a time nor an age"),
        ({"filters": {"before": "9" * 30 + "w"}}, "neither a time nor an age"),
        ({"filters": {"key_version": "one"}}, "no whole number"),
        ({"filters": {"key_version": True}}, "no whole number"),
        ({"filters": {"decommissioned": "maybe"}}, "neither true nor false"),
        ({"variable_prefix": "ansible_"}, "variable_prefix has to be"),
        ({"variable_prefix": "tpmfleet_"}, "variable_prefix has to be"),
        ({"variable_prefix": ""}, "variable_prefix has to be"),
        ({"ledger": "/nowhere/ledger.sqlite"}, "The ledger is not there"),
        ({"ledger": " "}, "ledger is empty"),
        ({"ledger": "mysql://u:secret@h/d"}, "not supported"),
    ],
)
def test_what_makes_no_sense_is_told(fleet, show, options, told):
    status, said, _shown = show(**options)
    assert status != 0 and told in said and "secret" not in said, said


def test_a_ledger_that_is_not_there_is_told_and_not_made(show, path):
    status, told, _shown = show()
    assert status != 0 and "The ledger is not there" in told and not path.exists()


def test_other_files_are_left_alone_and_a_ledger_may_be_a_template(fleet, show, path, monkeypatch):
    assert show(name="fleet.yml")[0] != 0
    monkeypatch.setenv("WHERE", str(path))
    status, told, shown = show(ledger="{{ lookup('ansible.builtin.env', 'WHERE') }}")
    assert status == 0 and len(hosts(shown)) == 6, told


@pytest.mark.parametrize("example", list(yaml.safe_load_all(plugin.EXAMPLES)), ids=lambda one: str(one["filters"])[:40])
def test_the_examples_are_understood(fleet, show, path, tmp_path, example):
    options = {**example, "ledger": str(path)}
    if "cache_connection" in options:
        options["cache_connection"] = str(tmp_path / "cache")
    status, told, shown = show(strict=True, **options)
    assert status == 0, told
    if example["filters"].get("last_step"):
        assert sorted(hosts(shown)) == ["TF-0", "TF-1"]
        assert hosts(shown)["TF-0"]["boxed_on"] == LONG_AGO[:10]
        assert sorted(shown["maker_Maker A"]["hosts"]) == ["TF-0", "TF-1"]
