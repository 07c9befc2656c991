# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Records of another ledger taken into this one, so that nothing is lost that either side knew."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..outside.visible import visible
from ..record.model import IDENTITIES, RECORD_VERSION, called, merged
from ..record.orders import EARLIER, LAST, orders_in, orders_of_both, with_orders
from ..record.places import with_places
from .devices import Devices, identity
from .stored import DamagedRecord

STEP = "import"
_CHAIN = "endorsement_key_certificate_chain"
# What a device is known by: where both sides know it they agree, or speak of two devices.
_IDENTITIES = {**IDENTITIES, "endorsement_key_sha256": "endorsement key"}
# What both sides know in parts.
_IN_PARTS = ("steps", "places", _CHAIN, "endorsement_key_proven", "record_version", LAST, EARLIER)
# What a device has as long as it is in use.
_OF_USE = ("dps_id_scope", "ownership", "storage_root_key", "storage_root_key_name")


@dataclass
class Taken:
    """What became of a batch: how many devices are new or changed, the *conflicts*, what to show of changes."""

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    after: dict[str, Any] = field(default_factory=dict)


class Conflict(Exception):
    """Why two records cannot be one, as sentences."""

    def __init__(self, reasons: Sequence[str]) -> None:
        super().__init__("; ".join(reasons))
        self.reasons = list(reasons)


def take_in(
    connection: Any, records: Sequence[Mapping[str, Any]], *, at: str, by: Mapping[str, str], diff: bool
) -> Taken:
    """Merges *records* into an open ledger. What conflicts is left as it was.

    *by* is noted with each event; *diff* keeps what changed in the result.
    """
    devices = Devices(connection)
    devices.expect(records)
    taken = Taken()
    for said in records:
        row = devices.row_of(said)
        if row is None:
            # Known here by its TPM, and by less of its names than there.
            row = devices.other_row_with("endorsement_key_sha256", said.get("endorsement_key_sha256"), None)
        try:
            known = {} if row is None else devices.record(row)
            _check_others(devices, known, said, row)
            record, superseded = combined(known, said)
        except (Conflict, DamagedRecord) as error:
            reasons = error.reasons if isinstance(error, Conflict) else [str(error)]
            reasons = [visible(one, most=1000) for one in reasons]
            taken.conflicts.append({"device": visible(called(said), most=300), "reasons": reasons})
            continue
        if record == known:
            taken.unchanged += 1
            continue
        row = devices.save(row, record)
        what = {"state": "imported", **({"superseded": superseded} if superseded else {}), **by}
        devices.note(row, record.get("host"), at=at, step=STEP, station="", what=what)
        taken.added += not known
        taken.updated += bool(known)
        if diff:
            name = visible(called(record), most=300)
            taken.before[name], taken.after[name] = known, record
    devices.write()
    return taken


def combined(known: Mapping[str, Any], said: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(The record of what both sides know, what of this side the other one's later word replaced).

    Conflict where neither is the later one, or where they speak of two devices or TPMs.
    """
    if not known:
        return {"record_version": RECORD_VERSION, **said}, {}
    reasons = []
    for name, words in _IDENTITIES.items():
        mine, other = identity(name, known.get(name)), identity(name, said.get(name))
        if mine and other and mine != other:
            reasons.append(f"its {words} is {known[name]} here and {said[name]} there")
    mine_last, other_last = _last(known), _last(said)
    record, superseded = dict(known), {}
    for name, value in said.items():
        if name in _IN_PARTS or name in _IDENTITIES or record.get(name) == value:
            record.setdefault(name, value)
        elif name not in record:
            # In use again here, since it was decommissioned there.
            if name != "decommission" or other_last > mine_last:
                record[name] = value
                superseded.update(_ended(record, said) if name == "decommission" else {})
        elif other_last > mine_last:
            superseded[name] = record[name]
            record[name] = value
        elif other_last == mine_last and name != "host":
            reasons.append(f"its {name} is another one here than there, and no side did anything later")
    if known.get("decommission") and not said.get("decommission") and other_last > mine_last:
        superseded["decommission"] = record.pop("decommission")
    for name, step in _both_did(known, said):
        mine = known["steps"][name]
        if mine.get("at") == step["at"] and not _agree(mine, step):
            reasons.append(f"its step {name} of {step['at']} is another one here than there")
        elif str(mine.get("at")) < step["at"]:
            superseded.setdefault("steps", {})[name] = mine
    orders, replaced, contrary = orders_of_both(orders_in(known), orders_in(said))
    reasons += [f"its work order {number} is another one here than there" for number in contrary]
    if reasons:
        raise Conflict(reasons)
    if replaced:
        superseded["work_orders"] = replaced
    record = with_orders(record, orders)
    proven = [one["endorsement_key_proven"] for one in (known, said) if one.get("endorsement_key_proven")]
    if proven:
        record["endorsement_key_proven"] = min(proven)
    if known.get("steps") or said.get("steps"):
        record["steps"] = _steps(known.get("steps") or {}, said.get("steps") or {})
    chain = merged({_CHAIN: known.get(_CHAIN)}, {_CHAIN: said.get(_CHAIN)}).get(_CHAIN)
    if chain:
        record[_CHAIN] = chain
    return with_places(record, said.get("places") or []), superseded


def _ended(record: dict[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """What is no longer so in *record* of a device that was decommissioned there, taken out of it."""
    return {name: record.pop(name) for name in _OF_USE if name in record and name not in said}


def _both_did(known: Mapping[str, Any], said: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The steps that both sides know otherwise, as the other one has them."""
    mine = known.get("steps") or {}
    return [(name, step) for name, step in (said.get("steps") or {}).items() if mine.get(name) not in (None, step)]


def _agree(mine: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two words about one step at one time can both be so."""
    parts, others = mine.get("outcome") or {}, other.get("outcome") or {}
    same = all(others[part] == said for part, said in parts.items() if part in others)
    return same and mine.get("station") == other.get("station")


def _steps(known: Mapping[str, Any], said: Mapping[str, Any]) -> dict[str, Any]:
    """The steps of both sides; of one that both did the later one, with the parts that only the earlier one had."""
    steps = dict(known)
    for name, other in said.items():
        mine = steps.get(name)
        if mine is None:
            steps[name] = other
            continue
        earlier, later = sorted((mine, other), key=lambda step: str(step.get("at")))
        steps[name] = {**later, "outcome": {**(earlier.get("outcome") or {}), **(later.get("outcome") or {})}}
    return steps


def _last(record: Mapping[str, Any]) -> str:
    """When something was last done with the device."""
    moments = [step.get("at") for step in (record.get("steps") or {}).values()]
    moments += (record.get("decommission") or {}).values()
    return max((one for one in moments if isinstance(one, str)), default="")


def _check_others(devices: Devices, known: Mapping[str, Any], said: Mapping[str, Any], row: int | None) -> None:
    """Conflict where something that is one device's only is another one's here."""
    reasons = []
    for name, words in _IDENTITIES.items():
        other_row = devices.other_row_with(name, said.get(name), row)
        if name == "device_id" and other_row is None:
            other_row = devices.other_row_in_hub({**known, **said}, row)
        if other_row is not None:
            reasons.append(f"its {words} is that of {called(devices.record(other_row))} here")
    retired = devices.retired(said.get("endorsement_key_sha256"))
    if retired is not None:
        device, at = retired
        reasons.append(f"its TPM was taken out of {called(devices.record(device))} here on {at}")
    if reasons:
        raise Conflict(reasons)
