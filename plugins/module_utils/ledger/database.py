# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The line's database: what is known of each device, the EK lists, and the history of events.

SQLite where a path is given, PostgreSQL by an SQLAlchemy URL. One transaction a call, which keeps other writers out
from its beginning, so that two stations never accept one endorsement key for two devices.
"""

from __future__ import annotations

import os
import stat
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any

SQLALCHEMY_IMPORT_ERROR: str | None
try:
    import sqlalchemy
    from sqlalchemy import Column, ForeignKey, Integer, MetaData, String, Table, Text
except ImportError:
    SQLALCHEMY_IMPORT_ERROR = traceback.format_exc()
    sqlalchemy = None  # type: ignore[assignment]
else:
    SQLALCHEMY_IMPORT_ERROR = None

SCHEMA_VERSION = 1
# A station that waits for another one's batch to be written.
LOCK_TIMEOUT_SECONDS = 60
# What a writer holds in PostgreSQL until its transaction ends: any number, as long as no other program takes it.
_WRITER = int.from_bytes(b"tpmfleet", "big")

# Without the library too, so that what uses the tables can be imported, to say that it is missing.
LEDGER: Any = None
DEVICES: Any = None
LISTED_KEYS: Any = None
RETIRED_KEYS: Any = None
EVENTS: Any = None

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
    RETIRED_KEYS = Table(
        "retired_keys",
        METADATA,
        Column("endorsement_key_sha256", String(64), primary_key=True),
        Column("device", Integer, ForeignKey("devices.id"), nullable=False),
        Column("at", String(32), nullable=False),
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
    """The ledger cannot be read or written; says why and what to do. Never holds a URL's password.

    *passing* is whether it can be later, with nothing mended.
    """

    def __init__(self, message: str, *, passing: bool = False) -> None:
        self.passing = passing
        super().__init__(message)


class Access(Enum):
    """What a ledger is opened for. PREDICT writes, so that all is judged as it would be, and takes it back."""

    WRITE = "write"
    PREDICT = "predict"
    READ = "read"


@contextmanager
def opened(ledger: str, access: Access) -> Iterator[Any]:
    """A connection to *ledger* (a path or an SQLAlchemy URL) inside one transaction.

    A ledger that is not there is made where it is to be written, else it is an empty one in memory.
    """
    url = _url(ledger)
    if url.get_backend_name() == "sqlite" and not os.path.exists(url.database):
        if access is Access.WRITE:
            _make_file(url.database)
        else:
            _check_place(url.database)
            url = url.set(database=":memory:")
    engine = _engine(url, access)
    try:
        with engine.connect() as connection, connection.begin() as transaction:
            _prepare(connection, access)
            yield connection
            # The caller may have taken all back already.
            if access is not Access.WRITE and transaction.is_active:
                transaction.rollback()
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise LedgerError(
            f"The ledger {_called(url)} cannot be used: {_reason(error)}. Nothing was written.", passing=_is_held(error)
        ) from None
    finally:
        engine.dispose()


def password_in(ledger: str) -> str | None:
    """The password in an SQLAlchemy URL; None for a path, and where the URL has none or cannot be understood."""
    try:
        return _url(ledger).password
    except LedgerError:
        return None


def _url(ledger: str) -> Any:
    """The URL of *ledger*; an SQLite one names an absolute path."""
    if "://" not in ledger:
        return sqlalchemy.engine.URL.create("sqlite", database=os.path.abspath(os.path.expanduser(ledger)))
    try:
        url = sqlalchemy.engine.make_url(ledger)
    except (sqlalchemy.exc.ArgumentError, ValueError):
        url = None
    # A host with an at sign is the rest of a password that was cut at its own.
    if url is None or "@" in (url.host or ""):
        raise LedgerError(
            "The ledger is no URL that can be understood (it is not shown, for it may hold a password). "
            "It is a path, or postgresql+psycopg://USER@HOST:PORT/DATABASE."
        )
    kind = url.get_backend_name()
    if kind not in ("sqlite", "postgresql"):
        raise LedgerError(f"The ledger is in {kind}, which is not supported: name a path for SQLite, or PostgreSQL.")
    if kind == "postgresql":
        return url
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise LedgerError("The ledger's URL names no file for SQLite. Name its path.")
    return url.set(database=os.path.abspath(url.database))


def _called(url: Any) -> str:
    """A ledger in messages."""
    if url.get_backend_name() == "sqlite":
        return url.database
    return f"{url.database or ''} on {url.host or 'this machine'}".strip()


def _is_held(error: Any) -> bool:
    """Whether another station is in the way, by SQLite's own words and by PostgreSQL's code lock_not_available."""
    original = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    return str(original).strip().rstrip(".") == "database is locked" or getattr(original, "sqlstate", None) == "55P03"


def _reason(error: Any) -> str:
    original = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    text = " ".join(str(original).split()).rstrip(".")
    if _is_held(error):
        return f"another station has been writing it for {LOCK_TIMEOUT_SECONDS} s ({text}); run again when it is done"
    return text


def _make_file(path: str) -> None:
    """A new ledger is its owner's only: it says which devices a firm makes."""
    try:
        os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, stat.S_IRUSR | stat.S_IWUSR))
    except OSError as error:
        raise LedgerError(f"The ledger {path} cannot be made: {error.strerror}.") from None


