# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an audit found on a batch of boxed units: which to pull and why, for people and as a report.

Everything comes from results of modules that only read or ran in check mode. A check that was not made says so, and a
unit that was not wholly checked is never called good.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Callable

from ..outside.visible import visible
from ..record.model import IDENTITIES, called
from ..record.places import places_left
from ..trust.hierarchy_auth import SET_BY

GOOD, NOTE, PULL, UNCHECKED = "good", "note", "pull", "unchecked"
CHECKS = ("endorsement_key", "ownership", "dps_client", "enrollment", "other_enrollments")
# A unit with another version of the client's program, or another twin to begin with, does its work in the field.
_HARMLESS_CHANGES = {"program"}
# None is of a unit that was never claimed.
_HIERARCHIES: dict[Any, tuple[str, ...]] = {**SET_BY, None: ()}
_MOST_SHOWN = 1000
_HARMLESS_FIELDS = {"initial_twin", "optional_device_information"}


@dataclass(frozen=True)
class Finding:
    """What one of CHECKS found: *state* is one of GOOD, NOTE, PULL, UNCHECKED, *words* end a sentence about it."""

    check: str
    state: str
    words: str

    def as_result(self) -> dict[str, str]:
        """As it stands in the report."""
        return {"check": self.check, "state": self.state, "words": visible(self.words, most=_MOST_SHOWN)}


class Audit:
    """The audit of a batch.

    *verdicts* are those of the module device_records in check mode, by host, *enrollments* is the result of
    dps_enrollments in check mode, *id_scope* the DPS where the units belong.
    """

    def __init__(
        self, verdicts: Mapping[str, Any], enrollments: Mapping[str, Any], *, id_scope: str, key_version: int
    ) -> None:
        self._verdicts = verdicts
        self._service_said = enrollments.get("msg") if "results" not in enrollments else None
        self._actions = {str(one["registration_id"]).lower(): one for one in enrollments.get("results") or ()}
        self._id_scope = id_scope
        self._key_version = key_version

    def unit(
        self, host: str, key: Mapping[str, Any], ownership: Mapping[str, Any], client: Mapping[str, Any]
    ) -> dict[str, Any]:
        """The report of one unit, from what the modules returned on it: its TPM's key, the claim, the client."""
        verdict = self._verdicts.get(host) or {}
        record = verdict.get("record") or {}
        findings = [
            *_readable("endorsement_key", lambda: [self._endorsement_key(verdict, key)]),
            *_readable("ownership", lambda: [self._ownership(record, ownership)]),
            *_readable("dps_client", lambda: [self._client(client)]),
            *_readable("enrollment", lambda: [self._enrollment(verdict, record)]),
            *_readable("other_enrollments", lambda: self._elsewhere(record)),
        ]
        states = {finding.state for finding in findings}
        return {
            "host": host,
            **{name: record[name] for name in IDENTITIES if record.get(name)},
            "verdict": next((state for state in (PULL, UNCHECKED) if state in states), GOOD),
            "findings": [finding.as_result() for finding in findings],
        }

    @staticmethod
    def _endorsement_key(verdict: Mapping[str, Any], key: Mapping[str, Any]) -> Finding:
        check = "endorsement_key"
        if key.get("unreachable"):
            return Finding(check, PULL, f"the unit cannot be reached: {_reason(key)}")
        if not verdict.get("known"):
            return Finding(check, PULL, "the ledger does not know the unit")
        if not key.get("endorsement_key"):
            return Finding(check, PULL, _reason(key))
        if not verdict.get("accepted"):
            return Finding(check, PULL, "; ".join(verdict.get("reasons") or ()))
        remarks = verdict.get("remarks") or ()
        if remarks:
            return Finding(check, NOTE, "; ".join(remarks))
        return Finding(check, GOOD, "is the recorded one")

    def _ownership(self, record: Mapping[str, Any], ownership: Mapping[str, Any]) -> Finding:
        check = "ownership"
        if not _made(ownership):
            return Finding(check, UNCHECKED, "was not looked at")
        if "hierarchies" not in ownership:
            return Finding(check, PULL, _reason(ownership))
        authorizations = ownership["authorizations_before"]
        standing = set(authorizations.values())
        recorded = record.get("ownership") or {}
        missing = [one for one in _HIERARCHIES[recorded.get("profile")] if authorizations[one] == "none"]
        if missing:
            return Finding(check, PULL, f"has no {' and no '.join(missing)} authorization any more")
        if "previous" in standing:
            version = recorded.get("key_version")
            return Finding(check, NOTE, f"is ours, with key version {version} and not yet {self._key_version}")
        if ownership.get("changed"):
            return Finding(check, PULL, f"is not as it was left: a claim would {', '.join(ownership['actions'])}")
        if "unproven" in standing:
            return Finding(check, NOTE, "nothing in the TPM proves that its lockout authorization is ours")
        return Finding(check, GOOD, f"is ours, with key version {self._key_version}")

    @staticmethod
    def _client(client: Mapping[str, Any]) -> Finding:
        check = "dps_client"
        if not _made(client):
            return Finding(check, UNCHECKED, "was not looked at")
        if client.get("failed"):
            return Finding(check, PULL, _reason(client))
        if not client.get("changed"):
            return Finding(check, GOOD, "is configured for the target")
        changes = client.get("changes") or ["configuration"]
        settings = client.get("changed_settings") or ()
        words = f"is not as it should be: {', '.join(changes)}" + (f" ({', '.join(settings)})" if settings else "")
        return Finding(check, NOTE if set(changes) <= _HARMLESS_CHANGES else PULL, words)

    def _enrollment(self, verdict: Mapping[str, Any], record: Mapping[str, Any]) -> Finding:
        check = "enrollment"
        if self._service_said is not None:
            return Finding(check, UNCHECKED, f"the service was not asked: {self._service_said}")
        found = self._actions.get(str(record.get("registration_id")).lower())
        if not verdict.get("accepted") or found is None:
            return Finding(check, UNCHECKED, "was not looked for, since it is not known which TPM the unit has")
        changed = set(found.get("changed_fields") or ())
        if found["action"] == "unchanged":
            return Finding(check, GOOD, "is there and enabled")
        if found["action"] == "created":
            return Finding(check, PULL, "there is none in this service")
        if found["action"] == "failed":
            return Finding(check, PULL, str(found.get("reason")))
        if "provisioning_status" in changed:
            return Finding(check, PULL, "is disabled")
        state = NOTE if changed <= _HARMLESS_FIELDS else PULL
        return Finding(check, state, f"differs from what is wanted in {', '.join(sorted(changed))}")

    def _elsewhere(self, record: Mapping[str, Any]) -> list[Finding]:
        left = places_left(record, self._id_scope)
        names = ", ".join(f"{place['registration_id']} in {place['dps_id_scope']}" for place in left)
        return [Finding("other_enrollments", NOTE, f"may be enrolled as {names} too")] if left else []


