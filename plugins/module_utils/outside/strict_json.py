# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""JSON that somebody else wrote: read within limits, and only where it has one meaning.

Python's own reader takes a name that stands twice (and keeps the last), NaN, half a character and numbers of any
length, and falls over brackets that are nested a few thousand deep. What it takes then fails far away from here: in the
ledger, in the service, on a terminal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

# What a device record needs is 5. A device twin may have 10 (hub documentation, "Device twin size").
MOST_DEPTH = 32
MOST_BYTES = 1 << 20
# An empty object of two characters takes 64 bytes. A page of 1,000 enrollments has a tenth of it.
MOST_VALUES = 500_000
# A signed or unsigned number of 64 bits is all that a database, a service or another language can be trusted with.
_LEAST_NUMBER, _MOST_NUMBER = -(1 << 63), (1 << 64) - 1
_MOST_DIGITS = 40
_BRACKETS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"?|[\[{]|[\]}]', re.DOTALL)


class JsonError(ValueError):
    """Why something is no JSON that is taken, as the end of a sentence about it, with the place in it."""


def parse(text: str | bytes, *, most: int = MOST_BYTES, depth: int = MOST_DEPTH) -> Any:
    """The value that *text* (in UTF-8 where it is bytes) says. JsonError where it is none, or not within the limits.

    *most* is in bytes or characters. Nothing that is returned holds a NUL or half a character (a lone surrogate), a
    number is finite and has 64 bits, and no object had a name twice.
    """
    if len(text) > most:
        raise JsonError(f"is longer than {most:,} characters")
    if isinstance(text, str):
        _check_halves(text)
    else:
        try:
            text = text.decode("utf-8")
        except UnicodeDecodeError as error:
            raise JsonError(f"is not UTF-8: byte 0x{text[error.start]:02x} at character {error.start + 1}") from None
    _check_structure(text, depth)
    try:
        value = _DECODER.decode(text)
    except json.JSONDecodeError as error:
        line = f" of its line {error.lineno}" if error.lineno > 1 else ""
        raise JsonError(f"is not JSON ({error.msg} at character {error.colno}{line})") from None
    except RecursionError:
        # Where the caller stands deep in the stack already.
        raise JsonError("is nested too deep") from None
    # Only an escape can say either; raw ones are refused above.
    if "\\u" in text:
        _check_text(value)
    return value


def _check_structure(text: str, most: int) -> None:
    brackets = text.count("[") + text.count("{")
    # Those in texts count too, as a limit need not be exact.
    if brackets + text.count(",") > MOST_VALUES:
        raise JsonError(f"has more than {MOST_VALUES:,} values")
    if brackets <= most:
        return
    depth = 0
    for found in _BRACKETS.finditer(text):
        bracket = found[0]
        if bracket in ("[", "{"):
            depth += 1
            if depth > most:
                raise JsonError(f"is nested deeper than {most} levels, at character {found.start() + 1}")
        elif bracket in ("]", "}"):
            depth -= 1


def _check_text(value: Any) -> None:
    if isinstance(value, str):
        if "\x00" in value:
            raise JsonError(r"holds a NUL (\u0000), which no text can have")
        _check_halves(value)
    elif isinstance(value, dict):
        for name, inner in value.items():
            _check_text(name)
            _check_text(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_text(inner)


def _check_halves(text: str) -> None:
    try:
        text.isascii() or text.encode("utf-8")
    except UnicodeEncodeError as error:
        half = ord(text[error.start])
        raise JsonError(f"holds half a character (the lone surrogate \\u{half:04x})") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise JsonError(f"has the name {_twice(name for name, _value in pairs)!a} twice in one object")
    return value


def _twice(names: Iterable[str]) -> str:
    seen: set[str] = set()
    return next(name for name in names if name in seen or seen.add(name))[:80]  # type: ignore[func-returns-value]


def _integer(digits: str) -> int:
    # A conversion takes time with the square of the digits.
    if len(digits) > _MOST_DIGITS or not _LEAST_NUMBER <= int(digits) <= _MOST_NUMBER:
        raise JsonError(f"has a number that needs more than 64 bits ({_short(digits)})")
    return int(digits)


def _float(digits: str) -> float:
    value = float(digits) if len(digits) <= 10 * _MOST_DIGITS else float("inf")
    if value in (float("inf"), float("-inf")):
        raise JsonError(f"has a number that no computer has room for ({_short(digits)})")
    return value


def _constant(name: str) -> Any:
    raise JsonError(f"has {name}, which is no number in JSON")


def _short(digits: str) -> str:
    return digits if len(digits) <= 24 else f"{digits[:16]}… with {len(digits):,} characters"


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_float, parse_constant=_constant, strict=True
)
