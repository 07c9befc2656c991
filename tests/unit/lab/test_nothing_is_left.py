# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A session of tests that is killed leaves no emulator, no TPM and no worker machine behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

TESTS = Path(__file__).resolve().parents[2]
HANGING = """
import pathlib, time

def test_hangs(emulator, software_tpm, worker_machine, relay, tmp_path):
    machine = worker_machine(relay, [tmp_path], [], {{}})
    pathlib.Path({where!r}).write_text(f"{{emulator['pid']}} {{software_tpm.pid}} {{machine.pid}}")
    time.sleep(120)
"""


def wait_for(condition, seconds=60):
    """Until *condition* holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_session_that_is_killed_leaves_none(tmp_path):
    told = tmp_path / "pids"
    hanging = TESTS / "unit" / "lab" / f"test_hanging_{os.getpid()}.py"
    hanging.write_text(HANGING.format(where=str(told)))
    environment = {name: value for name, value in os.environ.items() if name != "TPMFLEET_TEST_SESSION"}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", "--basetemp", str(tmp_path / "base")]
    try:
        session = subprocess.Popen([*command, str(hanging)], env=environment, cwd=TESTS.parent)
        wait_for(lambda: told.exists() and len(told.read_text().split()) == 3)
        session.send_signal(signal.SIGKILL)
        session.wait()
        started = told.read_text().split()
        wait_for(lambda: not any(Path("/proc", pid, "environ").exists() for pid in started), 15)
    finally:
        hanging.unlink()
