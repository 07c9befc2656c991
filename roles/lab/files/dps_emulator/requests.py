# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every request of either API is held to: its version, its format, its size."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from aiohttp import web

from .errors import MALFORMED, TOO_LARGE, UNSUPPORTED_FORMAT, ServiceError

# As sent by published clients (facts), plus the stable versions between them that older releases sent.
SERVICE_VERSIONS = frozenset({"2018-09-01-preview", "2018-11-01", "2019-03-31", "2021-06-01", "2021-10-01"})
DEVICE_VERSIONS = frozenset(
    {"2017-08-31-preview", "2017-11-15", "2018-09-01-preview", "2018-11-01", "2019-03-31", "2021-06-01"}
)


def require_version(request: web.Request, known: Collection[str]) -> None:
    """Refuses a request without a known api-version."""
    version = request.query.get("api-version")
    if version is None:
        raise ServiceError(MALFORMED, "The query parameter api-version is missing")
    if version not in known:
        raise ServiceError(MALFORMED, f"Unsupported api-version {version}")


async def read_json(request: web.Request, limit: int) -> Any:
    """The body of a request, which must be JSON (415), readable (400) and no larger than *limit* bytes.

    UNVERIFIED which status the service gives to a message over its 96 KB; 413 is what HTTP has for it.
    """
    if request.content_length is not None and request.content_length > limit:
        raise ServiceError(TOO_LARGE, f"The message is larger than {limit} bytes")
    if request.content_type != "application/json":
        raise ServiceError(UNSUPPORTED_FORMAT, "The body must be application/json")
    body = await request.read()
    if len(body) > limit:
        raise ServiceError(TOO_LARGE, f"The message is larger than {limit} bytes")
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ServiceError(MALFORMED, f"The body cannot be parsed: {error}") from None
