# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An event of the ledger as a sentence, and what stopped a unit as a cause that many units share."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..outside.visible import visible

STOPPED, FAILED = "stopped", "failed"
_MOST = 400
_STEPS = {
    "tpm_install": "Installation of the TPM",
    "software_install": "Software installation",
    "warehouse": "Warehouse",
    "field_activation": "Activation in the field",
    "reprovision": "Move",
    "replace_tpm": "Replacement of the TPM",
    "decommission": "Decommissioning",
    "rotate_ownership": "Rotation of the authorizations",
}
_STATES = {
    "done": "something was done",
    "verified": "all was as it should be",
    "withdrawn": "its claim to the endorsement key was withdrawn, as another unit has proven that it holds the key",
}
# What tells one unit's reason from another's of the same cause.
_OF_ONE_UNIT = (
    (re.compile(r" is already that of .*"), " is already that of another device"),
    (re.compile(r" was also found on .*"), " was also found on another device"),
    (
        re.compile(r" is that of a TPM that was taken out of .*"),
        " is that of a TPM that was taken out of another device",
    ),
    (re.compile(r" is not the one that was read before.*"), " is not the one that was read before"),
    (re.compile(r"^it was decommissioned on .*"), "it was decommissioned"),
    (re.compile(r"^the record of .* is damaged.*"), "its record in the ledger is damaged"),
    (re.compile(r"'(?:[^'\\]|\\.){1,400}'"), "…"),
    (re.compile(r"\b[0-9a-fA-F]{8,}\b…?"), "…"),
    (re.compile(r"\b\d[\d:.,TZ-]*\b"), "…"),
)


def step_called(step: object) -> str:
    """A step for people."""
    return _STEPS.get(str(step)) or visible(step, most=60)


def sentence(event: Mapping[str, Any]) -> str:
    """What an event says, as one sentence. *event* is one of ``Devices.history``."""
    state = str(event.get("state"))
    if event.get("damaged"):
        said = "this event can no longer be read"
    elif state == STOPPED:
        said = "stopped, as " + "; ".join(_listed(event.get("reasons")) or ["no reason was noted"])
    elif state == FAILED:
        said = "failed, as " + "; ".join(_listed(event.get("reasons")) or ["no reason was noted"])
    else:
        said = _outcome(event.get("outcome")) or _STATES.get(state) or f"it ended as {state}"
    more = []
    if event.get("replaced_endorsement_key"):
        more.append("its TPM was replaced")
    if event.get("taken_up_again"):
        more.append("it was taken up again")
    if event.get("disenrolled"):
        more.append("enrollments were removed")
    rotation = event.get("rotation")
    if isinstance(rotation, Mapping):
        more.append(f"the authorizations went from key version {rotation.get('from')} to {rotation.get('to')}")
    more += [f"noted: {remark}" for remark in _listed(event.get("remarks"))]
    return visible(f"{step_called(event.get('step'))}: {'; '.join([said, *more])}.", most=_MOST)


def cause(reason: object) -> str:
    """*reason* without what is one unit's own, so that those of one cause are equal."""
    text = str(reason)[:2000]
    for pattern, instead in _OF_ONE_UNIT:
        text = pattern.sub(instead, text)
    text = re.split(r"[;(]|: ", text, maxsplit=1)[0].strip(" ,.")
    return visible(text, most=120) or "no reason was noted"


def causes(event: Mapping[str, Any]) -> list[str]:
    """The causes of an event that is a failure, each once; the empty list for any other event."""
    if event.get("damaged") or event.get("state") not in (STOPPED, FAILED):
        return []
    return list(dict.fromkeys(map(cause, _listed(event.get("reasons")) or [""])))


def _outcome(outcome: object) -> str:
    if not isinstance(outcome, Mapping) or not outcome:
        return ""
    by_word: dict[str, list[str]] = {}
    for part, word in outcome.items():
        by_word.setdefault(str(word), []).append(str(part).replace("_", " "))
    return ", ".join(f"{' and '.join(parts)} {word}" for word, parts in by_word.items())


def _listed(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, (list, tuple)) else []
