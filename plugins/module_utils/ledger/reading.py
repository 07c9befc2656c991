# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The devices of a ledger one after the other, however many there are, and at which steps they failed."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from .database import DEVICES, EVENTS, sqlalchemy
from .devices import record_of
from .stored import DamagedRecord, stored

# Rows that are in memory at a time.
_AT_A_TIME = 1000


def each_record(connection: Any, damaged: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    """(Row, record) of each device, in the order in which they became known.

    What is no record any more is left out, and told in *damaged*.
    """
    found = sqlalchemy.select(DEVICES).order_by(DEVICES.c.id).execution_options(yield_per=_AT_A_TIME)
    for columns in connection.execute(found).mappings():
        try:
            yield columns["id"], record_of(columns["id"], columns)
        except DamagedRecord as error:
            damaged.append(str(error))


@dataclass
class Failures:
    """The last failure of each device by its row, and the hosts that were stopped before the ledger knew a device."""

    of_row: dict[int, dict[str, Any]] = field(default_factory=dict)
    of_strangers: set[str] = field(default_factory=set)


def failures(
    connection: Any, steps: Collection[str], *, after: datetime | None = None, before: datetime | None = None
) -> Failures:
    """Which devices were stopped at one of *steps* (at any where there are none), from *after* until *before*."""
    found = sqlalchemy.select(EVENTS).where(EVENTS.c.what.like("%stopped%")).order_by(EVENTS.c.id)
    if steps:
        found = found.where(EVENTS.c.step.in_(sorted(steps)))
    # Times are text that is sorted as they are.
    if after is not None:
        found = found.where(EVENTS.c.at >= _text(after))
    if before is not None:
        found = found.where(EVENTS.c.at < _text(before))
    failed = Failures()
    for event in connection.execute(found.execution_options(yield_per=_AT_A_TIME)):
        try:
            what = stored(event.what, "the event")
        except DamagedRecord:
            continue
        if what.get("state") != "stopped":
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


def _text(moment: datetime) -> str:
    """As the ledger has *moment*, which is in UTC."""
    return f"{moment.replace(tzinfo=None).isoformat(timespec='seconds')}Z"
