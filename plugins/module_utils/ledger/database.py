# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The line's database: what is known of each device, the EK lists, and the history of events.

SQLite where a path is given, PostgreSQL by an SQLAlchemy URL. One transaction a call, which keeps other writers out
from its beginning, so that two stations never accept one endorsement key for two devices.

A ledger that lost what it knew would find no twin any more, and say nothing. So a new one is told from one that was
cut: an SQLite file is made whole, under its own name only once it is on the disk, and is never empty after; the tables
are there all or not at all; and each writer notes in the ledger how far it has come, which the next one has to find.
What this cannot see: a file, or all tables of a PostgreSQL schema, that went altogether. Then the ledger is new, which
is said (:func:`is_new`).

A ledger of an older schema is read as it is (:func:`is_old`), and brought to this one by who writes it next, see
upgrade.py.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any

from ..outside import durable
from ..outside.files import kind_at
from ..outside.visible import visible

SQLALCHEMY_IMPORT_ERROR: str | None
try:
    import sqlalchemy
    from sqlalchemy import Column, ForeignKey, Index, Integer, MetaData, String, Table, Text
except ImportError:
    SQLALCHEMY_IMPORT_ERROR = traceback.format_exc()
    sqlalchemy = None  # type: ignore[assignment]
else:
    SQLALCHEMY_IMPORT_ERROR = None

SCHEMA_VERSION = 3
# A station that waits for another one's batch to be written.
LOCK_TIMEOUT_SECONDS = 60
# A writer that says nothing for so long in the middle of its transaction was lost: its machine has no power any more,
# and PostgreSQL would wait for it for hours, and all stations with it. None thinks for so long about a batch.
SILENCE_SECONDS = 60
# What a writer holds in PostgreSQL until its transaction ends: any number, as long as no other program takes it.
_WRITER = int.from_bytes(b"tpmfleet", "big")

# Without the library too, so that what uses the tables can be imported, to say that it is missing.
LEDGER: Any = None
DEVICES: Any = None
LISTED_KEYS: Any = None
RETIRED_KEYS: Any = None
EVENTS: Any = None
MARKS: Any = None
HEADS: Any = None
STANDINGS: Any = None
STEP_TIMES: Any = None
FAILURES: Any = None
ORDERED: Any = None
REVISION: Any = None

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
        Column("taken_in", String(32), nullable=False, index=True),
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
    # How far the ledger has come, by the name of a table: the highest ID in it, or 1 where it has anything.
    MARKS = Table(
        "marks",
        METADATA,
        Column("name", String(32), primary_key=True),
        Column("value", Integer, nullable=False),
    )
    # The end of each device's chain of events, see chain.py: how many there are, and the hash of the last one.
    HEADS = Table(
        "heads",
        METADATA,
        Column("device", Integer, primary_key=True, autoincrement=False),
        Column("events", Integer, nullable=False),
        Column("head", String(64), nullable=False),
    )
    # What devices are selected and counted by, see indexed.py: where each stands, and what its last event says.
    STANDINGS = Table(
        "standings",
        METADATA,
        Column("device", Integer, primary_key=True, autoincrement=False),
        Column("last_step", String(32)),
        Column("decommissioned", Integer),
        Column("key_version", Integer),
        Column("dps_id_scope", String(255)),
        Column("maker", String(255)),
        Column("batch", String(255)),
        Column("tpm_type", String(255)),
        Column("certificate_expires", String(32)),
        Column("at", String(32)),
        Column("step", String(32)),
        Column("station", String(255)),
        Column("state", String(32)),
        Column("cause", String(255)),
        Index("ix_standings_last_step", "last_step", "decommissioned"),
        Index("ix_standings_key_version", "key_version", "decommissioned"),
        Index("ix_standings_dps_id_scope", "dps_id_scope", "decommissioned"),
        Index("ix_standings_shipment", "maker", "batch"),
        Index("ix_standings_batch", "batch"),
        Index("ix_standings_certificate_expires", "certificate_expires", "decommissioned"),
        Index("ix_standings_state", "state", "decommissioned"),
    )
    # When and where each step was last done on a device.
    STEP_TIMES = Table(
        "step_times",
        METADATA,
        Column("device", Integer, primary_key=True, autoincrement=False),
        Column("step", String(32), primary_key=True),
        Column("at", String(32), nullable=False),
        Column("station", String(255), nullable=False),
        Index("ix_step_times_step", "step", "at"),
        Index("ix_step_times_station", "station", "step"),
    )
    # The causes of the events that are failures, by chain and number of the event.
    FAILURES = Table(
        "failures",
        METADATA,
        Column("chain", Integer, primary_key=True, autoincrement=False),
        Column("number", Integer, primary_key=True, autoincrement=False),
        Column("reason", Integer, primary_key=True, autoincrement=False),
        Column("at", String(32), nullable=False),
        Column("step", String(32), nullable=False),
        Column("station", String(255), nullable=False),
        Column("cause", String(255), nullable=False),
        Index("ix_failures_step", "step", "at"),
        Index("ix_failures_at", "at"),
        Index("ix_failures_cause", "cause", "step", "station"),
    )
    # Which devices are or were on a work order, by its number, and the SHA-256 of the file that it was last written to.
    ORDERED = Table(
        "ordered",
        METADATA,
        Column("number", String(64), primary_key=True),
        Column("device", Integer, primary_key=True, autoincrement=False),
        Column("file_sha256", String(64)),
        Index("ix_ordered_file", "file_sha256"),
    )
    # Which revision of Alembic the schema is, as Alembic notes it; others may have their own beside, under its name.
    REVISION = Table("ledger_revision", METADATA, Column("version_num", String(32), primary_key=True))

