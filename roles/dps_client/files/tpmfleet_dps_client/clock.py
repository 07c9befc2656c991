# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What time it is, on a device whose clock may be wrong at first boot.

Three sources: the system's clock; a floor, which is a moment that is certainly past (when this version was released,
and the last time the service told, kept on disk); and the ``Date`` header of the service, once its certificate was
verified. A token is made with the last.

A ``Date`` counts only within the validity of the certificate that came with it, so that no service can push the floor
to where every certificate has expired.

The system's clock may be set while the client runs, so nothing of it is kept: each use reads it, and the floor, anew,
and what the service told goes on by the time that passed since, which no setting changes.
"""

from __future__ import annotations

import email.utils
import ssl
import time
from typing import Callable, TypeVar

from . import RELEASED
from .errors import ClientError
from .state import State

T = TypeVar("T")

# No device of this version is in use so much later.
LATEST = RELEASED + 30 * 365.25 * 86400
# Seconds that making a token may take before its expiry is read anew, and how often that is done.
_SLACK = 30
_TURNS = 3
# Also goes on while the machine sleeps.
_BOOTTIME = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _passed() -> float:
    """Seconds since some moment, whatever the system's clock is set to."""
    return time.clock_gettime(_BOOTTIME)


class Clock:
    """The best known time."""

    def __init__(self, state: State) -> None:
        self._state = state
        # What the service told, and when that was by _passed().
        self._told: tuple[float, float] | None = None

    @property
    def floor(self) -> float:
        """A moment that is certainly past; another process of the client may have learned a later one meanwhile."""
        kept = self._state.time_floor()
        return max(kept if kept < LATEST else 0.0, RELEASED)

    def now(self) -> float:
        """Seconds since the epoch."""
        if self._told is not None:
            moment, then = self._told
            return moment + (_passed() - then)
        floor, shown = self.floor, time.time()
        return floor if _wrong(shown, floor) else max(shown, floor)

    @property
    def evidently_wrong(self) -> bool:
        """Whether the system's clock shows a time that is certainly past, with a day for odd time zones, or absurd."""
        return _wrong(time.time(), self.floor)

    def signed(self, make: Callable[[int], T], *, seconds: int) -> tuple[T, int]:
        """What *make* makes that expires in *seconds*, and the expiry, given to it in seconds since the epoch.

        It may take a TPM minutes, and the clock may be set in between: then it is made once more.
        """
        for _turn in range(_TURNS):
            began, now = _passed(), self.now()
            made = make(int(now) + seconds)
            if abs(self.now() - now) <= _SLACK and _passed() - began <= _SLACK:
                break
        return made, int(now) + seconds

    def learn(self, date: str | None, certificate: dict) -> None:
        """Takes the ``Date`` header of a service whose *certificate* was verified."""
        moment = parse_date(date)
        if moment is not None and moment >= self.floor - 86400 and _valid(certificate, moment):
            self._told = moment, _passed()

    def keep(self) -> None:
        """Moves the floor to a time that the service told."""
        if self._told is not None and self.now() > self.floor:
            self._state.keep_time_floor(self.now())

    def require_valid(self, certificate: dict, date: str | None) -> None:
        """Checks the dates of a *certificate* that TLS verified without them, because the system's clock is wrong."""
        if not _valid(certificate, max(parse_date(date) or 0.0, self.floor)):
            raise ClientError(
                "the certificate of the service is valid from {} to {}, and it is {} by the service's own word; check"
                " what answers there".format(certificate.get("notBefore"), certificate.get("notAfter"), date)
            )


def _wrong(shown: float, floor: float) -> bool:
    return not floor - 86400 <= shown < LATEST


def _valid(certificate: dict, moment: float) -> bool:
    try:
        begin, end = (ssl.cert_time_to_seconds(certificate[name]) for name in ("notBefore", "notAfter"))
    except (KeyError, ValueError):
        return False
    return begin <= moment <= end


def parse_date(date: str | None) -> float | None:
    """Seconds since the epoch of a date in a header (RFC 9110, 5.6.7), None where it is none."""
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except (TypeError, ValueError, OverflowError, IndexError):
        return None
