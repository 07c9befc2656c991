# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every reader of a list gives, whatever the list is written in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol

# A line, or a record of several lines, has no more bytes. A device record with its certificate has 5,000.
MOST_RECORD = 1 << 20
# After so many bad records the rest is not read: nobody goes through more, and each one is kept in memory.
MOST_PROBLEMS = 10_000
# Empty ones in a row; a spreadsheet that was saved as a whole has 1,048,576 of them.
MOST_EMPTY = 2_000_000
CUT_SHORT = "ends in the middle of a record: the file was cut short"

# (field, reason): what is wrong with a record, the field empty where it is the record as a whole.
Reasons = list[tuple[str, str]]


class Read(NamedTuple):
    """One record: the *position* to read it again, its *place* for people (from 1), and what is wrong with it.

    *record* is None where there is none to go by.
    """

    position: int
    place: int
    record: Any
    reasons: Reasons


class Reader(Protocol):
    """A list that is open."""

    # What its places are: lines, records.
    word: str

    def scan(self) -> Iterator[Read]:
        """Every record."""

    def at(self, position: int) -> Any:
        """The record at a position that :meth:`scan` gave. Safe for use by several threads."""

    def lost(self) -> list[tuple[int, str, str]]:
        """(place, field, reason) of what only the whole list tells. To be asked after :meth:`scan`."""

    def close(self) -> None:
        """Closes the file."""


class InMemory:
    """Records that are in memory anyway."""

    def __init__(self, records: Sequence[Any], *, word: str = "record") -> None:
        self.word = word
        self._records = records

    def scan(self) -> Iterator[Read]:
        """As :meth:`Reader.scan`."""
        for number, record in enumerate(self._records):
            yield Read(number, number + 1, record, [])

    def at(self, position: int) -> Any:
        """As :meth:`Reader.at`."""
        return self._records[position]

    def lost(self) -> list[tuple[int, str, str]]:
        """Nothing."""
        return []

    def close(self) -> None:
        """Nothing to close."""
