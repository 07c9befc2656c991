# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a run shows, from real runs of ansible-playbook: in a file, and in a terminal of 80 by 24."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyte
import pytest

ANSIBLE_PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
UNITS = [f"rack1-slot{number:02}" for number in range(1, 5)]
BAD = UNITS[2]
# A device's own words, which would empty the screen.
FAILS = "printf '\\033[2Jfalse owner' >&2; exit 1"
TASKS = [
    {"name": "Read the endorsement key", "ansible.builtin.raw": "true", "changed_when": False},
    {"name": "Judge the batch", "ansible.builtin.raw": "true", "run_once": True},
    {"name": "Claim", "ansible.builtin.raw": "{{ fails if inventory_hostname == bad else 'sleep 1' }}"},
    {"name": "Only for others", "ansible.builtin.raw": "true", "when": "false"},
    {"name": "Note", "ansible.builtin.debug": {"msg": "seen \u202e"}, "when": "inventory_hostname == 'rack1-slot01'"},
]  # fmt: skip


@pytest.fixture
def environment(tmp_path):
    hosts = {name: {"ansible_connection": "local", "bad": BAD, "fails": FAILS} for name in UNITS}
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    (tmp_path / "ansible.cfg").touch()
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "NO_COLOR")}
    return {
        **kept,
        "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
        "ANSIBLE_STDOUT_CALLBACK": "tpmfleet.azure_dps.line",
        "ANSIBLE_NOCOLOR": "",
        "TERM": "xterm-256color",
    }


@pytest.fixture
def command(tmp_path):
    def make(tasks, *arguments):
        play = {"name": "Step 3", "hosts": "all", "gather_facts": False, "tasks": tasks}
        (tmp_path / "play.json").write_text(json.dumps([play]))
        return [ANSIBLE_PLAYBOOK, "-i", "hosts.json", "play.json", *arguments]

    return make


@pytest.fixture
def written(command, environment, tmp_path):
    """(what a run writes to a file, its exit code)."""

    def run(tasks, *arguments):
        done = subprocess.run(
            command(tasks, *arguments),
            cwd=tmp_path,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert "Callback dispatch" not in done.stdout, done.stdout
        return done.stdout, done.returncode

    return run


def test_a_file_gets_a_line_a_part_and_a_line_a_failure(written):
    printed, code = written(TASKS)
    lines = re.sub(r"\d:\d\d", "0:00", printed).splitlines()
    failed = lines.pop(2)
    assert failed.startswith(f"  PULL {BAD}: ") and failed.endswith(" (Claim)")
    assert lines[:3] == [
        "STEP Step 3: 4 units",
        "  Read the endorsement key: 4 verified, of 4, in 0:00",
        "  Claim: 3 done, of 4, in 0:00",
    ]
    assert lines[3] == "  rack1-slot01: seen \\u202e"
    assert lines[4:6] == ["LINE SUMMARY: 3 passed, 1 to pull", f"PULL {BAD}: stopped at Claim (Step 3)"]
    assert "\x1b" not in printed and code == 2


def test_no_secret_is_shown(written):
    secret = {"name": "Set it", "ansible.builtin.raw": "echo hidden-word; false", "no_log": True}
    printed, _code = written([secret])
    assert f"PULL {BAD}: the reason is not shown, because the task has no_log (Set it)" in printed
    assert "hidden-word" not in printed


def test_a_run_in_which_nobody_came_to_the_end_is_no_success(written):
    printed, code = written(TASKS[:1], "--tags", "nothing-has-this")
    assert "0 passed, 0 to pull, 4 not run" in printed
    assert code == 3


def test_with_more_than_a_look_it_is_ansible_s_own(written):
    printed, code = written(TASKS[:2], "-v")
    assert "TASK [Judge the batch]" in printed and "PLAY RECAP" in printed
    assert printed.rstrip().endswith("LINE SUMMARY: 4 passed, 0 to pull") and code == 0


def test_a_terminal_shows_the_rack_and_then_the_summary(command, environment, tmp_path):
    """Each state of the screen, as somebody would have seen it."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    screen = pyte.Screen(80, 24)
    stream = pyte.ByteStream(screen)
    seen = []
    process = subprocess.Popen(
        command(TASKS),
        cwd=tmp_path,
        env=environment,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            stream.feed(os.read(ours, 65536))
        except OSError:
            break
        seen.append("\n".join(line.rstrip() for line in screen.display).rstrip())
    os.close(ours)
    assert process.wait(timeout=10) == 2
    at_work = next(one for one in seen if re.search(rf"^{UNITS[0]} = verified +▶ \d+ s$", one, re.MULTILINE))
    assert re.match(r"Step 3  4 units  0:\d\d\n", at_work)
    failed = next(one for one in seen if f"✘ {BAD}  " in one)
    assert re.search(rf"^{BAD} = verified +✘ failed$", failed, re.MULTILINE)
    assert "Step 3  4 units" not in seen[-1]
    assert "LINE SUMMARY: 3 passed, 1 to pull" in seen[-1] and f"PULL {BAD}: stopped at Claim" in seen[-1]


def test_what_fails_is_called_as_in_the_summary_and_the_station_is_no_unit():
    from ansible_collections.tpmfleet.azure_dps.plugins.callback.line import _word

    for kind, of_unit, of_station in (("unit", "PULL", "MEND"), ("setup", "MEND", "MEND"), ("again", "AGAIN", "AGAIN")):
        assert (_word(kind, "rack1-slot01"), _word(kind, "localhost")) == (of_unit, of_station)
