# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a step found on a batch of devices, held against the ledger: who may go on, who is stopped and why."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..outside.strict_json import JsonError, parse
from ..outside.visible import visible
from ..record.model import (
    VERIFIED,
    called,
    decommission_in_words,
    has_another_tpm,
    is_proven,
    merged,
    outcome_state,
    with_proof,
    with_step,
    without_tpm,
)
from ..record.orders import IN_EVENTS
from ..record.places import (
    DISABLED,
    is_disabled,
    places_left,
    with_disabled,
    with_place,
    with_places,
    without_disabled,
    without_places,
)
from ..tpm.virtual import is_reference_code, is_software
from ..trust.derived import checked_record_fields
from ..trust.policy import CertificatePolicy, Judged, without_damaged
from .causes import FAILED, STOPPED, UNREACHABLE, is_unproven
from .devices import Devices, identity, twins
from .ek_list import ListedKeys
from .key_claims import KEY, KeyClaims
from .stored import MOST_OF_A_RECORD, DamagedRecord

LIST_POLICIES = ("required", "preferred", "ignored")
DECOMMISSION = "decommission"
# The outcome of a step that knows of an enrollment where the device no longer belongs, and could not end it.
LEFT = "left"
_MOST_OF_A_SENTENCE = 2000
_MOST_OF_A_NAME = 255
# So many devices of a batch, of which none is on a list, are more likely those of another list than strangers.
_MANY = 3
TAKE_UP_AGAIN = "if that is meant to be used again, set tpmfleet_recommission for this host"
# What nobody says to a ledger: it is computed here, or noted of a proof that was given here.
_NOBODYS_WORD = ("endorsement_key_sha256", "endorsement_key_name", "storage_root_key_name", "endorsement_key_proven")
# What no two devices may share, in the words of a message. Whose an endorsement key is that two report is for a proof
# to say, see key_claims.
_UNIQUE = {
    "registration_id": "registration ID",
    "serial_number": "serial number",
    "device_id": "device ID",
}


@dataclass(frozen=True)
class Verdict:
    """*reasons* is empty for a device that may go on. *record* is what is known of it now, *known* what was before.

    *remarks* are worth knowing and stop nothing. *contested* is whether another device claims the endorsement key too,
    and a proof, for which this one was not yet asked, would settle whose it is. *not_proven* is whether this one was
    asked and has it not, and nobody else has proven it.
    """

    known: dict[str, Any]
    record: dict[str, Any]
    reasons: list[str]
    changed: bool
    outcome: Mapping[str, Any]
    remarks: Sequence[str] = ()
    contested: bool = False
    not_proven: bool = False

    def as_result(self) -> dict[str, Any]:
        """As a module returns it."""
        state = STOPPED if self.reasons else outcome_state(self.outcome) if self.outcome else VERIFIED
        if state == VERIFIED and self.changed and not self.outcome:
            state = "done"
        return {
            "known": bool(self.known),
            "accepted": not self.reasons,
            "contested": self.contested,
            "not_proven": self.not_proven,
            "reasons": self.reasons,
            "remarks": list(self.remarks),
            "state": state,
            "outcome": dict(self.outcome),
            "record": self.record,
        }


