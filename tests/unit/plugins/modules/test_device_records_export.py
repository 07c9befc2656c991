# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records of a ledger as a file: what the schema has, the same bytes each time, signed, and whole or not at all."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
from pathlib import Path

import pytest
import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.judgement import Step
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.fields import RECORD_FIELDS
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.policy import CertificatePolicy
from ansible_collections.tpmfleet.azure_dps.plugins.modules import device_records_export as module

PLAYBOOK = Path(__file__).resolve().parents[4] / "playbooks" / "device_records_export.yml"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def fleet(path, make_ek):
    """Four units in the ledger, two of them boxed, one of which failed later."""

    def take(step, at, *records):
        with opened(str(path), Access.WRITE) as connection:
            policy = CertificatePolicy("ignored")
            Step(connection, step=step, station="line-1", at=at, list_policy="ignored", certificates=policy).take(
                records
            )

    def one(number, **more):
        known = {"host": f"slot{number}", "serial_number": f"TF-{number}", "endorsement_key": make_ek(number)}
        return {
            **known,
            "registration_id": f"unit-{number}",
            "tpm_model": "é \u2028",
            "outcome": {"ownership": "done"},
            **more,
        }

    take("tpm_install", "2026-01-01T08:00:00Z", *map(one, range(4)))
    take("warehouse", "2026-02-02T08:00:00Z", one(1), one(3))
    take("warehouse", "2026-03-03T08:00:00Z", one(3, endorsement_key=make_ek(9)))


@pytest.fixture
def export(run_module, path, tmp_path):
    def run(**options):
        return run_module(
            "device_records_export", **{"ledger": str(path), "dest": str(tmp_path / "records.jsonl"), **options}
        )

    return run


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "owner"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path


def lines(tmp_path):
    return [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()]


def test_the_whole_ledger_is_written_as_the_schema_has_it_and_once(fleet, export, tmp_path, record_schema):
    planned = export(check=True, diff=True)
    assert planned["changed"] and planned["total"] == 4 and not (tmp_path / "records.jsonl").exists()
    done = export(diff=True)
    assert done["changed"] and done["diff"] == planned["diff"] and done["signature"] is None
    written = (tmp_path / "records.jsonl").read_bytes()
    assert done["diff"]["after"].encode() == written and done["diff"]["before"] == ""
    assert [one["serial_number"] for one in lines(tmp_path)] == [f"TF-{number}" for number in range(4)]
    for one in lines(tmp_path):
        record_schema.validate(one)
    assert os.stat(tmp_path / "records.jsonl").st_mode & 0o777 == 0o600
    again = export()
    assert not again["changed"] and (tmp_path / "records.jsonl").read_bytes() == written


def test_the_fields_are_those_of_the_published_schema(record_schema):
    assert list(RECORD_FIELDS) == list(record_schema.schema["properties"])


@pytest.mark.parametrize(
    ("filters", "taken"),
    [
        ({"last_step": "warehouse"}, "13"),
        ({"last_step": "tpm_install", "station": "line-1"}, "02"),
        ({"failed_step": "warehouse", "failed_after": "2026-03-01"}, "3"),
        ({"key_version": 7}, ""),
    ],
)
def test_a_selection(fleet, export, tmp_path, filters, taken):
    assert export(filters=filters)["total"] == len(taken)
    assert [one["serial_number"] for one in lines(tmp_path)] == [f"TF-{number}" for number in taken]


def test_it_is_signed_once_and_again_when_it_was_changed(fleet, export, key, tmp_path):
    done = export(signing_key=str(key))
    signature = Path(done["signature"])
    first = signature.read_bytes()
    assert done["changed"] and not export(signing_key=str(key))["changed"] and signature.read_bytes() == first
    allowed = tmp_path / "allowed"
    allowed.write_text(f"owner@example.org {key.with_suffix('.pub').read_text()}")
    command = ["ssh-keygen", "-Y", "verify", "-f", allowed, "-I", "owner@example.org", "-n", "file", "-s", signature]
    with open(tmp_path / "records.jsonl") as file:
        assert subprocess.run(command, stdin=file, check=False).returncode == 0
    with open(tmp_path / "records.jsonl", "a") as file:
        file.write("{}\n")
    assert export(signing_key=str(key), check=True)["changed"]
    assert export(signing_key=str(key))["changed"] and not export(signing_key=str(key))["changed"]
    signature.write_bytes(first.replace(b"U1NIU0lH", b"AAAAAAAA"))
    assert export(signing_key=str(key))["changed"] and signature.read_bytes() == first


def test_a_key_that_makes_no_signature_leaves_no_file(fleet, export, tmp_path):
    (tmp_path / "nokey").write_text("no key")
    failed = export(signing_key=str(tmp_path / "nokey"))
    assert failed["failed"] and "is no SSH key" in failed["msg"] and not (tmp_path / "records.jsonl").exists()


def test_a_damaged_record_is_told_and_the_old_file_stays(fleet, export, path, tmp_path):
    export()
    before = (tmp_path / "records.jsonl").read_bytes()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE devices SET record = '[]' WHERE serial_number = 'TF-3'")
    connection.close()
    failed = export()
    assert failed["failed"] and "Nothing was written: the record of TF-3" in failed["msg"]
    assert (tmp_path / "records.jsonl").read_bytes() == before


def test_a_field_that_somebody_wrote_into_the_ledger_does_not_leave_it(fleet, export, path, tmp_path):
    with sqlite3.connect(path) as connection:
        (text,) = connection.execute("SELECT record FROM devices WHERE serial_number = 'TF-0'").fetchone()
        edited = json.dumps({**json.loads(text), "owner_auth": "secret"})
        connection.execute("UPDATE devices SET record = ? WHERE serial_number = 'TF-0'", (edited,))
    connection.close()
    assert export()["total"] == 4 and "secret" not in (tmp_path / "records.jsonl").read_text()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"ledger": "/nowhere/ledger.sqlite"}, "The ledger is not there"),
        ({"dest": "/nowhere/records.jsonl"}, "is not there: make it"),
        ({"filters": {"colour": "red"}}, "unknown key colour"),
    ],
)
def test_what_makes_no_sense_is_told(fleet, export, wrong, told):
    failed = export(**wrong)
    assert failed["failed"] and told in failed["msg"]


@pytest.mark.parametrize("kind", ["directory", "fifo"])
def test_what_is_no_file_is_left_alone(fleet, export, tmp_path, kind):
    place = tmp_path / "records.jsonl"
    place.mkdir() if kind == "directory" else os.mkfifo(place)
    failed = export()
    assert failed["failed"] and "is left alone" in failed["msg"]


def test_the_example_and_the_playbook_are_of_the_module(fleet, path, tmp_path):
    (example,) = yaml.safe_load(module.EXAMPLES)
    assert set(example["tpmfleet.azure_dps.device_records_export"]) == {"ledger", "dest", "filters"}
    command = ["ansible-playbook", str(PLAYBOOK), "-e", f"tpmfleet_ledger={path}"]
    wanted = {"tpmfleet_records_export": str(tmp_path / "boxed.jsonl")}
    chosen = {"tpmfleet_records_export_filters": {"last_step": "warehouse"}}
    done = subprocess.run(
        [*command, "-e", json.dumps({**wanted, **chosen})], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0 and "2 records" in done.stdout, done.stdout + done.stderr
    assert len((tmp_path / "boxed.jsonl").read_text().splitlines()) == 2