def _readable(check: str, find: Callable[[], list[Finding]]) -> list[Finding]:
    """What *find* finds. What a unit or the ledger told in a form that it never has is a reason to pull that unit."""
    try:
        return find()
    except (AttributeError, KeyError, TypeError, ValueError):
        return [Finding(check, PULL, "what was told of it is not as it is ever told")]


def counts(units: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many units have which verdict, and how many there are."""
    found = [unit["verdict"] for unit in units]
    return {"units": len(found), **{verdict: found.count(verdict) for verdict in (GOOD, PULL, UNCHECKED)}}


def why(unit: Mapping[str, Any]) -> str:
    """Why a unit is not good, in one line for people; empty for one that is."""
    return visible(
        "; ".join(
            f"{finding['check']}: {finding['words']}"
            for finding in unit["findings"]
            if finding["state"] == unit["verdict"] and unit["verdict"] != GOOD
        )
    )


def lines(units: list[Mapping[str, Any]]) -> list[str]:
    """The report for people: how many of which, then the units to pull, those not wholly checked, and the notes."""
    found = counts(units)
    head = f"AUDIT: {found[GOOD]} of {found['units']} units are good, {found[PULL]} to pull"
    head += f", {found[UNCHECKED]} not wholly checked" if found[UNCHECKED] else ""
    told = [head]
    for verdict, word in ((PULL, "PULL"), (UNCHECKED, "NOT CHECKED")):
        told += [f"{word} {_named(unit)}: {why(unit)}" for unit in units if unit["verdict"] == verdict]
    for unit in units:
        notes = [f"{one['check']}: {one['words']}" for one in unit["findings"] if one["state"] == NOTE]
        told += [f"note {_named(unit)}: {'; '.join(notes)}"] if notes else []
    return [visible(line) for line in told]


def _named(unit: Mapping[str, Any]) -> str:
    return f"{unit['host']} ({called({**unit, 'host': None})})" if unit.get("serial_number") else str(unit["host"])


def _made(result: Mapping[str, Any]) -> bool:
    return bool(result) and not result.get("skipped") and not result.get("unreachable")


def _reason(result: Mapping[str, Any]) -> str:
    return " ".join(str(result.get("msg") or "no reason was given").split())
