# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stopped a unit, without what is that unit's own, so that all units that one cause has stopped count as one.

Whoever counts them, the ledger's tables or the report, counts these. Nothing else is taken out of a reason: what
differs in a code, an option or a remedy is another cause.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ..outside.visible import visible

STOPPED, FAILED, UNREACHABLE = "stopped", "failed", "unreachable"
# By the ledger's judgement, on the device itself, and on the way to it.
FAILURES = (STOPPED, FAILED, UNREACHABLE)
# What somebody has told late, of a time before what is known since: where the device stands does not follow from it.
LATE = "late"
NO_REASON = "no reason was noted"
_MOST = 2000
# The reasons of the ledger's judgement that name other devices, by what stands around the names.
_OTHERS = (
    (re.compile(r"( is already that of ).*, which (was|is half) decommissioned.*(; pull both, )"),
     r"\1another device, which \2 decommissioned\3"),
    (re.compile(r"( is already that of )(?!another device).*(; pull both, )"), r"\1another device\2"),
    (re.compile(r"( was also found on ).*(, which has proven that its TPM holds it; )"), r"\1another device\2"),
    (re.compile(r"( was also found on )(?!another device).*(; (?:pull both, |this one ))"), r"\1another device\2"),
    (re.compile(r"( is that of a TPM that was taken out of ).*( on \S+; )"), r"\1another device\2"),
    (re.compile(r"(^its (?:registration ID|serial number|device ID) is ).*(, which is no text; )"), r"\1…\2"),
    (re.compile(r"(^the record of ).*( in the ledger )\(device \d+\)"), r"\1…\2"),
)  # fmt: skip
# Digests, times, how long something took, and where a device was reached.
_VALUES = (
    (re.compile(r"\b(?<!0x)[0-9a-fA-F]{12,}\b…?"), "…"),
    (re.compile(r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d| UTC)?)?"), "…"),
    (re.compile(r"\b\d+(?:\.\d+)? ?(s|ms|seconds|minutes|min)\b"), r"… \1"),
    (re.compile(r'(\bremote host )"[^"]*"'), r"\1…"),
    # As ssh has them.
    (re.compile(r"\b(host|to|by|from) \S+ (?=port \d)"), r"\1 … "),
    (re.compile(r"\b(connection to|server) \S+ (?=closed|not responding)"), r"\1 … "),
    (re.compile(r"(\bPermanently added )'[^']*'"), r"\1…"),
    (re.compile(r"\b(host|port) (?=\S*\d)[\w.:\[\]%-]*[\w\]%]"), r"\1 …"),
)
# By which a unit is called.
_NAMES = ("serial_number", "device_id", "host", "registration_id")
# Of a cause, in characters; what a column of texts has room for.
_MOST_OF_A_CAUSE = 255
_CUT = " […] "
# A shorter name may be a word.
_LEAST_OF_A_NAME = 5


def cause(reason: object, names: Iterable[object] = ()) -> str:
    """*reason* without the *names* of its unit, and without others' and what only one unit has."""
    text = str(reason)[:_MOST]
    for pattern, instead in _OTHERS:
        text = pattern.sub(instead, text)
    for name in sorted({str(one) for one in names if one}, key=lambda one: (-len(one), one)):
        if len(name) >= _LEAST_OF_A_NAME or any(map(str.isdigit, name)):
            text = re.sub(rf"(?<!\w){re.escape(name)}(?!\w)", "…", text)
    for pattern, instead in _VALUES:
        text = pattern.sub(instead, text)
    # A reason that is a name and nothing else is all that is known.
    shared = text if any(map(str.isalnum, text)) else str(reason)
    return _shortened(visible(shared.strip(), most=_MOST)) or NO_REASON


def names_in(*sources: Mapping[str, Any]) -> set[str]:
    """What a unit is called by any of *sources*: its record, its row, its event and what that says."""
    return {str(one[name]) for one in sources for name in _NAMES if one.get(name)}


def reasons(event: Mapping[str, Any]) -> list[str]:
    """Why *event* stopped its unit, as it was noted; the empty list for an event that stopped nobody."""
    if event.get("damaged") or event.get("state") not in FAILURES:
        return []
    noted = event.get("reasons")
    return [str(one) for one in noted if one] if isinstance(noted, (list, tuple)) and any(noted) else [NO_REASON]


def causes(event: Mapping[str, Any], names: Iterable[object] = ()) -> list[str]:
    """The causes of such an event, each once."""
    named = list(names)
    return list(dict.fromkeys(cause(one, named) for one in reasons(event)))


def is_unproven(before: bool, event: Mapping[str, Any]) -> bool:
    """Whether a unit counts as one whose TPM did not prove its key, after *event*; *before* is whether it did so till
    then. Only an answer of its TPM ends that, and none is given by one that is read, or cannot be reached."""
    outcome = event.get("outcome")
    proven = event.get("proven") or (isinstance(outcome, Mapping) and "possession" in outcome)
    return bool(event.get("not_proven")) or (before and not proven)


def tells_less(unproven: bool, event: Mapping[str, Any]) -> bool:
    """Whether *event* is not the last word on a unit that is *unproven*, or was told late."""
    return event.get("state") == LATE or (unproven and not event.get("not_proven") and is_unproven(unproven, event))


def _shortened(text: str) -> str:
    """*text* in the characters of a cause; it loses of its middle, since its end has the remedy."""
    if len(text) <= _MOST_OF_A_CAUSE:
        return text
    room = _MOST_OF_A_CAUSE - len(_CUT)
    return f"{text[: room - room // 2]}{_CUT}{text[-(room // 2) :]}"
