# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The enrollment of a unit whose TPM did not prove its key is disabled, so that nobody registers in its name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.moments import moment_of
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.model import DONE, is_proven
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.in_worker import run_here

DISABLED, LEFT = "disabled", "left enabled"
# Within which a step notes an enrollment that it has made.
_A_DAY = timedelta(days=1)


def claim_of(record: Mapping[str, Any] | None, id_scope: str) -> dict[str, Any] | None:
    """What is needed of the *record* of a unit that did not prove its key, to find its enrollment."""
    if not record or not record.get("registration_id"):
        return None
    named = {name: record[name] for name in ("registration_id", "endorsement_key")}
    steps = (record.get("steps") or {}).values()
    made = [str(step.get("at")) for step in steps if (step.get("outcome") or {}).get("enrollment") == DONE]
    enrolled = str(record.get("dps_id_scope") or "")
    here = enrolled == id_scope
    elsewhere = {} if here or not enrolled else {"elsewhere": enrolled}
    proven = record.get("endorsement_key_proven") or is_proven(record)
    return {**named, **elsewhere, "proven": proven, "made": made if here else []}


def disabled(claims: Sequence[Mapping[str, Any] | None], service: Mapping[str, Any]) -> dict[int, dict[str, str]]:
    """What became of the enrollments of *claims* that are enabled, by the place of the claim.

    ``is`` says it for the ledger, ``first`` what is to be said before all else, ``more`` what besides. Another unit's
    is left alone, since anybody can name its key. *service* has the options of the service.
    """
    asked = {one["registration_id"].lower(): place for place, one in enumerate(claims) if one}
    found = _disable([one or {} for one in claims], asked, service) if asked else {}
    return {asked[registration_id]: outcome for registration_id, outcome in found.items()}


def _disable(
    claims: Sequence[Mapping[str, Any]], asked: Mapping[str, int], service: Mapping[str, Any]
) -> dict[str, Any]:
    """The same by registration IDs in small letters, as in *asked*."""
    options = {name: value for name, value in service.items() if value}
    found = answer_of("dps_enrollment_info", {**options, "registration_ids": sorted(asked)})
    if found["failed"]:
        first = "disable its enrollment {} first, of which could not be seen whether it is enabled: {}"
        return {one: {"is": "not seen", "first": first.format(one, found["failed"])} for one in asked}
    told: dict[str, Any] = {}
    wanted = {}
    for one in found["enrollments"]:
        name = one["registration_id"]
        claimed = claims[asked[name.lower()]]
        if one["provisioning_status"] == "disabled" or one["endorsement_key"] != claimed["endorsement_key"]:
            continue
        why = _whose(claimed, one)
        if why:
            words = (
                f"its enrollment {name} was left enabled, for {why}: find out whose it is, and disable it where it is"
            )
            told[name.lower()] = {"is": LEFT, "first": f"{words} this unit's."}
        else:
            wanted[name.lower()] = {
                **{field: one[field] for field in ("registration_id", "endorsement_key")},
                "provisioning_status": "disabled",
            }
    if wanted:
        asked_for = {"enrollments": list(wanted.values()), "fail_on_record_error": False}
        done = answer_of("dps_enrollments", {**options, **asked_for})
        refused = {one["registration_id"].lower(): one["reason"] for one in done.get("failed_records") or ()}
        for name in wanted:
            why = done["failed"] or refused.get(name)
            first = f"disable its enrollment {name} first, which is enabled and could not be disabled: {why}"
            more = f"Its enrollment {name} was disabled."
            told[name] = {"is": LEFT, "first": first} if why else {"is": DISABLED, "more": more}
    here = {one["registration_id"].lower() for one in found["enrollments"]}
    for name, place in asked.items():
        there = claims[place].get("elsewhere")
        if there and name not in here:
            words = f"look after its enrollment {name} in the DPS of the ID scope {there} first"
            told[name] = {"is": "not seen", "first": f"{words}, where this run does not look."}
    return told


def _whose(claimed: Mapping[str, Any], enrollment: Mapping[str, Any]) -> str:
    """Why an *enrollment* may be another unit's than that which *claimed* its key; empty where it is that one's own.

    Its own is one that this line has made for it, on no more than its word: whoever has the key elsewhere was not
    enrolled by that.
    """
    if claimed["proven"]:
        return "its key was proven " + (f"on {claimed['proven']}" if isinstance(claimed["proven"], str) else "before")
    created = moment_of(str(enrollment.get("created")))
    for made in map(moment_of, claimed["made"]):
        if created and made and made - _A_DAY <= created <= made + _A_DAY:
            return ""
    return "it was not made for this unit by a step of this line"


def answer_of(module: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """What the *module* of the station returned; ``failed`` in it is why it did not do what it should."""
    said = run_here(module, arguments, {})
    try:
        found = json.loads(said["stdout"])
    except ValueError:
        lines = str(said["stderr"]).strip().splitlines() or ["it said nothing"]
        return {"failed": f"{module}: {lines[-1]}"}
    return {**found, "failed": str(found.get("msg") or "no reason was given") if found.get("failed") else None}
