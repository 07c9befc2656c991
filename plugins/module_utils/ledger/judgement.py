# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a step found on a batch of devices, held against the ledger: who may go on, who is stopped and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..record import VERIFIED, called, merged, outcome_state, with_step
from ..trust.policy import CertificatePolicy, Judged
from .devices import Devices, identity, twins
from .ek_list import ListedKeys

LIST_POLICIES = ("required", "preferred", "ignored")
# What no two devices may share, in the words of a message.
_UNIQUE = {
    "endorsement_key_sha256": "endorsement key",
    "registration_id": "registration ID",
    "serial_number": "serial number",
    "device_id": "device ID",
}


@dataclass(frozen=True)
class Verdict:
    """*reasons* is empty for a device that may go on. *record* is what is known of it now, *known* what was before.

    *remarks* are worth knowing and stop nothing.
    """

    known: dict[str, Any]
    record: dict[str, Any]
    reasons: list[str]
    changed: bool
    outcome: Mapping[str, Any]
    remarks: Sequence[str] = ()

    def as_result(self) -> dict[str, Any]:
        """As a module returns it."""
        state = "stopped" if self.reasons else outcome_state(self.outcome) if self.outcome else VERIFIED
        if state == VERIFIED and self.changed and not self.outcome:
            state = "done"
        return {
            "accepted": not self.reasons,
            "reasons": self.reasons,
            "remarks": list(self.remarks),
            "state": state,
            "outcome": dict(self.outcome),
            "record": self.record,
        }


class Step:
    """One manufacturing step over a batch, at an open ledger."""

    def __init__(
        self, connection: Any, *, step: str, station: str, at: str, list_policy: str, certificates: CertificatePolicy
    ) -> None:
        self._devices = Devices(connection)
        self._listed = ListedKeys(connection)
        self._step = step
        self._station = station
        self._at = at
        self._list_policy = list_policy
        self._certificates = certificates

    def take(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Verdict]:
        """Judges every record, and writes what was accepted and what happened. Verdicts by host."""
        shared = {name: twins(records, name) for name in _UNIQUE}
        return {record["host"]: self._take(record, shared) for record in records}

    def _take(self, said: Mapping[str, Any], shared: Mapping[str, Mapping[Any, list]]) -> Verdict:
        row = self._devices.row_of(said)
        known = self._devices.record(row) if row is not None else {}
        entry = self._listed.entry(said.get("endorsement_key_sha256"))
        shipment = {name: entry[name] for name in ("maker", "batch") if entry.get(name)} if entry else {}
        judged = self._certificates.judge(said, entry)
        record = merged({**known, **shipment}, {**said, "certified_tpm": judged.certified})
        outcome = said.get("outcome") or {}
        reasons = [
            *self._not_text(said),
            *self._shared_in_batch(said, shared),
            *self._shared_with_known(record, row),
            *self._another_tpm(said, known),
            *self._not_listed(said, entry),
            *judged.reasons,
            *self._software_tpm(said, judged),
        ]
        if reasons:
            self._devices.note(row, said["host"], **self._where(), what={"state": "stopped", "reasons": reasons})
            return Verdict(known, record, reasons, changed=False, outcome=outcome, remarks=judged.remarks)
        if outcome:
            record = with_step(record, self._step, outcome, at=self._at, station=self._station)
        changed = record != known
        if changed:
            row = self._devices.save(row, record)
        verdict = Verdict(known, record, [], changed=changed, outcome=outcome, remarks=judged.remarks)
        self._devices.note(row, said["host"], **self._where(), what=self._event(verdict))
        return verdict

    def _where(self) -> dict[str, str]:
        return {"at": self._at, "step": self._step, "station": self._station}

    @staticmethod
    def _event(verdict: Verdict) -> dict[str, Any]:
        event: dict[str, Any] = {"state": verdict.as_result()["state"]}
        if verdict.outcome:
            event["outcome"] = dict(verdict.outcome)
        old = verdict.known.get("endorsement_key")
        if old and old != verdict.record.get("endorsement_key"):
            event["replaced_endorsement_key"] = old
        if verdict.remarks:
            event["remarks"] = list(verdict.remarks)
        return event

    @staticmethod
    def _not_text(said: Mapping[str, Any]) -> list[str]:
        """YAML reads 000123 as the number 83, so that what a number was written as cannot be told."""
        return [
            f"its {words} is {said[name]!r}, which is no text; write it in quotes in the inventory, or zeros are lost"
            for name, words in _UNIQUE.items()
            if said.get(name) is not None and not isinstance(said[name], str)
        ]

    @staticmethod
    def _shared_in_batch(said: Mapping[str, Any], shared: Mapping[str, Mapping[Any, list]]) -> list[str]:
        reasons: list[str] = []
        for name, words in _UNIQUE.items():
            sharing = shared[name].get(identity(name, said.get(name)), ())
            others = [other for other in sharing if other["host"] != said["host"]]
            # The default registration ID follows from the key, so with the key all is said.
            if others and not (name == "registration_id" and reasons):
                names = ", ".join(called(other) for other in others)
                reasons.append(f"its {words} was also found on {names}; pull both, nobody can say which one is genuine")
        return reasons

    def _shared_with_known(self, record: Mapping[str, Any], row: int | None) -> list[str]:
        reasons: list[str] = []
        for name, words in _UNIQUE.items():
            other = self._devices.other_with(name, record.get(name), row)
            if other is not None and not (name == "registration_id" and reasons):
                reasons.append(f"its {words} is already that of {called(other)}; pull both, one is not what it seems")
        return reasons

    @staticmethod
    def _another_tpm(said: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
        old, new = known.get("endorsement_key_sha256"), said.get("endorsement_key_sha256")
        if not old or not new or old == new or "tpm_replacement" in (said.get("exceptions") or ()):
            return []
        advice = "is this another unit or another TPM? If the TPM was replaced, set tpmfleet_replace_tpm for this host"
        if not said.get("serial_number") and not said.get("device_id"):
            advice += "; if the slot has another unit now, give each its tpmfleet_serial_number"
        return [f"its endorsement key {new[:16]}… is not the one that was read before, {old[:16]}…; {advice}"]

    def _not_listed(self, said: Mapping[str, Any], entry: Mapping[str, Any] | None) -> list[str]:
        digest = said.get("endorsement_key_sha256")
        if entry is not None or not digest or self._list_policy == "ignored":
            return []
        if self._list_policy == "preferred" and not self._listed.any():
            return []
        return [f"its endorsement key {digest[:16]}… is on no list of a TPM maker that was taken in (step 1)"]

    @staticmethod
    def _software_tpm(said: Mapping[str, Any], judged: Judged) -> list[str]:
        reported = said.get("tpm_type") == "software"
        if not (reported or judged.software) or "software_tpm" in (said.get("exceptions") or ()):
            return []
        whence = "" if reported else ", says its endorsement key certificate"
        return [
            f"it has a software TPM{whence}, which is refused in a production inventory; "
            "tpmfleet_software_tpm_allowed on this very host allows it"
        ]
