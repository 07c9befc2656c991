# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What time it is, on a device whose clock may be wrong at first boot.

Three sources: the system's clock; a floor, which is a moment that is certainly past (when this version was released,
and the last time the service told, kept on disk); and the ``Date`` header of the service, once its certificate was
verified. A token is made with the last.

A ``Date`` counts only within the validity of the certificate that came with it, so that no service can push the floor
to where every certificate has expired.
"""

from __future__ import annotations

import email.utils
import os
import ssl
import time
from pathlib import Path

from . import RELEASED
from .errors import ClientError
from .state import State

# No device of this version is in use so much later.
LATEST = RELEASED + 30 * 365.25 * 86400


def _modified(path: Path) -> float:
    try:
        modified = os.stat(path).st_mtime
    except OSError:
        return 0.0
    return modified if modified < LATEST else 0.0


class Clock:
    """The best known time."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._service_ahead: float | None = None
        self.floor = max(_modified(state.time_floor_file), RELEASED)

    def now(self) -> float:
        """Seconds since the epoch."""
        if self._service_ahead is not None:
            return time.time() + self._service_ahead
        return self.floor if self.evidently_wrong else max(time.time(), self.floor)

    @property
    def evidently_wrong(self) -> bool:
        """Whether the system's clock shows a time that is certainly past, with a day for odd time zones, or absurd."""
        return not self.floor - 86400 <= time.time() < LATEST

    def learn(self, date: str | None, certificate: dict) -> None:
        """Takes the ``Date`` header of a service whose *certificate* was verified."""
        moment = _parse(date)
        if moment is not None and moment >= self.floor - 86400 and _valid(certificate, moment):
            self._service_ahead = moment - time.time()

    def keep(self) -> None:
        """Moves the floor to a time that the service told."""
        if self._service_ahead is not None and self.now() > self.floor:
            self._state.touch_time_floor(self.now())

    def require_valid(self, certificate: dict, date: str | None) -> None:
        """Checks the dates of a *certificate* that TLS verified without them, because the system's clock is wrong."""
        if not _valid(certificate, max(_parse(date) or 0.0, self.floor)):
            raise ClientError(
                "the certificate of the service is valid from {} to {}, and it is {} by the service's own word; check"
                " what answers there".format(certificate["notBefore"], certificate["notAfter"], date)
            )


def _valid(certificate: dict, moment: float) -> bool:
    begin, end = (ssl.cert_time_to_seconds(certificate[name]) for name in ("notBefore", "notAfter"))
    return begin <= moment <= end


def _parse(date: str | None) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(date).timestamp() if date else None
    except (TypeError, ValueError):
        return None
