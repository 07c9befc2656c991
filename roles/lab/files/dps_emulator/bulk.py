# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Bulk operations (reference "Run Bulk Operation": at most 10 enrollments; facts: request and answer).

Each enrollment succeeds or fails on its own. UNVERIFIED: that one that cannot be validated fails alone and not the
call, and that ``update`` and ``delete`` pay no regard to ETags.
"""

from __future__ import annotations

from typing import Any

from .enrollments import Enrollments, check_registration_id
from .errors import MALFORMED, ServiceError
from .store import Store

MODES = ("create", "update", "updateIfMatchETag", "delete")


def parse_bulk(body: Any, most: int) -> tuple[str, list]:
    """(mode, enrollments as sent), refused with 400 where it is not a bulk operation."""
    if not isinstance(body, dict) or set(body) != {"mode", "enrollments"}:
        raise ServiceError(MALFORMED, "A bulk operation has a mode and enrollments, and nothing else")
    mode, enrollments = body["mode"], body["enrollments"]
    if mode not in MODES:
        raise ServiceError(MALFORMED, f"Invalid mode: one of {', '.join(MODES)}")
    if not isinstance(enrollments, list) or not 1 <= len(enrollments) <= most:
        raise ServiceError(MALFORMED, f"A bulk operation holds 1 to {most} enrollments")
    return mode, enrollments


def run_bulk(store: Store, enrollments: Enrollments, mode: str, items: list) -> dict:
    """Does it, and answers what failed."""
    errors = []
    with store.together():
        for item in items:
            try:
                _run_one(enrollments, mode, item)
            except ServiceError as error:
                registration_id = item.get("registrationId") if isinstance(item, dict) else None
                errors.append(
                    {"registrationId": registration_id, "errorCode": error.code, "errorStatus": error.message}
                )
    return {"isSuccessful": not errors, "errors": errors}


def _run_one(enrollments: Enrollments, mode: str, item: Any) -> None:
    if not isinstance(item, dict):
        raise ServiceError(MALFORMED, "Invalid enrollment: not an object")
    if mode == "delete":
        # Only the ID counts; a stock SDK sends the whole enrollment.
        enrollments.delete(check_registration_id(item.get("registrationId")), None)
        return
    enrollment = enrollments.checked(item)
    if mode == "create":
        enrollments.create(enrollment)
    elif mode == "update":
        enrollments.replace(enrollment, None)
    else:
        if not item.get("etag"):
            raise ServiceError(MALFORMED, "Invalid enrollment: updateIfMatchETag needs its etag")
        enrollments.replace(enrollment, item["etag"])
