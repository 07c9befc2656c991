# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A list in a file, as what it is: by the name of the file where that says so, else by how it begins."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..dps.enrollment import FIELDS, OTHER_RECORD_FIELDS
from ..dps.errors import DpsError
from ..outside.files import FileError, read_file
from .documents import Array, Lines
from .reader import InMemory, Read, Reader, Reasons
from .rows import DELIMITERS, Rows
from .service_documents import record_of
from .text_file import TextFile
from .tool_output import MOST_BYTES, is_tool_output, keys_in

FORMATS = ("auto", "jsonl", "json", "csv", "keys")
_SUFFIXES = {".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_KNOWN = frozenset((*FIELDS, *OTHER_RECORD_FIELDS, "registration_id"))


class FileSource:
    """Records in a file. DpsError where it cannot be read at all.

    *kind* is what the file is called in messages, *form* one of FORMATS, *delimiter* a key of DELIMITERS or None.
    *columns* says which column of CSV holds which field, where the two are not of one name. *one_of* are fields of
    which CSV has to have one.
    """

    def __init__(
        self,
        path: str,
        *,
        kind: str = "manifest",
        form: str = "auto",
        delimiter: str | None = None,
        columns: Mapping[str, str] | None = None,
        one_of: Sequence[str] = (),
    ) -> None:
        self.path = path
        try:
            self._reader = _reader(path, form, delimiter, columns or {}, one_of)
        except FileError as error:
            absent = "is not there" in str(error)
            hint = "Paths are those of the machine where the task runs, which is the controller." if absent else ""
            raise DpsError(f"The {kind} {path} {error}.", hint=hint) from None
        self.word = self._reader.word

    def where(self, place: int) -> str:
        """What people call the record at *place*."""
        return f"{self.word} {place}"

    def scan(self) -> Iterator[Read]:
        """Every record."""
        return self._reader.scan()

    def at(self, position: int) -> Any:
        """The record at a position that :meth:`scan` gave. Safe for use by several threads."""
        return self._reader.at(position)

    def lost(self) -> list[tuple[int, str, str]]:
        """(place, field, reason) of what only the whole list tells."""
        return self._reader.lost()

    def close(self) -> None:
        """Closes the file."""
        self._reader.close()


def _reader(path: str, form: str, delimiter: str | None, columns: Mapping[str, str], one_of: Sequence[str]) -> Reader:
    if form == "keys":
        return _keys(path)
    text = TextFile(path)
    try:
        form = _form(path, text.head, delimiter) if form == "auto" else form
        if form == "csv":
            return Rows(text, delimiter=delimiter, columns=columns, one_of=one_of, known=_KNOWN)
        if form == "jsonl":
            return Lines(text, record_of)
        if form == "json":
            return Array(text, record_of, in_array=_is_array(text.head))
    except FileError:
        text.close()
        raise
    text.close()
    return _keys(path)


def _form(path: str, head: bytes, delimiter: str | None) -> str:
    named = next((form for suffix, form in _SUFFIXES.items() if path.lower().endswith(suffix)), None)
    begin = head.lstrip()
    if begin.startswith(b"{"):
        # An object that goes on on the next line is none of JSON Lines.
        return "json" if Array.is_page(head) or begin.splitlines()[0].strip() == b"{" else "jsonl"
    if begin.startswith(b"["):
        return "json"
    if named:
        return named
    if is_tool_output(head):
        return "keys"
    first = head.splitlines()[0].decode("utf-8", errors="replace") if head else ""
    mark = DELIMITERS.get(delimiter or "")
    names = {name.strip(' "\r') for one in DELIMITERS.values() for name in first.split(mark or one)}
    return "csv" if delimiter or names & _KNOWN or first.lower().startswith("sep=") else "jsonl"


def _is_array(head: bytes) -> bool:
    return Array.is_page(head) or head.lstrip().startswith(b"[")


def _keys(path: str) -> Reader:
    return _Keys(keys_in(read_file(path, most=MOST_BYTES)))


class _Keys(InMemory):
    """The keys in what a tool printed, which are few."""

    def __init__(self, found: list[tuple[Any, Reasons]]) -> None:
        super().__init__([record for record, _reasons in found], word="key")
        self._reasons = [reasons for _record, reasons in found]

    def scan(self) -> Iterator[Read]:
        """As the scan of every list."""
        for read in super().scan():
            yield read._replace(reasons=self._reasons[read.position])