# The tables that every ledger has had from its beginning. Of an older schema others may be missing.
_FROM_THE_BEGINNING = ("ledger", "devices", "listed_keys", "retired_keys", "events")
# The tables whose highest number only goes up.
_UPWARDS = ("devices", "events", "heads")
# A page of SQLite has so many bytes, or twice, four times as many, and so on (SQLite's file format, 1.2).
_LEAST_PAGE = 512
# Values in one statement; SQLite takes 32,766 (its limit SQLITE_MAX_VARIABLE_NUMBER) and PostgreSQL 65,535.
_CHUNK = 10_000
_NEW = "tpmfleet new ledger"
_HAS_HEADS = "tpmfleet ledger has heads"
_SCHEMA = "tpmfleet ledger schema"
_UPGRADED = "tpmfleet ledger upgraded"
_MARKS = "tpmfleet ledger marks"
_RESTORE = (
    "Restore it from its backup. Until then no twin of a device that it knew is found, so nothing is done. To begin a "
    "new ledger knowingly, {begin}"
)


class LedgerError(Exception):
    """The ledger cannot be read or written; says why and what to do. Never holds a URL's password.

    *passing* is whether it can be later, with nothing mended. *option* is the module's option that is to be mended,
    where that is not the ledger nor a file that the message names.
    """

    def __init__(self, message: str, *, passing: bool = False, option: str | None = None) -> None:
        self.passing = passing
        self.option = option
        super().__init__(message)


class Access(Enum):
    """What a ledger is opened for. PREDICT writes, so that all is judged as it would be, and takes it back."""

    WRITE = "write"
    PREDICT = "predict"
    READ = "read"


