# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What devices are selected and counted by, so that nobody has to read a million records for that.

It follows from the records and the events, which alone count, and goes into tables of short rows with indexes: where
a device stands, when each step was done, which events are failures, which work orders it was on.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from ..outside.moments import moment_of
from ..record.model import STEPS, last_step
from ..record.orders import orders_in
from ..trust.certificate import CertificateError, read_certificate
from .causes import tells_less

_LONGEST_NUMBER = 64
_SHA256 = 64
# What a column of numbers has room for, in PostgreSQL.
LARGEST_INTEGER = (1 << 31) - 1
# What one of texts has, in characters.
_MOST = 255
_TEXTS = ("dps_id_scope", "maker", "batch", "tpm_type")


def standing_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """Columns of the standing of the device with *record*; None for what nobody can be found by."""
    ownership = record.get("ownership")
    version = ownership.get("key_version") if isinstance(ownership, Mapping) else None
    certificate = record.get("endorsement_key_certificate")
    return {
        "last_step": last_step(record),
        "decommissioned": int(bool(record.get("decommission"))),
        "key_version": version if isinstance(version, int) and abs(version) <= LARGEST_INTEGER else None,
        **{name: short(record[name]) if isinstance(record.get(name), str) else None for name in _TEXTS},
        "certificate_expires": _expiry(certificate) if isinstance(certificate, str) else None,
    }


def last_event_of(
    event: Mapping[str, Any], what: Mapping[str, Any], found: Sequence[str], *, unproven: bool
) -> dict[str, Any]:
    """Columns of the standing of a device whose last *event* says *what*; *found* are the causes of that.

    None of them where another one is the last word: it was told late, or is less than that the device is *unproven*.
    """
    if tells_less(unproven, what):
        return {}
    return {
        **{name: event[name] for name in ("at", "step", "station")},
        "state": str(what["state"])[:32] if what.get("state") else None,
        "cause": found[0] if found else None,
    }


def failures_of(chain: int, number: int, event: Mapping[str, Any], found: Sequence[str]) -> list[dict[str, Any]]:
    """The rows of an *event*, which is *number* in its *chain* and has the causes *found*."""
    named = {"chain": chain, "number": number, **{name: event[name] for name in ("at", "step", "station")}}
    return [{**named, "reason": reason, "cause": cause} for reason, cause in enumerate(found, 1)]


def step_times_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the steps of a device, without which device it is. One without a time has an empty one."""
    steps = record.get("steps") or {}
    return [
        {"step": name, "at": _time(steps[name].get("at")), "station": short(str(steps[name].get("station") or ""))}
        for name in STEPS
        if isinstance(steps.get(name), Mapping)
    ]


def orders_of(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of the work orders of a device, without which device it is. What has no number is not found by it."""
    rows = {}
    # A line's journal that was taken in has the same numbers.
    for order in sorted(orders_in(record), key=lambda one: not one.get("customer")):
        number, file = order.get("number"), order.get("file_sha256")
        if isinstance(number, str) and 0 < len(number) <= _LONGEST_NUMBER:
            known = isinstance(file, str) and len(file) == _SHA256
            rows[number] = {"number": number, "file_sha256": file if known else None}
    return list(rows.values())


def short(text: str) -> str:
    """*text* as it is looked for."""
    return text[:_MOST]


def moment_in_text(moment: datetime) -> str:
    """As the ledger has *moment*, which is in UTC."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}Z"


def _time(said: object) -> str:
    moment = moment_of(str(said))
    return "" if moment is None else moment_in_text(moment)


@lru_cache(maxsize=1024)
def _expiry(certificate: str) -> str | None:
    """Until when the *certificate*, DER in base64, is valid; None for what is none."""
    try:
        return moment_in_text(read_certificate(base64.b64decode(certificate, validate=True)).not_after)
    except (binascii.Error, CertificateError, ValueError):
        return None
