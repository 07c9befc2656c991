# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists of JSON: one object a line, or one array of them, or objects one after the other, streamed.

An array is what a cloud's command line prints. It may be one line of 100 MB, so what is found in it are records and not
lines.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO, Callable

from ..outside.files import FileError, lines_of, told_size
from ..outside.strict_json import MOST_DEPTH, JsonError, parse
from .reader import CUT_SHORT, MOST_EMPTY, MOST_RECORD, Read, Reasons
from .text_file import TextFile

Convert = Callable[[Any], "tuple[Any, Reasons]"]
# A page of a service's answer: an object whose member `value` is the array, behind members that are no containers.
_PAGE = re.compile(
    rb'\s*\{\s*(?:"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[-+.\w]+)\s*,\s*)*"value"\s*:\s*(?=\[)',
)
_CLOSE, _COMMA = b"]", b","
_PARTS = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*("?)|[\[{]|[\]}]', re.DOTALL)
_SCALAR_END = re.compile(rb"[\s,\]]")
_SEEN = re.compile(rb"\S")
_CHUNK = 1 << 18
_MOST_SPACE = 1 << 22


class _Documents:
    """What both kinds are. *read* makes the record of its bytes, *convert* of that the one that is wanted."""

    def __init__(self, text: TextFile, convert: Convert, *, read: Callable[[bytes], Any] = parse) -> None:
        self._text = text
        self._convert = convert
        self._read = read
        self._lock = threading.Lock()

    def lost(self) -> list[tuple[int, str, str]]:
        """Nothing."""
        return []

    def close(self) -> None:
        """Closes the file."""
        self._text.close()

    def _record(self, text: bytes) -> tuple[Any, Reasons]:
        try:
            return self._convert(self._read(text))
        except JsonError as error:
            return None, [("", str(error))]


class Lines(_Documents):
    """One record a line."""

    word = "line"

    def scan(self) -> Iterator[Read]:
        """As the scan of every list."""
        position, empty, place = self._text.begin, 0, 0
        self._text.file.seek(position)
        lines = lines_of(self._text.file, most=MOST_RECORD)
        while True:
            place += 1
            begin = position
            try:
                line = next(lines, None)
            except FileError as error:
                yield Read(begin, place, None, [("", str(error))])
                return
            if line is None:
                return
            position += len(line)
            text = line.strip()
            if text:
                empty = 0
                record, reasons = self._record(text)
                if position >= self._text.size and not line.endswith(b"\n") and _is_no_json(reasons):
                    reasons = [("", CUT_SHORT)]
                yield Read(begin, place, record, reasons)
                continue
            empty += 1
            if empty > MOST_EMPTY:
                yield Read(begin, place, None, [("", f"is one of more than {MOST_EMPTY:,} empty ones")])
                return

    def at(self, position: int) -> Any:
        """As that of every list."""
        with self._lock:
            self._text.again.seek(position)
            line = self._text.again.readline(MOST_RECORD)
        record, _reasons = self._record(line.strip())
        return record


def _is_no_json(reasons: Reasons) -> bool:
    return len(reasons) == 1 and reasons[0][1].startswith("is not JSON")


class Array(_Documents):
    """The elements of one array (*in_array*), or values that follow each other."""

    word = "record"

    def __init__(self, text: TextFile, convert: Convert, *, in_array: bool) -> None:
        super().__init__(text, convert)
        self._in_array = in_array
        # In a page other members may follow the array, and say nothing of its records.
        self._page = _PAGE.match(text.head)

    @staticmethod
    def is_page(head: bytes) -> bool:
        """Whether a file that begins with *head* is a page of a service's answer."""
        return _PAGE.match(head) is not None

    def scan(self) -> Iterator[Read]:
        """As the scan of every list."""
        window = _Window(self._text.file, self._text.begin + (self._page.end() if self._page else 0))
        place = 1
        try:
            while self._stands_before_a_record(window, first=place == 1):
                begin = window.position
                record, reasons = self._record(window.element())
                yield Read(begin, place, record, reasons)
                place += 1
        except _NoElement as error:
            yield Read(window.position, place, None, [("", str(error))])

    def _stands_before_a_record(self, window: _Window, *, first: bool) -> bool:
        """Whether another record follows, to which *window* is moved."""
        mark = window.next()
        if not self._in_array:
            return bool(mark)
        if first:
            window.skip()
            mark = window.next()
        if mark == _CLOSE:
            window.skip()
            if not self._page and window.next():
                raise _NoElement("follows the end of the array")
            return False
        if not first and mark:
            if mark != _COMMA:
                raise _NoElement("has no comma before it")
            window.skip()
            mark = window.next()
        if not mark:
            raise _NoElement(CUT_SHORT)
        return True

    def at(self, position: int) -> Any:
        """As that of every list."""
        with self._lock:
            try:
                text = _Window(self._text.again, position).element()
            except _NoElement:
                return None
        record, _reasons = self._record(text)
        return record


class _NoElement(Exception):
    """Why no element begins here, as the end of a sentence about it."""


class _Window:
    """A file through a window that is moved along: never more than one record and one chunk are in memory."""

    def __init__(self, file: BinaryIO, position: int) -> None:
        self._file = file
        self._file.seek(position)
        self._base = position
        self._data = b""
        self._at = 0

    @property
    def position(self) -> int:
        """Where in the file it stands."""
        return self._base + self._at

    def next(self) -> bytes:
        """The next byte that is no white space, where it then stands; empty at the end."""
        begun = self.position
        while True:
            found = _SEEN.search(self._data, self._at)
            self._at = len(self._data) if found is None else found.start()
            if found:
                return found[0]
            if self.position - begun > _MOST_SPACE:
                raise _NoElement(f"is {told_size(_MOST_SPACE)} of white space; what follows was not read")
            if not self._more():
                return b""

    def skip(self) -> None:
        """One byte on."""
        if self._at < len(self._data) or self._more():
            self._at += 1

    def element(self) -> bytes:
        """The value that begins where it stands; it stands behind it then."""
        while True:
            end = self._end()
            if end is not None:
                text, self._at = self._data[self._at : end], end
                return text
            if len(self._data) - self._at > MOST_RECORD:
                raise _NoElement(f"is longer than {told_size(MOST_RECORD)}; it and what follows was not read")
            if not self._more():
                raise _NoElement(CUT_SHORT)

    def _end(self) -> int | None:
        """Where the value ends that begins here, None where that is beyond what was read."""
        start = self._data[self._at : self._at + 1]
        if start not in (b"{", b"[", b'"'):
            found = _SCALAR_END.search(self._data, self._at + 1)
            return None if found is None else found.start()
        depth = 0
        for part in _PARTS.finditer(self._data, self._at):
            mark = part[0][:1]
            if mark == b'"':
                if not part[1]:
                    return None
            else:
                depth += 1 if mark in b"[{" else -1
                if depth > MOST_DEPTH:
                    raise _NoElement(f"is nested deeper than {MOST_DEPTH} levels; it and what follows was not read")
            if depth == 0:
                return part.end()
        return None

    def _more(self) -> bool:
        try:
            chunk = self._file.read(_CHUNK)
        except OSError:
            chunk = b""
        self._base, self._data, self._at = self._base + self._at, self._data[self._at :] + chunk, 0
        return bool(chunk)
