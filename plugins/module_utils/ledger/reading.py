# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The devices of a ledger one after the other, however many there are, and at which steps they failed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from .causes import reasons as reasons_of
from .database import DEVICES, EVENTS, FAILURES, is_old, sqlalchemy
from .devices import record_of
from .selection import Selection
from .stored import DamagedRecord, stored

# Rows that are in memory at a time.
_AT_A_TIME = 1000


def how_many(connection: Any) -> int:
    """The devices of a ledger."""
    return connection.execute(sqlalchemy.select(sqlalchemy.func.count()).select_from(DEVICES)).scalar() or 0


def each_record(
    connection: Any, damaged: list[str], selection: Selection | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """(Row, record) of each device, or of those that *selection* takes, in the order in which they became known.

    What is no record any more is left out, and told in *damaged*.
    """
    for columns in _devices(connection, selection):
        try:
            record = record_of(columns["id"], columns)
        except DamagedRecord as error:
            damaged.append(str(error))
            continue
        if selection is None or selection.takes(record):
            yield columns["id"], record


def _devices(connection: Any, selection: Selection | None) -> Iterator[Mapping[str, Any]]:
    """The rows of the devices that may be meant."""
    narrowed = None if selection is None or is_old(connection) else selection.narrowed()
    whole = sqlalchemy.select(DEVICES).order_by(DEVICES.c.id)
    if narrowed is None:
        yield from connection.execute(whole.execution_options(yield_per=_AT_A_TIME)).mappings()
        return
    # Two statements, since one would have a database go through all the records to have them in order.
    rows = connection.execute(narrowed.execution_options(yield_per=_AT_A_TIME)).scalars()
    for some in rows.partitions():
        yield from connection.execute(whole.where(DEVICES.c.id.in_(some))).mappings()


@dataclass
class Failures:
    """The last failure of each device by its row, and the hosts that were stopped before the ledger knew a device."""

    of_row: dict[int, dict[str, Any]] = field(default_factory=dict)
    of_strangers: set[str] = field(default_factory=set)


def failures(connection: Any, selection: Selection) -> Failures:
    """Which devices failed as *selection* means it, the last time each."""
    failed = Failures()
    for event in _failures(connection, selection):
        try:
            what = stored(event.what, "the event")
        except DamagedRecord:
            continue
        if not reasons_of(what):
            continue
        if event.device is None:
            failed.of_strangers.add(str(event.host))
            continue
        reasons = what.get("reasons")
        failed.of_row[event.device] = {
            "at": event.at,
            "step": event.step,
            "station": event.station,
            "reasons": [str(one) for one in reasons] if isinstance(reasons, list) else [],
        }
    return failed


def _failures(connection: Any, selection: Selection) -> Iterator[Any]:
    """The events that may be such failures, those of each device in their order."""
    events = sqlalchemy.select(EVENTS).where(*selection.failed(EVENTS.c)).order_by(EVENTS.c.id)
    if is_old(connection):
        found = events.where(EVENTS.c.what.like("%stopped%"))
        yield from connection.execute(found.execution_options(yield_per=_AT_A_TIME))
        return
    yield from connection.execute(events.where(EVENTS.c.device.is_(None)).execution_options(yield_per=_AT_A_TIME))
    chains = sqlalchemy.select(FAILURES.c.chain).where(*selection.failed(FAILURES.c)).distinct()
    rows = connection.execute(chains.execution_options(yield_per=_AT_A_TIME)).scalars()
    for some in rows.partitions():
        yield from connection.execute(events.where(EVENTS.c.device.in_(some)))
