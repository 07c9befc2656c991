# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where wanted enrollments come from: a list, or a file of device records as JSON Lines or CSV, streamed.

A file is read once to check every line and to note where each record begins, and again record by record when it is
its turn. So memory holds a small index and never the fleet.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import json
import os
import threading
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable, NamedTuple

from .enrollment import Wanted, wanted_of
from .errors import DpsError

# CSV has text only: these cells hold JSON, the list of hubs is also taken as names separated by spaces or semicolons.
_JSON_COLUMNS = (
    "initial_twin",
    "reprovision_policy",
    "custom_allocation",
    "optional_device_information",
    "ownership",
    "steps",
)
_BOOLEANS = {"true": True, "false": False, "yes": True, "no": False, "1": True, "0": False}


@dataclass(frozen=True)
class Problem:
    """Why a record is refused. *place* is its line in a file or its place in a list, both from 1.

    *where* is what its place is called, where that is not its number.
    """

    place: int
    registration_id: str | None
    field: str
    reason: str
    where: str | None = None

    def as_result(self) -> dict[str, Any]:
        """As a module returns it."""
        return {
            "place": self.place,
            "registration_id": self.registration_id,
            "field": self.field,
            "reason": self.reason,
            **({"where": self.where} if self.where else {}),
        }

    def told(self, word: str) -> str:
        """As a sentence; *word* is what a place is called."""
        return f"{self.where or f'{word} {self.place}'}: {self.field} {self.reason}".replace("  ", " ")


# So many bad records stand in the message itself; all of them are in problems.
_PROBLEMS_IN_MESSAGE = 10


def refusal(problems: Sequence[Problem], *, total: int, word: str, name: str) -> dict[str, Any]:
    """The failure of a module for a list called *name* of *total* records, each called a *word*, some of them bad."""
    places = len({problem.place for problem in problems})
    told = [problem.told(word) for problem in problems[:_PROBLEMS_IN_MESSAGE]]
    if len(problems) > len(told):
        told.append(f"and {len(problems) - len(told)} more, see problems")
    return {
        "failed": True,
        "msg": f"{places} of {total} {word}s of {name} are wrong, so nothing was written: {'; '.join(told)}.",
        "problems": [problem.as_result() for problem in problems],
    }


class _Row(NamedTuple):
    """A row of CSV: where in the file it begins and ends, the line it begins in, and why it cannot be read or None."""

    begin: int
    place: int
    end: int
    cells: list[str]
    fault: str | None


class ListSource:
    """Records that are in memory anyway."""

    word = "record"

    def __init__(self, records: Sequence[Any]) -> None:
        self._records = records

    def scan(self) -> Iterator[tuple[int, int, Any, str | None]]:
        """(position to read it again, place for people, the record, why it cannot be read or None), one a record."""
        for number, record in enumerate(self._records):
            yield number, number + 1, record, None

    def at(self, position: int) -> Any:
        """The record at a position that :meth:`scan` gave."""
        return self._records[position]

    def close(self) -> None:
        """Nothing to close."""


