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
from ..failure import shortened
from .state import DONE, FAILED, LATER, ORDER, RUNNING, VERIFIED, WAITING, Rack, Unit, clock

SIGNS = {WAITING: "·", RUNNING: "▶", DONE: "✔", VERIFIED: "=", LATER: "»", FAILED: "✘"}
STYLES = {WAITING: "dim", RUNNING: "cyan", DONE: "green", VERIFIED: "blue", LATER: "yellow", FAILED: "bold red"}
_BAR = 20
_PART_WIDTH = 14
# In so many characters a cause and a remedy can both be read.
_ROOM_FOR_BOTH = 60
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
    line = Text.assemble(("█" * filled, "green"), ("░" * (_BAR - filled), "dim"), f" {ended}/{total}")
    if left is not None and ended < total:
        line.append(f"  {clock(left)} left", style="dim")
    line.append(f"  {rack.part}")
    return line


def _attention(rack: Rack, width: int) -> Iterator[Text]:
    for unit in rack.units.values():
        if unit.trouble:
            head = f"{SIGNS[FAILED]} {unit.name}  "
            yield Text.assemble((head, STYLES[FAILED]), _told(unit, width - len(head)))
    at_work = [(rack.seconds_of(cell), unit) for unit in rack.units.values() if (cell := unit.running())]
    slow = sorted((one for one in at_work if one[0] >= SLOW_SECONDS), key=lambda one: -one[0])
    for seconds, unit in slow[:_MOST_SLOW]:
        part = next((part for part, cell in unit.cells.items() if cell.state == RUNNING), "")
        yield Text.assemble((f"{SIGNS[RUNNING]} {unit.name}", STYLES[RUNNING]), f"  {int(seconds)} s  {part}")


def _table(rack: Rack, width: int) -> Iterator[Text]:
    """A line a unit, a column a part; the parts that came last where they do not all fit."""
    names = max((len(name) for name in rack.units), default=0)
    columns = max((width - names) // (_PART_WIDTH + 1), 1)
    parts = rack.parts[-columns:]
    if not parts:
        return
    room = max((width - names) // len(parts) - 1, _PART_WIDTH)
    widths = [max(min(len(part), room), _PART_WIDTH) for part in parts]
    heads = [f" {_heading(part, wide):<{wide}}" for part, wide in zip(parts, widths)]
    yield Text(" " * names + "".join(heads).rstrip(), style="dim")
    for unit in rack.units.values():
        line = Text(f"{unit.name:<{names}}", style=STYLES[unit.state] if unit.trouble else "")
        for part, wide in zip(parts, widths):
            line.append(f" {_cell(rack, unit, part):<{wide}}", style=STYLES[_state(unit, part)])
        line.rstrip()
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
    """A line a rack, a sign a unit, and how many are in which state: in words where they fit."""
    racks: dict[str, list[Unit]] = {}
    for unit in rack.units.values():
        racks.setdefault(unit.rack, []).append(unit)
    names = min(max(map(len, racks), default=0), width // 3)
    counts = {name: _counted(units) for name, units in racks.items()}
    short = {name: "  ".join(f"{SIGNS[state]} {count}" for state, count in one) for name, one in counts.items()}
    long = {name: ", ".join(f"{count} {state}" for state, count in one) for name, one in counts.items()}
    signs = max(map(len, racks.values()), default=0)
    # As there may be in a moment: a picture whose words come and go is hard to look at.
    longest = len(", ".join(f"{signs} {state}" for state in ORDER if state != LATER))
    told_in = long if names + signs + 3 + longest <= width else short
    most = max(width - names - 3 - max(map(len, told_in.values()), default=0), 1)
    for name, units in racks.items():
        line = Text(f"{name[:names]:<{names}} ")
        # Those that need somebody are among those that are shown.
        shown = units if len(units) <= most else sorted(units, key=lambda unit: unit.state != FAILED)[:most]
        for unit in shown:
            line.append(SIGNS[unit.state], style=STYLES[unit.state])
        line.append(" " * (min(most, signs) - len(shown)) + f"  {told_in[name]}")
        yield line


def _counted(units: list[Unit]) -> list[tuple[str, int]]:
    states = [unit.state for unit in units]
    return [(state, states.count(state)) for state in ORDER if states.count(state)]


def _told(unit: Unit, room: int) -> str:
    """What stopped *unit*, in *room* characters: as much of it as fits, the cause before all."""
    words, entry = parted(unit.trouble)
    end = end_of(entry)
    for whole in (f"{words} ({unit.where}){end}", unit.trouble):
        if len(whole) <= room:
            return whole
    # The end that names what explains it, where half of the room is left for the cause.
    end = end if room - len(end) >= room // 2 else ""
    left = max(room - len(end), 1)
    return (shortened(words, left) if left >= _ROOM_FOR_BOTH else _heading(words, left)) + end


def _heading(text: str, width: int) -> str:
    """*text* in *width* characters, cut after a word where that leaves the half of it."""
    if len(text) <= width:
        return text
    words = text[: width - 1].rpartition(" ")[0].rstrip(" ,")
    return f"{words if len(words) * 2 >= width else text[: width - 1]}…"


def _cut(lines: list[Text], most: int, what: str) -> list[Text]:
    if len(lines) <= most:
        return lines
    kept = max(most - 1, 0)
    return [*lines[:kept], Text(f"  and {len(lines) - kept} {what}", style="dim")][:most]
