# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a run is shown: a live picture in a terminal, else plain lines that are written once."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from typing import Any, TextIO

from ansible.utils.display import Display

from .state import DONE, LATER, VERIFIED, Rack, clock

_SECONDS_BETWEEN_PICTURES = 0.25


class PlainLines:
    """About a line a part and batch, and one a failure: for a file, a pipeline, or a terminal that cannot do more."""

    def __init__(self, rack: Rack, write: Callable[[str], None]) -> None:
        self._rack = rack
        self._write = write

    def start(self) -> None:
        """Nothing is to be prepared."""

    def begin(self) -> None:
        """The next batch."""
        of_all = f" of {self._rack.of_all}" if self._rack.of_all > len(self._rack.units) else ""
        self._write(f"STEP {self._rack.step}: {len(self._rack.units)}{of_all} units")

    def part_ended(self) -> None:
        """The current part has ended for all."""
        rack = self._rack
        cells = [unit.cells[rack.part] for unit in rack.units.values() if rack.part in unit.cells]
        if rack.part and cells:
            states = [cell.state for cell in cells]
            told = ", ".join(
                f"{states.count(state)} {state}" for state in (DONE, VERIFIED, LATER) if states.count(state)
            )
            self._write(f"  {rack.part}: {told or 'none'}, of {len(cells)}, in {clock(rack.elapsed_in_part())}")

    def batch_ended(self) -> None:
        """Its parts have said it, unless some units are left for later, where the others need not wait for the end."""
        rack = self._rack
        counts = rack.counts()
        if counts[LATER]:
            done, of_all = counts[DONE] + counts[VERIFIED], len(rack.units)
            self._write(f"  FINISHED: {done} of {of_all} units, {counts[LATER]} later, in {clock(rack.elapsed())}")

    def failed(self, name: str, word: str, trouble: str) -> None:
        """A unit needs somebody."""
        self._write(f"  {word} {name}: {trouble}")

    def left(self, name: str, why: str) -> None:
        """A unit is taken after the others."""
        self._write(f"  LATER {name}: {why}")

    def stop(self) -> None:
        """Nothing is to be cleaned up."""


class LivePicture:
    """Redrawn a few times a second on the same lines, until the summary takes its place."""

    def __init__(self, rack: Rack, write: Callable[[str], None], stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._rack = rack
        self._write = write
        self._console = Console(file=stream, highlight=False, emoji=False, markup=False)
        self._live = Live(console=self._console, auto_refresh=False, transient=True, get_renderable=self._picture)
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """From here on the picture is shown, and what else is written goes above it."""
        if self._thread is not None:
            return
        self._live.start()
        self._thread = threading.Thread(target=self._redraw, name="picture", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """The next batch shows itself."""

    def part_ended(self) -> None:
        """A part shows itself."""

    def batch_ended(self) -> None:
        """What the picture of the next batch takes the place of, in a line above it."""
        self._write(f"{self._rack.step}: {self._rack.outcome()}, in {clock(self._rack.elapsed())}")

    def failed(self, name: str, word: str, trouble: str) -> None:
        """A failure shows itself, and stays on top."""

    def left(self, name: str, why: str) -> None:
        """A unit that is left shows itself."""

    def stop(self) -> None:
        """Takes the picture away."""
        if self._thread is None or self._ended.is_set():
            return
        self._ended.set()
        self._thread.join()
        self._live.stop()

    def _redraw(self) -> None:
        while not self._ended.wait(_SECONDS_BETWEEN_PICTURES):
            # Ansible forks with this lock held, so that no worker inherits one of the picture's in the middle of it.
            with Display()._lock:
                self._live.refresh()

    def _picture(self) -> Any:
        from .picture import picture

        with self._rack.still:
            return picture(self._rack, self._console.width, self._console.height - 1)


def has_picture(stream: TextIO) -> bool:
    """Whether a live picture can be shown on *stream* and is wanted there."""
    if os.environ.get("NO_COLOR") or os.environ.get("ANSIBLE_NOCOLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    if os.environ.get("CI") or not stream.isatty():
        return False
    from .picture import HAS_RICH

    return HAS_RICH


def screen_of(rack: Rack, write: Callable[[str], None]) -> PlainLines | LivePicture:
    """What fits the standard output of this process; *write* writes a line where there is no picture."""
    return LivePicture(rack, write, sys.stdout) if has_picture(sys.stdout) else PlainLines(rack, write)