class FileSource:
    """Records in a file: CSV where *csv_rows* or else its name says so, or JSON Lines.

    *kind* is what the file is called in messages. *columns* says which column of CSV holds which field, where the two
    are not of one name. *one_of* are fields of which CSV has to have one.
    """

    word = "line"

    def __init__(
        self,
        path: str,
        *,
        kind: str = "manifest",
        csv_rows: bool | None = None,
        columns: Mapping[str, str] | None = None,
        one_of: Sequence[str] = (),
    ) -> None:
        self.path = path
        try:
            self._file: BinaryIO = open(path, "rb")  # noqa: SIM115
            # For reading a record again while the first reading goes on.
            self._again: BinaryIO = open(path, "rb")  # noqa: SIM115
        except OSError as error:
            raise DpsError(
                f"The {kind} {path} cannot be read: {error.strerror}.",
                hint="The file has to be where the task runs; delegate the task to the controller.",
            ) from None
        self._lock = threading.Lock()
        self._size = os.fstat(self._file.fileno()).st_size
        self._columns: list[str] = []
        if path.lower().endswith(".csv") if csv_rows is None else csv_rows:
            header = next(self._rows(0), None)
            if header is None:
                raise DpsError(f"The {kind} {path} is empty.", hint="Its first line has to name the columns.")
            if header.fault:
                raise DpsError(f"The first line of the {kind} {path} {header.fault}.")
            self._columns = self._fields_of([name.strip() for name in header.cells], kind, columns or {}, one_of)
            self._begin = header.end

    def _fields_of(
        self, header: list[str], kind: str, columns: Mapping[str, str], one_of: Sequence[str]
    ) -> list[str]:
        fields = {column: field for field, column in columns.items()}
        found = [fields.get(name, name) for name in header]
        missing = [column for column in columns.values() if column not in header]
        if not missing and one_of and not set(one_of) & set(found):
            missing = [" or ".join(one_of)]
        if missing:
            raise DpsError(
                f"The {kind} {self.path} has no column {', '.join(missing)}.",
                hint=f"Its columns are {', '.join(header)}.",
            )
        twice = {name for name in found if name and found.count(name) > 1}
        if twice:
            raise DpsError(f"The {kind} {self.path} has more than one column {', '.join(sorted(twice))}.")
        return found

    def where(self, place: int) -> str:
        """What people call the record at *place*."""
        return f"{self.word} {place}"

    def scan(self) -> Iterator[tuple[int, int, Any, str | None]]:
        """As :meth:`ListSource.scan`."""
        return self._scan_lines() if not self._columns else self._scan_rows()

    def at(self, position: int) -> Any:
        """As :meth:`ListSource.at`."""
        with self._lock:
            if not self._columns:
                self._again.seek(position)
                return json.loads(_without_mark(self._again.readline()))
            record, _fault = self._from_row(next(self._rows(position, file=self._again)).cells)
            return record

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
        self._again.close()

    def _scan_lines(self) -> Iterator[tuple[int, int, Any, str | None]]:
        position = 0
        self._file.seek(0)
        for place, line in enumerate(self._file, start=1):
            begin, position = position, position + len(line)
            text = _without_mark(line)
            if not text:
                continue
            try:
                yield begin, place, json.loads(text), None
            except (ValueError, UnicodeDecodeError) as error:
                fault = f"is not JSON ({error.msg if isinstance(error, json.JSONDecodeError) else 'not UTF-8'})"
                if position >= self._size and not line.endswith(b"\n"):
                    fault = "ends in the middle of a record: the file was cut short"
                yield begin, place, None, fault

    def _scan_rows(self) -> Iterator[tuple[int, int, Any, str | None]]:
        for row in self._rows(self._begin, first_place=2):
            if row.fault:
                yield row.begin, row.place, None, row.fault
            elif any(cell.strip() for cell in row.cells):
                record, fault = self._from_row(row.cells)
                yield row.begin, row.place, record, fault

    def _rows(self, position: int, *, first_place: int = 1, file: BinaryIO | None = None) -> Iterator[_Row]:
        """The rows from a position on; a quoted cell may span lines."""
        source = file or self._file
        source.seek(position)
        ends = [position, first_place]

        def lines() -> Iterator[str]:
            for line in source:
                ends[0] += len(line)
                ends[1] += 1
                yield line.decode("utf-8-sig" if ends[0] == len(line) else "utf-8", errors="replace")

        begin, place = position, first_place
        reader = csv.reader(lines(), strict=True)
        while True:
            try:
                cells, fault = next(reader), None
            except StopIteration:
                return
            except csv.Error as error:
                cells, fault = [], f"is no row of CSV ({error}): a quote is not closed, or the file was cut short"
            end, next_place = ends
            yield _Row(begin, place, end, cells, fault)
            begin, place = end, next_place

    def _from_row(self, row: list[str]) -> tuple[dict[str, Any] | None, str | None]:
        if len(row) != len(self._columns):
            return None, f"has {len(row)} cells, the first line names {len(self._columns)} columns"
        record: dict[str, Any] = {}
        for name, cell in zip(self._columns, row):
            if cell.strip() == "":
                continue
            try:
                record[name] = _from_cell(name, cell.strip())
            except ValueError:
                return None, f"has in column {name} what is not JSON"
        return record, None


def _without_mark(line: bytes) -> bytes:
    """A line without its end and without the byte order mark that some editors begin a file with."""
    text = line.strip()
    return text[3:] if text.startswith(b"\xef\xbb\xbf") else text


