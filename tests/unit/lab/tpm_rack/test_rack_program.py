# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rack as a program, and that nothing of it stays, whatever state it was in."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAMS = Path(__file__).resolve().parents[4] / "roles" / "lab" / "files"


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tpm_rack", *arguments],
        env={**os.environ, "PYTHONPATH": str(PROGRAMS)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _say(*arguments: str) -> str:
    program = _start(*arguments)
    said, _nothing = program.communicate(timeout=60)
    assert program.returncode == 0, said
    return said


def _left(directory: Path) -> list[str]:
    """Command lines and mounts of the host that name the rack."""
    lines = []
    for command in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(command.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
        except OSError:
            continue
    lines += Path("/proc/self/mounts").read_text().splitlines()
    return [line for line in lines if f"{directory}/devices" in line]


@pytest.fixture
def where(tmp_path):
    """A rack's directory; ended whatever happens."""
    yield tmp_path / "rack"
    _say("down", "--rack-dir", str(tmp_path / "rack"))


def test_up_status_exec_and_down(where):
    rack = ("--rack-dir", str(where))
    assert json.loads(_say("up", *rack, "--devices", "1", "--name-prefix", "unit")) == {"changed": True}
    assert json.loads(_say("up", *rack, "--devices", "1", "--name-prefix", "unit")) == {"changed": False}
    assert [one["name"] for one in json.loads(_say("status", *rack))] == ["unit01"]
    assert _say("exec", *rack, "unit01", "--", "hostname").strip() == "unit01"
    assert json.loads(_say("down", *rack, "--keep")) == {"changed": True}
    assert _left(where) == []
    assert json.loads(_say("up", *rack, "--devices", "1", "--name-prefix", "unit")) == {"changed": True}
    assert json.loads(_say("down", *rack)) == {"changed": True}
    assert json.loads(_say("down", *rack)) == {"changed": False}
    assert not where.exists()


@pytest.mark.parametrize("seconds", [0.3, 0.9, 1.4])
def test_nothing_stays_of_a_rack_program_that_was_killed(where, seconds):
    program = _start("up", "--rack-dir", str(where), "--devices", "2")
    time.sleep(seconds)
    program.send_signal(signal.SIGKILL)
    program.communicate()
    _say("down", "--rack-dir", str(where))
    assert _left(where) == []
    assert not where.exists()


def test_up_completes_what_a_killed_program_left(where):
    program = _start("up", "--rack-dir", str(where), "--devices", "2")
    time.sleep(0.9)
    program.send_signal(signal.SIGKILL)
    program.communicate()
    _say("up", "--rack-dir", str(where), "--devices", "2")
    assert all(one["ssh"] and one["tpm"] for one in json.loads(_say("status", "--rack-dir", str(where))))


def test_nothing_stays_when_the_rack_s_own_notes_are_lost(where):
    _say("up", "--rack-dir", str(where), "--devices", "1")
    for note in ("power", "tpm/swtpm.pid"):
        (where / "devices" / "rack1-slot01" / note).unlink()
    (where / "registry.json").write_text("{")
    _say("down", "--rack-dir", str(where))
    assert _left(where) == []


def test_what_cannot_be_done_is_said_in_a_sentence(where):
    _say("up", "--rack-dir", str(where), "--devices", "1")
    program = _start("power-off", "--rack-dir", str(where), "slot99")
    said, _nothing = program.communicate(timeout=60)
    assert (program.returncode, said) == (1, "tpm_rack: no such device in this rack: slot99\n")


@pytest.fixture
def container_like(tmp_path):
    """A directory on an overlay, as all of a container's are: no overlay's upper layer can be there."""
    for name in ("lower", "upper", "work", "merged"):
        (tmp_path / name).mkdir()
    layers = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", layers, str(tmp_path / "merged")], check=True)
    yield tmp_path / "merged"
    subprocess.run(["umount", str(tmp_path / "merged")], check=True)


def test_a_rack_in_a_container_s_file_system_holds_its_devices_in_memory(container_like):
    rack = ("--rack-dir", str(container_like / "rack"))
    try:
        _say("up", *rack, "--devices", "1")
        assert (container_like / "rack" / "devices").is_mount()
        _say("exec", *rack, "rack1-slot01", "--", "touch", "/etc/kept")
        _say("power-cycle", *rack, "--all")
        _say("exec", *rack, "rack1-slot01", "--", "ls", "/etc/kept")
    finally:
        _say("down", *rack)
    assert _left(container_like / "rack") == []
