# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a variable of an inventory is a value as it stands, or one that Ansible has yet to make of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What begins an expression, a statement and a comment of Jinja.
_MARKS = ("{{", "{%", "{#")


def is_to_be_made(value: Any) -> bool:
    """Whether *value* is a template, or encrypted by a vault, or has anything such in it."""
    if isinstance(value, str):
        return any(mark in value for mark in _MARKS)
    if isinstance(value, Mapping):
        return any(is_to_be_made(name) or is_to_be_made(one) for name, one in value.items())
    if isinstance(value, (list, tuple)):
        return any(map(is_to_be_made, value))
    # What a vault has encrypted is of a class of Ansible's that is none of these.
    return not isinstance(value, (bool, int, float, type(None)))
