# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a device is waited for in a task: by how long the others of its rack have taken.

What a chip takes for a key is between a tenth of a second and minutes, so that no number tells a slow one. But where
all others are done, and some time has gone by, a rack waits for what is left.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import struct
import tempfile
import time
from typing import NamedTuple

# Which task, seconds that it took, and when it ended.
_TIME = struct.Struct("=16sdd")


class _Times(NamedTuple):
    longest: float
    last_end: float


def _shared() -> int | None:
    """A file that has no name. Ansible loads an action before it forks a process for each host, and these share it."""
    with contextlib.suppress(OSError):
        with tempfile.TemporaryFile(prefix="tpmfleet-times-") as file:
            descriptor = os.dup(file.fileno())
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
        return descriptor
    return None


_FILE = _shared()


class Patience:
    """The time of one device in one *task*, which begins now; *most* seconds where none of the others is done."""

    def __init__(self, task: str, most: float) -> None:
        self._task = hashlib.blake2b(task.encode(), digest_size=16).digest()
        self._most = most
        self._begin = time.monotonic()

    def is_over(self) -> bool:
        """Whether the others wait for this one alone, or for few.

        It has taken longer than any of those that are done, and none has come to be done for a while.
        """
        now = time.monotonic()
        own = now - self._begin
        times = self._times()
        if times is None:
            return own >= self._most
        return own >= 1.15 * times.longest + 1 and now - times.last_end >= max(1.0, 0.15 * own)

    def ended(self) -> None:
        """This one is done, for the others to know."""
        now = time.monotonic()
        if _FILE is not None:
            with contextlib.suppress(OSError):
                os.write(_FILE, _TIME.pack(self._task, now - self._begin, now))

    def _times(self) -> _Times | None:
        """What those took that are done; None where none is."""
        if _FILE is None:
            return None
        written = os.pread(_FILE, os.fstat(_FILE).st_size, 0)
        known = _TIME.iter_unpack(written[: len(written) // _TIME.size * _TIME.size])
        own = [(seconds, end) for task, seconds, end in known if task == self._task]
        return _Times(*map(max, zip(*own, strict=True))) if own else None