def _check_place(path: str) -> None:
    """Raises what :func:`_make_file` would, and makes nothing."""
    place = os.path.dirname(path)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        raise LedgerError(f"The ledger {path} cannot be made: {place} is not a directory.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise LedgerError(f"The ledger {path} cannot be made: {place} may not be written.")


def _engine(url: Any, access: Access) -> Any:
    try:
        if url.get_backend_name() == "postgresql":
            # What is read after the wait for other writers has to be what they have written.
            return sqlalchemy.create_engine(url, isolation_level="READ COMMITTED")
        engine = sqlalchemy.create_engine(url, connect_args={"timeout": LOCK_TIMEOUT_SECONDS})
    except (sqlalchemy.exc.ArgumentError, ImportError) as error:
        raise LedgerError(
            f"The ledger {_called(url)} cannot be opened for want of the driver {url.drivername}: {error}."
        ) from None
    # The driver's own begin waits until the first write; this one keeps other writers out before the first read.
    begin = "BEGIN" if access is Access.READ else "BEGIN IMMEDIATE"
    sqlalchemy.event.listen(engine, "connect", lambda connection, _record: _leave_transactions_to_us(connection))
    sqlalchemy.event.listen(engine, "begin", lambda connection: connection.exec_driver_sql(begin))
    return engine


def _leave_transactions_to_us(connection: Any) -> None:
    connection.isolation_level = None


def _prepare(connection: Any, access: Access) -> None:
    """Makes what tables are missing, and keeps other writers out unless it is only read."""
    complete = set(METADATA.tables) <= set(sqlalchemy.inspect(connection).get_table_names())
    if access is not Access.READ or not complete:
        _keep_writers_out(connection)
        METADATA.create_all(connection)
    version = connection.execute(sqlalchemy.select(LEDGER.c.schema_version)).scalar()
    if version is None:
        connection.execute(LEDGER.insert().values(schema_version=SCHEMA_VERSION))
    elif version != SCHEMA_VERSION:
        raise LedgerError(
            f"The ledger has schema version {version}, and this version of the collection knows {SCHEMA_VERSION}. "
            "Use the version of the collection that wrote it."
        )


def _keep_writers_out(connection: Any) -> None:
    """In PostgreSQL; SQLite's transaction has done so from its beginning."""
    if connection.dialect.name == "postgresql":
        connection.execute(sqlalchemy.text(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT_SECONDS}s'"))
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:writer)"), {"writer": _WRITER})
