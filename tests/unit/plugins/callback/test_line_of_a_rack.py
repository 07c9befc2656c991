# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rack of 8 and of 200 units with failing ones among them, as people see it: real runs in tmux at 80 by 24 and at 200
by 50, and the same piped to a file. What was seen is kept in tests/output/line."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SEEN = Path(__file__).resolve().parents[3] / "output" / "line"
ANSIBLE_PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
STEP = "Step 3, firmware and software are installed"
READ, WORK = "Read the device", "Claim the TPM, have it prove its keys, and place the DPS client"
OWNED = (
    "The owner authorization of this TPM was set by someone else. Give it as tpmfleet_owner_auth, or have the TPM "
    "cleared in the firmware's menu and run the step again."
)
HOSTILE = "\x1b[2J\x1b[31mit is all right\x1b[0m\r\n" * 3


def rack(units):
    """(the names, what those do at which part that do something else than the others) of a rack of so many units."""
    names = [f"rack{number // 40 + 1}-slot{number % 40 + 1:02}" for number in range(units)]
    does = {2: {"work": OWNED}, 4: {"work": "slow"}, units - 1: {"read": "unreachable"}}
    if units > 100:
        does |= {number: {"work": OWNED} for number in range(60, 75, 7)}
        does[150] = {"work": HOSTILE}
    return names, {names[number]: one for number, one in does.items()}


@pytest.fixture
def play(tmp_path):
    """A function: the command of a run over such a rack, and its environment."""

    def make(units):
        names, does = rack(units)
        own = {"ansible_connection": "rack_unit", "ansible_python_interpreter": "/usr/bin/python3"}
        hosts = {name: {**own, "unit_does": does.get(name, {})} for name in names}
        (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))

        def part(name, word, seconds):
            return {"name": name, "ansible.builtin.ping": {}, "vars": {"unit_part": word, "unit_seconds": seconds}}

        once = {"run_once": True, "vars": {"unit_seconds": 1}}
        tasks = [
            part(READ, "read", 0.3),
            {"name": "Judge what was read", "ansible.builtin.ping": {}, **once},
            part(WORK, "work", 1.5),
            {"name": "Keep what was done", "ansible.builtin.ping": {}, **once},
        ]
        play = {"name": STEP, "hosts": "all", "gather_facts": False, "tasks": tasks}
        (tmp_path / "play.json").write_text(json.dumps([play]))
        (tmp_path / "ansible.cfg").touch()
        kept = {name: value for name, value in os.environ.items() if name not in ("CI", "COLUMNS", "LINES", "NO_COLOR")}
        return [ANSIBLE_PLAYBOOK, "-i", "hosts.json", "-f", "40", "play.json"], {
            **kept,
            "ANSIBLE_CONFIG": str(tmp_path / "ansible.cfg"),
            "ANSIBLE_STDOUT_CALLBACK": "tpmfleet.azure_dps.line",
            "ANSIBLE_CONNECTION_PLUGINS": str(HERE / "connection"),
            "ANSIBLE_NOCOLOR": "",
            # Before ansible-core 2.19 it is not the connection that says so.
            "ANSIBLE_PIPELINING": "1",
            "LANG": "C.UTF-8",
            "TMUX_TMPDIR": str(tmp_path),
        }

    return make


@pytest.fixture
def watched(play, tmp_path):
    """A function: the screens of a run in a terminal of tmux, one after the other, each once; and its exit code."""

    def run(units, width, height, wish=""):
        command, environment = play(units)
        script = f"{wish} {shlex.join(command)}; echo $? > code; exec sleep 600"

        def tmux(*arguments):
            done = subprocess.run(
                ["tmux", "-f", "/dev/null", *arguments], cwd=tmp_path, env=environment, capture_output=True, check=True
            )
            return done.stdout.decode()

        size = ["-x", str(width), "-y", str(height)]
        tmux("new-session", "-d", "-s", "rack", *size, "sh", "-c", script)
        screens = []
        try:
            deadline = time.monotonic() + 240
            ended = False
            while not ended and time.monotonic() < deadline:
                ended = (tmp_path / "code").exists() and bool((tmp_path / "code").read_text())
                screen, before = tmux("capture-pane", "-p", "-t", "rack").rstrip("\n"), None
                # One that is being drawn is nothing that anybody sees.
                while screen != before:
                    time.sleep(0.03)
                    screen, before = tmux("capture-pane", "-p", "-t", "rack").rstrip("\n"), screen
                if not screens or screen != screens[-1]:
                    screens.append(screen)
                time.sleep(0.1)
            whole = tmux("capture-pane", "-p", "-S", "-", "-t", "rack").rstrip("\n")
        finally:
            with contextlib.suppress(subprocess.CalledProcessError):
                tmux("kill-server")
        SEEN.mkdir(parents=True, exist_ok=True)
        # Nor is one whose beginning alone was drawn or left by then: on a busy machine that is some time.
        around = zip(["", *screens], screens, [*screens[1:], ""])
        screens = [one for before, one, after in around if not (before.startswith(one) or after.startswith(one))]
        shown = f"\n{'=' * width}\n".join([*screens, whole])
        (SEEN / f"{units}-units-{width}x{height}{wish.replace('=', '-')}.txt").write_text(shown)
        return screens, whole, int((tmp_path / "code").read_text())

    return run


