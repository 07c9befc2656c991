# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which units are meant to be on an order, by a list or by the ledger, and why one cannot be."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

from ..ledger.database import LedgerError
from ..ledger.devices import Devices
from ..ledger.ek_list import checked_entry, open_list
from ..ledger.ordered import faults_of, listed
from ..ledger.reading import each_record
from ..ledger.selection import Selection, SelectionError
from ..outside.visible import visible
from ..record.model import called
from ..trust.derived import derived_from_endorsement_key
from .work_order import MOST_UNITS, Terms, faults_of_units

# A row, none for one that the ledger does not know, and the record.
Meant = tuple["int | None", dict[str, Any]]


def of_list(devices: Devices, src: str, problems: list[str]) -> list[Meant]:
    """Pairs of row and record of the devices on the list *src*, and into *problems* what is wrong with it."""
    rows = []
    source = open_list({"src": src, "format": "auto", "delimiter": None, "columns": {}})
    try:
        for _position, place, record, wrong in source.scan():
            entry, faults = checked_entry(record, "", "") if record is not None else (None, [])
            reasons = [*wrong, *faults]
            if entry is None or reasons:
                problems += [f"{source.where(place)}: {field or 'the record'} {why}" for field, why in reasons]
                continue
            key = derived_from_endorsement_key(base64.b64decode(entry["endorsement_key"]))
            # What follows from the key says nothing against a name that the device has.
            named = {"registration_id": record.get("registration_id"), "endorsement_key_sha256": key["sha256"]}
            rows.append((source.where(place), {**entry, **named}))
        problems += [f"{source.where(place)}: {field} {why}" for place, field, why in source.lost()]
    finally:
        source.close()
    devices.expect([entry for _where, entry in rows])
    found: list[Meant] = []
    for where, entry in rows:
        try:
            found.append(listed(devices, entry))
        except LedgerError as error:
            problems.append(f"{where}: {error}")
    return found


def of_ledger(connection: Any, filters: Mapping[str, Any], damaged: list[str]) -> list[Meant]:
    """The same of the ledger's devices that fit *filters*, no more than show that they are too many; and into *damaged*
    which ones might and cannot be read."""
    selection = Selection(filters or {"decommissioned": False}, now=datetime.now(timezone.utc))
    if selection.of_failures:
        raise SelectionError("filters cannot ask for failures here.")
    found: list[Meant] = []
    for row, one in each_record(connection, damaged, selection):
        if one.get("endorsement_key"):
            found.append((row, _with_registration_id(one)))
        if len(found) > MOST_UNITS:
            break
    return found


def _with_registration_id(record: Mapping[str, Any]) -> dict[str, Any]:
    """*record* with the registration ID that its key has by itself, where it has no other: a line needs one."""
    key = derived_from_endorsement_key(base64.b64decode(record["endorsement_key"]))
    return {"registration_id": key["registration_id"], **record}


def problems_with(terms: Terms, meant: Sequence[Meant], there: Mapping[int, Any]) -> list[str]:
    """Why the order of those that are *meant* is not written, as sentences without their end; *there* has its units
    where it was written before."""
    records = [record for _row, record in meant]
    problems = faults_of_units(records)
    for record in () if there else records:
        problems += faults_of(record, terms.number, terms.key_version)
    strangers = [record for row, record in meant if there and row not in there]
    problems += [
        f"{visible(called(one), most=120)} is not on the work order {terms.number}, which is written: take another one"
        for one in strangers
    ]
    if len(records) > MOST_UNITS:
        problems.append(f"more than {MOST_UNITS:,} units are meant, which is as many as an order has")
    return problems
