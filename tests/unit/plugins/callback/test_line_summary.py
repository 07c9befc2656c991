# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The summary that ends a run, from real runs of ansible-playbook."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ANSIBLE_PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
PLUGIN = Path(__file__).resolve().parents[4] / "plugins" / "callback"


@pytest.fixture
def summary(tmp_path):
    """Runs a playbook over *units* hosts and returns what is printed from the summary on.

    The plugin is taken from its directory, so that the test needs no placed collection.
    """

    def run(tasks: str, units: int = 3, hosts: str = "units", head: str = "") -> str:
        names = [f"unit-{number:03}" for number in range(1, units + 1)]
        inventory = ["[units]", *(f"{name} ansible_connection=local" for name in names)]
        (tmp_path / "hosts.ini").write_text("\n".join(inventory) + "\n")
        (tmp_path / "ansible.cfg").write_text("[defaults]\n")
        play = f"- name: Step 3\n  hosts: {hosts}\n  gather_facts: false\n{head}  tasks:\n"
        body = "".join(f"    {line}\n" for line in tasks.strip("\n").splitlines())
        (tmp_path / "play.yml").write_text(play + body)
        done = subprocess.run(
            [ANSIBLE_PLAYBOOK, "-i", "hosts.ini", "play.yml"],
            cwd=tmp_path,
            env={
                **os.environ,
                "ANSIBLE_CALLBACK_PLUGINS": str(PLUGIN),
                "ANSIBLE_CALLBACKS_ENABLED": "line_summary",
                "ANSIBLE_CONFIG": "ansible.cfg",
                "ANSIBLE_NOCOLOR": "1",
            },
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert "PLAY RECAP" in done.stdout, done.stdout
        assert "Callback dispatch" not in done.stdout and "Failure using method" not in done.stdout, done.stdout
        _run, found, said = done.stdout.partition("LINE SUMMARY")
        return (found + said).strip()

    return run


FAIL = "- name: Check\n  ansible.builtin.fail:\n    msg: {msg}\n  when: inventory_hostname == 'unit-002'\n"


def test_only_what_is_wrong_is_listed(summary):
    """200 units, one of them bad: two lines more."""
    printed = summary(FAIL.format(msg='"{{ inventory_hostname }}: its key is\n      on no list"'), units=200)
    assert printed.splitlines() == [
        "LINE SUMMARY: 199 passed, 1 to pull",
        "PULL unit-002: stopped at Check (Step 3)",
        "     its key is on no list",
    ]


def test_all_passed(summary):
    assert summary("- ansible.builtin.debug:\n    msg: fine\n") == "LINE SUMMARY: 3 passed, 0 to pull"


def test_unreachable(summary):
    """A unit without an answer is pulled, with what the connection said."""
    tasks = "- name: Ask\n  ansible.builtin.raw: 'true'\n  vars:\n    ansible_connection: >-\n"
    tasks += "      {{ 'ssh' if inventory_hostname == 'unit-003' else 'local' }}\n    ansible_host: 127.0.0.1\n"
    printed = summary(tasks + "    ansible_port: 1\n")
    assert "LINE SUMMARY: 2 passed, 1 to pull\nPULL unit-003: unreachable at Ask (Step 3)\n" in printed
    assert "Connection refused" in printed


def test_ignored_and_rescued_failures_are_none(summary):
    tasks = FAIL.format(msg="ignored") + "  ignore_errors: true\n"
    tasks += "- name: Try\n  block:\n    - ansible.builtin.fail:\n        msg: rescued\n"
    tasks += "  rescue:\n    - ansible.builtin.debug:\n        msg: fine\n"
    assert summary(tasks) == "LINE SUMMARY: 3 passed, 0 to pull"


def test_no_log_stays_unsaid(summary):
    """Also where only an item of a loop is secret."""
    loop = "- name: Loop\n  ansible.builtin.fail:\n    msg: '{{ item }}'\n  no_log: true\n  loop: [s3cret-b]\n"
    loop += "  when: inventory_hostname == 'unit-001'\n"
    printed = summary(FAIL.format(msg="s3cret-a") + "  no_log: true\n" + loop)
    assert printed.startswith("LINE SUMMARY: 1 passed, 2 to pull")
    assert "s3cret" not in printed and printed.count("no_log") == 2


def test_a_batch_that_failed_as_one_is_held_up(summary):
    """The unit that stood for the batch is no worse than the others."""
    tasks = "- name: Enroll\n  ansible.builtin.fail:\n    msg: the service does not answer\n  run_once: true\n"
    assert summary(tasks).splitlines() == [
        "LINE SUMMARY: 0 passed, 0 to pull, 3 held up: nothing is wrong with them, repeat the run",
        "BATCH stopped at Enroll (Step 3)",
        "     the service does not answer",
    ]


def test_a_batch_that_failed_holds_up_no_other_batch(summary):
    tasks = "- name: Enroll\n  ansible.builtin.fail:\n    msg: refused\n  run_once: true\n"
    tasks += "  when: \"'unit-004' in ansible_play_batch\"\n"
    printed = summary(tasks, units=4, head="  serial: 2\n")
    assert printed.startswith("LINE SUMMARY: 2 passed, 0 to pull, 2 held up")


def test_any_error_that_ends_the_batch(summary):
    """Here a unit is at fault, and the others are not."""
    printed = summary(FAIL.format(msg="bad key"), head="  any_errors_fatal: true\n").splitlines()
    assert printed[0].startswith("LINE SUMMARY: 0 passed, 1 to pull, 2 held up")
    assert printed[1] == "PULL unit-002: stopped at Check (Step 3)"


def test_loop_and_length(summary):
    """The first item that failed is the reason, and it is cut to one line."""
    tasks = "- name: Loop\n  ansible.builtin.assert:\n    that: item == 'good'\n    fail_msg: '{{ item * 100 }}'\n"
    printed = summary(tasks + "  loop: [good, bad, worse]\n", units=1).splitlines()
    assert printed[2].strip() == ("bad" * 100)[:197] + "..."


def test_the_station_is_no_unit(summary):
    tasks = "- name: Read the list\n  ansible.builtin.fail:\n    msg: no such file\n"
    assert summary(tasks, hosts="localhost").splitlines()[:2] == [
        "LINE SUMMARY: 0 passed, 0 to pull",
        "STATION localhost: stopped at Read the list (Step 3)",
    ]


def test_a_run_over_the_station_alone_has_no_summary(summary):
    assert summary("- ansible.builtin.debug:", hosts="localhost") == ""
