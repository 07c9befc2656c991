# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How far each unit of a batch is in the parts of a step, as the run's own events tell it."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

WAITING, RUNNING, DONE, VERIFIED, LATER, FAILED = "waiting", "running", "done", "verified", "later", "failed"
# In which they are counted.
ORDER = (DONE, VERIFIED, LATER, RUNNING, WAITING, FAILED)
_NUMBER_IN_NAME = re.compile(r"[-_.]?[^-_.]*\d[^-_.]*$")


@dataclass
class Cell:
    """One unit in one part; *since* is when it began there, by the clock of the rack, *took* how long it was there."""

    state: str
    since: float
    took: float = 0.0


@dataclass
class Unit:
    """*trouble* is what stopped it, in one line; empty where nothing did. *where* is the task that it happened in."""

    name: str
    cells: dict[str, Cell] = field(default_factory=dict)
    trouble: str = ""
    where: str = ""

    @property
    def rack(self) -> str:
        """What it shares with its neighbours: its name without the last numbered part."""
        return _NUMBER_IN_NAME.sub("", self.name) or self.name

    def running(self) -> Cell | None:
        """Where it is at work now."""
        return next((cell for cell in self.cells.values() if cell.state == RUNNING), None)

    @property
    def state(self) -> str:
        """Where it stands in all: what is worst, then what is newest."""
        states = [cell.state for cell in self.cells.values()]
        for one in (FAILED, RUNNING):
            if one in states or (one == FAILED and self.trouble):
                return one
        if not states:
            return WAITING
        # The step goes on without it.
        if LATER in states:
            return LATER
        return DONE if DONE in states else VERIFIED


class Rack:
    """The units of the batch that is under way.

    *clock* gives seconds. A part is a task that works on each unit; what is done once for the batch is :attr:`common`.
    Whoever reads more than one thing of it holds :attr:`still` meanwhile.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.still = threading.RLock()
        self.step = ""
        self.common = ""
        self.part = ""
        self.parts: list[str] = []
        self.units: dict[str, Unit] = {}
        self.of_all = 0
        self.started = self.part_started = clock()

    def begin(self, step: str, names: Iterable[str], of_all: int) -> None:
        """The next batch of *step*, which has *of_all* units in all its batches."""
        with self.still:
            self.step, self.of_all = step, of_all
            self.units = {name: Unit(name) for name in names}
            self.parts, self.part, self.common = [], "", ""
            self.started = self.part_started = self._clock()

    def begin_task(self, name: str, *, common: bool) -> None:
        """A task begins, which is done for each unit or once for all."""
        with self.still:
            self.common = name if common else ""
            self.part_started = self._clock()
            if not common:
                self.part = name

    def unit_begins(self, name: str) -> None:
        """The unit *name* is at work in the current part."""
        with self.still:
            if name in self.units and not self.common:
                if self.part not in self.parts:
                    self.parts.append(self.part)
                self.units[name].cells[self.part] = Cell(RUNNING, self._clock())

    def unit_ends(self, name: str, part: str, state: str | None) -> None:
        """The unit *name* has ended *part*; in *state* None nothing was to do for it there."""
        with self.still:
            cells = self.units[name].cells if name in self.units else {}
            if part not in cells:
                return
            if state is None:
                del cells[part]
                if not any(part in unit.cells for unit in self.units.values()):
                    self.parts.remove(part)
            else:
                cells[part].state, cells[part].took = state, self._clock() - cells[part].since

    def unit_fails(self, name: str, trouble: str, where: str) -> None:
        """The unit *name* needs somebody, since *where*."""
        with self.still:
            if name in self.units:
                self.units[name].trouble, self.units[name].where = trouble, where

    def elapsed(self) -> float:
        """Seconds since the batch began."""
        return self._clock() - self.started

    def elapsed_in_part(self) -> float:
        """Seconds since the current part began."""
        return self._clock() - self.part_started

    def seconds_of(self, cell: Cell) -> float:
        """How long the unit has been there."""
        return self._clock() - cell.since

    def counts(self) -> dict[str, int]:
        """Units by state, all of them."""
        states = [unit.state for unit in self.units.values()]
        return {state: states.count(state) for state in ORDER}

    def outcome(self) -> str:
        """The counts in words, without those of nobody."""
        return ", ".join(f"{count} {state}" for state, count in self.counts().items() if count)

    def progress(self) -> tuple[int, int, float | None]:
        """(units that have ended the current part, those that have begun it or wait for it, seconds left).

        The time that is left is known once as many have ended as are at work at a time, and as long as none takes
        longer than the others did.
        """
        here = [unit for unit in self.units.values() if not unit.trouble]
        # One that is left for later does not come to another part.
        cells = [unit.cells.get(self.part) for unit in here if self.part in unit.cells or unit.state != LATER]
        took = [cell.took for cell in cells if cell is not None and cell.state != RUNNING]
        at_work = [self.seconds_of(cell) for cell in cells if cell is not None and cell.state == RUNNING]
        ended, left = len(took), None
        if ended + len(at_work) < len(cells):
            left = self.elapsed_in_part() / ended * (len(cells) - ended) if ended >= max(len(at_work), 1) else None
        elif ended and at_work:
            # All have begun: the last of them will be done when it has been at work as long as the others were.
            left = sum(took) / ended - min(at_work)
        return ended, len(cells), left if left is not None and left >= 1 else None


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, with hours where there are any."""
    minutes, second = divmod(int(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
