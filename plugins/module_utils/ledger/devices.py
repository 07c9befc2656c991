# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The devices of a ledger: which row is a device's, what is known of it, and what became of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..outside.visible import visible
from ..record.model import called
from .database import DEVICES, EVENTS, RETIRED_KEYS, sqlalchemy
from .stored import RESTORE, DamagedRecord, stored, stored_record

# The columns that identify a device, the surest first. A slot of a rack sees another unit every hour, so the host name
# identifies only where the inventory says nothing better.
_IDENTITIES = ("serial_number", "device_id", "host")
_COLUMNS = ("serial_number", "device_id", "host", "registration_id", "endorsement_key_sha256")


class Devices:
    """Reads and writes the devices of an open ledger."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def row_of(self, record: Mapping[str, Any]) -> int | None:
        """The row of the device that *record* is about, None where the ledger does not know it."""
        for name in _IDENTITIES:
            if record.get(name):
                row = self._newest(DEVICES.c[name] == identity(name, record[name]))
                return self._row_without_name(record) if row is None else row
        if record.get("registration_id"):
            return self._newest(DEVICES.c.registration_id == identity("registration_id", record["registration_id"]))
        return None

    def _row_without_name(self, record: Mapping[str, Any]) -> int | None:
        """The row of a device whose inventory has only now learnt its serial number or device ID."""
        if not record.get("endorsement_key_sha256") or not record.get("host"):
            return None
        unnamed = [
            sqlalchemy.or_(DEVICES.c[name].is_(None), DEVICES.c[name] == identity(name, record.get(name)))
            for name in ("serial_number", "device_id")
        ]
        return self._newest(
            sqlalchemy.and_(
                DEVICES.c.host == identity("host", record["host"]),
                DEVICES.c.endorsement_key_sha256 == record["endorsement_key_sha256"],
                *unnamed,
            )
        )

    def _newest(self, condition: Any) -> int | None:
        found = sqlalchemy.select(DEVICES.c.id).where(condition).order_by(DEVICES.c.id.desc()).limit(1)
        return self._connection.execute(found).scalar()

    def record(self, row: int) -> dict[str, Any]:
        """What is known of the device in *row*. DamagedRecord where that is no record."""
        found = self._connection.execute(sqlalchemy.select(DEVICES).where(DEVICES.c.id == row)).first()
        if found is None:
            raise DamagedRecord(f"the ledger tells of its device {row} and has no such device any more; {RESTORE}")
        return _record(found)

    def other_with(self, name: str, value: Any, row: int | None) -> dict[str, Any] | None:
        """The record of a device other than that in *row* which has *value* in the column *name*.

        DamagedRecord where that is no record.
        """
        other = self.other_row_with(name, value, row)
        return None if other is None else self.record(other)

    def other_row_with(self, name: str, value: Any, row: int | None) -> int | None:
        """The row of such a device."""
        if not value:
            return None
        found = sqlalchemy.select(DEVICES.c.id).where(DEVICES.c[name] == identity(name, value))
        if row is not None:
            found = found.where(DEVICES.c.id != row)
        return self._connection.execute(found).scalar()

    def save(self, row: int | None, record: Mapping[str, Any]) -> int:
        """Writes *record* into *row*, or a new one; returns the row."""
        values: dict[str, Any] = {name: identity(name, record.get(name)) for name in _COLUMNS}
        values["record"] = json.dumps(record, sort_keys=True)
        if row is None:
            return self._connection.execute(DEVICES.insert().values(**values)).inserted_primary_key[0]
        self._connection.execute(DEVICES.update().where(DEVICES.c.id == row).values(**values))
        return row

    def retire(self, sha256: str, row: int, *, at: str) -> None:
        """Notes that the TPM with this endorsement key was taken out of the device in *row*."""
        self.reinstate(sha256)
        self._connection.execute(RETIRED_KEYS.insert().values(endorsement_key_sha256=sha256, device=row, at=at))

    def reinstate(self, sha256: str) -> None:
        """Takes back what :meth:`retire` noted, if it did."""
        self._connection.execute(RETIRED_KEYS.delete().where(RETIRED_KEYS.c.endorsement_key_sha256 == sha256))

    def retired(self, sha256: str | None) -> tuple[int, str] | None:
        """(The row of the device that a TPM was taken out of, when), None for one that was not."""
        found = sqlalchemy.select(RETIRED_KEYS).where(RETIRED_KEYS.c.endorsement_key_sha256 == sha256)
        key = self._connection.execute(found).first()
        return None if key is None else (key.device, key.at)

    def note(
        self, row: int | None, host: str | None, *, at: str, step: str, station: str, what: Mapping[str, Any]
    ) -> None:
        """Appends an event to the history. *row* is None for a device that was stopped before it was known."""
        self._connection.execute(
            EVENTS.insert().values(
                device=row, host=host, at=at, step=step, station=station, what=json.dumps(what, sort_keys=True)
            )
        )

    def rows(self, limit: int) -> list[int]:
        """The first *limit* rows, in the order in which the devices became known."""
        found = sqlalchemy.select(DEVICES.c.id).order_by(DEVICES.c.id).limit(limit)
        return list(self._connection.execute(found).scalars())

    def history(self, row: int) -> list[dict[str, Any]]:
        """The events of one device, the oldest first; of a damaged one what is left, with ``damaged``."""
        found = sqlalchemy.select(EVENTS).where(EVENTS.c.device == row).order_by(EVENTS.c.id)
        return [
            {"at": event.at, "step": event.step, "station": event.station, **_what(event.what)}
            for event in self._connection.execute(found)
        ]


def _record(row: Any) -> dict[str, Any]:
    names = {name: getattr(row, name) for name in ("serial_number", "device_id", "host")}
    what = f"the record of {called(names)} in the ledger (device {row.id})"
    record = stored_record(row.record, what)
    for name in _COLUMNS:
        # Else a twin of it would be found by the one or by the other.
        if identity(name, record.get(name)) != getattr(row, name):
            raise DamagedRecord(
                f"{visible(what, most=300)} is damaged: its {name} is not the one that it is found by; {RESTORE}"
            )
    return record


def _what(text: Any) -> dict[str, Any]:
    try:
        return stored(text, "the event")
    except DamagedRecord as error:
        return {"damaged": str(error)}


def twins(records: Sequence[Mapping[str, Any]], name: str) -> dict[Any, list[Mapping[str, Any]]]:
    """The records of one batch that share a value of *name*, by its identity; what only one record has is left out."""
    by_value: dict[Any, list[Mapping[str, Any]]] = {}
    for record in records:
        if record.get(name):
            by_value.setdefault(identity(name, record[name]), []).append(record)
    return {value: sharing for value, sharing in by_value.items() if len(sharing) > 1}


def identity(name: str, value: Any) -> str | None:
    """What devices are compared by in the column *name*: the value as text.

    Letters of a registration ID count the same in both cases (concept page "Registration ID").
    """
    if value is None:
        return None
    return str(value).lower() if name == "registration_id" else str(value)
