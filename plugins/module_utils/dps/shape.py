# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shape that a document from outside has to have, property by property, in words where it has another one.

A check takes a value and where it stands, and raises Unfit. What a check does not mention may be anything.
"""

from __future__ import annotations

import re
from typing import Any, Callable

from ..outside.visible import visible

LONGEST_TEXT = 4096
# So much of a refusal is read.
LONGEST_REFUSAL = 65_536
HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.\-]{0,251}[A-Za-z0-9])?(?::[0-9]{1,5})?")
Check = Callable[[Any, str], None]


class Unfit(ValueError):
    """Why an answer is none, as the end of a sentence about it."""


def kind(value: Any) -> str:
    """What *value* is, in words."""
    if isinstance(value, bool):
        return "true or false"
    kinds = {dict: "an object", list: "a list", str: "text", int: "a number", float: "a number"}
    return "empty" if value is None else kinds.get(type(value), "something else")


def text(form: re.Pattern[str] | None = None, *, empty: bool = True) -> Check:
    """Text of the *form*."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, str):
            raise Unfit(f"has {kind(value)} as {where}, which has to be text")
        if not value and empty:
            return
        if len(value) > LONGEST_TEXT or (form is not None and not form.fullmatch(value)):
            raise Unfit(f"has an impossible {where}: {visible(value, most=60)}")

    return check


def flag(value: Any, where: str) -> None:
    """True or false."""
    if not isinstance(value, bool):
        raise Unfit(f"has {kind(value)} as {where}, which has to be true or false")


def number(value: Any, where: str) -> None:
    """A number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unfit(f"has {kind(value)} as {where}, which has to be a number")


def code(value: Any, where: str) -> None:
    """A number or a short text."""
    if isinstance(value, bool) or not isinstance(value, (int, str)) or len(str(value)) > 64:
        raise Unfit(f"has {kind(value)} as {where}, which has to be a code")


def mapping(value: Any, where: str) -> None:
    """An object with anything in it."""
    if not isinstance(value, dict):
        raise Unfit(f"has {kind(value)} as {where}, which has to be an object")


def list_of(element: Check, most: int) -> Check:
    """A list of at most *most* entries, each as *element* has it."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list):
            raise Unfit(f"has {kind(value)} as {where}, which has to be a list")
        if len(value) > most:
            raise Unfit(f"has {len(value)} entries in {where}")
        for one in value:
            element(one, where)

    return check


def fields(**properties: Check) -> Check:
    """An object with these properties, each of which may be missing or null."""

    def check(value: Any, where: str) -> None:
        mapping(value, where)
        for name, inner in properties.items():
            if value.get(name) is not None:
                inner(value[name], f"{name} of {where}")

    return check
