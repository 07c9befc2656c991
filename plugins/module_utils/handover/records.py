# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Device records as a file: a line of JSON each, with the fields of meta/device-record.schema.json and no others."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from ..ledger.stored import MOST_OF_A_RECORD, fault_of
from ..outside.strict_json import JsonError, parse
from ..outside.visible import visible
from ..record.fields import RECORD_FIELDS
from ..record.model import RECORD_VERSION, STEPS
from ..trust.derived import checked_record_fields
from .record_parts import fault_inside
from .signed_document import is_text

# What devices are found by, and how long it can be in a ledger.
_LONGEST = {"serial_number": 255, "device_id": 128, "host": 255, "registration_id": 128}
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", re.ASCII)


def line_of(record: Mapping[str, Any]) -> bytes:
    """The line of *record*, the same whenever it is made. What the schema does not have is left out."""
    fields = {name: record[name] for name in RECORD_FIELDS if name in record}
    return f"{json.dumps({**fields, 'record_version': RECORD_VERSION}, sort_keys=True)}\n".encode("ascii")


class NoRecord(ValueError):
    """Why a line is no record that is taken, as the end of a sentence about it."""


def record_of(line: bytes) -> dict[str, Any]:
    """The record that *line* has, with what follows from its keys. NoRecord where it has none."""
    try:
        said = parse(line, most=MOST_OF_A_RECORD)
    except JsonError as error:
        raise NoRecord(str(error)) from None
    if not isinstance(said, dict):
        raise NoRecord("is no object")
    version = said.get("record_version")
    if isinstance(version, bool) or version != RECORD_VERSION:
        raise NoRecord(f"has the record_version {visible(version, most=40)}, and {RECORD_VERSION} is known here")
    strange = [name for name in said if name not in RECORD_FIELDS]
    if strange:
        raise NoRecord(
            f"has {visible(strange[0], most=60)}, which no record has that is known here: update the collection where "
            "a later one wrote the file"
        )
    record = {name: value for name, value in said.items() if value is not None}
    fault = fault_of(record)
    if fault:
        raise NoRecord(f"is wrong: its {fault}")
    for name, longest in _LONGEST.items():
        if not is_text(record.get(name, " "), longest):
            raise NoRecord(f"has no {name} of 1 to {longest} characters")
    if not any(record.get(name) for name in _LONGEST):
        raise NoRecord("names no device: it has none of " + ", ".join(_LONGEST))
    for step, found in record.get("steps", {}).items():
        moment = found.get("at")
        if step not in STEPS or not isinstance(moment, str) or _MOMENT.fullmatch(moment) is None:
            raise NoRecord(f"has a step {visible(step, most=40)} that is none, or that says no time")
    fault = fault_inside(record)
    if fault:
        raise NoRecord(fault)
    fields, _wrong = checked_record_fields(record)
    return {**record, **fields}
