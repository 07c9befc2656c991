# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""QEMU's monitor (QMP): a machine's cables and buttons, and what QEMU tells of the machine by itself."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

# In which a QEMU that has just been started has it ready, and any answers an order.
SECONDS = 60


class MonitorError(Exception):
    """QEMU did not do as it was told, or is gone; the message holds what it said."""


class Monitor:
    """A connection to it, from the time of which on no event is missed."""

    def __init__(self, connection: socket.socket, stream: TextIO) -> None:
        self._connection = connection
        self._stream = stream
        self._events: list[str] = []
        self._message(SECONDS)
        self.order("qmp_capabilities")

    def _message(self, seconds: float) -> dict:
        self._connection.settimeout(max(0.001, seconds))
        try:
            line = self._stream.readline()
        except TimeoutError:
            raise MonitorError("QEMU says nothing") from None
        except OSError as error:
            raise MonitorError(f"QEMU has ended: {error}") from error
        if not line:
            raise MonitorError("QEMU has ended")
        return json.loads(line)

    def order(self, execute: str, **arguments: object) -> None:
        """Has QEMU do it."""
        try:
            self._stream.write(json.dumps({"execute": execute, "arguments": arguments}) + "\n")
            self._stream.flush()
        except OSError as error:
            raise MonitorError(f"QEMU has ended: {error}") from error
        while "return" not in (said := self._message(SECONDS)):
            if "error" in said:
                raise MonitorError(said["error"]["desc"])
            self._events.append(said["event"])

    def wait_for(self, event: str, seconds: float) -> None:
        """Returns once it has happened since the connection was made."""
        deadline = time.monotonic() + seconds
        while event not in self._events:
            self._events.append(self._message(deadline - time.monotonic())["event"])
        self._events.remove(event)


@contextmanager
def monitor(directory: Path) -> Iterator[Monitor]:
    """That of the machine in *directory*, whose socket is named ``monitor``."""
    # The path of a socket is short; a directory's may not be.
    descriptor = os.open(directory, os.O_PATH)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            deadline = time.monotonic() + SECONDS
            while True:
                with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
                    connection.connect(f"/proc/self/fd/{descriptor}/monitor")
                    break
                if time.monotonic() > deadline:
                    raise MonitorError("QEMU's monitor does not answer")
                time.sleep(0.05)
            with connection.makefile("rw") as stream:
                yield Monitor(connection, stream)
    finally:
        os.close(descriptor)
