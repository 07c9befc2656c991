# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Field clients that are not at work: what the TPMs are asked meanwhile is asked by the step."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tpm_rack.file_system import TIMERS

# In which a client ends what it does. One that goes on, as where nobody lets it in, only waits to try again.
_SECONDS = 20


@contextmanager
def clients_at_rest(devices: list[Any]) -> Iterator[None]:
    """No client of *devices* is at work, and nothing starts one."""
    for device in devices:
        device.execute(["pkill", "-STOP", "-f", TIMERS])
        os.kill(device.init_pid, signal.SIGSTOP)
    patience, deadline = time.monotonic() + _SECONDS, time.monotonic() + 120
    while found := [pid for device in devices for pid in _clients_of(device)]:
        assert time.monotonic() < deadline, "the clients did not come to rest"
        if time.monotonic() > patience:
            patience = deadline
            for pid in found:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
        time.sleep(0.1)
    yield
    for device in devices:
        os.kill(device.init_pid, signal.SIGCONT)
        device.execute(["pkill", "-CONT", "-f", TIMERS])


def _clients_of(device: Any) -> Iterator[int]:
    """The processes of its client."""
    namespace = os.readlink(f"/proc/{device.init_pid}/ns/pid")
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            command = (process / "cmdline").read_bytes()
            if b"/usr/bin/tpmfleet-dps-client" in command and os.readlink(process / "ns/pid") == namespace:
                yield int(process.name)
