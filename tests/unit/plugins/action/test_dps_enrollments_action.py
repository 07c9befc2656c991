# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Progress as ``ansible-playbook`` shows it while the module runs, and that the module runs where there is none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.action.dps_enrollments import ActionModule
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.station_action import StationAction

ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")


@pytest.fixture
def play(dps, make_ek, tmp_path):
    """Runs a play that enrolls *count* units from a manifest; (what was printed, what was told beside it)."""

    def run(count, *arguments, keywords=(), **options):
        manifest = tmp_path / "manifest.jsonl"
        records = ({"registration_id": f"unit-{one}", "endorsement_key": make_ek(one)} for one in range(count))
        manifest.write_text("".join(json.dumps(record) + "\n" for record in records))
        task = {
            "tpmfleet.azure_dps.dps_enrollments": {"manifest": str(manifest), **options},
            "delegate_to": "localhost",
            "register": "done",
            **dict(keywords),
        }
        tasks = [task, {"ansible.builtin.debug": {"msg": "COUNTS {{ done.counts | to_json }}"}}]
        connection = {"group/tpmfleet.azure_dps.dps": dps.connection()}
        playbook = tmp_path / "play.yml"
        head = {"hosts": "unit", "gather_facts": False, "module_defaults": connection, "tasks": tasks}
        playbook.write_text(yaml.safe_dump([head]))
        command = [str(ANSIBLE_PLAYBOOK), "--inventory", "unit,", str(playbook), *arguments]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout, done.stderr

    return run


def lines_of(told):
    return [line for line in told.splitlines() if line.startswith("dps_enrollments: ")]


def counts_of(printed):
    (line,) = [line for line in printed.splitlines() if "COUNTS" in line]
    return line.replace("\\", "")


def test_progress_is_seen_while_it_runs(dps, play):
    # 30 calls of a bulk each, two at a time: three seconds.
    dps.fault(method="POST", path="/enrollments$", delay=0.2, count=1000)
    printed, told = play(300, concurrency=2, progress_interval=1)
    assert '"created": 300' in counts_of(printed)
    seen = [line for line in lines_of(told) if re.search(r"applied \d+ of 300, \d+ a second, \d+ s left$", line)]
    assert len(seen) >= 2, told
    counts = [int(re.search(r"applied (\d+) of", line)[1]) for line in seen]
    assert counts == sorted(counts) and 0 < counts[0] < 300
    # Beside the results, where a program may read them.
    assert not lines_of(printed)


def test_without_an_interval_nothing_is_said(dps, play):
    dps.fault(method="POST", path="/enrollments$", delay=1.2, count=1)
    _printed, told = play(10, progress_interval=0)
    assert lines_of(told) == []


def test_check_mode_is_handed_on(dps, play):
    printed, _told = play(10, "--check")
    assert '"created": 10' in counts_of(printed) and "enrollments.bulk" not in dps.calls()


def test_asynchronously_it_runs_as_any_other(dps, play):
    dps.fault(method="POST", path="/enrollments$", delay=1.5, count=1)
    printed, told = play(10, keywords={"async": 60, "poll": 1}, progress_interval=1)
    assert '"created": 10' in counts_of(printed) and lines_of(told) == []


@pytest.mark.parametrize(
    ("transport", "asynchronous", "become_user", "arguments", "followed"),
    [
        ("local", 0, None, {}, True),
        ("local", 0, "root", {"progress_interval": "5"}, True),
        ("local", 0, "builder", {}, False),
        ("local", 60, None, {}, False),
        ("ssh", 0, None, {}, False),
        ("local", 0, None, {"progress_interval": 0}, False),
        ("local", 0, None, {"progress_interval": "often"}, False),
        ("local", 0, None, {"progress_interval": "nan"}, False),
    ],
)
def test_only_what_runs_here_is_followed(monkeypatch, transport, asynchronous, become_user, arguments, followed):
    ran = []
    monkeypatch.setattr(StationAction, "work", lambda self, tmp, task_vars: ran.append(self._task.args) or {})
    become = become_user and SimpleNamespace(get_option=lambda _name, playcontext: become_user)
    one = object.__new__(ActionModule)
    one._task = SimpleNamespace(action="dps_enrollments", args=dict(arguments), async_val=asynchronous)
    one._connection = SimpleNamespace(transport=transport, become=become)
    one._play_context = None
    assert one.run(None, {}) == {}
    assert ("progress_file" in ran[0]) is followed
    assert {name: value for name, value in ran[0].items() if name != "progress_file"} == arguments


def test_a_file_of_the_users_own_is_followed(monkeypatch, tmp_path):
    path = tmp_path / "own.json"
    ran = []
    monkeypatch.setattr(StationAction, "work", lambda self, tmp, task_vars: ran.append(self._task.args) or {})
    one = object.__new__(ActionModule)
    one._task = SimpleNamespace(action="dps_enrollments", args={"progress_file": str(path)}, async_val=0)
    one._connection = SimpleNamespace(transport="local", become=None)
    one._play_context = None
    one.run(None, {})
    assert ran == [{"progress_file": str(path)}]
