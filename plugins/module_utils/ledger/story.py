# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What became of one device, in plain sentences: an event each, failures too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ..outside.visible import visible
from ..record.model import DONE, VERIFIED, called, decommission_in_words
from .causes import FAILED, LATE, STOPPED, UNREACHABLE

_STEPS = {
    "tpm_install": "step 2, the TPM is installed",
    "software_install": "step 3, firmware and software are installed",
    "warehouse": "step 4, the warehouse",
    "field_activation": "step 5, the first power-up in the field",
    "reprovision": "a move to another DPS or hub",
    "replace_tpm": "the replacement of its TPM",
    "decommission": "its decommissioning",
    "import": "the records of another ledger",
}
_PARTS = {
    "ownership": "ownership of the TPM",
    "possession": "the proof that the TPM holds the key",
    "dps_client": "the DPS client",
    "dps_identity": "the identity on the device",
    "enrollment": "the enrollment",
    "disenrollment": "the end of an enrollment elsewhere",
}
_MOST_OF_A_SENTENCE = 2000


def about(record: Mapping[str, Any]) -> str:
    """Who it is, in a sentence."""
    says = [f"registration ID {record['registration_id']}"] if record.get("registration_id") else []
    says += [f"enrolled in {record['dps_id_scope']}"] if record.get("dps_id_scope") else []
    says += [f"TPM of {record['maker']}"] if record.get("maker") else []
    gone = decommission_in_words(record)
    says += [gone] if gone else []
    return _shown(f"{called(record)}: {', '.join(says) or 'nothing more is known of it'}.")


def sentence(event: Mapping[str, Any]) -> str:
    """*event*, as ``Devices.history`` gives it, in a few sentences of one line."""
    when = str(event.get("at") or "at a time that is not known").replace("T", " ").replace("Z", " UTC")
    where = [step_called(event.get("step"))]
    where += [f"at {event['station']}"] if event.get("station") else []
    where += [f"by {event['operator']}"] if event.get("operator") else []
    where += [f"run {event['run_id']}"] if event.get("run_id") else []
    return _shown(f"{when}, {', '.join(where)}: {what_happened(event)}")


def step_called(step: object) -> str:
    """A step of the line in words."""
    return _shown(_STEPS.get(str(step), f"step {step}"))


def what_happened(event: Mapping[str, Any]) -> str:
    """What *event* says, without when, where and by whom."""
    return _shown(" ".join(_happened(event)))


def _happened(event: Mapping[str, Any]) -> Iterator[str]:
    if event.get("damaged"):
        yield f"What happened cannot be read any more: {event['damaged']}."
        return
    yield _came_of_it(event)
    if event.get("replaced_endorsement_key"):
        yield "It has another TPM than before."
    rotation = event.get("rotation")
    if isinstance(rotation, Mapping):
        yield f"Its authorizations went from key version {rotation.get('from')} to {rotation.get('to')}."
    left = [one for one in _listed(event.get("disenrolled")) if isinstance(one, Mapping)]
    if left:
        named = ", ".join(f"{one.get('registration_id')} in {one.get('dps_id_scope')}" for one in left)
        yield f"It is no longer enrolled as {named}."
    if event.get("taken_up_again"):
        yield "It was taken up again after it had been decommissioned."
    for remark in _listed(event.get("remarks")):
        yield f"Remark: {remark}."


def _came_of_it(event: Mapping[str, Any]) -> str:
    state = event.get("state")
    why = "; ".join(map(str, _listed(event.get("reasons")))) or "for no reason that was noted"
    enrollment = f" Its enrollment: {event['enrollment']}." if event.get("enrollment") else ""
    if state == STOPPED:
        return f"STOPPED, {why.rstrip('.') if enrollment else why}.{enrollment}"
    if state == FAILED:
        return f"FAILED on the device: {why.rstrip('.')}.{enrollment}"
    if state == UNREACHABLE:
        return f"NOT REACHED: {why.rstrip('.')}."
    if state == LATE and event.get("failed"):
        return f"A line told late that it FAILED there on {event['failed']}: {why.rstrip('.')}."
    if state == LATE:
        return f"A line told late that it was done there: {why.rstrip('.')}."
    if state == "withdrawn":
        return f"Its claim to its endorsement key was withdrawn: {event.get('proven_by')} has proven to hold it."
    outcome = event.get("outcome")
    if isinstance(outcome, Mapping) and outcome:
        return _parts(outcome)
    if state == VERIFIED:
        return "All was as recorded."
    return "It was read, and written down." if state == DONE else f"{state}."


def _parts(outcome: Mapping[str, Any]) -> str:
    """What was done, what was found as it should be, and what is worth saying besides."""
    by_word: dict[str, list[str]] = {DONE: [], VERIFIED: []}
    others = []
    for part, said in outcome.items():
        name = _PARTS.get(part, part.replace("_", " "))
        by_word[said].append(name) if said in (DONE, VERIFIED) else others.append(f"{name}: {said}")
    told = [f"{word}: {', '.join(names)}" for word, names in by_word.items() if names]
    text = "; ".join([*told, *others])
    return f"{text[:1].upper()}{text[1:]}."


def _listed(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _shown(text: str) -> str:
    return visible(text, most=_MOST_OF_A_SENTENCE)
