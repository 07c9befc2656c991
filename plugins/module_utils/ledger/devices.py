# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The devices of a ledger: which row is a device's, what is known of it, and what became of it."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..outside.visible import visible
from ..record.model import called
from .causes import FAILURES as FAILED_STATES
from .causes import causes, is_unproven, names_in, reasons
from .chain import NO_DEVICE, NOTHING, WHOLE_LEDGER, hash_of, link, whole_head, without_chain
from .database import (
    DEVICES,
    EVENTS,
    FAILURES,
    HEADS,
    ORDERED,
    RETIRED_KEYS,
    STANDINGS,
    STEP_TIMES,
    chunks,
    has_heads,
    is_old,
    sqlalchemy,
)
from .indexed import failures_of, last_event_of, orders_of, standing_of, step_times_of
from .stored import RESTORE, DamagedRecord, stored, stored_record

# The columns that identify a device, the surest first. A slot of a rack sees another unit every hour, so the host name
# identifies only where the inventory says nothing better.
_IDENTITIES = ("serial_number", "device_id", "host")
_NAMES = ("serial_number", "device_id")
_KEY = "endorsement_key_sha256"
_COLUMNS = ("serial_number", "device_id", "host", "registration_id", _KEY)
# What two rows of a ledger never share.
_UNIQUE = tuple(name for name in _COLUMNS if name != "host")


