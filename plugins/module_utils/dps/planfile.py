# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan as a file: what a reviewer reads, and what a later run is held to.

JSON Lines. The first line is the header, each further one a record that is to be changed or is refused, with the
changed fields before and after. A run is held to these lines in any order, so that a list that comes in another order
is no other plan. An ETag is part of a line, so an enrollment that anybody touched since is a world that moved.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable, Iterator
from typing import Any, Callable

from ..outside import durable
from ..outside.files import FileError, lines_of, open_file
from ..outside.strict_json import JsonError, parse
from ..outside.visible import visible, visible_few
from .apply import Plan, Step
from .errors import DpsError

PLAN_VERSION = 1
# So many steps stand in a message.
TOLD = 3
# A line has an enrollment before and after, each of which the service takes up to some 300 kB of.
_MOST_LINE = 1 << 22
_MOST_SHOWN = 120


def line_of(step: Step) -> str:
    """A step as its line."""
    fields = {
        "registration_id": step.registration_id,
        "action": step.action,
        "changed_fields": step.changed,
        "before": step.before,
        "after": step.after,
        "etag": step.etag,
        "reason": step.reason,
    }
    return json.dumps(fields, sort_keys=True)


def write_plan(path: str, plan: Plan, host: str) -> None:
    """Writes the plan for the service *host*, whole or not at all."""
    header = {"plan_version": PLAN_VERSION, "host": host, "counts": plan.counts}
    lines = (line_of(step) for step in plan.steps())
    write_whole(path, itertools.chain((json.dumps(header, sort_keys=True),), lines))


def write_whole(path: str, lines: Iterable[str]) -> None:
    """Writes *lines* to a file that everybody may read, whole or not at all. DpsError where it cannot be written."""
    try:
        durable.replace_file(path, (f"{line}\n".encode() for line in lines), 0o644)
    except OSError as error:
        raise DpsError(f"The plan {path} cannot be written: {error.strerror}.") from None


def hold_to(path: str, plan: Plan, host: str, is_done: Callable[[str, str], bool]) -> None:
    """DpsError unless every step of *plan* is in the file at *path*, and every step of the file is in *plan* or done.

    *is_done* tells of an action and a registration ID that are no longer planned whether the world is as the action
    would have left it. So an apply that was killed is completed under the same approval, and a second one is no change.
    """
    open_steps = {_digest(line_of(step)) for step in plan.steps()}
    gone: list[str] = []
    for step in _approved(path, host):
        digest = _digest(json.dumps(step, sort_keys=True))
        if digest in open_steps:
            open_steps.remove(digest)
        elif not is_done(step["action"], step["registration_id"]):
            gone.append(f"{step['action']} {step['registration_id']}")
    if open_steps or gone:
        new = [f"{step.action} {step.registration_id}" for step in plan.steps() if _digest(line_of(step)) in open_steps]
        told = [f"{_told(new)} not in it as now planned"] if new else []
        told += [f"{_told(gone)} in it and no longer to be done so"] if gone else []
        raise DpsError(
            f"The world moved since {path} was made: {'; '.join(told)}.",
            hint="Nothing was changed. Plan again, and have that approved.",
        )


def _digest(line: str) -> bytes:
    return hashlib.blake2b(line.encode(), digest_size=16).digest()


def _told(steps: list[str]) -> str:
    return f"{visible_few(steps, few=TOLD, most=_MOST_SHOWN)} {'is' if len(steps) == 1 else 'are'}"


def _approved(path: str, host: str) -> Iterator[dict[str, Any]]:
    """The steps in the file at *path*, a plan for *host*. DpsError where it is none, with the line."""
    place = 1
    try:
        with open_file(path) as file:
            lines = lines_of(file, most=_MOST_LINE)
            header = parse(next(lines, b""), most=_MOST_LINE)
            if not isinstance(header, dict) or header.get("plan_version") != PLAN_VERSION:
                raise _no_plan(path, place, f"is no header of a plan of version {PLAN_VERSION}")
            if header.get("host") != host:
                other = visible(header.get("host"), most=_MOST_SHOWN)
                raise DpsError(f"The plan {path} is for {other} and not for {host}.", hint="Nothing was changed.")
            while True:
                place += 1
                line = next(lines, None)
                if line is None:
                    return
                step = parse(line, most=_MOST_LINE)
                if not _is_step(step):
                    raise _no_plan(path, place, "is no step of a plan")
                yield step
    except JsonError as error:
        raise _no_plan(path, place, str(error)) from None
    except FileError as error:
        if "longer than" in str(error):
            raise _no_plan(path, place, str(error)) from None
        raise DpsError(f"The plan {path} {error}.") from None


def _is_step(step: Any) -> bool:
    return (
        isinstance(step, dict)
        and step.get("action") in ("create", "update", "delete", "refuse")
        and isinstance(step.get("registration_id"), str)
    )


def _no_plan(path: str, place: int, reason: str) -> DpsError:
    return DpsError(f"The plan {path} is not one, or was cut short: line {place}: {reason}.", hint="Plan again.")
