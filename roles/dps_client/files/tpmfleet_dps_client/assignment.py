# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an assignment may consist of: checked before it is kept, and again each time that it is read.

Hub name and device ID go into names that are resolved, paths, tokens and what people read; they are kept for years. A
service that is hostile or broken, and a disk that is damaged, must not get anything else in there.
"""

from __future__ import annotations

import base64
import re
from typing import Any

# RFC 1123, 2.1; a name whose last part has digits only is an address (RFC 3696, 2).
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}\.)*(?!\d+\Z){_LABEL}")
_LONGEST_HOST = 253
# "Device identity properties" of the IoT hub's documentation.
_DEVICE_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")
_OPERATION = re.compile(r"[!-~]{1,512}")
# Of a path these would be somewhere else.
_DOTS = (".", "..")
_LONGEST_TEXT = 256
_LONGEST_KEY = 8192
_LATEST = 1 << 40


def is_host(value: Any) -> bool:
    """Whether *value* is the name of a host, without a port."""
    return isinstance(value, str) and len(value) <= _LONGEST_HOST and _HOST.fullmatch(value) is not None


def is_device_id(value: Any) -> bool:
    """Whether *value* is a device ID that a hub can have."""
    return isinstance(value, str) and value not in _DOTS and _DEVICE_ID.fullmatch(value) is not None


def is_operation(value: Any) -> bool:
    """Whether *value* can name an operation of the service."""
    return isinstance(value, str) and value not in _DOTS and _OPERATION.fullmatch(value) is not None


def text(value: Any) -> str | None:
    """*value* where it is a short printable text, else None: what is only kept to be shown."""
    return value if isinstance(value, str) and len(value) <= _LONGEST_TEXT and value.isprintable() else None


def is_whole(assignment: dict[str, Any]) -> bool:
    """Whether a kept *assignment* has all that the client goes on with, and each of it as it may be."""
    moment = assignment.get("assigned_at")
    if not is_host(assignment.get("assigned_hub")) or not is_device_id(assignment.get("device_id")):
        return False
    if isinstance(moment, bool) or not isinstance(moment, int) or not 0 <= moment < _LATEST:
        return False
    key = assignment.get("key")
    return isinstance(key, dict) and all(_is_key(key.get(part)) for part in ("public", "private"))


def _is_key(value: Any) -> bool:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_KEY:
        return False
    try:
        return bool(base64.b64decode(value, validate=True))
    except ValueError:
        return False
