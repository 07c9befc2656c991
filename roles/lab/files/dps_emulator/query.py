# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Queries and their pages (facts: "Queries").

The service does not read the query and leaves the registration state out of what it finds. The upper limit of a page is
not published.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from .errors import MALFORMED, ServiceError
from .settings import Settings
from .store import Store

_TOKEN = "after:"


def check_query(body: Any) -> None:
    """Refuses with 400 what is no query. What the string says is not read: the cloud CLI sends an object's text."""
    if not isinstance(body, dict) or set(body) != {"query"} or not isinstance(body["query"], str):
        raise ServiceError(MALFORMED, "A query is an object with the one property query, a string")


def page_size(header: str | None, settings: Settings) -> int:
    """From x-ms-max-item-count; what is too large is made smaller without a word."""
    if header is None:
        return settings.query_page_default
    if not header.isascii() or not header.isdigit() or int(header) < 1:
        raise ServiceError(MALFORMED, "Invalid x-ms-max-item-count: a number from 1")
    return min(int(header), settings.query_page_max)


def _continuation(header: str | None) -> int:
    if not header:
        return 0
    try:
        name, number = base64.b64decode(header, validate=True).decode().split(":")
        if f"{name}:" != _TOKEN:
            raise ValueError(name)
        return int(number)
    except (binascii.Error, ValueError):
        raise ServiceError(MALFORMED, "Invalid x-ms-continuation") from None


def query_enrollments(store: Store, *, count: int, continuation: str | None) -> tuple[str, str | None]:
    """(the page as JSON text, the continuation of the next page or None)."""
    rows = store.enrollments_after(_continuation(continuation), count + 1)
    page = rows[:count]
    following = None
    if len(rows) > count:
        following = base64.b64encode(f"{_TOKEN}{page[-1][0]}".encode()).decode()
    return "[" + ",".join(document for _number, document in page) + "]", following
