# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the service says no (facts: error body; troubleshooting: which status for what).

``errorCode`` is the status followed by three digits. Only 400004, 400209, 401000, 401002 and 404201 are reported of
the real service; the other digits are UNVERIFIED.
"""

from __future__ import annotations

import uuid
from datetime import datetime, timezone

MALFORMED = 400000
MALFORMED_KEY = 400004
ALLOCATION_FAILED = 400209
UNAUTHENTICATED = 401000
UNAUTHORIZED = 401002
NO_SUCH_SERVICE = 404000
NO_SUCH_ENROLLMENT = 404201
NO_SUCH_REGISTRATION = 404202
NOT_ALLOWED = 405000
CONFLICT = 409000
PRECONDITION_FAILED = 412000
TOO_LARGE = 413000
UNSUPPORTED_FORMAT = 415000
THROTTLED = 429001


class ServiceError(Exception):
    """A refusal; its status is the first three digits of *code*."""

    def __init__(self, code: int, message: str, *, info: dict | None = None, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.info = info or {}
        self.retry_after = retry_after

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.code // 1000

    def body(self) -> dict:
        """The error body, as every refusal carries it."""
        return {
            "errorCode": self.code,
            "trackingId": str(uuid.uuid4()),
            "message": self.message,
            "info": self.info,
            "timestampUtc": utc_now(),
        }


def utc_now() -> str:
    """Now, as the service writes times: ISO 8601, UTC, with fractions and a Z."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.%f") + "0Z"
