# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each event says who started the run and which run it was: one for all of a run, another for the next."""

from __future__ import annotations

import getpass
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ANSIBLE_PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")


def task(step, host):
    module = {"ledger": "ledger.sqlite", "step": step, "records": [{"host": host, "serial_number": host}]}
    return {"name": step, "tpmfleet.azure_dps.device_records": module, "delegate_to": "localhost"}


PLAYBOOK = [
    {"hosts": "devices", "gather_facts": False, "tasks": [task("tpm_install", "{{ inventory_hostname }}")]},
    {"hosts": "devices", "gather_facts": False, "tasks": [task("warehouse", "{{ inventory_hostname }}")]},
]


@pytest.fixture
def run(tmp_path, run_module):
    """Runs two steps over two units; the pairs of operator and run ID in their events since the last run."""
    (tmp_path / "hosts.yml").write_text("devices: {hosts: {unit1: , unit2: }}\n")
    (tmp_path / "line.yml").write_text(yaml.safe_dump(PLAYBOOK))
    seen = {"unit1": 0, "unit2": 0}

    def go(*arguments, **environment):
        plain = {name: value for name, value in os.environ.items() if name not in ("TPMFLEET_RUN_ID", "SUDO_USER")}
        more = {"ANSIBLE_CALLBACKS_ENABLED": "tpmfleet.azure_dps.line_summary", "TPMFLEET_SUMMARY_FILE": "summary.json"}
        done = subprocess.run(
            [ANSIBLE_PLAYBOOK, "-i", "hosts.yml", "line.yml", *arguments],
            cwd=tmp_path,
            env={**plain, **more, "ANSIBLE_LOCALHOST_WARNING": "0", "PWD": str(tmp_path), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout
        found = run_module("device_records_info", ledger=str(tmp_path / "ledger.sqlite"), history=True)["records"]
        events = [event for record in found for event in record["history"][seen[record["serial_number"]] :]]
        seen.update({record["serial_number"]: len(record["history"]) for record in found})
        assert len(events) in (0, 4)
        go.summary = json.loads((tmp_path / "summary.json").read_text())
        return {(event.get("operator"), event.get("run_id")) for event in events}

    return go


def test_a_run_has_one_name_and_the_next_one_another(run, run_module, tmp_path):
    [(operator, first)] = run()
    assert operator == getpass.getuser()
    assert re.fullmatch(r"\d{8}T\d{6}Z-[0-9a-f]{8}", first)
    head = run_module("ledger_verify_info", ledger=str(tmp_path / "ledger.sqlite"))["head"]
    assert (run.summary["run_id"], run.summary["ledger_head"]) == (first, head)
    [(_operator, second)] = run()
    assert second != first
    assert run("--check") == set()
    assert (run.summary["run_id"], run.summary["ledger_head"]) == (None, None)


@pytest.mark.parametrize(
    ("arguments", "environment", "told"),
    [
        (
            ["-e", "tpmfleet_operator=ada", "-e", "tpmfleet_run_id=night-7"],
            {"TPMFLEET_RUN_ID": "ci-1"},
            ("ada", "night-7"),
        ),
        (["-e", '{"tpmfleet_operator": 7, "tpmfleet_run_id": 8}'], {}, ("7", "8")),
        (["-e", "awx_user_name=grace", "-e", "awx_job_id=42"], {}, ("grace", "awx-42")),
        (["-e", "awx_job_id=42"], {"TPMFLEET_RUN_ID": "ci-1", "SUDO_USER": "linus"}, ("linus", "ci-1")),
        (["-e", "tpmfleet_run_id="], {"TPMFLEET_RUN_ID": "r" * 300}, (getpass.getuser(), "r" * 255)),
    ],
)
def test_whoever_starts_it_says_who_and_which(run, arguments, environment, told):
    assert run(*arguments, **environment) == {told}
