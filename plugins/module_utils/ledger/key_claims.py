# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose an endorsement key is, where two devices report it.

A device that reports a key claims it, and anybody can claim anything. So a claim binds nobody: who proves that his TPM
holds the key has it, and an unproven claim of another device is withdrawn. Where two prove it, one TPM is a clone of
the other, and both are stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..record.model import called, decommission_in_words, is_proven
from .devices import Devices, twins

KEY = "endorsement_key_sha256"


@dataclass(frozen=True)
class Claim:
    """What is to be said of one device's claim to its endorsement key.

    *reasons* stop it. *contested* is whether a proof, for which the device was not yet asked, would settle it.
    *refuted* is whether it was asked, and its TPM has not the key, which nobody else has proven to have either.
    *withdrawn* are the rows of devices whose unproven claim to the same key ends with this one, if it is accepted.
    """

    reasons: list[str] = field(default_factory=list)
    contested: bool = False
    refuted: bool = False
    withdrawn: list[int] = field(default_factory=list)


class KeyClaims:
    """The claims of one batch, beside those that the ledger knows."""

    def __init__(self, devices: Devices, records: Sequence[Mapping[str, Any]]) -> None:
        self._devices = devices
        self._shared = twins(records, KEY)

    def judge(self, said: Mapping[str, Any], row: int | None) -> Claim:
        """The claim of the device in *row*, of which *said* is what was found on it."""
        key = said.get(KEY)
        if not key:
            return Claim()
        beside = [one for one in self._shared.get(key, ()) if one["host"] != said["host"]]
        other_row = self._devices.other_row_with(KEY, key, row)
        other = {} if other_row is None else self._devices.record(other_row)
        if not beside and not other:
            return Claim()
        # A holder that stands beside it is asked again, since it may have been cloned.
        stands_beside = other_row in {self._devices.row_of(one) for one in beside}
        proven = [one for one in beside if one.get("proven") == key]
        if said.get("proven") != key:
            holders = [*proven, *([other] if is_proven(other) and not stands_beside else [])]
            return self._unproven(said, holders or beside or [other], proven=bool(holders))
        if proven:
            names = ", ".join(called(one) for one in proven)
            genuine = "pull both, nobody can say which one is genuine"
            return Claim([f"its endorsement key was also found on {names}; {genuine}"])
        if other and is_proven(other):
            return Claim([_already(other)])
        return Claim(withdrawn=[] if other_row is None else [other_row])

    @staticmethod
    def _unproven(said: Mapping[str, Any], others: Sequence[Mapping[str, Any]], *, proven: bool) -> Claim:
        names = ", ".join(_owner(one) for one in others)
        holder = ", which has proven that its TPM holds it" if proven else ""
        why = said.get("not_proven")
        own = f"did not prove it: {why}" if why else "has not proven it"
        reasons = [f"its endorsement key was also found on {names}{holder}; this one {own}"]
        return Claim(reasons, contested=not why, refuted=bool(said.get("refuted")) and not proven)


def _already(other: Mapping[str, Any]) -> str:
    return f"its endorsement key is already that of {_owner(other)}; pull both, one is not what it seems"


def _owner(other: Mapping[str, Any]) -> str:
    gone = decommission_in_words(other)
    return f"{called(other)}, which {gone}" if gone else called(other)
