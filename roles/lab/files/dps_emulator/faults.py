# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Faults to order: the next so many matching requests fail in a given way."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any

DROPS = ("", "before", "after")


class FaultError(ValueError):
    """A fault that makes no sense."""


@dataclass
class Fault:
    """One order. Without *status* and *drop* it only delays.

    ``method`` and ``path`` (a regular expression) choose the requests, ``count`` how many of them. ``status`` answers
    instead of the service, with ``retry_after`` seconds and ``error_code``; ``drop`` closes the connection ``before``
    the request is done or ``after`` it was done and before it is answered; ``delay`` waits seconds first.
    """

    method: str = ""
    path: str = ""
    count: int = 1
    status: int = 0
    error_code: int = 0
    retry_after: int | None = None
    drop: str = ""
    delay: float = 0.0

    def matches(self, method: str, path: str) -> bool:
        """Whether a request is meant."""
        return self.method in ("", method) and re.search(self.path, path) is not None


class Faults:
    """The orders that are open, oldest first."""

    def __init__(self) -> None:
        self._open: list[Fault] = []

    def order(self, body: Any) -> None:
        """Adds one from the control API's JSON."""
        if not isinstance(body, dict):
            raise FaultError("a fault is a JSON object")
        try:
            fault = Fault(**body)
            re.compile(fault.path)
        except (TypeError, re.error) as error:
            raise FaultError(str(error)) from error
        if fault.drop not in DROPS or (fault.status and not 400 <= fault.status <= 599):
            raise FaultError("drop is before or after, status 400 to 599")
        self._open.append(fault)

    def take(self, method: str, path: str) -> Fault | None:
        """The order for this request, which it uses up by one."""
        for fault in self._open:
            if fault.matches(method, path):
                fault.count -= 1
                if fault.count <= 0:
                    self._open.remove(fault)
                return fault
        return None

    def clear(self) -> None:
        """Forgets all orders."""
        self._open.clear()

    def as_list(self) -> list[dict]:
        """What is open."""
        return [asdict(fault) for fault in self._open]
