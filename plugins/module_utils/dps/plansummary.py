# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan for the person who has to approve it: Markdown, what is dangerous first, one line a changed value.

IDs, names of fields, values and reasons come from a list or from a service that others write too. None of them ends its
line or the block that it is in, and none hides or reorders what stands beside it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from ..outside.visible import visible
from .apply import Plan, Step
from .report import shown

# A longer value is cut, which is said; the plan file has it whole.
_MOST_SHOWN = 4000
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_$-]{1,128}")
_TITLES = {"refuse": "Refused", "delete": "Delete", "update": "Update", "create": "Create"}


def summary(plan: Plan, host: str, most: int) -> Iterator[str]:
    """The lines of the summary; of each action at most *most* records."""
    yield f"# Enrollments of {_safe(host)}"
    yield ""
    yield "| create | update | delete | unchanged | refused |"
    yield "| -----: | -----: | -----: | --------: | ------: |"
    yield "| {create} | {update} | {delete} | {unchanged} | {refuse} |".format(**plan.counts)
    for action, title in _TITLES.items():
        count = plan.counts[action]
        if not count:
            continue
        yield ""
        yield f"## {title} ({count})"
        yield ""
        yield "```diff"
        left = most
        for step in plan.steps():
            if step.action != action:
                continue
            if not left:
                break
            left -= 1
            yield from _record(step)
        yield "```"
        if count > most:
            yield ""
            yield f"and {count - most} more, which the plan file has."


def _record(step: Step) -> Iterator[str]:
    yield f"  {_safe(step.registration_id)}"
    if step.reason:
        yield f"! {_safe(step.reason)}"
    before, after = (dict(_leaves("", shown(fields))) for fields in (step.before, step.after))
    for name in dict.fromkeys([*before, *after]):
        if before.get(name, _ABSENT) == after.get(name, _ABSENT):
            continue
        for sign, values in (("-", before), ("+", after)):
            if name in values:
                yield f"{sign}   {_safe(name)}: {_safe(json.dumps(values[name]))}"


_ABSENT = object()


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Every value below *value* with its path, so that one changed tag is one changed line."""
    if not isinstance(value, Mapping):
        yield path, value
        return
    for name, inner in value.items():
        shown_name = str(name) if _PLAIN_NAME.fullmatch(str(name)) else json.dumps(str(name))
        yield from _leaves(f"{path}.{shown_name}" if path else shown_name, inner)


def _safe(text: str) -> str:
    """Text that ends neither its line nor the block that it is in."""
    return visible(text, most=_MOST_SHOWN).replace("`", "\\u0060")
