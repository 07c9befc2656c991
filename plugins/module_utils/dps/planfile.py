# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A plan as a file: what a reviewer reads, and what a later run is held to.

JSON Lines. The first line is the header, each further one a record that is to be changed or is refused, with the
changed fields before and after. Only these lines count: a run is held to them in any order, so that a list that comes
in another order is no other plan. An ETag is part of a line, so an enrollment that anybody touched since is a world
that moved.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from typing import Any

from .apply import Plan, Step
from .errors import DpsError

PLAN_VERSION = 1


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


class Fingerprint:
    """A sum over lines that does not depend on their order, nor needs them in memory."""

    def __init__(self) -> None:
        self._sum = 0
        self.counts: dict[str, int] = {}

    def add(self, line: str, action: str) -> None:
        """Adds a line."""
        digest = hashlib.sha256(line.encode()).digest()
        self._sum = (self._sum + int.from_bytes(digest, "big")) % 2**256
        self.counts[action] = self.counts.get(action, 0) + 1

    @property
    def value(self) -> tuple[int, int]:
        """What two equal plans have in common."""
        return self._sum, sum(self.counts.values())


def fingerprint_of(plan: Plan) -> Fingerprint:
    """That of a plan."""
    found = Fingerprint()
    for step in plan.steps():
        found.add(line_of(step), step.action)
    return found


def write_plan(path: str, plan: Plan, host: str) -> None:
    """Writes the plan for the service *host*, whole or not at all."""
    header = {"plan_version": PLAN_VERSION, "host": host, "counts": plan.counts}
    try:
        directory = os.path.dirname(os.path.abspath(path))
        with tempfile.NamedTemporaryFile("w", dir=directory, delete=False, encoding="utf-8") as file:
            file.write(json.dumps(header, sort_keys=True) + "\n")
            for step in plan.steps():
                file.write(line_of(step) + "\n")
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
    except OSError as error:
        raise DpsError(f"The plan {path} cannot be written: {error.strerror}.") from None


def hold_to(path: str, plan: Plan, host: str) -> None:
    """DpsError unless *plan* is the one that the file at *path* has."""
    approved = Fingerprint()
    try:
        with open(path, encoding="utf-8") as file:
            header = json.loads(file.readline() or "{}")
            _check_header(path, header, host)
            for line in file:
                step = json.loads(line)
                approved.add(json.dumps(step, sort_keys=True), step["action"])
    except OSError as error:
        raise DpsError(f"The plan {path} cannot be read: {error.strerror}.") from None
    except (ValueError, KeyError, TypeError):
        raise DpsError(f"The plan {path} is not one, or was cut short.", hint="Plan again.") from None
    now = fingerprint_of(plan)
    if now.value != approved.value:
        raise DpsError(
            f"The world moved since {path} was made: it has {_told(approved)}, now it would be {_told(now)}.",
            hint="Nothing was changed. Plan again, and have that approved.",
        )


def _check_header(path: str, header: Mapping[str, Any], host: str) -> None:
    if header.get("plan_version") != PLAN_VERSION:
        raise ValueError(path)
    if header.get("host") != host:
        raise DpsError(f"The plan {path} is for {header.get('host')} and not for {host}.", hint="Nothing was changed.")


def _told(found: Fingerprint) -> str:
    return ", ".join(f"{count} to {action}" for action, count in sorted(found.counts.items())) or "nothing to do"