@contextmanager
def opened(ledger: str, access: Access, *, cut: bool = False) -> Iterator[Any]:
    """A connection to *ledger* (a path or an SQLAlchemy URL) inside one transaction.

    A ledger that is not there is made where it is to be written, else it is an empty one in memory. One that was *cut*
    at its end is opened for who wants to say what is missing, and refused to everybody else.
    """
    url = _url(ledger)
    made = False
    if url.get_backend_name() == "sqlite":
        if os.path.lexists(url.database):
            _check_file(url.database)
        elif access is Access.WRITE:
            made = _make_file(url)
        else:
            _check_place(url.database)
            url = url.set(database=":memory:")
    engine = _engine(url, access)
    try:
        with engine.connect() as connection, connection.begin() as transaction:
            connection.info[_NEW] = _prepare(connection, access, url, cut) or made
            yield connection
            # The caller may have taken all back already.
            if not transaction.is_active:
                return
            if access is Access.WRITE:
                _note_marks(connection)
            else:
                transaction.rollback()
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise LedgerError(
            f"The ledger {_called(url)} cannot be used: {_reason(error)}. Nothing was written.",
            passing=_is_held(error) or _was_silent(error),
        ) from None
    finally:
        engine.dispose()


def is_new(connection: Any) -> bool:
    """Whether an open ledger was made now, or would be where nothing is written, so that it knows nothing."""
    return bool(connection.info.get(_NEW))


def has_heads(connection: Any) -> bool:
    """Whether an open ledger has heads of chains; one of an earlier release has none until it is written."""
    return bool(connection.info.get(_HAS_HEADS))


def schema_version(connection: Any) -> int:
    """The number of the schema that an open ledger has."""
    return int(connection.info.get(_SCHEMA, SCHEMA_VERSION))


def is_old(connection: Any) -> bool:
    """Whether an open ledger has an older schema, so that it is only read or nothing of what is written is kept."""
    return schema_version(connection) < SCHEMA_VERSION


def upgraded(connection: Any) -> str | None:
    """That an open ledger was brought to this schema, and where its copy of before is, for people; None if not."""
    return connection.info.get(_UPGRADED)


