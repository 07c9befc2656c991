# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""CPU seconds of groups of processes, with all that they start, exactly: by control groups of either version."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from pathlib import Path

MOUNT = Path("/sys/fs/cgroup")


def _place() -> Path:
    """A control group of ours, below which others can be made; OSError where none can."""
    if (MOUNT / "cpuacct").is_dir():
        above = MOUNT / "cpuacct"
    else:
        [line] = [line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")]
        above = MOUNT / line.removeprefix("0::").lstrip("/")
    place = above / f"tpmfleet-bench-{os.getpid()}"
    place.mkdir()
    return place


class ControlGroups:
    """One group for each of *names*. What is moved into one stays in it, with its children."""

    def __init__(self, names: Iterable[str]) -> None:
        self._place = _place()
        self.names = tuple(names)
        for name in self.names:
            (self._place / name).mkdir()

    def take_in(self, name: str, pids: Iterable[int]) -> None:
        """Moves processes into the group *name*; those that have ended meanwhile are none."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                (self._place / name / "cgroup.procs").write_text(f"{pid}\n")

    def enter(self, name: str) -> None:
        """Moves the calling process, one that was just forked for instance."""
        (self._place / name / "cgroup.procs").write_text("0\n")

    def seconds(self) -> dict[str, float]:
        """What each group has used so far, of user's and system's time."""
        return {name: self._seconds(self._place / name) for name in self.names}

    @staticmethod
    def _seconds(group: Path) -> float:
        if (group / "cpuacct.usage").exists():
            return int((group / "cpuacct.usage").read_text()) / 1e9
        fields = dict(line.split() for line in (group / "cpu.stat").read_text().splitlines())
        return int(fields["usage_usec"]) / 1e6

    def pids(self, name: str) -> list[int]:
        """The processes that are in the group *name* now."""
        return [int(pid) for pid in (self._place / name / "cgroup.procs").read_text().split()]

    def end(self) -> None:
        """Ends what is left in the groups, and the groups."""
        for name in self.names:
            while pids := self.pids(name):
                for pid in pids:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)
                time.sleep(0.05)
            (self._place / name).rmdir()
        self._place.rmdir()


def tree(pid: int) -> list[int]:
    """*pid* and all that descend from it."""
    found = [pid]
    for one in found:
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in Path(f"/proc/{one}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
    return found
