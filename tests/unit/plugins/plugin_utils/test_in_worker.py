# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules of the station run in their task's own process, where a process of theirs would be no other than that."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.in_worker import run_here

ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")


@pytest.fixture
def play(tmp_path):
    """Runs a task of a module of the station with these keywords; whether a module was packed, what was printed."""

    def run(options, **keywords):
        task = {"tpmfleet.azure_dps.device_records_info": options, "register": "found", **keywords}
        tell = {"ansible.builtin.debug": {"msg": "FOUND {{ found | to_json }}"}}
        playbook = tmp_path / "play.json"
        playbook.write_text(json.dumps([{"hosts": "unit", "gather_facts": False, "tasks": [task, tell]}]))
        done = subprocess.run(
            [str(ANSIBLE_PLAYBOOK), "-vvv", "--inventory", "unit,", str(playbook)],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return "Using module file" in done.stdout, done.stdout + done.stderr

    return run


def test_here_no_module_is_packed(play, tmp_path):
    packed, printed = play({"ledger": str(tmp_path / "ledger.sqlite")}, delegate_to="localhost")
    assert not packed
    # In the order of its names that this version of Ansible has.
    found, _end = json.JSONDecoder().raw_decode(" ".join(printed.split()).partition("FOUND ")[2])
    assert found["records"] == []
    # What it warns of is in its result, too.
    assert found["warnings"][0].startswith("The ledger is new")


def test_what_one_call_warns_of_no_later_one_does(tmp_path):
    """Up to ansible-core 2.18 all calls of a process, as those of a loop's items are, share their warnings."""
    options = {"ledger": str(tmp_path / "ledger.sqlite"), "step": "warehouse", "station": "rack", "records": []}
    run_here("device_records", options, {})
    assert "warnings" not in json.loads(run_here("device_records", options, {})["stdout"])


def test_its_failure_and_what_it_refuses_are_told_as_from_a_process(play):
    packed, printed = play({"ledger": "x", "no_such_option": 1}, delegate_to="localhost")
    assert not packed
    assert "Unsupported parameters for (tpmfleet.azure_dps.device_records_info) module: no_such_option" in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize(
    "keywords",
    [
        {"vars": {"ansible_connection": "local", "ansible_python_interpreter": "/usr/bin/python3"}},
        {"delegate_to": "localhost", "async": 30, "poll": 1},
        {"delegate_to": "localhost", "vars": {"ansible_become": True, "ansible_become_user": "root"}},
    ],
    ids=["another-python", "async", "another-user"],
)
def test_where_it_would_be_another_process_it_is_one(play, tmp_path, keywords):
    packed, printed = play({"ledger": str(tmp_path / "ledger.sqlite")}, **keywords)
    assert packed, printed


def test_the_tasks_environment_reaches_it(play, tmp_path):
    (tmp_path / "ledger.sqlite").write_text("no ledger at all, and long enough to be looked at for one " * 20)
    packed, printed = play({"ledger": "~/ledger.sqlite"}, delegate_to="localhost", environment={"HOME": str(tmp_path)})
    assert not packed
    assert "fatal: [unit -> localhost]" in printed, printed
