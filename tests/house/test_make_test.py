# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""`make test` that is ended early leaves nothing behind, and one whose part fails has failed."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COLLECTION = Path(__file__).resolve().parents[2]
DEVICE_TESTS = Path("tests/unit/plugins/module_utils/tpm")
MACHINE_TESTS = Path("tests/machines")
IN_SHORT = "import pytest\n\n@pytest.mark.in_short\ndef test_it():\n    assert {it}\n"
HANGING = """
import pathlib, time

def test_hangs({fixtures}):
    pathlib.Path({told!r}).write_text("started")
    time.sleep(300)
"""


@pytest.fixture
def checkout(tmp_path):
    """A repository with no tests of its own, and the virtual environment of this session."""
    place = tmp_path / "checkout"
    shutil.copytree(COLLECTION, place, ignore=shutil.ignore_patterns("output", "test_*.py", "__pycache__", ".*_cache"))
    subprocess.run(["git", "-C", str(place), "init", "--quiet"], check=True)
    # What starts a machine for each test there.
    (place / MACHINE_TESTS / "conftest.py").unlink()
    (place / MACHINE_TESTS / "test_it.py").write_text(IN_SHORT.format(it=True))
    (place / ".venv").symlink_to(sys.prefix)
    return place


def make_test(checkout: Path, temporary: Path) -> subprocess.Popen:
    """`make test` in a session of its own, as at a terminal, and as if none of ours were around it."""
    ours = ("TPMFLEET_TEST_SESSION", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    environment = {
        name: value for name, value in os.environ.items() if name not in ours and not name.startswith("PYTEST_")
    }
    temporary.mkdir()
    return subprocess.Popen(
        ["make", "test"],
        cwd=checkout,
        env={**environment, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def left(temporary: Path) -> list[bytes]:
    """The commands of what runs with *temporary* as its temporary directory."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if b"TMPDIR=" + os.fsencode(temporary) in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_bytes())
    return found


def wait_for(condition, seconds=120):
    """Until *condition* holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.parametrize(
    "end",
    [lambda make: make.terminate(), lambda make: os.killpg(make.pid, signal.SIGINT)],
    ids=["SIGTERM", "Ctrl-C"],
)
def test_one_that_is_ended_leaves_no_emulator_and_no_tpm(checkout, tmp_path, end):
    told = [tmp_path / "collection", tmp_path / "device"]
    (checkout / "tests/unit/test_hanging.py").write_text(HANGING.format(fixtures="emulator", told=str(told[0])))
    (checkout / DEVICE_TESTS / "test_hanging.py").write_text(HANGING.format(fixtures="software_tpm", told=str(told[1])))
    temporary = tmp_path / "temporary"
    make = make_test(checkout, temporary)
    try:
        wait_for(lambda: make.poll() is not None or all(path.exists() for path in told))
        assert make.poll() is None, make.communicate()[0]
        running = b" ".join(left(temporary))
        assert b"dps_emulator" in running and b"swtpm" in running
        # Python drops an interrupt where it can raise none, as while an object is finalized: people press again.
        for _time in range(3):
            end(make)
            with contextlib.suppress(subprocess.TimeoutExpired):
                make.communicate(timeout=30)
                break
        assert make.returncode not in (None, 0)
        wait_for(lambda: not left(temporary), 40)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(make.pid, signal.SIGKILL)


@pytest.mark.parametrize("failing", ["the device's Python", "the machine"])
def test_one_of_which_a_part_alone_fails_has_failed(checkout, tmp_path, failing):
    devices = failing != "the machine"
    # Passes in the virtual environment.
    text = f"import sys\n\ndef test_it():\n    assert not {devices} or sys.prefix == {str(checkout / '.venv')!r}\n"
    (checkout / DEVICE_TESTS / "test_it.py").write_text(text)
    (checkout / MACHINE_TESTS / "test_it.py").write_text(IN_SHORT.format(it=devices))
    make = make_test(checkout, tmp_path / "temporary")
    printed, _nothing = make.communicate(timeout=120)
    assert make.returncode != 0
    assert sorted(re.findall(r"= (\d \w+) in ", printed)) == ["1 failed", "1 passed", "1 passed"], printed
