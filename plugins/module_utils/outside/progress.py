# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far a run is, in a file: written by the module while it works, read by whoever watches.

One JSON object: ``phase`` (read, compare, apply, write, wait), ``done``, ``total`` (null where it is not known),
``failed``, and ``since`` (when the phase began, seconds since the epoch); with ``wait``, ``silent`` are the devices
that the service has never heard of.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from typing import Any

from .visible import visible

_WRITE_SECONDS = 0.5
# So many devices are named in a line.
_NAMED = 3
_WORDS = {"read": "read", "compare": "compared", "apply": "applied", "write": "written"}


class Progress:
    """Counts, and writes the count to *path* now and then; without a path it costs nothing to speak of.

    *fault* is the exception that its user reports to people: raised where *path* can never be written.
    """

    def __init__(self, path: str | None, fault: type[Exception] = ValueError) -> None:
        self._path = path
        self._state: dict[str, Any] = {}
        self._written = 0.0
        if path is not None and not os.path.isdir(os.path.dirname(os.path.abspath(path))):
            raise fault(f"progress_file {path} is in a directory that does not exist where the task runs.")

    def begin(self, phase: str, total: int | None) -> None:
        """A phase begins."""
        self._state = {"phase": phase, "done": 0, "total": total, "failed": 0, "since": time.time()}
        self._written = 0.0
        self._write()

    def step(self, *, failed: bool = False) -> None:
        """One more record is done, or refused."""
        if self._path is None:
            return
        self._state["done"] += 1
        self._state["failed"] += failed
        if time.monotonic() - self._written >= _WRITE_SECONDS:
            self._write()

    def waiting(self, done: int, failed: int, silent: list[str]) -> None:
        """Of the devices that are waited for, *done* are assigned, *failed* were refused, and *silent* never called."""
        self._state.update(done=done, failed=failed, silent=silent)
        self._write()

    def _write(self) -> None:
        if self._path is None:
            return
        self._written = time.monotonic()
        temporary = f"{self._path}.new"
        # Whether somebody can watch is no reason to stop an apply.
        with contextlib.suppress(OSError):
            with open(temporary, "w", encoding="utf-8") as file:
                json.dump(self._state, file)
            os.replace(temporary, self._path)


def read_progress(path: str) -> dict[str, Any] | None:
    """What the file at *path* says, None where there is nothing yet."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError):
        return None


def told(state: dict[str, Any], now: float) -> str:
    """*state* as a line for people: the count, the rate since the phase began, and the time that is left at it."""
    if state["phase"] == "wait":
        return _told_of_devices(state, now)
    done, total, seconds = state["done"], state["total"], max(now - state["since"], 0.001)
    rate = done / seconds
    parts = [f"{_WORDS[state['phase']]} {done:,}" + ("" if total is None else f" of {total:,}")]
    if rate:
        parts.append(f"{rate:,.0f} a second" if rate >= 1 else f"{rate * 60:,.0f} a minute")
        if total is not None:
            parts.append(f"{_duration((total - done) / rate)} left")
    if state["failed"]:
        parts.append(f"{state['failed']:,} refused")
    return ", ".join(parts)


def _told_of_devices(state: dict[str, Any], now: float) -> str:
    silent = state.get("silent") or []
    parts = [f"{state['done']:,} of {state['total']:,} assigned after {_duration(now - state['since'])}"]
    if state["failed"]:
        parts.append(f"{state['failed']:,} refused so far")
    if silent:
        names = ", ".join(visible(one) for one in silent[:_NAMED]) + (", …" if len(silent) > _NAMED else "")
        parts.append(f"{len(silent):,} never called the service ({names}): are they switched on and on the network?")
    return ", ".join(parts)


def _duration(seconds: float) -> str:
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02} min"
