# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of three kinds a failure is, and how a module on the station says so in its result.

The closing summary (the callback line_summary) reads it. It reads nothing of the kind from a device.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# The unit is to be pulled; the inventory or the station is to be mended; nothing is wrong, so run again.
UNIT, SETUP, AGAIN = "unit", "setup", "again"
KINDS = (UNIT, SETUP, AGAIN)


def failure(kind: str, option: str | None = None, variable: str | None = None) -> dict[str, Any]:
    """What a module adds to the result that it fails with.

    *option* is the module's option that is to be mended, *variable* the inventory's variable, where that is known.
    """
    return {"failure": {"kind": kind, "option": option, "variable": variable}}


def option_of(error: Exception, params: Mapping[str, Any]) -> str | None:
    """The option of *params* that is to be mended: which *error* says, or whose path its message is about.

    None where it names none, or nobody can say which.
    """
    said: str | None = getattr(error, "option", None)
    return said or _named_in(str(error), params)


def _named_in(message: str, params: Mapping[str, Any]) -> str | None:
    named = {
        option: max(map(len, paths))
        for option, value in params.items()
        if (paths := [one for one in _texts(value) if "/" in one and one in message])
    }
    longest = [option for option, length in named.items() if length == max(named.values())]
    return longest[0] if len(longest) == 1 else None


def _texts(value: Any) -> list[str]:
    return [one for one in (value if isinstance(value, (list, tuple)) else [value]) if isinstance(one, str)]
