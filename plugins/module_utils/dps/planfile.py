# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan as a file: what a reviewer reads, and what a later run is held to.

JSON Lines. The first line is the header, each further one a record that is to be changed or is refused, with the
changed fields before and after. A run is held to these lines in any order, so that a list that comes in another order
is no other plan. An ETag is part of a line, so an enrollment that anybody touched since is a world that moved.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any, Callable

from .apply import Plan, Step
from .errors import DpsError

PLAN_VERSION = 1
# So many steps stand in a message.
TOLD = 3


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
    temporary = None
    try:
        directory = os.path.dirname(os.path.abspath(path))
        with tempfile.NamedTemporaryFile("w", dir=directory, delete=False, encoding="utf-8") as file:
            temporary = file.name
            for line in lines:
                file.write(line + "\n")
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
        raise DpsError(f"The plan {path} cannot be written: {error.strerror}.") from None


def hold_to(path: str, plan: Plan, host: str, is_done: Callable[[str, str], bool]) -> None:
    """DpsError unless every step of *plan* is in the file at *path*, and every step of the file is in *plan* or done.

    *is_done* tells of an action and a registration ID that are no longer planned whether the world is as the action
    would have left it. So an apply that was killed is completed under the same approval, and a second one is no change.
    """
    open_steps = {_digest(line_of(step)) for step in plan.steps()}
    gone: list[str] = []
    try:
        with open(path, encoding="utf-8") as file:
            header = json.loads(file.readline() or "{}")
            _check_header(path, header, host)
            for line in file:
                step = json.loads(line)
                digest = _digest(json.dumps(step, sort_keys=True))
                if digest in open_steps:
                    open_steps.remove(digest)
                elif not is_done(step["action"], step["registration_id"]):
                    gone.append(f"{step['action']} {step['registration_id']}")
    except OSError as error:
        raise DpsError(f"The plan {path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise DpsError(f"The plan {path} is not one, or was cut short.", hint="Plan again.") from None
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
    more = f" and {len(steps) - TOLD} more are" if len(steps) > TOLD else " is" if len(steps) == 1 else " are"
    return f"{', '.join(steps[:TOLD])}{more}"


def _check_header(path: str, header: Mapping[str, Any], host: str) -> None:
    if header.get("plan_version") != PLAN_VERSION:
        raise ValueError(path)
    if header.get("host") != host:
        raise DpsError(f"The plan {path} is for {header.get('host')} and not for {host}.", hint="Nothing was changed.")
