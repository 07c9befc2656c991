# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's units as CSV (RFC 4180), for spreadsheets, in which no cell is a formula."""

from __future__ import annotations

import csv
import io
from datetime import datetime, timezone

from ..outside.visible import visible
from .gathered import STATES, STEPS, Unit

_NAMES = ("serial_number", "device_id", "registration_id", "host", "endorsement_key_sha256", "maker", "batch",
          "tpm_manufacturer", "tpm_model", "tpm_firmware_version", "dps_id_scope")  # fmt: skip
HEADINGS = ("state", *_NAMES, *STEPS, "certificate_not_after", "last_event", "last_failure")
# What a spreadsheet takes for a formula, also after blanks (OWASP, CSV Injection).
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "＝", "＋", "－", "＠")


def heading() -> bytes:
    """The first line."""
    return _line(HEADINGS)


def line(unit: Unit) -> bytes:
    """The line of a unit."""
    cells = [STATES[unit.state], *(unit.record.get(name) or "" for name in _NAMES)]
    cells += [*map(_time, unit.reached), _time(unit.not_after), _time(unit.last_at), unit.failure]
    return _line(cells)


def _line(cells: object) -> bytes:
    out = io.StringIO()
    csv.writer(out).writerow(map(_cell, cells))  # type: ignore[call-overload]
    return out.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: object) -> str:
    """*value* as text that nothing computes: an apostrophe stands before what could begin a formula."""
    text = str(value)
    return f"'{visible(text)}" if text.lstrip(" ").startswith(_FORMULA) else visible(text)


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ") if seconds else ""