def chunks(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """*values* in parts of which each fits in a statement."""
    for begin in range(0, len(values), _CHUNK):
        yield values[begin : begin + _CHUNK]


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


def _was_silent(error: Any) -> bool:
    """Whether PostgreSQL took this station for lost, by its code idle_in_transaction_session_timeout."""
    original = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    return getattr(original, "sqlstate", None) == "25P03"


def _is_held(error: Any) -> bool:
    """Whether another station is in the way, by SQLite's own words and by PostgreSQL's code lock_not_available."""
    original = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    return str(original).strip().rstrip(".") == "database is locked" or getattr(original, "sqlstate", None) == "55P03"


def _reason(error: Any) -> str:
    original = error.orig if isinstance(error, sqlalchemy.exc.DBAPIError) else error
    text = " ".join(str(original).split()).rstrip(".")
    if _is_held(error):
        return f"another station has been writing it for {LOCK_TIMEOUT_SECONDS} s ({text}); run again when it is done"
    if _was_silent(error):
        return f"this station was silent for {SILENCE_SECONDS} s in the middle of a batch and taken for lost; run again"
    return text


def _check_file(path: str) -> None:
    """LedgerError where what is at *path* is no file, or an empty one."""
    fault = kind_at(path)
    if fault:
        raise LedgerError(f"The ledger {path} {fault}.")
    try:
        size = os.stat(path).st_size
    except OSError as error:
        raise LedgerError(f"The ledger {path} cannot be read: {error.strerror}.") from None
    if not size:
        raise LedgerError(
            f"The ledger {path} is an empty file, which no ledger is: it was cut. "
            + _RESTORE.format(begin="remove the file.")
        )
    # SQLite itself would read the rest of the last page as zeros.
    if size % _LEAST_PAGE:
        raise LedgerError(
            f"The ledger {path} has no whole number of pages: it is none, or was cut. "
            + _RESTORE.format(begin="remove the file.")
        )


def _make_file(url: Any) -> bool:
    """Makes a new ledger, whole and on the disk; False where another station was quicker.

    It is its owner's only: it says which devices a firm makes.
    """
    path = url.database
    directory = os.path.dirname(path)
    temporary = None
    try:
        durable.make_directory(directory, 0o750, None)
        descriptor, temporary = tempfile.mkstemp(prefix=".ledger-", dir=directory)
        os.close(descriptor)
        engine = _engine(url.set(database=temporary), Access.WRITE)
        try:
            with engine.begin() as connection:
                _make_tables(connection)
        finally:
            engine.dispose()
        durable.sync(temporary)
        try:
            # Unlike a rename it leaves a ledger alone that another station has made meanwhile.
            os.link(temporary, path)
        except FileExistsError:
            return False
        durable.sync(directory)
    except OSError as error:
        raise LedgerError(f"The ledger {path} cannot be made: {error.strerror}.") from None
    except sqlalchemy.exc.SQLAlchemyError as error:
        raise LedgerError(f"The ledger {path} cannot be made: {_reason(error)}.") from None
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                os.unlink(temporary)
    return True


def _check_place(path: str) -> None:
    """Raises what :func:`_make_file` would, and makes nothing."""
    place = os.path.dirname(path)
    while not os.path.lexists(place):
        place = os.path.dirname(place)
    if not os.path.isdir(place):
        raise LedgerError(f"The ledger {path} cannot be made: {place} is not a directory.")
    if not os.access(place, os.W_OK | os.X_OK):
        raise LedgerError(f"The ledger {path} cannot be made: {place} may not be written.")


def _have_it_on_the_disk(connection: Any, _record: Any) -> None:
    # SQLite ends a transaction by removing a file: without this a power cut may bring that back, and undo what others
    # have built on it since.
    connection.execute("PRAGMA synchronous = EXTRA")


def _engine(url: Any, access: Access) -> Any:
    try:
        if url.get_backend_name() == "postgresql":
            # What is read after the wait for other writers has to be what they have written.
            return sqlalchemy.create_engine(url, isolation_level="READ COMMITTED")
        engine = sqlalchemy.create_engine(url, connect_args={"timeout": LOCK_TIMEOUT_SECONDS})
        sqlalchemy.event.listen(engine, "connect", _have_it_on_the_disk)
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


def _prepare(connection: Any, access: Access, url: Any, cut: bool) -> bool:
    """Whether the ledger is new. Makes its tables then, and keeps other writers out unless it is only read."""
    there = _tables(connection)
    if access is not Access.READ or not there:
        _keep_writers_out(connection)
        # Another station may have made them meanwhile.
        there = _tables(connection)
    if not there and (connection.dialect.name != "sqlite" or url.database == ":memory:"):
        _make_tables(connection)
        connection.info[_HAS_HEADS] = True
        return True
    _check_tables(connection, _FROM_THE_BEGINNING, there, url)
    version = _checked_version(connection, url)
    if version == SCHEMA_VERSION and not cut:
        _check_tables(connection, sorted(METADATA.tables), there, url)
    if "marks" in there and not cut:
        connection.info[_HAS_HEADS] = "heads" in there
        _check_marks(connection, url)
    if version < SCHEMA_VERSION and access is Access.WRITE:
        # Alembic takes as long to load as a batch to be judged, and a ledger is upgraded once.
        from .upgrade import upgrade

        connection.info[_UPGRADED] = upgrade(connection, version, url.database)
        version = _checked_version(connection, url)
        there = _tables(connection)
        connection.info.pop(_MARKS, None)
    connection.info[_SCHEMA] = version
    connection.info[_HAS_HEADS] = "heads" in there
    return False


def _check_tables(connection: Any, wanted: Sequence[str], there: set[str], url: Any) -> None:
    """LedgerError where one of *wanted* is not *there*."""
    missing = [name for name in wanted if name not in there]
    if missing:
        begin = "remove the file." if connection.dialect.name == "sqlite" else "drop all of its tables."
        raise LedgerError(
            f"The ledger {_called(url)} has no table {', '.join(missing)}: it is none, or was cut. "
            + _RESTORE.format(begin=begin)
        )


def _checked_version(connection: Any, url: Any) -> int:
    """The number of its schema. LedgerError where it says none that is known here."""
    version = connection.execute(sqlalchemy.select(LEDGER.c.schema_version)).scalar()
    if version is None:
        raise LedgerError(f"The ledger {_called(url)} says no schema version: it was cut. Restore it from its backup.")
    if not isinstance(version, int) or not 1 <= version <= SCHEMA_VERSION:
        raise LedgerError(
            f"The ledger has schema version {visible(version, most=40)}, and this version of the collection knows "
            f"{SCHEMA_VERSION}. Use the version of the collection that wrote it. Nothing was changed."
        )
    return version


def _tables(connection: Any) -> set[str]:
    """Which of the ledger's tables are there."""
    return set(METADATA.tables) & set(sqlalchemy.inspect(connection).get_table_names())


def _make_tables(connection: Any) -> None:
    METADATA.create_all(connection)
    connection.execute(LEDGER.insert().values(schema_version=SCHEMA_VERSION))
    connection.execute(REVISION.insert().values(version_num=str(SCHEMA_VERSION)))


def _reached(connection: Any) -> dict[str, int]:
    """How far the ledger has come. Nothing that is counted here is ever taken out of it."""
    columns = [DEVICES.c.id, EVENTS.c.id, *([HEADS.c.device] if has_heads(connection) else [])]
    highest = [sqlalchemy.select(sqlalchemy.func.max(one)).scalar_subquery().label(one.table.name) for one in columns]
    listed = sqlalchemy.exists(sqlalchemy.select(LISTED_KEYS.c.endorsement_key_sha256)).label(LISTED_KEYS.name)
    reached = connection.execute(sqlalchemy.select(*highest, listed)).one()._mapping
    return {name: int(reached.get(name) or 0) for name in (*_UPWARDS, LISTED_KEYS.name)}


def _check_marks(connection: Any, url: Any) -> None:
    """LedgerError where the ledger has come less far than it once had."""
    noted = connection.info[_MARKS] = _noted(connection)
    for name, value in _reached(connection).items():
        mark = noted.get(name, 0)
        if not isinstance(mark, int) or value < mark:
            raise LedgerError(
                f"The ledger {_called(url)} was cut: its table {name} once went up to {visible(mark, most=40)}, and "
                f"goes up to {value} now. Restore it from its backup. Until then no twin of a device that it knew is "
                "found, so nothing is done."
            )


def _noted(connection: Any) -> dict[str, int]:
    return dict(tuple(row) for row in connection.execute(sqlalchemy.select(MARKS.c.name, MARKS.c.value)))


def _note_marks(connection: Any) -> None:
    # Nobody else has written since they were read.
    noted = connection.info[_MARKS] if _MARKS in connection.info else _noted(connection)
    reached = _reached(connection)
    new = [{"name": name, "value": value} for name, value in reached.items() if name not in noted]
    higher = [{"mark": name, "value": value} for name, value in reached.items() if noted.get(name, value) != value]
    if new:
        connection.execute(MARKS.insert(), new)
    if higher:
        connection.execute(MARKS.update().where(MARKS.c.name == sqlalchemy.bindparam("mark")), higher)


def _keep_writers_out(connection: Any) -> None:
    """In PostgreSQL; SQLite's transaction has done so from its beginning."""
    if connection.dialect.name == "postgresql":
        limits = {"lock_timeout": LOCK_TIMEOUT_SECONDS, "idle_in_transaction_session_timeout": SILENCE_SECONDS}
        settings = "; ".join(f"SET LOCAL {name} = '{seconds}s'" for name, seconds in limits.items())
        connection.execute(sqlalchemy.text(settings))
        connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(:writer)"), {"writer": _WRITER})
