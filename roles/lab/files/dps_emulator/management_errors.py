# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How the resource manager says no. It has two voices: its own, and that of the provider Microsoft.Devices behind it.

The shapes and the codes 400303, 400309 and 412001 were seen in recordings of the Azure CLI's tests and in reports of
its users; the other provider codes are UNVERIFIED beyond their first three digits, which are the status.
"""

from __future__ import annotations

import uuid
from http import HTTPStatus

from .errors import utc_now

INVALID = 400300
DUPLICATE_HUBS = 400303
NO_SUCH_KEY = 404300
NAME_TAKEN = 409300
WRONG_STATE = 409301
INVALID_ETAG = 412001


class ManagementError(Exception):
    """A refusal: its status, body and further headers."""

    def __init__(self, status: int, body: dict, headers: dict[str, str] | None = None) -> None:
        super().__init__(str(body))
        self.status = status
        self.body = body
        self.headers = headers or {}


def by_manager(status: int, code: str, message: str, headers: dict[str, str] | None = None) -> ManagementError:
    """A refusal of the resource manager itself."""
    return ManagementError(status, {"error": {"code": code, "message": message}}, headers)


def by_provider(code: int, message: str) -> ManagementError:
    """A refusal of the provider; the status is the first three digits of *code*."""
    status = HTTPStatus(code // 1000)
    told = (
        f"{message} If you contact a support representative please include this correlation identifier: "
        f"{uuid.uuid4()}, timestamp: {utc_now()[:19].replace('T', ' ')}Z, errorcode: IH{code}."
    )
    name = status.phrase.title().replace(" ", "").replace("-", "")
    return ManagementError(status, {"code": code, "httpStatusCode": name, "message": told})
