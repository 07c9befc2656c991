# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a value from outside has to look like: a shape takes a value, and gives it back or says what is wrong with it.

A shape gives back no more than it describes: what an object has besides is left out, and text for people has what is
not seen made visible. What is not within the shape is refused and not mended, since nobody knows what it was to mean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible, visible_lines

# (value, where it stands) → the value; ShapeError.
Shape = Callable[[Any, str], Any]

_UINT32 = (1 << 32) - 1
_KINDS = {dict: "an object", list: "a list", str: "text", bool: "true or false", type(None): "null"}


class ShapeError(ValueError):
    """What is wrong with a value and where, as a sentence without its end: ``tpm.model is a list, not text``."""


def text(most: int, pattern: str | None = None, *, of: str = "") -> Shape:
    """Text of at most *most* characters that the regular expression *pattern*, named *of*, matches as a whole.

    Without one it is text for people, on one line.
    """
    expression = re.compile(pattern) if pattern else None

    def check(value: Any, where: str) -> str:
        _have(value, where, str)
        if len(value) > most:
            raise ShapeError(f"{where} has {len(value):,} characters, {most:,} are the most")
        if expression is None:
            return visible(value)
        if not expression.fullmatch(value):
            raise ShapeError(f"{where} is '{visible(value, most=40)}', not {of or expression.pattern}")
        return value

    return check


def words(most: int) -> Shape:
    """Text for people of any length, of which *most* characters are kept, on one line."""

    def check(value: Any, where: str) -> str:
        return visible(_have(value, where, str), most=most)

    return check


def raw(most: int) -> Shape:
    """Text of at most *most* characters as it is, for a program that reads it next and for nobody else."""

    def check(value: Any, where: str) -> str:
        if len(_have(value, where, str)) > most:
            raise ShapeError(f"{where} has {len(value):,} characters, {most:,} are the most")
        return value

    return check


def lines(most: int, *, longest: int = 200, mark: str = "| ") -> Shape:
    """Text for people in several lines, of which the last *most* are kept, each marked as one of a quotation.

    Without the mark, a line could pass for one of Ansible's own. In a difference, Ansible marks each line itself.
    """

    def check(value: Any, where: str) -> str:
        # Cut before it is looked at: what falls over may have said anything.
        tail = _have(value, where, str)[-most * longest :]
        shown = [mark + line for line in visible_lines(tail.rstrip(), most=longest)[-most:]]
        return "\n".join(shown) + ("\n" if not mark and tail.endswith("\n") else "")

    return check


def one_of(*choices: str) -> Shape:
    """One of these texts."""

    def check(value: Any, where: str) -> str:
        if not isinstance(value, str) or value not in choices:
            shown = f"'{visible(value, most=40)}'" if isinstance(value, str) else _kind(value)
            raise ShapeError(f"{where} is {shown}, not one of {', '.join(choices)}")
        return value

    return check


def hexadecimal(digits: int, *, least: int | None = None) -> Shape:
    """Lower-case hexadecimal of *digits* digits, or of *least* to *digits*."""
    return text(digits, f"[0-9a-f]{{{digits if least is None else least},{digits}}}", of=f"{digits} hexadecimal digits")


def base64_of(size: int) -> Shape:
    """Base64 of at most *size* bytes."""
    return text((size + 2) // 3 * 4, r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", of="base64")


def flag(value: Any, where: str) -> bool:
    """True or false."""
    return _have(value, where, bool)


def number(most: int = _UINT32, *, least: int = 0) -> Shape:
    """A whole number."""

    def check(value: Any, where: str) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ShapeError(f"{where} is {_kind(value)}, not a whole number")
        if not least <= value <= most:
            raise ShapeError(f"{where} is a number that is not within {least} and {most}")
        return value

    return check


def real(most: float) -> Shape:
    """A number from zero to *most*."""

    def check(value: Any, where: str) -> float:
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise ShapeError(f"{where} is {_kind(value)}, not a number")
        if not (math.isfinite(value) and 0 <= value <= most):
            raise ShapeError(f"{where} is a number that is not within 0 and {most:g}")
        return value

    return check


def or_null(shape: Shape) -> Shape:
    """*shape*, or nothing."""

    def check(value: Any, where: str) -> Any:
        return None if value is None else shape(value, where)

    return check


def either(first: type, shape: Shape, other: Shape) -> Shape:
    """*shape* for a value of the type *first*, else *other*."""

    def check(value: Any, where: str) -> Any:
        return (shape if isinstance(value, first) else other)(value, where)

    return check


def listed(shape: Shape, most: int) -> Shape:
    """A list of at most *most* values of *shape*."""

    def check(value: Any, where: str) -> list[Any]:
        _have(value, where, list)
        if len(value) > most:
            raise ShapeError(f"{where} has {len(value):,} entries, {most:,} are the most")
        return [shape(one, f"{where}[{place}]") for place, one in enumerate(value)]

    return check


class Fields:
    """An object with these fields, each there unless it is *optional*. It comes out with no others."""

    def __init__(self, required: Mapping[str, Shape], optional: Mapping[str, Shape] | None = None) -> None:
        self.required = dict(required)
        self.optional = dict(optional or {})
        self.fields = {**self.required, **self.optional}

    def __call__(self, value: Any, where: str = "") -> dict[str, Any]:
        _have(value, where or "it", dict)
        inside = f"{where}." if where else ""
        missing = [name for name in self.required if name not in value]
        if missing:
            raise ShapeError(f"{inside}{missing[0]} is missing")
        return {name: shape(value[name], inside + name) for name, shape in self.fields.items() if name in value}


def _have(value: Any, where: str, kind: type) -> Any:
    if not isinstance(value, kind):
        raise ShapeError(f"{where} is {_kind(value)}, not {_KINDS[kind]}")
    return value


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "a number")
