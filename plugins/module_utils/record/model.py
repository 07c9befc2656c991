# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device record: the one shape in which everything about a device goes from step to step.

A record is a flat JSON object; meta/device-record.schema.json has its fields. What a record does not mention is not
known, or not said again. Secrets are in none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from .fields import OF_THE_TPM
from .orders import LAST, with_news_of_order

RECORD_VERSION = 1
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
STEPS = (
    "tpm_install",
    "software_install",
    "warehouse",
    "field_activation",
    "reprovision",
    "replace_tpm",
    "decommission",
)
# What a device is called by, outside of one ledger too, and how a message says it.
IDENTITIES = {"serial_number": "serial number", "device_id": "device ID", "registration_id": "registration ID"}

_PROVING_STEPS = ("software_install", "warehouse", "replace_tpm", "decommission")

VERIFIED = "verified"
DONE = "done"
NOT_FOUND = "not found"

_CHAIN = "endorsement_key_certificate_chain"
# What is kept of a chain, in characters of base64: makers' chains have four certificates or fewer, of 1 kB.
_LONGEST_CHAIN = 64 << 10

# What travels with a record for one call and is no part of what is known of the device.
_OF_THE_CALL = (
    "outcome",
    "exceptions",
    "station",
    "enrolling",
    "disenrolled",
    _CHAIN,
    "endorsement_key_certificate_about",
    "endorsement_key_certificate_missing",
    "proven",
    "not_proven",
    "refuted",
    "ordered",
)


def called(record: Mapping[str, Any]) -> str:
    """What people call the device, for messages: its serial number and where it is."""
    names = [str(record[name]) for name in ("serial_number", "device_id", "host") if record.get(name)]
    return f"{names[0]} ({', '.join(names[1:])})" if len(names) > 1 else "".join(names) or "an unnamed device"


def merged(known: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """*known* with what a later step *said*; null says nothing."""
    news = {name: value for name, value in said.items() if value is not None and name not in _OF_THE_CALL}
    same_key = not has_another_tpm(known, said) and known.get("endorsement_key_template")
    if same_key and news.get("endorsement_key_template") == "other":
        # One that could not be found out this time.
        del news["endorsement_key_template"]
    chain = _merged_chain(known.get(_CHAIN), said.get(_CHAIN))
    order = news.get(LAST)
    if isinstance(order, Mapping):
        # One of several, of which none is forgotten.
        known = with_news_of_order(known, order)
        del news[LAST]
    return {"record_version": RECORD_VERSION, **known, **news, **({_CHAIN: chain} if chain else {})}


def _merged_chain(known: object, said: object) -> list[str]:
    """The makers' certificates that a device brought along, this time or before: it may not let them be read again.

    A device may say anything in their place. What is no base64, or too much of it, is not kept.
    """
    both = [one for brought in (known, said) if isinstance(brought, (list, tuple)) for one in brought]
    kept: dict[str, None] = {}
    left = _LONGEST_CHAIN
    for one in both:
        if isinstance(one, str) and one not in kept and len(one) <= left and _BASE64.fullmatch(one):
            kept[one] = None
            left -= len(one)
    return list(kept)


def has_another_tpm(known: Mapping[str, Any], said: Mapping[str, Any]) -> bool:
    """Whether *said* is of a device that has another TPM than it is *known* with."""
    old, new = known.get("endorsement_key_sha256"), said.get("endorsement_key_sha256")
    return bool(old and new and old != new)


def without_tpm(known: Mapping[str, Any]) -> dict[str, Any]:
    """*known* without what was known of the TPM, for a device that has another one now."""
    return {name: value for name, value in known.items() if name not in OF_THE_TPM}


def is_proven(record: Mapping[str, Any]) -> bool:
    """Whether the device as *record* has it has proven that its TPM holds its endorsement key."""
    if record.get("endorsement_key_proven"):
        return True
    # Ledgers of before that was noted: these steps end with such an outcome for nobody who has not proven it.
    outcomes = [(record.get("steps") or {}).get(step, {}).get("outcome") or {} for step in _PROVING_STEPS]
    return any("possession" in outcome or "ownership" in outcome for outcome in outcomes)


def with_proof(record: Mapping[str, Any], said: Mapping[str, Any], *, at: str) -> dict[str, Any]:
    """*record* with the time of the proof, if *said* has one of its endorsement key and none was noted before."""
    proven = said.get("proven") and said["proven"] == record.get("endorsement_key_sha256")
    return {"endorsement_key_proven": at, **record} if proven else dict(record)


def decommission_in_words(record: Mapping[str, Any]) -> str | None:
    """That a device was decommissioned, as the end of a sentence about it; None for one in use."""
    decommission = record.get("decommission")
    if not decommission:
        return None
    if decommission.get("done"):
        return f"was decommissioned on {decommission['done']}"
    return f"is half decommissioned, since {decommission['begun']}: run decommission again to complete it"


def with_step(
    record: Mapping[str, Any], step: str, outcome: Mapping[str, Any], *, at: str, station: str
) -> dict[str, Any]:
    """*record* with the outcome of *step*, which is noted when a part was done and not each time it was verified."""
    steps = dict(record.get("steps") or {})
    before = steps.get(step, {}).get("outcome", {})
    news = {
        part: said
        for part, said in outcome.items()
        if part not in before or said == DONE or said not in (VERIFIED, NOT_FOUND, before[part])
    }
    if not news and step in steps:
        return dict(record)
    # A part that is done again (a repair, a move) has a new time; one that was only verified keeps its own.
    steps[step] = {"at": at, "station": station, "outcome": {**before, **news}}
    return {**record, "steps": steps}


def last_step(record: Mapping[str, Any]) -> str | None:
    """The name of the step of which a part was done last, None where there is none."""
    steps = record.get("steps") or {}
    known = [name for name in STEPS if name in steps]
    # Of steps of one second the later one in the life of a device.
    return max(known, key=lambda name: (str(steps[name].get("at")), STEPS.index(name)), default=None)


def outcome_state(outcome: Mapping[str, Any]) -> str:
    """``done`` if anything was, else ``verified``."""
    return VERIFIED if all(said in (VERIFIED, NOT_FOUND) for said in outcome.values()) else DONE
