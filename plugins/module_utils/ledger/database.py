# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The line's database: what is known of each device, the EK lists, and the history of events.

SQLite where a path is given, any other database by an SQLAlchemy URL. One transaction a call, which keeps other
writers out from its beginning, so that two stations never accept one endorsement key for two devices.
"""

from __future__ import annotations

import os
import stat
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SQLALCHEMY_IMPORT_ERROR: str | None
try:
    import sqlalchemy
    from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, Text
except ImportError:
    SQLALCHEMY_IMPORT_ERROR = traceback.format_exc()
else:
    SQLALCHEMY_IMPORT_ERROR = None

SCHEMA_VERSION = 1
# A station that waits for another one's batch to be written.
LOCK_TIMEOUT_SECONDS = 60

if SQLALCHEMY_IMPORT_ERROR is None:
    METADATA = MetaData()
    LEDGER = Table("ledger", METADATA, Column("schema_version", Integer, nullable=False))
    DEVICES = Table(
        "devices",
        METADATA,
        Column("id", Integer, primary_key=True),
        Column("serial_number", String(255), unique=True),
        Column("device_id", String(128), unique=True),
        Column("host", String(255), index=True),
        Column("registration_id", String(128), unique=True),
        Column("endorsement_key_sha256", String(64), unique=True),
        Column("record", Text, nullable=False),
    )
    LISTED_KEYS = Table(
        "listed_keys",
        METADATA,
        Column("endorsement_key_sha256", String(64), primary_key=True),
        Column("maker", String(255), nullable=False),
        Column("batch", String(255), nullable=False, index=True),
        Column("entry", Text, nullable=False),
        Column("taken_in", String(32), nullable=False),
    )
    EVENTS = Table(
        "events",
        METADATA,
        Column("id", Integer, primary_key=True),
        Column("device", Integer, ForeignKey("devices.id"), index=True),
        Column("host", String(255)),
        Column("at", String(32), nullable=False),
        Column("step", String(32), nullable=False),
        Column("station", String(255), nullable=False),
        Column("what", Text, nullable=False),
    )


class LedgerError(Exception):
    """The ledger cannot be read or written; says why and what to do. Never holds a URL's password."""


def _engine(ledger: str) -> Any:
    url = ledger if "://" in ledger else f"sqlite:///{os.path.abspath(os.path.expanduser(ledger))}"
    try:
        parsed = sqlalchemy.engine.make_url(url)
        if parsed.get_backend_name() != "sqlite":
            return sqlalchemy.create_engine(parsed)
        engine = sqlalchemy.create_engine(parsed, connect_args={"timeout": LOCK_TIMEOUT_SECONDS})
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        raise LedgerError(f"The ledger cannot be opened: {error}") from None
    # The driver's own begin waits until the first write; this one keeps other writers out before the first read.
    sqlalchemy.event.listen(engine, "connect", lambda connection, _record: _leave_transactions_to_us(connection))
    sqlalchemy.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN IMMEDIATE"))
    return engine


def _leave_transactions_to_us(connection: Any) -> None:
    connection.isolation_level = None


def _make_file(ledger: str) -> None:
    """A new ledger is its owner's only: it says which devices a firm makes."""
    if "://" in ledger:
        return
    path = os.path.abspath(os.path.expanduser(ledger))
    try:
        os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, stat.S_IRUSR | stat.S_IWUSR))
    except OSError as error:
        raise LedgerError(f"The ledger {path} cannot be written: {error.strerror}.") from None


def _prepare(connection: Any) -> None:
    METADATA.create_all(connection)
    version = connection.execute(sqlalchemy.select(LEDGER.c.schema_version)).scalar()
    if version is None:
        connection.execute(LEDGER.insert().values(schema_version=SCHEMA_VERSION))
    elif version != SCHEMA_VERSION:
        raise LedgerError(
            f"The ledger has schema version {version}; this version of the collection knows {SCHEMA_VERSION}."
        )
    if connection.dialect.name == "postgresql":
        connection.execute(sqlalchemy.text("LOCK TABLE devices, listed_keys IN SHARE ROW EXCLUSIVE MODE"))


@contextmanager
def opened(ledger: str, *, keep: bool) -> Iterator[Any]:
    """A connection to *ledger* (a path or an SQLAlchemy URL) inside one transaction.

    Where *keep*, a ledger that is not there is made. Else it is an empty one in memory, and what is written into one
    that is there is rolled back.
    """
    missing = "://" not in ledger and not os.path.exists(os.path.expanduser(ledger))
    if keep:
        _make_file(ledger)
    engine = _engine("sqlite://" if missing and not keep else ledger)
    try:
        with engine.connect() as connection, connection.begin() as transaction:
            _prepare(connection)
            yield connection
            if not keep:
                transaction.rollback()
    except sqlalchemy.exc.SQLAlchemyError as error:
        reason = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
        raise LedgerError(f"The ledger cannot be used: {reason}. Nothing was written.") from None
    finally:
        engine.dispose()