def _from_cell(name: str, cell: str) -> Any:
    if name in _JSON_COLUMNS or (name == "iot_hubs" and cell.startswith("[")):
        return json.loads(cell)
    if name == "iot_hubs":
        return cell.replace(";", " ").split()
    if name == "iot_edge":
        return _BOOLEANS.get(cell.lower(), cell)
    return cell


class Index:
    """What memory holds of a manifest: for each good record its ID and where it is; and every problem.

    Two records with one registration ID, or one endorsement key, are both refused: nobody can say which is right.
    """

    def __init__(self, source: ListSource | FileSource, *, on_record: Callable[[], None] = lambda: None) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self._positions = array("Q")
        self._places = array("L")
        self._numbers: dict[str, int] = {}
        self._spoiled: set[int] = set()
        self.total = 0
        self._read(on_record)

    def __len__(self) -> int:
        """How many records may be applied."""
        return len(self._numbers)

    def number_of(self, registration_id: str) -> int | None:
        """The number of the record with this ID, in any case of letters; None where there is none."""
        return self._numbers.get(registration_id.lower())

    def numbers(self) -> Iterator[int]:
        """The numbers of all good records, in their order."""
        return iter(sorted(self._numbers.values()))

    def capacity(self) -> int:
        """One more than the highest number."""
        return len(self._positions)

    def place(self, number: int) -> int:
        """The line or place of a record, for people."""
        return self._places[number]

    def wanted(self, number: int) -> Wanted:
        """The record itself, read again. Safe for use by several threads."""
        try:
            wanted, problems = wanted_of(self.source_record(number))
        except (ValueError, StopIteration):
            wanted, problems = None, []
        if wanted is None or problems or self.number_of(wanted.registration_id) != number:
            raise DpsError(
                f"The manifest changed while it was read ({self.source.word} {self.place(number)}).",
                hint="Run again once nobody writes it; what was done so far stands.",
            )
        return wanted

    def _read(self, on_record: Callable[[], None]) -> None:
        keys: dict[bytes, int] = {}
        for position, place, record, fault in self.source.scan():
            self.total += 1
            on_record()
            if fault:
                self.problems.append(Problem(place, None, "", fault))
                continue
            wanted, wrong = wanted_of(record)
            registration_id = wanted.registration_id if wanted else _id_of(record)
            self.problems += [Problem(place, registration_id, *pair) for pair in wrong]
            if wanted is not None:
                self._add(wanted, position, place, keys, good=not wrong)
        for registration_id, number in [*self._numbers.items()]:
            if number in self._spoiled:
                del self._numbers[registration_id]

    def _add(self, wanted: Wanted, position: int, place: int, keys: dict[bytes, int], *, good: bool) -> None:
        number = len(self._positions)
        self._positions.append(position)
        self._places.append(place)
        lower = wanted.registration_id.lower()
        other = self._numbers.setdefault(lower, number)
        if not good:
            # Kept in the index all the same, so that a second record with its ID or key is found out.
            self._spoiled.add(number)
        if other != number:
            self._refuse_both("registration_id", other, number, wanted.registration_id)
        key = wanted.fields.get("endorsement_key")
        if key:
            digest = hashlib.blake2b(base64.b64decode(key), digest_size=16).digest()
            holder = keys.setdefault(digest, number)
            if holder != number and holder != other:
                self._refuse_both("endorsement_key", holder, number, wanted.registration_id)

    def _refuse_both(self, field: str, first: int, second: int, registration_id: str) -> None:
        holder = _id_of(self.source_record(first)) or registration_id
        for number, name, other, other_name in (
            (first, holder, second, registration_id),
            (second, registration_id, first, holder),
        ):
            reason = f"is also that of {self.source.word} {self._places[other]}"
            if field == "endorsement_key":
                reason += f" ({other_name}): two devices with one TPM, or one device listed twice"
            self._spoiled.add(number)
            self.problems.append(Problem(self._places[number], name, field, reason))

    def source_record(self, number: int) -> Any:
        """The record as it was written."""
        return self.source.at(self._positions[number])


def _id_of(record: Any) -> str | None:
    if not isinstance(record, dict):
        return None
    wanted, _problems = wanted_of(record)
    value = wanted.registration_id if wanted else record.get("registration_id")
    return value if isinstance(value, str) else None
