# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One unit's story: what happened to it, its failures too, in sentences; by the module and by the playbook."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

COLLECTION = Path(__file__).resolve().parents[4]
ANSIBLE_PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
WORK = {"ownership": "done", "possession": "done", "dps_client": "done", "enrollment": "verified"}


@pytest.fixture
def ledger(run_module, make_ek, tmp_path):
    """A unit that was stopped once and then passed, and was moved; beside it one with a hostile serial number."""
    path = str(tmp_path / "ledger.sqlite")
    key = {"endorsement_key": make_ek(1), "registration_id": "Unit-1"}
    unit = {"host": "rack1-slot01", "serial_number": "TF-1", **key}

    def take(step, record, station="line-1", **others):
        run_module(
            "device_records",
            ledger=path,
            step=step,
            station=station,
            records=[record],
            operator="ada",
            run_id="r1",
            **others,
        )

    take("tpm_install", unit)
    take("software_install", {**unit, "endorsement_key": make_ek(2)})
    take("software_install", {**unit, "outcome": WORK, "dps_id_scope": "0neA"}, station="line-2")
    take("warehouse", {**unit, "outcome": {"ownership": "verified", "dps_identity": "done"}, "enrolling": "0neA"})
    take("warehouse", unit)
    take("tpm_install", {"host": "rack1-slot02", "serial_number": "\x1b[2J{{ 7 * 7 }}\nTF-2"})
    return path


def test_a_unit_that_failed_once_and_then_passed(run_module, ledger):
    told = run_module("device_story_info", ledger=ledger, serial_number="TF-1")
    assert told["found"]
    head, *lines = told["lines"]
    assert head == "TF-1 (rack1-slot01): registration ID Unit-1, enrolled in 0neA."
    said = [line.partition(" UTC, ")[2] for line in lines]
    assert said[0] == "step 2, the TPM is installed, at line-1, by ada, run r1: It was read, and written down."
    assert said[1].startswith(
        "step 3, firmware and software are installed, at line-1, by ada, run r1: STOPPED, its endorsement key "
    )
    assert "is not the one that was read before" in said[1]
    assert said[2] == (
        "step 3, firmware and software are installed, at line-2, by ada, run r1: Done: the DPS client, "
        "ownership of the TPM, the proof that the TPM holds the key; verified: the enrollment."
    )
    assert said[3].endswith("Done: the identity on the device; verified: ownership of the TPM.")
    assert said[4].endswith("step 4, the warehouse, at line-1, by ada, run r1: All was as recorded.")
    assert [event["state"] for event in told["events"]] == ["done", "stopped", "done", "done", "verified"]
    assert [event["words"] for event in told["events"]] == lines
    assert told["record"]["serial_number"] == "TF-1"


@pytest.mark.parametrize("name", [{"registration_id": "uNIT-1"}, {"device_id": "Unit-1"}])
def test_it_is_found_by_its_other_names(run_module, ledger, name):
    assert run_module("device_story_info", ledger=ledger, **name)["record"]["serial_number"] == "TF-1"


def test_who_is_not_known_is_told(run_module, ledger):
    told = run_module("device_story_info", ledger=ledger, device_id="nobody\x1b[2J")
    assert not told["found"] and told["lines"] == ["The ledger knows no device with the device ID nobody\\x1b[2J."]


@pytest.mark.parametrize(
    "what",
    [
        "\x1b[2J",
        "5",
        "{}",
        '{"state": 5, "outcome": 7, "reasons": 8}',
        '{"state": "stopped", "reasons": "one"}',
        '{"state": "stopped", "reasons": null}',
        '{"state": "done", "outcome": {"x": {"y": 1}, "z": ["done"], "w": null}}',
        '{"state": "done", "rotation": 5, "disenrolled": {"a": 1}, "remarks": 7}',
        '{"state": "withdrawn"}',
    ],
)
def test_an_event_that_was_edited_is_told_all_the_same(run_module, ledger, what):
    with sqlite3.connect(ledger) as connection:
        connection.execute("UPDATE events SET what = ?, station = ? WHERE id = 2", [what, "\x1b[2J"])
        connection.execute("UPDATE devices SET record = '[]' WHERE id = 2")
    connection.close()
    told = run_module("device_story_info", ledger=ledger, serial_number="TF-1")
    assert len(told["lines"]) == 6 and "\x1b" not in "".join(told["lines"])
    damaged = run_module("device_story_info", ledger=ledger, serial_number="\x1b[2J{{ 7 * 7 }}\nTF-2")
    assert damaged["found"] and damaged["record"] == {} and "is damaged" in damaged["lines"][0]


def tell(ledger, callback, *names):
    environment = {
        "ANSIBLE_STDOUT_CALLBACK": callback,
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_LOCALHOST_WARNING": "0",
        "CI": "1",
    }
    named = [word for name in names for word in ("-e", name)]
    return subprocess.run(
        [ANSIBLE_PLAYBOOK, str(COLLECTION / "playbooks" / "story.yml"), "-e", f"tpmfleet_ledger={ledger}", *named],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("callback", ["tpmfleet.azure_dps.line", "ansible.builtin.default"])
def test_the_playbook_tells_it_a_line_an_event(ledger, callback):
    done = tell(ledger, callback, "tpmfleet_serial_number=TF-1")
    assert done.returncode == 0, done.stdout
    # Ansible's own output folds what is long.
    said = " ".join(done.stdout.split())
    assert "step 3, firmware and software are installed, at line-1, by ada, run r1: STOPPED, its endorsement" in said
    assert said.count("by ada, run r1: ") == 5
    if callback == "tpmfleet.azure_dps.line":
        assert len([line for line in done.stdout.splitlines() if "by ada, run r1: " in line]) == 5


def test_the_playbook_fails_for_a_unit_that_nobody_knows(ledger):
    done = tell(ledger, "tpmfleet.azure_dps.line", "tpmfleet_serial_number=TF-9")
    assert done.returncode == 2 and "The ledger knows no device with the serial number TF-9." in done.stdout
