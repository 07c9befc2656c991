# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ends what a session of tests started, however the session ended: also where it was killed and no fixture ran.

The emulator, software TPMs and sshd are daemons by design, so they outlive a pytest that dies. What a session starts
inherits a mark in its environment, and this program, which waits at the other end of a pipe for that pytest to be
gone, ends whatever still carries it.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

MARK = "TPMFLEET_TEST_SESSION"
GRACE_SECONDS = 3
# One that waits in the kernel is beyond every signal.
LIMIT_SECONDS = 30


def watch_over_this_session() -> None:
    """Marks this process and all that it will start, once; forked workers of the same session share the mark."""
    if MARK in os.environ:
        return
    os.environ[MARK] = uuid.uuid4().hex
    reading, _kept_open_until_we_end = os.pipe()
    subprocess.Popen(
        [sys.executable, "-I", __file__, f"{MARK}={os.environ[MARK]}"],
        stdin=reading,
        stdout=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != MARK},
        start_new_session=True,
    )
    os.close(reading)


def marked(mark: str) -> list[int]:
    """The processes that carry *mark* in their environment."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        # It may have ended meanwhile, or be somebody else's.
        with contextlib.suppress(OSError):
            if mark.encode() in environment.read_bytes().split(b"\0"):
                found.append(int(environment.parent.name))
    return found


def end_marked(mark: str) -> None:
    """Asks them to end, and makes those that do not."""
    started = time.monotonic()
    while (passed := time.monotonic() - started) < LIMIT_SECONDS and (running := marked(mark)):
        number = signal.SIGTERM if passed < GRACE_SECONDS else signal.SIGKILL
        for pid in running:
            # One that was stopped, as a test does with a TPM, takes no other signal before this.
            for one in (number, signal.SIGCONT):
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, one)
        time.sleep(0.2)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    end_marked(sys.argv[1])
