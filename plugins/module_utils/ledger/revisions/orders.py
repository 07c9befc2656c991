# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""To schema 3: which devices are on which work order, and each cause of a failure.

All rows that follow from records and events are made here, also those of the tables of schema 2, as indexed.py has
them. A revision that changes what follows has to make them anew.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from ..causes import causes, is_unproven, names_in
from ..chain import NO_DEVICE, NOTHING, NUMBER, hash_of
from ..database import DEVICES, EVENTS, FAILURES, HEADS, ORDERED, STANDINGS, STEP_TIMES
from ..indexed import LARGEST_INTEGER, failures_of, last_event_of, orders_of, standing_of, step_times_of
from ..stored import DamagedRecord, stored, stored_record

try:
    import sqlalchemy
    from alembic import op
    from sqlalchemy import Column, Integer, String
except ImportError:
    sqlalchemy = None  # type: ignore[assignment]

revision = "3"
down_revision = "2"

# Devices that are in memory at a time.
_AT_A_TIME = 1000


def upgrade() -> None:
    """Makes the tables, and fills them and those of schema 2 from what the ledger has."""
    connection = op.get_bind()
    if "failures" in sqlalchemy.inspect(connection).get_table_names():
        op.drop_table("failures")
    _make_tables()
    for table in (STANDINGS, STEP_TIMES):
        connection.execute(table.delete())
    _fill(connection, [(NO_DEVICE, {})], EVENTS.c.device.is_(None))
    last = 0
    while True:
        found = sqlalchemy.select(DEVICES).where(DEVICES.c.id > last).order_by(DEVICES.c.id).limit(_AT_A_TIME)
        devices = [(one["id"], one) for one in connection.execute(found).mappings()]
        if not devices:
            break
        first, last = devices[0][0], devices[-1][0]
        _fill(connection, devices, EVENTS.c.device.between(first, last))
    connection.execute(sqlalchemy.text("UPDATE ledger SET schema_version = 3"))


def _make_tables() -> None:
    op.create_table(
        "failures",
        *(Column(name, Integer, primary_key=True, autoincrement=False) for name in ("chain", "number", "reason")),
        *(Column(name, String(32), nullable=False) for name in ("at", "step")),
        *(Column(name, String(255), nullable=False) for name in ("station", "cause")),
    )
    op.create_index("ix_failures_step", "failures", ["step", "at"])
    op.create_index("ix_failures_at", "failures", ["at"])
    op.create_index("ix_failures_cause", "failures", ["cause", "step", "station"])
    op.create_table(
        "ordered",
        Column("number", String(64), primary_key=True),
        Column("device", Integer, primary_key=True, autoincrement=False),
        Column("file_sha256", String(64)),
    )
    op.create_index("ix_ordered_file", "ordered", ["file_sha256"])


def _fill(connection: Any, devices: list[Any], of_these: Any) -> None:
    """The rows of *devices*, pairs of ID and row, whose events are *of_these*, and the heads that are missing."""
    ended = sqlalchemy.select(HEADS.c.device).where(HEADS.c.device.between(devices[0][0], devices[-1][0]))
    chained = set(connection.execute(ended).scalars())
    standings: dict[int, dict[str, Any]] = {}
    step_times: list[dict[str, Any]] = []
    ordered: list[dict[str, Any]] = []
    names: dict[int, set[str]] = {}
    for row, columns in devices:
        record = _record(columns.get("record"))
        names[row] = names_in(columns, record)
        if row != NO_DEVICE:
            standings[row] = {**standing_of(record), **dict.fromkeys(("at", "step", "station", "state", "cause"))}
            step_times += [{"device": row, **one} for one in step_times_of(record)]
            ordered += [{"device": row, **one} for one in orders_of(record)]
    failures, heads = [], []
    for chain, events in _chains(connection, of_these):
        count, head, unproven = 0, NOTHING, False
        for event in events:
            count += 1
            if chain not in chained:
                head = hash_of(event, event["what"], head)
            what = _what(event["what"])
            found = causes(what, names_in(event, what) | names.get(chain, set()))
            if chain in standings:
                standings[chain].update(last_event_of(event, what, found, unproven=unproven))
            unproven = is_unproven(unproven, what)
            number = what[NUMBER] if _is_number(what.get(NUMBER)) else count
            failures += failures_of(chain, number, event, found)
        if chain not in chained:
            heads.append({"device": chain, "events": count, "head": head})
    for table, rows in (
        (STANDINGS, [{"device": row, **one} for row, one in standings.items()]),
        (STEP_TIMES, step_times),
        (ORDERED, ordered),
        # Of a ledger that was edited two may claim one number.
        (FAILURES, list({(one["chain"], one["number"], one["reason"]): one for one in failures}.values())),
        (HEADS, heads),
    ):
        if rows:
            connection.execute(table.insert(), rows)


def _chains(connection: Any, of_these: Any) -> Iterator[tuple[int, Iterator[Any]]]:
    found = sqlalchemy.select(EVENTS).where(of_these).order_by(EVENTS.c.device, EVENTS.c.id)
    rows = connection.execute(found.execution_options(yield_per=_AT_A_TIME)).mappings()
    return itertools.groupby(rows, lambda row: row["device"] or NO_DEVICE)


def _record(text: Any) -> dict[str, Any]:
    """A record, and nothing of one that is damaged: it is told by who reads it."""
    try:
        return stored_record(text, "the record")
    except DamagedRecord:
        return {}


def _is_number(said: Any) -> bool:
    return isinstance(said, int) and 0 < said <= LARGEST_INTEGER


def _what(text: Any) -> dict[str, Any]:
    try:
        return stored(text, "the event")
    except DamagedRecord:
        return {"damaged": True}
