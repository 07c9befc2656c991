# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast calls are made: as fast as the service's quota lets them, found out from its answers.

The quota is documented as 1,000 operations a minute and service; whether a bulk call costs one or ten is not. So
nothing is assumed: calls go out freely until the service says 429, and then as many as it was seen to take, in the time
after which it said that it takes more. More is tried now and then, the more rarely the more often it was refused.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import Callable

LONGEST_WINDOW = 60.0
_SHORTEST_PROBE = 10.0
# A window that is taken for shorter than it is ends in a refusal each time.
_MARGIN = 1.02
DOCUMENTED_OPERATIONS = 1000
_LONGEST_PATIENCE = 32


class Pacer:
    """Shared by all threads that call one service. *share* (0 to 1] is the part of the quota that may be used."""

    def __init__(
        self,
        share: float = 1.0,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._share = share
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._answered: deque[float] = deque()
        self._in_flight = 0
        self._limit: int | None = None if share >= 1 else max(1, int(DOCUMENTED_OPERATIONS * share))
        self._learned = False
        self._window = LONGEST_WINDOW
        self._closed_until = 0.0
        # How many windows without a refusal before more is tried.
        self._patience = 1
        self._probe_at = float("inf")
        self._probing = False
        # The limit before more was tried.
        self._proven: int | None = None
        self.refusals = 0

    @property
    def limit(self) -> int | None:
        """Calls in the time that the quota looks back, None while the service has not refused any."""
        return self._limit

    def wait(self) -> None:
        """Returns when one more call may be made. Each is followed by :meth:`answered` or :meth:`refused`."""
        while True:
            with self._lock:
                pause = self._pause()
                if pause <= 0:
                    self._in_flight += 1
                    return
            self._sleep(min(pause, 1.0))

    def answered(self) -> None:
        """The call was let through by the quota, or got no answer and may have been.

        Counted from the answer, which is later than the service's own count: what has aged out here has there too.
        """
        with self._lock:
            self._in_flight -= 1
            self._answered.append(self._clock())

    def refused(self, retry_after: float) -> None:
        """The call was answered with 429; nobody calls for *retry_after* seconds."""
        with self._lock:
            self._in_flight -= 1
            self.refusals += 1
            now = self._clock()
            # Calls that were under way when the first was refused tell nothing new.
            if now >= self._closed_until:
                self._learn(now, retry_after)
            self._closed_until = max(self._closed_until, now + retry_after)

    def _learn(self, now: float, retry_after: float) -> None:
        # The quota is free again when the oldest call that counts has aged out: that is how long it looks back. Where
        # others use the quota too the first guess is short, and later refusals make it longer. A try at more than the
        # limit says nothing of the time.
        self._forget(now)
        seen = ((now - self._answered[0] if self._answered else 0.0) + retry_after) * _MARGIN
        if not self._probing:
            self._window = min(LONGEST_WINDOW, max(seen, self._window if self._learned else 0.0))
        # The first refusal tells the quota, of which a share is ours; a later one that others use more of it.
        part = 1.0 if self._learned else self._share
        taken = max(1, int(len(self._answered) * part))
        known = self._proven if self._probing else self._limit
        self._limit = taken if known is None or not self._learned else min(known, taken)
        self._learned = True
        self._patience = min(self._patience * 2, _LONGEST_PATIENCE) if self._probing else 1
        self._probing = False
        self._probe_at = now + self._patience * self._probe_seconds()

    def _probe_seconds(self) -> float:
        return max(self._window, _SHORTEST_PROBE)

    def _pause(self) -> float:
        now = self._clock()
        if now < self._closed_until:
            return self._closed_until - now
        if self._limit is None:
            return 0.0
        self._forget(now)
        if len(self._answered) + self._in_flight < self._limit:
            return 0.0
        if now >= self._probe_at and self._share >= 1:
            # The whole allowance was used without a refusal: there may be more. With a share of the quota there is
            # not: what lies beyond it belongs to others.
            self._proven = self._limit
            self._limit += max(1, self._limit // 4)
            self._probing = True
            self._probe_at = now + self._probe_seconds()
            return 0.0
        return self._answered[0] + self._window - now if self._answered else 0.05

    def _forget(self, now: float) -> None:
        while self._answered and self._answered[0] <= now - self._window:
            self._answered.popleft()
