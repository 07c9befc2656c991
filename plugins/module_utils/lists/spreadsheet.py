# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a spreadsheet makes of identities: numbers without their digits, dates, errors, numbers without their zeros.

A spreadsheet takes 1234567890123 for a number and shows 1.23457E+12, takes 3-11 for a day in November, and 000123 for
123. The text that is saved is what was shown, so several devices end up with one identity, or with another's.
"""

from __future__ import annotations

import re

_SCIENTIFIC = re.compile(r"[+-]?\d{1,3}(?:[.,]\d+)?[eE]\+\d{1,3}")
_ERROR = re.compile(r"#(?:NAME|REF|VALUE|VALEUR|WERT|BEZUG|NOM|N/A|NV|NUM|ZAHL|NULL|DIV/0)[!?]?|#{3,}")
_MONTH = (
    r"(?:jan|feb|fev|m[aä]r|mrz|apr|avr|mai|may|jun|juin|juil|jul|aug|ao[uû]|sep|o[ck]t|nov|dec|dez|d[eé]c)[a-zû]*\.?"
)
_DATE = re.compile(
    rf"\d{{1,2}}[./-]\d{{1,2}}[./-](?:\d\d|\d{{4}})|(?:19|20)\d\d-\d\d-\d\d(?:[ T]\d\d:\d\d(?::\d\d)?)?"
    rf"|\d{{1,2}}[. -]{{1,2}}{_MONTH}(?:[ -]\d{{2,4}})?|{_MONTH}[ -]\d{{1,4}}",
    re.IGNORECASE,
)
_IDENTITIES = ("registration_id", "device_id", "serial_number", "tpm_serial_number", "host")
_AGAIN = "get the list again with this column formatted as text"


class Spreadsheet:
    """Looks at the cells of one list, each once."""

    def __init__(self) -> None:
        # Of each column: how many digits those that begin with a zero have, or 0 where they differ, and the first one.
        self._padded: dict[str, tuple[int, int, str]] = {}
        # Of each column, by the number of digits, the first one that begins with none.
        self._plain: dict[str, dict[int, tuple[int, str]]] = {}

    def fault(self, field: str, cell: str, place: int) -> str | None:
        """Why *cell* is not what once was in the column of *field*, as the end of a sentence about it; or None."""
        if len(cell) > 64:
            return None
        if _SCIENTIFIC.fullmatch(cell):
            return f"is {cell}, which a spreadsheet makes of a long number: its digits are lost; {_AGAIN}"
        if _ERROR.fullmatch(cell):
            return f"is {cell}, which is a spreadsheet's error and no value; {_AGAIN}"
        if field not in _IDENTITIES:
            return None
        if _DATE.fullmatch(cell):
            return f"is {cell}, which is a date, as a spreadsheet makes of what looks like one; {_AGAIN}"
        if cell.isascii() and cell.isdigit():
            self._note(field, cell, place)
        return None

    def lost_zeros(self) -> list[tuple[int, str, str]]:
        """(place, field, reason) of numbers that lost their zeros, as others of the column kept theirs."""
        found = []
        for field, (digits, place, cell) in self._padded.items():
            for length, (at, short) in sorted(self._plain.get(field, {}).items()):
                if length < digits:
                    reason = f"is {short}, where line {place} has {cell}: leading zeros were lost, as in a spreadsheet"
                    found.append((at, field, f"{reason}; {_AGAIN}"))
        return found

    def _note(self, field: str, cell: str, place: int) -> None:
        if cell[0] != "0":
            self._plain.setdefault(field, {}).setdefault(len(cell), (place, cell))
        elif len(cell) > 1:
            digits, first, example = self._padded.setdefault(field, (len(cell), place, cell))
            if digits != len(cell):
                self._padded[field] = (0, first, example)
