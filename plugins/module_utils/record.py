# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device record: the one shape in which everything about a device goes from step to step.

A record is a flat JSON object; meta/device-record.schema.json has its fields. What a record does not mention is not
known, or not said again. Secrets are in none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RECORD_VERSION = 1
STEPS = ("tpm_install", "software_install", "warehouse", "field_activation")

VERIFIED = "verified"
DONE = "done"

# What travels with a record for one call and is no part of what is known of the device.
_OF_THE_CALL = ("outcome", "exceptions", "station", "endorsement_key_certificate_chain")


def called(record: Mapping[str, Any]) -> str:
    """What people call the device, for messages: its serial number and where it is."""
    names = [str(record[name]) for name in ("serial_number", "device_id", "host") if record.get(name)]
    return f"{names[0]} ({', '.join(names[1:])})" if len(names) > 1 else "".join(names) or "an unnamed device"


def merged(known: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """*known* with what a later step *said*; null says nothing."""
    news = {name: value for name, value in said.items() if value is not None and name not in _OF_THE_CALL}
    return {"record_version": RECORD_VERSION, **known, **news}


def with_step(
    record: Mapping[str, Any], step: str, outcome: Mapping[str, Any], *, at: str, station: str
) -> dict[str, Any]:
    """*record* with the outcome of *step*, which is noted when a part was done and not each time it was verified."""
    steps = dict(record.get("steps") or {})
    before = steps.get(step, {}).get("outcome", {})
    news = {
        part: said
        for part, said in outcome.items()
        if part not in before or said == DONE or said not in (VERIFIED, before[part])
    }
    if not news and step in steps:
        return dict(record)
    # A part that is done again (a repair, a move) has a new time; one that was only verified keeps its own.
    steps[step] = {"at": at, "station": station, "outcome": {**before, **news}}
    return {**record, "steps": steps}


def outcome_state(outcome: Mapping[str, Any]) -> str:
    """``done`` if anything was, else ``verified``."""
    return VERIFIED if all(said == VERIFIED for said in outcome.values()) else DONE
