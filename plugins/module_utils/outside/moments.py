# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Moments as people and services write them: a time in ISO 8601, or an age."""

from __future__ import annotations

import re
from datetime import date, datetime, timedelta, timezone
from typing import Any

# For messages about what is neither.
FORMS = "Write 2026-11-24, 2026-11-24T08:00:00Z, or an age such as 30d, 12h or 90m."
_AGE = re.compile(r"(\d+)\s*([smhdw])")
_AGE_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
# The service writes seven digits of a second, which fromisoformat takes from Python 3.11 on only.
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)(?:[Tt ](\d\d:\d\d(?::\d\d)?)(\.\d+)?)?\s*([Zz]|[+-]\d\d:?\d\d)?")


def moment_of(text: str) -> datetime | None:
    """A date or date and time in ISO 8601 (UTC where it names no zone), to the second; None where it is none."""
    found = _MOMENT.fullmatch(text.strip())
    if found is None:
        return None
    day, clock, _fraction, zone = found.groups()
    zone = "+00:00" if zone in (None, "Z", "z") else zone
    try:
        moment = datetime.fromisoformat(f"{day}T{clock or '00:00'}{zone if ':' in zone else f'{zone[:3]}:{zone[3:]}'}")
        return moment.astimezone(timezone.utc)
    except (ValueError, OverflowError):
        return None


def moment_or_age(value: Any, now: datetime) -> datetime | None:
    """The moment that *value* is, as YAML has it, or that lies so long before *now*; None where it is neither."""
    if isinstance(value, datetime):
        # As any time that names no zone.
        value = value.isoformat(timespec="seconds")
    text = value.isoformat() if isinstance(value, date) else str(value)
    age = _AGE.fullmatch(text.strip())
    return _ago(now, age) if age else moment_of(text)


def _ago(now: datetime, age: re.Match[str]) -> datetime | None:
    try:
        return now - timedelta(**{_AGE_UNITS[age[2]]: int(age[1][:20])})
    except OverflowError:
        return None
