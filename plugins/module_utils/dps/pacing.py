# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How fast calls are made: as fast as the service's quota lets them, found out from its answers.

The quota is documented as 1,000 operations a minute and service; whether a bulk call costs one or one an enrollment is
not, and others use the same quota. So nothing is assumed. Calls go out side by side up to a limit, at first that of the
dearer reading; at the limit one call alone tries whether there is more. Accepted, the cheaper reading is taken. Refused
with 429, as much is spent from then on as the service was seen to take, in the time after which it said that it takes
more. More is tried again now and then, the more rarely the more often it was refused.

Who may use a share only does not try for more. But which reading holds has to be known to him as well, or he would get
along with a tenth of his share. So once his share is spent in the dearer reading and is whole again, bulk calls go out
evenly, a little faster than the whole quota would allow in that reading, until either one is refused or more was let
through than it allows. Evenly, so that what others are refused then is little: something ages out all the time.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import Callable

LONGEST_WINDOW = 60.0
DOCUMENTED_OPERATIONS = 1000
_LONGEST_PATIENCE = 32
_SHORTEST_PROBE = 10.0
# A window that is taken for shorter than it is ends in a refusal each time.
_MARGIN = 1.02
_GLANCE = 0.005
# How much faster than the quota calls go out that are to find out whether the dearer reading holds.
_OVERSPEED = 1.2


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
        # When each call was answered, and how many enrollments it held.
        self._answered: deque[tuple[float, int]] = deque()
        self._spent = 0
        self._in_flight: list[int] = []
        self._each_counts = True
        # A share of what is not known yet is a share of what is documented.
        self._limit = max(1, int(DOCUMENTED_OPERATIONS * share))
        self._window = LONGEST_WINDOW
        self._learned = False
        self._closed_until = 0.0
        # From when on calls are to find out what a bulk call costs, once that is wanted.
        self._asking_from: float | None = None
        # Whether the one call in flight tries for more than the limit; when the next may; and how many windows between.
        self._trying = False
        self._try_at = 0.0
        self._patience = 1
        # The limit before it was raised, while the raised one has not yet stood for a window.
        self._proven: int | None = None
        self.refusals = 0

    def wait(self, held: int = 1, patience: float = math.inf) -> float | None:
        """Returns when one more call, which holds so many enrollments, may be made.

        Each is followed by :meth:`answered` or :meth:`refused` with the same number. *patience* is how many seconds the
        service may have us wait, which does not count waits for our own share; what is left of it is returned, None
        where the service wants longer, and then no call may be made.
        """
        while True:
            with self._lock:
                closed = self._closed_until - self._clock()
                if closed >= patience:
                    return None
                pause = self._pause(held)
                if pause <= 0:
                    self._in_flight.append(held)
                    return patience
            pause = min(pause, 1.0)
            self._sleep(pause)
            patience -= min(pause, max(closed, 0.0))

    def answered(self, held: int = 1) -> None:
        """The call was let through by the quota, or got no answer and may have been.

        Counted from the answer, which is later than the service's own count: what has aged out here has there too.
        """
        with self._lock:
            self._in_flight.remove(held)
            self._answered.append((self._clock(), held))
            self._spent += self._cost(held)
            if self._trying:
                self._trying = False
                self._raise_limit()
            elif self._is_asking():
                self._forget(self._clock())
                if self._spent > DOCUMENTED_OPERATIONS:
                    self._count_each_call_as_one()

    def refused(self, retry_after: float, held: int = 1) -> None:
        """The call was answered with 429; nobody calls for *retry_after* seconds."""
        with self._lock:
            self._in_flight.remove(held)
            self.refusals += 1
            now = self._clock()
            # Calls that were under way when the first was refused tell nothing new.
            if now >= self._closed_until:
                self._learn(now, retry_after)
            self._closed_until = max(self._closed_until, now + retry_after)

    def _raise_limit(self) -> None:
        if self._learned:
            self._proven = self._limit
            self._limit += max(1, self._limit // 4)
            self._try_at = self._clock() + self._probe_seconds()
        elif self._each_counts:
            # Not the dearer reading, or not the documented quota.
            self._limit = DOCUMENTED_OPERATIONS
            self._count_each_call_as_one()
        else:
            self._limit *= 2

    def _count_each_call_as_one(self) -> None:
        self._each_counts = False
        self._spent = len(self._answered)

    def _is_asking(self) -> bool:
        """Whether it is open what a bulk call costs, for somebody who may use a share."""
        return self._share < 1 and self._each_counts and not self._learned

    def _cost(self, held: int) -> int:
        return held if self._each_counts else 1

    def _learn(self, now: float, retry_after: float) -> None:
        self._forget(now)
        taken = self._spent
        if self._learned and (self._trying or self._proven is not None):
            # The limit was right before.
            self._limit = self._proven or self._limit
            self._patience = min(self._patience * 2, _LONGEST_PATIENCE)
        else:
            # The quota is free again when the oldest call that counts has aged out: that is how long it looks back.
            # Where others use it too the first guess is short, and later refusals make it longer.
            seen = ((now - self._answered[0][0] if self._answered else 0.0) + retry_after) * _MARGIN
            self._window = min(LONGEST_WINDOW, max(seen, self._window if self._learned else 0.0))
            # The first refusal tells the quota, of which a share is ours; a later one that others use more of it.
            self._limit = max(1, min(self._limit, taken) if self._learned else int(taken * self._share))
            self._patience = 1
        self._learned = True
        self._trying = False
        self._proven = None
        self._try_at = now + self._patience * self._probe_seconds()

    def _probe_seconds(self) -> float:
        return max(self._window, _SHORTEST_PROBE)

    def _pause(self, held: int) -> float:
        now = self._clock()
        if now < self._closed_until:
            return self._closed_until - now
        self._forget(now)
        if self._asking_from is not None and held > 1 and self._is_asking():
            last = self._answered[-1][0] if self._answered else 0.0
            evenly = held * self._window / DOCUMENTED_OPERATIONS / _OVERSPEED
            return _GLANCE if self._in_flight else max(self._asking_from, last + evenly) - now
        flying = sum(map(self._cost, self._in_flight))
        # What is larger than the limit by itself goes alone.
        if self._spent + flying + self._cost(held) <= max(self._limit, self._cost(held)):
            return 0.0
        # With a share of the quota there is no trying: what lies beyond it belongs to others.
        if self._share >= 1 and now >= self._try_at:
            if self._in_flight:
                return _GLANCE
            self._trying = True
            if self._proven is not None:
                # The raised limit has stood.
                self._proven, self._patience = None, 1
            return 0.0
        if held > 1 and self._answered and self._is_asking():
            self._asking_from = self._answered[-1][0] + self._window
            return self._asking_from - now
        return self._answered[0][0] + self._window - now if self._answered else _GLANCE

    def _forget(self, now: float) -> None:
        while self._answered and self._answered[0][0] <= now - self._window:
            self._spent -= self._cost(self._answered.popleft()[1])
