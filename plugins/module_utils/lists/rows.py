# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of rows: CSV with the delimiter of whoever saved it."""

from __future__ import annotations

import csv
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, BinaryIO, NamedTuple

from ..outside.files import FileError, lines_of, told_size
from ..outside.strict_json import JsonError, parse
from ..outside.visible import visible
from .reader import MOST_EMPTY, MOST_RECORD, Read, Reasons
from .spreadsheet import Spreadsheet
from .text_file import TextFile, not_utf8

# The names of the option and the characters, the likeliest first.
DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", ",": ",", ";": ";"}
# CSV has text only: these cells hold JSON, the list of hubs is also taken as names separated by spaces or semicolons.
_JSON_COLUMNS = (
    "initial_twin",
    "reprovision_policy",
    "custom_allocation",
    "optional_device_information",
    "ownership",
    "steps",
    "certified_tpm",
    "places",
    "decommission",
    "work_order",
    "earlier_work_orders",
    "outcome",
)
_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}
_MOST_COLUMNS = 1000


class _Row(NamedTuple):
    """A row: where in the file it begins and ends, the line it begins in, and why it cannot be read or None."""

    begin: int
    place: int
    end: int
    cells: list[str]
    fault: str | None


class Rows:
    """The rows of *text*, whose first line names the columns.

    *delimiter* is a key of DELIMITERS, or None to find out. *columns* says which column holds which field, where the
    two are not of one name; *one_of* are fields of which there has to be one, *known* names that tell a first line from
    another. FileError where the first line does not.
    """

    word = "line"

    def __init__(
        self,
        text: TextFile,
        *,
        delimiter: str | None,
        columns: Mapping[str, str],
        one_of: Sequence[str],
        known: Collection[str],
    ) -> None:
        self._text = text
        self._lock = threading.Lock()
        self._spreadsheet = Spreadsheet()
        self._delimiter = DELIMITERS.get(delimiter or "", "")
        begin, place = self._said_delimiter()
        header = self._header(begin, place, {*columns.values(), *known})
        self._begin, self._place = header.end, header.place + 1
        self._headings = [name.strip() for name in header.cells]
        self._fields = self._fields_of(self._headings, columns, one_of)

    def scan(self) -> Iterator[Read]:
        """As the scan of every list."""
        empty = 0
        for row in self._rows(self._text.file, self._begin, self._place):
            if row.fault:
                yield Read(row.begin, row.place, None, [("", row.fault)])
            elif any(cell.strip() for cell in row.cells):
                empty = 0
                record, reasons = self._record(row)
                yield Read(row.begin, row.place, record, reasons)
            else:
                empty += 1
                if empty > MOST_EMPTY:
                    yield Read(row.begin, row.place, None, [("", _ONLY_EMPTY)])
                    return

    def at(self, position: int) -> Any:
        """As that of every list."""
        with self._lock:
            record, _reasons = self._record(next(self._rows(self._text.again, position, 1)), look=False)
            return record

    def lost(self) -> list[tuple[int, str, str]]:
        """Numbers that lost their leading zeros."""
        return [
            (place, field, self._in_column(field, reason)) for place, field, reason in self._spreadsheet.lost_zeros()
        ]

    def close(self) -> None:
        """Closes the file."""
        self._text.close()

    def _said_delimiter(self) -> tuple[int, int]:
        """(Where the line is that names the columns, its number): a spreadsheet may say its delimiter in one before."""
        self._text.file.seek(self._text.begin)
        first = self._text.file.readline(16)
        said = first.rstrip(b"\r\n").lower()
        if not first.endswith(b"\n") or not said.startswith(b"sep=") or len(said) > 5:
            return self._text.begin, 1
        mark = said[4:].decode("latin-1")
        if not self._delimiter and mark in DELIMITERS.values():
            self._delimiter = mark
        return self._text.begin + len(first), 2

    def _header(self, begin: int, place: int, wanted: set[str]) -> _Row:
        """The first row, by the delimiter that is given, or by the one that finds most of what is *wanted* in it."""
        found = []
        for mark in [self._delimiter] if self._delimiter else dict.fromkeys(DELIMITERS.values()):
            self._delimiter = mark
            row = next(self._rows(self._text.file, begin, place), None)
            if row is None:
                raise FileError("is empty: its first line has to name the columns")
            names = [cell.strip() for cell in row.cells]
            # Where nothing tells them apart the first one stays.
            found.append((row.fault is None, len(wanted.intersection(names)), len(names), row, mark))
        best = max(found, key=lambda one: one[:3])
        row, self._delimiter = best[3], best[4]
        if row.fault:
            raise FileError(f"has a first line that {row.fault}")
        if len(row.cells) > _MOST_COLUMNS:
            raise FileError(f"has {len(row.cells):,} columns; {_MOST_COLUMNS:,} are the most")
        return row

    def _fields_of(self, header: list[str], columns: Mapping[str, str], one_of: Sequence[str]) -> list[str]:
        fields = {column: field for field, column in columns.items()}
        found = [fields.get(name, name) for name in header]
        missing = [column for column in columns.values() if column not in header]
        if not missing and one_of and not set(one_of) & set(found):
            missing = [" or ".join(one_of)]
        if missing:
            names = visible(", ".join(header), most=300)
            mark = next(name for name, mark in DELIMITERS.items() if mark == self._delimiter)
            raise FileError(f"has no column {', '.join(missing)}. Its columns are {names} (by the delimiter {mark})")
        twice = {name for name in found if name and found.count(name) > 1}
        if twice:
            raise FileError(f"has more than one column {visible(', '.join(sorted(twice)), most=300)}")
        return found

    def _rows(self, source: BinaryIO, position: int, place: int) -> Iterator[_Row]:
        """The rows from a position on; a quoted cell may span lines."""
        source.seek(position)
        ends = [position, place]
        begun = [position, place]

        def lines() -> Iterator[str]:
            for line in lines_of(source, most=MOST_RECORD):
                ends[0] += len(line)
                ends[1] += 1
                if ends[0] - begun[0] > MOST_RECORD:
                    raise _NoRow(f"is a row longer than {told_size(MOST_RECORD)}: is a quote not closed?")
                if b"\x00" in line:
                    raise _NoRow("holds a NUL, which no text has")
                try:
                    yield line.decode("utf-8")
                except UnicodeDecodeError as error:
                    raise _NoRow(not_utf8(line, error)) from None

        reader = None
        while True:
            reader = reader or csv.reader(lines(), strict=True, delimiter=self._delimiter)
            try:
                cells, fault = next(reader), None
            except StopIteration:
                return
            except csv.Error as error:
                cells, fault = [], f"is no row of CSV ({error}): a quote is not closed, or the file was cut short"
            except _NoRow as error:
                # What raised inside has ended; a new one goes on with the next line.
                cells, fault, reader = [], str(error), None
            except FileError as error:
                yield _Row(begun[0], ends[1], ends[0], [], str(error))
                return
            yield _Row(begun[0], begun[1], ends[0], cells, fault)
            begun[:] = ends

    def _record(self, row: _Row, *, look: bool = True) -> tuple[dict[str, Any] | None, Reasons]:
        """The record in a row, and what is wrong in it; the spreadsheet's part only where *look* is set."""
        if len(row.cells) != len(self._fields):
            told = f"has {len(row.cells)} cells, the first line names {len(self._fields)} columns"
            return None, [("", told)]
        record: dict[str, Any] = {}
        reasons: Reasons = []
        for field, cell in zip(self._fields, map(str.strip, row.cells)):
            if cell == "":
                continue
            try:
                record[field] = _value(field, cell)
            except JsonError as error:
                reasons.append((field, f"{error}; a cell of this column holds JSON"))
                continue
            fault = self._spreadsheet.fault(field, cell, row.place) if look and field not in _JSON_COLUMNS else None
            if fault:
                reasons.append((field, self._in_column(field, fault)))
        return record, reasons

    def _in_column(self, field: str, reason: str) -> str:
        """*reason* with the column in which a field stands, by its letter in a spreadsheet and its own name."""
        number = self._fields.index(field)
        return f"(column {_letters(number)}, {visible(self._headings[number], most=60)}) {reason}"


class _NoRow(Exception):
    """Why a line is not given to the reader of CSV, as the end of a sentence about it."""


_ONLY_EMPTY = f"is one of more than {MOST_EMPTY:,} empty ones; what follows was not read"


def _letters(number: int) -> str:
    """What a spreadsheet calls its *number*-th column, from 0: A, B, … Z, AA."""
    name = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        name = chr(ord("A") + digit) + name
    return name


def _value(field: str, cell: str) -> Any:
    if field in _JSON_COLUMNS or (field == "iot_hubs" and cell.startswith("[")):
        return parse(cell)
    if field == "iot_hubs":
        return cell.replace(";", " ").split()
    if field == "iot_edge":
        return _BOOLEANS.get(cell.lower(), cell)
    return cell
