# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rack as a picture in a terminal: who needs somebody comes first, who needs nobody is folded into counts."""

from __future__ import annotations

from collections.abc import Iterator

try:
    from rich.text import Text
except ImportError:
    # Then nothing is drawn, and plain lines are written.
    HAS_RICH = False
else:
    HAS_RICH = True

from ..catalogue import end_of, parted
from .state import DONE, FAILED, LATER, RUNNING, VERIFIED, WAITING, Rack, Unit, clock

SIGNS = {WAITING: "·", RUNNING: "▶", DONE: "✔", VERIFIED: "=", LATER: "»", FAILED: "✘"}
STYLES = {WAITING: "dim", RUNNING: "cyan", DONE: "green", VERIFIED: "blue", LATER: "yellow", FAILED: "bold red"}
_BAR = 20
_PART_WIDTH = 14
# Those that have been at work for longest, and so many seconds at least, are shown by themselves.
SLOW_SECONDS, _MOST_SLOW = 10, 3


def picture(rack: Rack, width: int, height: int) -> Text:
    """*rack* in at most *height* lines of at most *width* characters."""
    head = [_title(rack), _counts(rack), _progress(rack)]
    attention = list(_attention(rack, width))
    room = max(height - len(head), 1)
    table = list(_table(rack, width))
    if len(table) + len(attention) > room:
        table = list(_by_rack(rack, width))
    # At least a third is for the racks, and what does not fit is counted.
    most = max(room - len(table), room * 2 // 3)
    lines = [*head, *_cut(attention, most, "more need somebody")]
    lines += _cut(table, height - len(lines), "more racks")
    for line in lines:
        line.truncate(width, overflow="ellipsis")
    return Text("\n").join(lines[:height])


def _title(rack: Rack) -> Text:
    of_all = f" of {rack.of_all}" if rack.of_all > len(rack.units) else ""
    return Text.assemble((rack.step, "bold"), f"  {len(rack.units)}{of_all} units  {clock(rack.elapsed())}")


def _counts(rack: Rack) -> Text:
    line = Text()
    for state, count in rack.counts().items():
        if count:
            line.append(f"{SIGNS[state]} {count} {state}  ", style=STYLES[state])
    return line


def _progress(rack: Rack) -> Text:
    if rack.common or not rack.part:
        return Text(f"{rack.common or 'Starting'} …", style="dim")
    ended, total, left = rack.progress()
    filled = _BAR * ended // total if total else _BAR
    line = Text.assemble(("█" * filled, "green"), ("░" * (_BAR - filled), "dim"), f" {ended}/{total} {rack.part}")
    if left is not None and ended < total:
        line.append(f"  {clock(left)} left", style="dim")
    return line


def _attention(rack: Rack, width: int) -> Iterator[Text]:
    for unit in rack.units.values():
        if unit.trouble:
            name = f"{SIGNS[FAILED]} {unit.name}"
            yield Text.assemble((name, STYLES[FAILED]), f"  {_fitted(unit.trouble, width - len(name) - 2)}")
    at_work = [(rack.seconds_of(cell), unit) for unit in rack.units.values() if (cell := unit.running())]
    slow = sorted((one for one in at_work if one[0] >= SLOW_SECONDS), key=lambda one: -one[0])
    for seconds, unit in slow[:_MOST_SLOW]:
        part = next((part for part, cell in unit.cells.items() if cell.state == RUNNING), "")
        yield Text.assemble((f"{SIGNS[RUNNING]} {unit.name}", STYLES[RUNNING]), f"  {int(seconds)} s  {part}")


def _fitted(trouble: str, room: int) -> str:
    """*trouble* with its end, that names what explains it, whole where half of the *room* is left for the cause."""
    words, entry = parted(trouble)
    left = room - len(end_of(entry))
    return trouble if len(trouble) <= room or left < room // 2 else f"{words[: left - 1]}…{end_of(entry)}"


def _table(rack: Rack, width: int) -> Iterator[Text]:
    """A line a unit, a column a part; the parts that came last where they do not all fit."""
    names = max((len(name) for name in rack.units), default=0)
    columns = max((width - names) // (_PART_WIDTH + 1), 1)
    parts = rack.parts[-columns:]
    if not parts:
        return
    yield Text(" " * names + "".join(f" {part[:_PART_WIDTH]:<{_PART_WIDTH}}" for part in parts), style="dim")
    for unit in rack.units.values():
        line = Text(f"{unit.name:<{names}}", style=STYLES[unit.state] if unit.trouble else "")
        for part in parts:
            line.append(f" {_cell(rack, unit, part):<{_PART_WIDTH}}", style=STYLES[_state(unit, part)])
        yield line


def _state(unit: Unit, part: str) -> str:
    return unit.cells[part].state if part in unit.cells else WAITING


def _cell(rack: Rack, unit: Unit, part: str) -> str:
    state = _state(unit, part)
    if state == RUNNING:
        return f"{SIGNS[state]} {int(rack.seconds_of(unit.cells[part]))} s"
    if state == WAITING:
        return SIGNS[state]
    return f"{SIGNS[state]} {state}"


def _by_rack(rack: Rack, width: int) -> Iterator[Text]:
    """A line a rack, a sign a unit."""
    racks: dict[str, list[Unit]] = {}
    for unit in rack.units.values():
        racks.setdefault(unit.rack, []).append(unit)
    names = min(max(map(len, racks), default=0), width // 3)
    most = max(width - names - 30, 1)
    for name, units in racks.items():
        line = Text(f"{name[:names]:<{names}} ")
        for unit in units[:most]:
            line.append(SIGNS[unit.state], style=STYLES[unit.state])
        states = [unit.state for unit in units]
        told = [f"{states.count(state)} {state}" for state in SIGNS if states.count(state)]
        line.append(" " * max(min(most, max(map(len, racks.values()))) - len(units), 0) + "  " + ", ".join(told))
        yield line


def _cut(lines: list[Text], most: int, what: str) -> list[Text]:
    if len(lines) <= most:
        return lines
    kept = max(most - 1, 0)
    return [*lines[:kept], Text(f"  and {len(lines) - kept} {what}", style="dim")][:most]