COUNT = re.compile(r"(\d+) (?:done|verified|running|waiting|failed)")


def counted(text):
    """The sum of the counts by state in a line, in words or by signs."""
    return sum(map(int, COUNT.findall(text))) or sum(map(int, re.findall(r"[✔=▶·✘] (\d+)", text)))


def in_one_line(screen):
    return " ".join(screen.split())


@pytest.mark.parametrize(("width", "height"), [(80, 24), (200, 50)])
@pytest.mark.parametrize("units", [8, 200])
def test_a_rack_in_a_terminal(watched, units, width, height):
    screens, whole, code = watched(units, width, height)
    names, does = rack(units)
    failing = {name for name, one in does.items() if "slow" not in one.values()}
    slow = next(name for name, one in does.items() if "slow" in one.values())
    head = f"{STEP}  {units} units  "
    pictures = [one.splitlines() for one in screens if one.startswith(head)]
    assert len(pictures) > 8
    told, left = set(), []
    for lines in pictures:
        assert len(lines) <= height and max(map(len, lines)) <= width
        title, counts, progress, *rest = lines
        assert counted(counts) == units, lines
        troubles = [line for line in rest if re.match(rf"✘ ({'|'.join(names)})  ", line)]
        # They stand on top, and who is there stays there until the end.
        assert rest[: len(troubles)] == troubles
        now = {line.split()[1] for line in troubles}
        assert told <= now <= failing, lines
        told = now
        found = re.search(r"(\d+:\d\d) left", progress)
        left += [found[1]] if found else []
        table = [line for line in rest if re.match(r"rack\d", line)]
        if units == 8 and READ[:4] in "".join(rest):
            assert [line.split()[0] for line in table] == names
        if units == 200:
            assert [line[:5] for line in table] == [f"rack{number}" for number in range(1, 6)]
            assert [counted(line) for line in table] == [40] * 5, lines
    assert told == failing
    assert any(line.startswith(f"▶ {slow}  1") for lines in pictures for line in lines)
    owned = [line for line in pictures[-1] if line.startswith("✘ ") and "The owner authorization" in line]
    assert owned and all("run the step again." in line for line in owned)
    assert (OWNED in owned[0]) is (width == 200)
    assert "0:00" not in left and all(one < "2:00" for one in left) and (units == 8 or left)

    # In the end the summary has taken the picture's place, and no word of it is cut.
    last = screens[-1]
    assert head not in whole and not re.search(r"^✘|^rack", last, re.MULTILINE)
    assert f"LINE SUMMARY: {units - len(failing)} passed, {len(failing)} to pull" in last
    assert in_one_line(OWNED) in in_one_line(last) and "(" + STEP + ")" in in_one_line(last)
    pulled = re.findall(r"PULL (.+?): (?:stopped|unreachable) at", in_one_line(last))
    assert {name for some in pulled for name in some.split(", ")} == failing
    # A command is not folded, so that it can be copied.
    assert "explain -e error=device-unreachable" in last.replace("\n", "")
    if units == 200:
        assert r"\x1b[2J\x1b[31mit is all right" in last
    assert code == 4


@pytest.mark.parametrize(("units", "wish"), [(8, "NO_COLOR=1"), (8, "TERM=dumb"), (8, "CI=1"), (200, "TERM=dumb")])
def test_a_terminal_that_wants_no_picture_gets_plain_lines(watched, units, wish):
    screens, whole, _code = watched(units, 80, 24, wish)
    failing = [name for name, one in rack(units)[1].items() if "slow" not in one.values()]
    lines = whole.splitlines()
    assert lines[0] == f"STEP {STEP}: {units} units"
    assert not re.search(r"[█░▶✔✘·]", "".join(screens))
    named = [line.split()[1].rstrip(":") for line in lines if line.startswith("  PULL")]
    assert sorted(named) == sorted(failing)
    assert sum(line.startswith(f"  {READ}: {units - 1} verified, of {units}, in ") for line in lines) == 1
    assert f"LINE SUMMARY: {units - len(failing)} passed, {len(failing)} to pull" in lines


@pytest.mark.parametrize("units", [8, 200])
def test_the_same_in_a_file(play, tmp_path, units):
    command, environment = play(units)
    with open(tmp_path / "output", "w+") as file:
        code = subprocess.run(
            command, cwd=tmp_path, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False
        ).returncode
        file.seek(0)
        written = file.read()
    SEEN.mkdir(parents=True, exist_ok=True)
    (SEEN / f"{units}-units-file.txt").write_text(written)
    failing = [name for name, one in rack(units)[1].items() if "slow" not in one.values()]
    lines = written.splitlines()
    assert code == 4 and "\x1b" not in written and "\r" not in written
    # About a line a part and batch, a line a failure, and the summary with what explains it.
    assert len(lines) <= 1 + 2 + len(failing) + 1 + 2 * len(failing) + 1
    pulled = [line for line in lines if line.startswith("  PULL ")]
    assert sorted(line.split()[1].rstrip(":") for line in pulled) == sorted(failing)
    assert sum(OWNED in line and line.endswith(f"({WORK})") for line in pulled) == len(failing) - (
        2 if units > 100 else 1
    )
    works = next(line for line in lines if line.startswith(f"  {WORK}: "))
    assert works.startswith(f"  {WORK}: {units - len(failing)} done, of {units - 1}, in ")
