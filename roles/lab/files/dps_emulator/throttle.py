# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The quotas (limits page), as "so many in any window of so many seconds".

The page gives the numbers; how the service counts within the minute is not documented. Here a call is let through
when the calls let through in the last window leave room for it, and Retry-After is when enough of them have aged out.
A refused call costs nothing (UNVERIFIED).
"""

from __future__ import annotations

import math
import time
from collections import deque

from .errors import THROTTLED, ServiceError
from .settings import Settings


class Window:
    """One quota: up to *limit* in *seconds*."""

    def __init__(self) -> None:
        self._spent: deque[tuple[float, int]] = deque()
        self._total = 0

    def spend(self, cost: int, *, limit: int, seconds: float) -> None:
        """Takes *cost* from the quota, or refuses with the seconds to wait."""
        now = time.monotonic()
        while self._spent and self._spent[0][0] <= now - seconds:
            self._total -= self._spent.popleft()[1]
        excess = self._total + cost - limit
        if excess > 0:
            raise ServiceError(
                THROTTLED,
                "Operations are being throttled for this service",
                retry_after=max(1, math.ceil(self._wait(excess, now, seconds))),
            )
        self._spent.append((now, cost))
        self._total += cost

    def _wait(self, excess: int, now: float, seconds: float) -> float:
        freed = 0
        for moment, cost in self._spent:
            freed += cost
            if freed >= excess:
                return moment + seconds - now
        return seconds


class Throttle:
    """The service's quotas: operations, registrations, and polls of each device."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.forget()

    def forget(self) -> None:
        """All quotas are whole again."""
        self._operations = Window()
        self._registrations = Window()
        self._polls: dict[str, Window] = {}

    def operation(self, cost: int = 1) -> None:
        """One call of the service API."""
        if self._settings.throttle:
            limit = self._settings.operations_per_window
            self._operations.spend(cost, limit=limit, seconds=self._settings.window_seconds)

    def registration(self) -> None:
        """One device begins to register. Its answer to the challenge belongs to the same registration (UNVERIFIED)."""
        if self._settings.throttle:
            limit = self._settings.registrations_per_window
            self._registrations.spend(1, limit=limit, seconds=self._settings.window_seconds)

    def poll(self, registration_id: str) -> None:
        """One device asks how its registration goes."""
        if self._settings.poll_throttle:
            window = self._polls.setdefault(registration_id, Window())
            seconds = self._settings.poll_window_seconds
            window.spend(1, limit=self._settings.polls_per_window, seconds=seconds)