class Devices:
    """The devices of an open ledger. A batch is looked up and written in sets, however many devices it has: a statement
    each would hold the other stations up for as many trips to the database.

    What :meth:`expect` was not told of is looked up one by one. What is changed holds for this object at once, and is
    in the database after :meth:`write`.
    """

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        # The columns of each row that was looked up or changed, and the rows that have a value in a column.
        self._rows: dict[int, dict[str, Any]] = {}
        self._having: dict[tuple[str, str], set[int]] = {}
        # The same as the database has them, of rows that are to be written.
        self._before: dict[int, dict[str, Any] | None] = {}
        # The records that are to be written.
        self._saved: dict[int, Mapping[str, Any]] = {}
        self._reserved: list[int] = []
        self._expected = 0
        self._retired: dict[str, tuple[int, str] | None] = {}
        self._retired_before: dict[str, tuple[int, str] | None] = {}
        self._events: list[tuple[dict[str, Any], dict[str, Any]]] = []
        self._heads: dict[int, tuple[int, str]] = {}
        # The rows whose last word is a failure, as far as their heads are known, and whether each counts as unproven.
        self._failed: set[int] = set()
        self._unproven: dict[int, bool] = {}

    def expect(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Looks up all that will be asked about a batch: its devices, those that share something with them, keys."""
        values = [_value(name, record.get(name)) for record in records for name in _COLUMNS]
        self._look_up([one for one in values if one])
        # A device without a device ID of its own has its registration ID for one.
        said = [record["registration_id"] for record in records if record.get("registration_id")]
        standing_in = [_value("device_id", one) for one in [*said, *self._known_names(said)]]
        own = [one.get("device_id") for one in [*records, *self._rows.values()]]
        standing_in += [_value("registration_id", one) for one in own if isinstance(one, str)]
        self._look_up([one for one in standing_in if one])
        keys = {str(one[_KEY]) for one in [*records, *self._rows.values()] if one.get(_KEY)}
        for some in chunks(sorted(keys)):
            found = sqlalchemy.select(RETIRED_KEYS).where(RETIRED_KEYS.c.endorsement_key_sha256.in_(some))
            self._retired.update(dict.fromkeys(some))
            self._retired.update({row[0]: (row.device, row.at) for row in self._connection.execute(found)})
        self._expected = sum(self.row_of(record) is None for record in records)

    def _known_names(self, said: Sequence[Any]) -> list[Any]:
        """The registration IDs of devices without a device ID, except those that were *said*."""
        already = {identity("registration_id", one) for one in said}
        names = []
        for row, columns in self._rows.items():
            if columns["device_id"] is None and columns["registration_id"] not in already:
                with contextlib.suppress(DamagedRecord):
                    names.append(self.record(row).get("registration_id"))
        return names

    def _look_up(self, values: Iterable[tuple[str, str]]) -> None:
        """Fetches the rows that have any of *values*, pairs of column and identity, of those that are not known yet."""
        for some in chunks(sorted({one for one in values if one not in self._having})):
            by_column: dict[str, list[str]] = {}
            for name, value in some:
                by_column.setdefault(name, []).append(value)
            wanted = sqlalchemy.or_(*(DEVICES.c[name].in_(found) for name, found in by_column.items()))
            for found in self._connection.execute(sqlalchemy.select(DEVICES).where(wanted)).mappings():
                if found["id"] not in self._rows:
                    self._keep(found)
            self._having.update({one: self._having.get(one, set()) for one in some})
            for row, columns in self._rows.items():
                for one in columns.items():
                    if one in self._having:
                        self._having[one].add(row)

    def _keep(self, found: Mapping[str, Any]) -> dict[str, Any]:
        columns = self._rows[found["id"]] = {name: found[name] for name in (*_COLUMNS, "record")}
        for name in _UNIQUE:
            if columns[name] is not None:
                self._having.setdefault((name, columns[name]), {found["id"]})
        return columns

    def _columns_of(self, row: int) -> dict[str, Any]:
        """What is in *row*. DamagedRecord where there is none."""
        if row in self._rows:
            return self._rows[row]
        found = self._connection.execute(sqlalchemy.select(DEVICES).where(DEVICES.c.id == row)).mappings().first()
        if found is None:
            raise DamagedRecord(f"the ledger tells of its device {row} and has no such device any more; {RESTORE}")
        return self._keep(found)

    def _with(self, name: str, value: str | None) -> set[int]:
        """The rows that have *value*, an identity, in the column *name*."""
        if value is None:
            return set()
        if (name, value) not in self._having:
            self._look_up([(name, value)])
        return self._having[name, value]

    def row_of(self, record: Mapping[str, Any]) -> int | None:
        """The row of the device that *record* is about, None where the ledger does not know it."""
        for name in _IDENTITIES:
            if record.get(name):
                row = max(self._with(name, identity(name, record[name])), default=None)
                return self._row_without_name(record) if row is None else row
        if record.get("registration_id"):
            name = "registration_id"
            return max(self._with(name, identity(name, record[name])), default=None)
        return None

    def _row_without_name(self, record: Mapping[str, Any]) -> int | None:
        """The row of a device whose inventory has only now learnt its serial number or device ID."""
        if not record.get(_KEY) or not record.get("host"):
            return None
        same = self._with(_KEY, identity(_KEY, record[_KEY])) & self._with("host", identity("host", record["host"]))
        names = {name: (None, identity(name, record.get(name))) for name in _NAMES}
        unnamed = [row for row in same if all(self._rows[row][name] in fit for name, fit in names.items())]
        return max(unnamed, default=None)

    def record(self, row: int) -> dict[str, Any]:
        """What is known of the device in *row*. DamagedRecord where that is no record."""
        return record_of(row, self._columns_of(row))

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
        return max(self._with(name, identity(name, value)) - {row}, default=None)

    def other_row_in_hub(self, record: Mapping[str, Any], row: int | None) -> int | None:
        """The row of a device other than that in *row* whose device ID in a hub is that of *record*.

        It is the registration ID of a device that has no other one. DamagedRecord as of :meth:`other_with`.
        """
        own = record.get("device_id")
        other_row = self.other_row_with("device_id", own or record.get("registration_id"), row)
        if other_row is not None or not own:
            return other_row
        standing_in = self.other_with("registration_id", own, row) or {}
        is_shared = not standing_in.get("device_id") and standing_in.get("registration_id") == own
        return self.other_row_with("registration_id", own, row) if is_shared else None

    def save(self, row: int | None, record: Mapping[str, Any]) -> int:
        """Has *record* in *row*, or in a new one; returns the row."""
        columns: dict[str, Any] = {name: identity(name, record.get(name)) for name in _COLUMNS}
        columns["record"] = json.dumps(record, sort_keys=True)
        before = None if row is None else self._columns_of(row)
        row = self._new_row() if row is None else row
        self._before.setdefault(row, before)
        self._rows[row] = columns
        self._saved[row] = record
        for name in _COLUMNS:
            was = before[name] if before else None
            if was != columns[name]:
                # Looked up where it was not yet: else this row would be taken for the only one.
                self._with(name, was).discard(row)
                self._with(name, columns[name]).add(row)
        return row

    def _new_row(self) -> int:
        """The ID of a row to come. As many are asked for as the batch may need, so that it is asked once."""
        if not self._reserved:
            count = max(self._expected, 1)
            if self._connection.dialect.name == "postgresql":
                numbers = "SELECT nextval(pg_get_serial_sequence('devices', 'id')) FROM generate_series(1, :count)"
                found = self._connection.execute(sqlalchemy.text(numbers), {"count": count})
                self._reserved = sorted(found.scalars(), reverse=True)
            else:
                highest = self._connection.execute(sqlalchemy.select(sqlalchemy.func.max(DEVICES.c.id))).scalar() or 0
                first = max([highest, *self._rows]) + 1
                self._reserved = list(range(first, first + count))[::-1]
            self._expected = 0
        return self._reserved.pop()

    def retire(self, sha256: str, row: int, *, at: str) -> None:
        """Notes that the TPM with this endorsement key was taken out of the device in *row*."""
        self._retire(sha256, (row, at))

    def reinstate(self, sha256: str) -> None:
        """Takes back what :meth:`retire` noted, if it did."""
        self._retire(sha256, None)

    def _retire(self, sha256: str, what: tuple[int, str] | None) -> None:
        before = self.retired(sha256)
        if before != what:
            self._retired_before.setdefault(sha256, before)
            self._retired[sha256] = what

    def retired(self, sha256: str | None) -> tuple[int, str] | None:
        """(The row of the device that a TPM was taken out of, when), None for one that was not."""
        if sha256 is None:
            return None
        if sha256 not in self._retired:
            found = sqlalchemy.select(RETIRED_KEYS).where(RETIRED_KEYS.c.endorsement_key_sha256 == sha256)
            key = self._connection.execute(found).first()
            self._retired[sha256] = None if key is None else (key.device, key.at)
        return self._retired[sha256]

    def note(
        self, row: int | None, host: str | None, *, at: str, step: str, station: str, what: Mapping[str, Any]
    ) -> None:
        """Appends an event to the history. *row* is None for a device that was stopped before it was known."""
        event = {"device": row, "host": host, "at": at, "step": step, "station": station}
        self._events.append((event, dict(what)))

    def write(self) -> None:
        """Brings into the database what was changed since the last time."""
        changed = {row: before for row, before in self._before.items() if before is not None}
        self._free(changed)
        self._all(
            DEVICES.update().where(DEVICES.c.id == sqlalchemy.bindparam("row")),
            [{"row": row, **self._rows[row]} for row in changed],
        )
        self._all(DEVICES.insert(), [{"id": row, **self._rows[row]} for row in self._before if row not in changed])
        for some in chunks([key for key, before in self._retired_before.items() if before is not None]):
            self._connection.execute(RETIRED_KEYS.delete().where(RETIRED_KEYS.c.endorsement_key_sha256.in_(some)))
        retired = {key: self._retired[key] for key in self._retired_before}
        self._all(
            RETIRED_KEYS.insert(),
            [{_KEY: key, "device": what[0], "at": what[1]} for key, what in retired.items() if what is not None],
        )
        standings = {row: standing_of(record) for row, record in self._saved.items()}
        for row, last in self._write_events().items():
            standings[row] = {**standings.get(row, {}), **last}
        self._write_standings({row: news for row, news in standings.items() if news})
        self._before, self._saved, self._retired_before, self._events = {}, {}, {}, []

    def _write_standings(self, standings: Mapping[int, Mapping[str, Any]]) -> None:
        """Brings what devices are selected and counted by up to date, where the ledger has it."""
        if is_old(self._connection):
            return
        # Of some there is news of the record only, of others of the last event only.
        by_columns: dict[tuple[str, ...], list[dict[str, Any]]] = {}
        for row, news in sorted(standings.items()):
            by_columns.setdefault(tuple(news), []).append({"device": row, **news})
        for rows in by_columns.values():
            self._upsert(STANDINGS, ("device",), rows)
        steps = [{"device": row, **one} for row, record in self._saved.items() for one in step_times_of(record)]
        self._upsert(STEP_TIMES, ("device", "step"), steps)
        orders = [{"device": row, **one} for row, record in self._saved.items() for one in orders_of(record)]
        self._upsert(ORDERED, ("number", "device"), orders)

    def _upsert(self, table: Any, key: tuple[str, ...], rows: list[dict[str, Any]]) -> None:
        """Writes *rows* in the place of those of *table* with the same *key*; one that says the same stays as it is."""
        if not rows:
            return
        insert = importlib.import_module(f"sqlalchemy.dialects.{self._connection.dialect.name}").insert(table)
        news = {name: insert.excluded[name] for name in rows[0] if name not in key}
        differs = sqlalchemy.or_(*(table.c[name].is_distinct_from(one) for name, one in news.items()))
        statement = insert.on_conflict_do_update(index_elements=[table.c[one] for one in key], set_=news, where=differs)
        self._all(statement, rows)

    def _write_events(self) -> dict[int, dict[str, Any]]:
        """Appends what was noted, each event to the chain of its device and to that of the ledger.

        Returns what the last event of each device says.
        """
        last: dict[int, dict[str, Any]] = {}
        if not self._events:
            return last
        # That of the devices that nobody knows from the first time on, so that it is never searched for later.
        self._know_heads({NO_DEVICE, *(event["device"] or NO_DEVICE for event, _what in self._events)})
        self._know_unproven({event["device"] for event, _what in self._events if event["device"]})
        rows, failures = [], []
        for event, what in self._events:
            chain = event["device"] or NO_DEVICE
            text, self._heads[chain] = link(event, what, self._heads[chain])
            self._heads[WHOLE_LEDGER] = whole_head(self._heads[WHOLE_LEDGER], self._heads[chain][1])
            rows.append({**event, "what": text})
            found = causes(what, self._names_of(event, what)) if reasons(what) else []
            failures += failures_of(chain, self._heads[chain][0], event, found)
            if chain != NO_DEVICE:
                before = self._unproven.get(chain, False)
                last[chain] = last_event_of(event, what, found, unproven=before) or last.get(chain, {})
                self._unproven[chain] = is_unproven(before, what)
        self._all(EVENTS.insert(), rows)
        ended = {WHOLE_LEDGER, NO_DEVICE, *(event["device"] or NO_DEVICE for event, _what in self._events)}
        heads = [{"device": one, "events": self._heads[one][0], "head": self._heads[one][1]} for one in sorted(ended)]
        if has_heads(self._connection):
            self._upsert(HEADS, ("device",), heads)
        if not is_old(self._connection):
            self._upsert(FAILURES, ("chain", "number", "reason"), failures)
        return last

    def _know_unproven(self, rows: set[int]) -> None:
        """Looks up which of *rows*, whose heads are known, count as unproven. Only one that failed last can be."""
        wanted = sorted(rows & self._failed - set(self._unproven))
        for row, history in self.histories(wanted).items():
            self._unproven[row] = functools.reduce(is_unproven, history, False)

    def _names_of(self, event: Mapping[str, Any], what: Mapping[str, Any]) -> set[str]:
        """What the device of *event* is called, which says *what*."""
        names = names_in(event, what)
        if event["device"] is not None:
            with contextlib.suppress(DamagedRecord):
                names |= names_in(self._columns_of(event["device"]))
                names |= names_in(self.record(event["device"]))
        return names

    def whole_head(self) -> tuple[int, str]:
        """How many events of the ledger are in chains, and the hash over all of them."""
        self._know_heads(())
        return self._heads[WHOLE_LEDGER]

    def _know_heads(self, chains: Iterable[int]) -> None:
        """Looks up where *chains* end; what was written before there were any is their beginning."""
        wanted = sorted({WHOLE_LEDGER, *chains} - set(self._heads))
        for some in chunks(wanted) if has_heads(self._connection) else ():
            heads = sqlalchemy.select(HEADS).where(HEADS.c.device.in_(some))
            if not is_old(self._connection):
                # On the same trip.
                joined = HEADS.outerjoin(STANDINGS, STANDINGS.c.device == HEADS.c.device)
                heads = heads.add_columns(STANDINGS.c.state).select_from(joined)
            for head in self._connection.execute(heads):
                self._heads[head.device] = (head.events, head.head)
                if getattr(head, "state", None) in FAILED_STATES:
                    self._failed.add(head.device)
        made = {row for row, before in self._before.items() if before is None}
        unchained = [one for one in wanted if one not in self._heads]
        self._heads.update(dict.fromkeys(unchained, (0, NOTHING)))
        for some in chunks([one for one in unchained if one != WHOLE_LEDGER and one not in made]):
            nobodys = [EVENTS.c.device.is_(None)] if NO_DEVICE in some else []
            of_these = sqlalchemy.or_(EVENTS.c.device.in_(some), *nobodys)
            for one in self._connection.execute(sqlalchemy.select(EVENTS).where(of_these).order_by(EVENTS.c.id)):
                count, previous = self._heads[one.device or NO_DEVICE]
                digest = hash_of(one._mapping, one.what, previous)
                self._heads[one.device or NO_DEVICE] = (count + 1, digest)

    def _free(self, changed: Mapping[int, Mapping[str, Any]]) -> None:
        """Takes what no two rows may share from the row that had it, where another one has it now: nobody knows in
        which order the rows of a set are written."""
        taken = {
            (name, self._rows[row][name]): row for row in self._before for name in _COLUMNS if self._rows[row][name]
        }
        given_up = [
            row
            for row, before in changed.items()
            if any(taken.get((name, before[name]), row) != row for name in _UNIQUE)
        ]
        for some in chunks(given_up):
            nothing = dict.fromkeys(_UNIQUE)
            self._connection.execute(DEVICES.update().where(DEVICES.c.id.in_(some)).values(**nothing))

    def _all(self, statement: Any, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(statement, rows)

    def rows_on(self, number: str) -> list[int]:
        """The rows of the devices that are or were on the work order *number*, as far as the index of them tells."""
        # Who wrote older ledgers knew no work orders.
        if is_old(self._connection):
            return []
        found = sqlalchemy.select(ORDERED.c.device).where(ORDERED.c.number == number).order_by(ORDERED.c.device)
        return list(self._connection.execute(found).scalars())

    def found_by(self, row: int) -> dict[str, Any]:
        """What the device in *row* is found by, also where its record is damaged. DamagedRecord where there is none."""
        columns = self._columns_of(row)
        return {name: columns[name] for name in _COLUMNS}

    def order_in_file(self, sha256: str) -> str | None:
        """The number of the work order whose file has this SHA-256, None for one that the ledger does not know."""
        if is_old(self._connection):
            return None
        found = sqlalchemy.select(ORDERED.c.number).where(ORDERED.c.file_sha256 == sha256).limit(1)
        return self._connection.execute(found).scalar()

    def serial_numbers_like(self, names: Iterable[str]) -> set[str]:
        """Those of *names*, in small letters, that are the serial number of a device, however it is written there."""
        found: set[str] = set()
        small = sqlalchemy.func.lower(DEVICES.c.serial_number)
        for some in chunks(sorted({one.lower() for one in names})):
            found.update(self._connection.execute(sqlalchemy.select(small).where(small.in_(some))).scalars())
        return found

    def rows(self, limit: int) -> list[int]:
        """The first *limit* rows, in the order in which the devices became known."""
        found = sqlalchemy.select(DEVICES.c.id).order_by(DEVICES.c.id).limit(limit)
        return list(self._connection.execute(found).scalars())

    def know(self, rows: Sequence[int]) -> None:
        """Looks up *rows* together, which would else be looked up one by one."""
        for some in chunks([row for row in rows if row not in self._rows]):
            for found in self._connection.execute(sqlalchemy.select(DEVICES).where(DEVICES.c.id.in_(some))).mappings():
                self._keep(found)

    def history(self, row: int) -> list[dict[str, Any]]:
        """The events of one device, the oldest first; of a damaged one what is left, with ``damaged``."""
        return self.histories([row])[row]

    def history_of_nobody(self, names: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The same of a device from before the ledger knew it, by its serial number and device ID among *names*."""
        said = [(name, value) for name, value in names.items() if name in _NAMES and isinstance(value, str) and value]
        told: list[dict[str, Any]] = []
        for name, value in said:
            written = EVENTS.c.what.contains(json.dumps(value), autoescape=True)
            found = sqlalchemy.select(EVENTS).where(EVENTS.c.device.is_(None), written).order_by(EVENTS.c.id)
            for event in self._connection.execute(found):
                one = event_of(event)
                if one.get(name) == value and one not in told:
                    told.append(one)
        return sorted(told, key=lambda one: str(one["at"]))

    def histories(self, rows: Sequence[int]) -> dict[int, list[dict[str, Any]]]:
        """The same of several devices, by row."""
        told: dict[int, list[dict[str, Any]]] = {row: [] for row in rows}
        for some in chunks(list(told)):
            found = sqlalchemy.select(EVENTS).where(EVENTS.c.device.in_(some)).order_by(EVENTS.c.id)
            for event in self._connection.execute(found):
                told[event.device].append(event_of(event))
        return told


def record_of(row: int, columns: Mapping[str, Any]) -> dict[str, Any]:
    """The record that is in *columns*, those of the table, of the device in *row*. DamagedRecord where it is none."""
    names = {name: columns[name] for name in ("serial_number", "device_id", "host")}
    what = f"the record of {called(names)} in the ledger (device {row})"
    record = stored_record(columns["record"], what)
    for name in _COLUMNS:
        # Else a twin of it would be found by the one or by the other.
        if identity(name, record.get(name)) != columns[name]:
            raise DamagedRecord(
                f"{visible(what, most=300)} is damaged: its {name} is not the one that it is found by; {RESTORE}"
            )
    return record


def event_of(row: Any) -> dict[str, Any]:
    """What a row of the events tells; of a damaged one what is left, with ``damaged``."""
    return {"at": row.at, "step": row.step, "station": row.station, **without_chain(_what(row.what))}


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


def _value(name: str, value: Any) -> tuple[str, str] | None:
    """What is looked up of a record that has *value* for *name*."""
    known = identity(name, value) if value else None
    return None if known is None else (name, known)


def identity(name: str, value: Any) -> str | None:
    """What devices are compared by in the column *name*: the value as text.

    Letters of a registration ID count the same in both cases (concept page "Registration ID").
    """
    if value is None:
        return None
    return str(value).lower() if name == "registration_id" else str(value)