class Step:
    """One manufacturing step over a batch, at an open ledger."""

    def __init__(
        self,
        connection: Any,
        *,
        step: str,
        station: str,
        at: str,
        list_policy: str,
        certificates: CertificatePolicy,
        operator: str = "",
        run_id: str = "",
    ) -> None:
        self._devices = Devices(connection)
        self._listed = ListedKeys(connection)
        self._step = step
        self._station = station
        self._at = at
        self._list_policy = list_policy
        self._missed_list = False
        self._held, self._on_a_list = 0, 0
        self._certificates = certificates
        self._by = {name: value for name, value in (("operator", operator), ("run_id", run_id)) if value}

    def take(self, records: Sequence[Mapping[str, Any]]) -> dict[str, Verdict]:
        """Judges every record, and writes what was accepted and what happened. Verdicts by host."""
        failed = {record["host"]: record for record in records if record.get("failed")}
        faults = {record["host"]: _not_to_be_kept(record) for record in records}
        spoilt = {host: self._refused(host, fault) for host, fault in faults.items() if fault}
        failed = {host: said for host, said in failed.items() if host not in spoilt}
        self._devices.expect(list(failed.values()))
        rows = [row for said in failed.values() if (row := self._devices.row_of(said)) is not None]
        histories = self._devices.histories(rows)
        spoilt.update({host: self._failed(said, histories) for host, said in failed.items()})
        records = [record for record in records if record["host"] not in spoilt]
        derived = [checked_record_fields(record) for record in records]
        # Whatever a record says of its keys itself is compared with what follows from them, and not used.
        found = [{**_without_claims(record), **fields} for record, (fields, _wrong) in zip(records, derived)]
        self._devices.expect(found)
        self._listed.expect([said.get(KEY) for said in found])
        claims = KeyClaims(self._devices, found)
        shared = {name: twins(found, name) for name in _UNIQUE}
        verdicts = {
            said["host"]: self._take_or_stop(said, wrong, claims, shared)
            for said, (_fields, wrong) in zip(found, derived)
        }
        self._devices.write()
        return {host: spoilt.get(host) or verdicts[host] for host in faults}

    def missed_list(self) -> bool:
        """Whether a device was stopped for want of a list where none was ever taken in, which says nothing of it."""
        return self._missed_list

    def unlisted(self) -> int:
        """How many devices were held against the lists, where those are many and all are on none; else 0."""
        return self._held if self._held >= _MANY and not self._on_a_list else 0

    def head(self) -> dict[str, Any]:
        """The end of the chain of all events, as a module returns it."""
        events, head = self._devices.whole_head()
        return {"events": events, "head": head}

    def _refused(self, host: str, fault: str) -> Verdict:
        """The verdict on what the ledger is not even asked about."""
        reasons = _shown([f"what is said of it is no record: {fault}"])
        self._note(None, host, {"state": STOPPED, "reasons": reasons})
        return Verdict({}, {"host": host}, reasons, changed=False, outcome={})

    def _failed(self, said: Mapping[str, Any], histories: Mapping[int, Sequence[Mapping[str, Any]]]) -> Verdict:
        """The verdict on a unit that failed on the device, or was not reached: noted, and what is known stays."""
        found = said["failed"] if isinstance(said["failed"], Mapping) else {"reason": said["failed"]}
        reasons = _shown([str(found.get("reason") or "no reason was given")])
        row = self._devices.row_of(said)
        names = _names_of(said, None)
        # Stopped by what is said of it elsewhere, as by the report of a line.
        states = {"unreachable": UNREACHABLE, "stopped": STOPPED}
        state = next((state for name, state in states.items() if found.get(name)), FAILED)
        what = {"state": state, "reasons": reasons, **_names_of(said, row)}
        # At a line with a work order it may be known by that alone which unit it is.
        told = ("not_proven", "proven", "enrollment", "answer", "failed", *IN_EVENTS)
        what.update({name: found[name] for name in told if found.get(name)})
        asked = found.get("not_proven") or found.get("proven")
        remarks = [] if row is None or asked else _still_enabled(histories[row])
        self._note(row, said["host"], what)
        known: dict[str, Any] = {}
        with contextlib.suppress(DamagedRecord):
            known = self._devices.record(row) if row is not None else {}
            if known and found.get("enrollment") == DISABLED:
                self._devices.save(row, with_disabled(known, str(known.get("dps_id_scope")), self._at))
        record = known or {"host": said["host"], **names}
        return Verdict(known, record, reasons, changed=False, outcome={}, remarks=remarks)

    def _take_or_stop(
        self,
        said: Mapping[str, Any],
        wrong: Sequence[str],
        claims: KeyClaims,
        shared: Mapping[str, Mapping[Any, list]],
    ) -> Verdict:
        """A device is stopped that the ledger cannot be asked about, and the others go on."""
        try:
            return self._take(said, wrong, claims, shared)
        except DamagedRecord as error:
            reasons = _shown([str(error)])
            what = {"state": STOPPED, "reasons": reasons, **_order_of(said)}
            self._note(self._devices.row_of(said), said["host"], what)
            return Verdict({}, merged({}, said), reasons, changed=False, outcome=said.get("outcome") or {})

    def _take(
        self,
        said: Mapping[str, Any],
        wrong: Sequence[str],
        claims: KeyClaims,
        shared: Mapping[str, Mapping[Any, list]],
    ) -> Verdict:
        row = self._devices.row_of(said)
        known = self._devices.record(row) if row is not None else {}
        entry = self._listed.entry(said.get("endorsement_key_sha256"))
        shipment = {name: entry[name] for name in ("maker", "batch") if entry.get(name)} if entry else {}
        replaced = has_another_tpm(known, said)
        said, unasked = self._without_unasked_certificate(said, {} if replaced else known)
        judged = self._certificates.judge(said, entry, {} if replaced else known)
        # Where it stands it may be enrolled, whether or not this line has done it.
        placed = with_place(known, known["dps_id_scope"]) if known.get("dps_id_scope") else known
        before = {**(without_tpm(placed) if replaced else placed), **shipment}
        record = merged(before, {**without_damaged(said, before), "certified_tpm": judged.certified})
        claim = claims.judge(said, row)
        reasons = [
            *wrong,
            *self._not_text(said),
            *claim.reasons,
            *self._shared_in_batch(said, shared, known_by_key=bool(claim.reasons)),
            *self._shared_with_known(record, row, claim.withdrawn, known_by_key=bool(claim.reasons)),
            *self._another_tpm(said, known),
            *self._retired_tpm(said, row),
        ]
        if self._step == DECOMMISSION:
            reasons += self._unknown(said, row)
        else:
            reasons += [
                *self._decommissioned(said, known),
                *self._without_key(said),
                *self._not_listed(said, entry),
                *judged.reasons,
                *self._software_tpm(said, record, judged),
            ]
        remarks = _shown([*judged.remarks, *unasked])
        if reasons:
            reasons = _shown(reasons)
            what: dict[str, Any] = {"state": STOPPED, "reasons": reasons, **_names_of(said, row), **_order_of(said)}
            if said.get("not_proven"):
                what["not_proven"] = True
            self._note(row, said["host"], what)
            outcome = said.get("outcome") or {}
            verdict = Verdict(known, record, reasons, changed=False, outcome=outcome, remarks=remarks)
            # Also where something else stops it: its proof tells whether the TPM of the unit beside it was cloned.
            return replace(verdict, contested=claim.contested, not_proven=claim.refuted)
        for other in claim.withdrawn:
            record = with_places(record, self._withdraw(other, said))
        if replaced and placed.get("places") and known.get("registration_id") and not record.get("device_id"):
            # Without a device ID of its own a device has its registration ID for one, which the new TPM takes over.
            record["device_id"] = known["registration_id"]
        record, outcome = self._with_news(record, said)
        changed = record != known
        if changed:
            row = self._devices.save(row, record)
            if replaced and is_proven(known):
                self._devices.retire(known[KEY], row, at=self._at)
            if record.get(KEY):
                self._devices.reinstate(record[KEY])
        verdict = Verdict(known, record, [], changed=changed, outcome=outcome, remarks=remarks)
        self._note(row, said["host"], self._event(verdict, said))
        return replace(verdict, record=self._to_be_enabled(record, said))

    def _to_be_enabled(self, record: dict[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
        """*record* for a step that enrolls only who has proven his key: that ends why an enrollment was disabled."""
        silent = self._step != "tpm_install" and said.get("enrolling") and not record.get("provisioning_status")
        if silent and is_disabled(record, str(said["enrolling"])):
            return {**record, "provisioning_status": "enabled"}
        return record

    def _without_unasked_certificate(
        self, said: Mapping[str, Any], known: Mapping[str, Any]
    ) -> tuple[Mapping[str, Any], list[str]]:
        """(*said* without a certificate that nobody looks at, where a trusted one is *known*; what to remark of it).

        What is written after the work is asked nothing of, and may come from a later reading than the one that was
        judged.
        """
        name = "endorsement_key_certificate"
        trusted = known.get("certified_tpm") and known.get(name)
        if self._certificates.looks or not trusted or said.get(name) in (None, trusted):
            return said, []
        rest = {field: value for field, value in said.items() if field != name}
        return rest, ["its endorsement key certificate is not the one that was trusted; it was not looked at nor kept"]

    def _withdraw(self, row: int, proven: Mapping[str, Any]) -> list[dict[str, Any]]:
        """Takes the unproven claim to the key that was *proven* elsewhere out of the record in *row*.

        Returns where it was enrolled with that key, so that whose the key is can end what was made in its name.
        """
        record = self._devices.record(row)
        placed = with_place(record, record["dps_id_scope"]) if record.get("dps_id_scope") else record
        places = [one for one in placed.get("places") or () if one["endorsement_key"] == record["endorsement_key"]]
        self._devices.save(row, without_places(without_tpm(record), places))
        what = {"state": "withdrawn", "endorsement_key": record["endorsement_key"], "proven_by": called(proven)}
        self._note(row, record.get("host"), what)
        return places

    def _with_news(self, record: dict[str, Any], said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """(*record* with what an accepted call means beyond the fields that it names, the outcome of the step)."""
        if said.get("enrolling"):
            record = with_place(record, said["enrolling"])
        record = with_proof(record, said, at=self._at)
        record = without_places(record, said.get("disenrolled") or ())
        outcome = dict(said.get("outcome") or {})
        if "enrollment" in outcome and self._step != "tpm_install":
            record = without_disabled(record, str(record.get("dps_id_scope")))
        if outcome and places_left(record, str(record.get("dps_id_scope"))):
            outcome["disenrollment"] = LEFT
        if outcome:
            record = with_step(record, self._step, outcome, at=self._at, station=self._station)
        if self._step == DECOMMISSION:
            moment = "done" if outcome else "begun"
            record["decommission"] = {moment: self._at, **(record.get("decommission") or {})}
            gone = {"dps_id_scope"} if outcome else set()
            if "ownership" in outcome:
                # A lost device's TPM stays owned as it was.
                gone |= {"ownership", "storage_root_key", "storage_root_key_name"}
            record = {name: value for name, value in record.items() if name not in gone}
        else:
            record.pop("decommission", None)
        return record, outcome

    def _note(self, row: int | None, host: str | None, what: Mapping[str, Any]) -> None:
        where = {"at": self._at, "step": self._step, "station": self._station}
        self._devices.note(row, host, **where, what={**what, **self._by})

    @staticmethod
    def _event(verdict: Verdict, said: Mapping[str, Any]) -> dict[str, Any]:
        event: dict[str, Any] = {"state": verdict.as_result()["state"]}
        if verdict.outcome:
            event["outcome"] = dict(verdict.outcome)
        if has_another_tpm(verdict.known, verdict.record):
            event["replaced_endorsement_key"] = verdict.known["endorsement_key"]
        if said.get("disenrolled"):
            event["disenrolled"] = said["disenrolled"]
        if verdict.known.get("decommission") and not verdict.record.get("decommission"):
            event["taken_up_again"] = True
        if verdict.remarks:
            event["remarks"] = list(verdict.remarks)
        if "possession" not in verdict.outcome and said.get("proven") and said["proven"] == verdict.record.get(KEY):
            event["proven"] = True
        if event["state"] == VERIFIED and not verdict.outcome:
            event["verified"] = "endorsement_key" if said.get("endorsement_key_sha256") else "record"
        before, after = (one.get("ownership", {}).get("key_version") for one in (verdict.known, verdict.record))
        if before and after and before != after:
            event["rotation"] = {"from": before, "to": after}
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
    def _shared_in_batch(
        said: Mapping[str, Any], shared: Mapping[str, Mapping[Any, list]], *, known_by_key: bool
    ) -> list[str]:
        reasons: list[str] = []
        for name, words in _UNIQUE.items():
            sharing = shared[name].get(identity(name, said.get(name)), ())
            others = [other for other in sharing if other["host"] != said["host"]]
            # The default registration ID follows from the key, so with the key all is said.
            if name == "registration_id":
                others = [] if known_by_key else [other for other in others if not _same_key(other, said)]
            if others:
                names = ", ".join(called(other) for other in others)
                reasons.append(f"its {words} was also found on {names}; pull both, nobody can say which one is genuine")
        return reasons

    def _shared_with_known(
        self, record: Mapping[str, Any], row: int | None, withdrawn: Sequence[int], *, known_by_key: bool
    ) -> list[str]:
        reasons: list[str] = []
        for name, words in _UNIQUE.items():
            if name == "device_id":
                # A device whose TPM was replaced may have a registration ID of before for its own.
                other_row = self._devices.other_row_in_hub(record, row)
            else:
                other_row = self._devices.other_row_with(name, record.get(name), row)
            said_already = other_row in withdrawn or (name == "registration_id" and known_by_key)
            if other_row is not None and not said_already:
                other = self._devices.record(other_row)
                gone = decommission_in_words(other)
                owner = f"{called(other)}, which {gone}" if gone else called(other)
                reasons.append(f"its {words} is already that of {owner}; pull both, one is not what it seems")
        return reasons

    @staticmethod
    def _another_tpm(said: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
        if not has_another_tpm(known, said) or "tpm_replacement" in (said.get("exceptions") or ()):
            return []
        old, new = known["endorsement_key_sha256"], said["endorsement_key_sha256"]
        advice = "is this another unit or another TPM? If the TPM was replaced, set tpmfleet_replace_tpm for this host"
        if not said.get("serial_number") and not said.get("device_id"):
            advice += "; if the slot has another unit now, give each its tpmfleet_serial_number"
        return [f"its endorsement key {new[:16]}… is not the one that was read before, {old[:16]}…; {advice}"]

    def _retired_tpm(self, said: Mapping[str, Any], row: int | None) -> list[str]:
        retired = self._devices.retired(said.get("endorsement_key_sha256"))
        exceptions = said.get("exceptions") or ()
        if retired is None or "recommission" in exceptions:
            return []
        device, at = retired
        if device == row and "tpm_replacement" in exceptions:
            return []
        owner = called(self._devices.record(device))
        return [f"its endorsement key is that of a TPM that was taken out of {owner} on {at}; {TAKE_UP_AGAIN}"]

    @staticmethod
    def _unknown(said: Mapping[str, Any], row: int | None) -> list[str]:
        if row is not None or said.get("endorsement_key_sha256"):
            return []
        return ["the ledger does not know it, so nobody can say which enrollments it has"]

    @staticmethod
    def _decommissioned(said: Mapping[str, Any], known: Mapping[str, Any]) -> list[str]:
        words = decommission_in_words(known)
        if words is None or "recommission" in (said.get("exceptions") or ()):
            return []
        return [f"it {words}; {TAKE_UP_AGAIN}"]

    def _without_key(self, said: Mapping[str, Any]) -> list[str]:
        if said.get(KEY) or not (self._list_policy == "required" or self._certificates.required):
            return []
        return ["it says no endorsement key, and one that is trusted is required"]

    def _not_listed(self, said: Mapping[str, Any], entry: Mapping[str, Any] | None) -> list[str]:
        digest = said.get("endorsement_key_sha256")
        if not digest or self._list_policy == "ignored":
            return []
        if entry is not None:
            self._held, self._on_a_list = self._held + 1, self._on_a_list + 1
            return []
        if self._listed.any():
            self._held += 1
        elif self._list_policy == "preferred":
            return []
        else:
            self._missed_list = True
        return [f"its endorsement key {digest[:16]}… is on no list of a TPM maker that was taken in (step 1)"]

    @staticmethod
    def _software_tpm(said: Mapping[str, Any], record: Mapping[str, Any], judged: Judged) -> list[str]:
        manufacturer, model = (str(said.get(name) or "") for name in ("tpm_manufacturer", "tpm_model"))
        itself = f", as it calls itself {manufacturer} {model}"
        if is_reference_code(manufacturer, model):
            if (record.get("certified_tpm") or {}).get("software") is False and not judged.software:
                # Somebody's firmware TPM, which calls itself no other than the simulator that it was made from.
                return []
            itself += " (Microsoft's reference code; what tells a firmware TPM from it is a trusted certificate)"
        sources = {
            ", says its endorsement key certificate": judged.software,
            itself: is_software(manufacturer, model),
            "": said.get("tpm_type") == "software",
        }
        whence = next((words for words, says in sources.items() if says), None)
        if whence is None or "software_tpm" in (said.get("exceptions") or ()):
            return []
        return [
            f"it has a software TPM{whence}, which is refused in a production inventory; "
            "tpmfleet_software_tpm_allowed on this very host allows it"
        ]


def _names_of(said: Mapping[str, Any], row: int | None) -> dict[str, str]:
    """What an event says of a device that the ledger does not know, so that its story has it once it does."""
    names = {name: said.get(name) for name in ("serial_number", "device_id")} if row is None else {}
    return {name: visible(value, most=_MOST_OF_A_NAME) for name, value in names.items() if isinstance(value, str)}


def _still_enabled(history: Sequence[Mapping[str, Any]]) -> list[str]:
    """What is to be said first of a device that fails for something else, whose enrollment is still to be disabled:
    since it did not prove its key nobody has asked it again."""
    last: Mapping[str, Any] = next((event for event in reversed(history) if event.get("not_proven")), {})
    if last.get("enrollment") in (None, DISABLED) or not functools.reduce(is_unproven, history, False):
        return []
    return [
        f"it did not prove its endorsement key on {last['at']}, and its enrollment was {last['enrollment']} then: "
        "look after that first, see its story."
    ]


def _order_of(said: Mapping[str, Any]) -> dict[str, str]:
    """What an event that stops a unit says of the work order that it is on: the ledger may not know it but by that."""
    ordered = said.get("ordered")
    found = {name: ordered.get(name) for name in IN_EVENTS} if isinstance(ordered, Mapping) else {}
    return {name: value for name, value in found.items() if isinstance(value, str) and value}


def _shown(sentences: Sequence[str]) -> list[str]:
    """*sentences* for people: they quote certificates, devices and inventories, and Ansible prints them as they are."""
    return [visible(one, most=_MOST_OF_A_SENTENCE) for one in sentences]


def _not_to_be_kept(record: Mapping[str, Any]) -> str | None:
    """Why *record* could be written and not read again, or not be written by every database; None where it can be."""
    try:
        parse(json.dumps(record), most=MOST_OF_A_RECORD)
    except JsonError as error:
        return f"it {error}"
    return None if isinstance(record.get("outcome") or {}, Mapping) else "its outcome is no object"


def _without_claims(record: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _NOBODYS_WORD}


def _same_key(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return bool(one.get(KEY)) and one.get(KEY) == other.get(KEY)
