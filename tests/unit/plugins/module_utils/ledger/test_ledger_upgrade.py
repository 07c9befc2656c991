# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Filled ledgers of older schemas, in both kinds of database: read as they are, and brought up by who writes next.

That of schema 1 has six devices, with 16 events. Between it and the first revision stations have written heads too: one
has written six more events, of a new device among others, and of one that nobody knows. Of schema 2 there is the first
ledger after its upgrade, with two devices on a work order since.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import stat
import subprocess
import sys
from datetime import datetime, timezone
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger import database, upgrade
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import (
    EVENTS,
    METADATA,
    Access,
    LedgerError,
    is_old,
    opened,
    schema_version,
    upgraded,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.reading import each_record, failures
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.selection import Selection

OLD = Path(__file__).with_name("of_earlier_releases")
# A station that is cut off when it has made the tables, or slow enough for another one to come.
STATION = """
import json, os, signal, sys, time
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger import upgrade
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened, upgraded
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.revisions import orders
fill = orders._fill
def after(*arguments):
    fill(*arguments)
    print("filled", flush=True)
    os.kill(os.getpid(), signal.SIGKILL) if sys.argv[2] == "cut" else time.sleep(0.3)
orders._fill = after
print("ready", flush=True)
sys.stdin.readline()
with opened(sys.argv[1], Access.WRITE) as connection:
    print(upgraded(connection), flush=True)
"""


def rows_of(ledger, *tables):
    """All that is in *tables*, in an order."""
    with opened(ledger, Access.READ, cut=True) as connection:
        return {
            table: sorted(map(tuple, connection.execute(sqlalchemy.select(METADATA.tables[table]))), key=repr)
            for table in tables
        }


def script(kind, what):
    if what == "schema 2":
        return (OLD / f"{kind}_schema_2.sql").read_text()
    more = (OLD / f"{kind}_with_heads.sql").read_text() if what == "with heads" else ""
    return (OLD / f"{kind}.sql").read_text() + more


@pytest.fixture(params=["schema 1", "with heads", "schema 2"])
def old(request, ledger):
    """A filled ledger of an older schema."""
    if "://" in ledger:
        name = ledger.rpartition("%3D")[2]
        request.getfixturevalue("postgresql").tell(f"SET search_path TO {name};\n{script('postgresql', request.param)}")
    else:
        Path(ledger).parent.mkdir()
        with sqlite3.connect(ledger) as connection:
            connection.executescript(script("sqlite", request.param))
        connection.close()
    return ledger


# Events that it has, and how many of them are in a chain.
EVENTS_OF = {"schema 1": (16, 0), "with heads": (22, 6), "schema 2": (18, 2)}


def schema_of(old):
    """The number of its schema."""
    with opened(old, Access.READ) as connection:
        return schema_version(connection)


OF_BEFORE = ("devices", "events", "listed_keys", "retired_keys")


def test_an_old_ledger_is_read_and_verified_as_it_is(old, request, proof_of):
    which = request.node.callspec.params["old"]
    before = None if "://" in old else Path(old).read_bytes()
    with opened(old, Access.READ) as connection:
        assert is_old(connection) and schema_version(connection) == (2 if which == "schema 2" else 1)
        assert [one["state"] for one in Devices(connection).history(1)][:3] == ["done", "done", "verified"]
    proof, findings = proof_of(old)
    assert findings == [] and proof.unchained == 16
    assert (proof.events, proof.head[0]) == EVENTS_OF[which]
    assert before is None or Path(old).read_bytes() == before


@pytest.mark.parametrize(
    "filters",
    [
        {"last_step": "warehouse"},
        {"step": "software_install", "before": "2026-10-04"},
        {"last_step": ["warehouse", "software_install"], "decommissioned": False},
        {"failed_step": "warehouse"},
        {"failed_after": "2026-10-04", "failed_before": "2026-10-08"},
        {"station": "line-2"},
        {"dps_id_scope": "0ne00000001"},
        {"batch": "2026-10"},
    ],
)
def test_the_same_devices_are_meant_before_and_after(old, filters):
    told = []
    for access in (Access.READ, Access.WRITE, Access.READ):
        with opened(old, access) as connection:
            selection = Selection(filters, now=datetime(2026, 11, 27, tzinfo=timezone.utc))
            failed = failures(connection, selection)
            rows = [row for row, _record in each_record(connection, [], selection)]
            told.append((rows if not selection.of_failures else [row for row in rows if row in failed.of_row], failed))
    assert told[0] == told[1] == told[2] and told[0][0], filters


def test_check_mode_predicts_over_an_old_ledger_and_never_upgrades_it(old, run_module, tmp_path, units):
    before = None if "://" in old else Path(old).read_bytes()
    schema = schema_of(old)
    asked = {"ledger": old, "step": "warehouse", "records": units(1, 5, 77, outcome={"ownership": "done"})}
    predicted = run_module("device_records", check=True, **asked)
    if before is not None:
        assert Path(old).read_bytes() == before and os.listdir(os.path.dirname(old)) == ["ledger.sqlite"]
    with opened(old, Access.READ) as connection:
        assert is_old(connection)
        assert "ordered" not in sqlalchemy.inspect(connection).get_table_names()
    done = run_module("device_records", **asked)
    assert {name: one["state"] for name, one in predicted["verdicts"].items()} == {
        name: one["state"] for name, one in done["verdicts"].items()
    }
    assert predicted["changed"] is done["changed"] is True
    assert "warnings" not in predicted or "brought" not in str(predicted["warnings"])
    assert f"The ledger was brought from schema version {schema} to 3." in str(done["warnings"])
    assert "brought" not in str(run_module("device_records", **asked).get("warnings"))


def test_an_upgraded_ledger_has_all_it_had_and_the_schema_of_a_new_one(old, tmp_path, proof_of):
    before = rows_of(old, *OF_BEFORE)
    with opened(old, Access.WRITE) as connection:
        assert not is_old(connection)
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "version_table": "ledger_revision"}
        )
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_heads() == (str(database.SCHEMA_VERSION),)
    assert rows_of(old, *OF_BEFORE) == before
    assert proof_of(old)[1] == []


def test_a_new_ledger_is_one_of_the_last_revision(ledger):
    with opened(ledger, Access.WRITE) as connection:
        context = MigrationContext.configure(connection, opts={"version_table": "ledger_revision"})
        assert compare_metadata(context, METADATA) == []
        assert context.get_current_heads() == (str(database.SCHEMA_VERSION),)
        steps = upgrade._steps((), None)
        assert steps[-1].to_revisions == (str(database.SCHEMA_VERSION),)
        assert upgrade._steps(context.get_current_heads(), None) == []


def test_the_rows_that_follow_are_those_that_a_writer_makes(old, key, take, tmp_path):
    """Each device is saved again, and its last event written again, by which the rows must not change."""
    with opened(old, Access.WRITE):
        pass
    followed = ("standings", "step_times", "failures", "heads")
    filled = rows_of(old, *followed)
    assert len(filled["standings"]) >= 6 and len(filled["step_times"]) > 6 and len(filled["failures"]) >= 3
    with opened(old, Access.WRITE) as connection:
        devices = Devices(connection)
        for row in devices.rows(100):
            devices.save(row, devices.record(row))
        devices.write()
        found = connection.execute(sqlalchemy.select(EVENTS).order_by(EVENTS.c.id)).mappings().all()
        for table in ("events", "failures", "heads", "marks"):
            connection.execute(METADATA.tables[table].delete())
    assert rows_of(old, "standings", "step_times") == {name: filled[name] for name in ("standings", "step_times")}
    with opened(old, Access.WRITE) as connection:
        devices = Devices(connection)
        for event in found:
            named = {name: event[name] for name in ("at", "step", "station")}
            devices.note(event["device"], event["host"], **named, what=json.loads(event["what"]))
        devices.write()
    again = rows_of(old, *followed)
    assert again["standings"] == filled["standings"] and again["failures"] == filled["failures"]
    counts = [[row[:2] for row in some["heads"] if row[0] >= 0] for some in (again, filled)]
    assert [row for row in counts[0] if row[1]] == counts[1]


def test_an_old_ledger_has_its_chains_from_its_upgrade_on(old, take, units, proof_of):
    before = proof_of(old)[0].events
    with opened(old, Access.READ) as connection:
        told = len(Devices(connection).history(1))
    take(*units(1, 5), ledger=old, step="warehouse")
    proof, findings = proof_of(old)
    with opened(old, Access.READ) as connection:
        found = sqlalchemy.select(EVENTS.c.what).where(EVENTS.c.device == 1).order_by(EVENTS.c.id.desc())
        number = json.loads(connection.execute(found).scalar())["number"]
    assert findings == []
    assert (proof.events, proof.unchained, proof.head[0], number) == (before + 2, 16, before - 14, told + 1)


@pytest.mark.parametrize("more", ["", "more"])
@pytest.mark.parametrize(
    ("command", "kind", "words"),
    [
        ("UPDATE events SET station = 'line-9' WHERE id = 2", "changed", "was changed, and its hash with it"),
        ("DELETE FROM events WHERE id = 2", "taken_out", "was taken out at the end"),
        ("UPDATE events SET device = 3 WHERE id = 1", "put_in", "was put in after the last one"),
    ],
)
def test_what_an_old_ledger_had_is_covered_from_then_on(old, take, key, command, kind, words, more, proof_of, change):
    """That of the third device, which has no head in either."""
    with opened(old, Access.WRITE):
        pass
    with opened(old, Access.READ) as connection:
        first = Devices(connection).history(3)
        command = command.replace("id = 2", f"device = 3 AND at = '{first[0]['at']}'")
    if more:
        take({"host": "slot3", "serial_number": "TF-3", "device_id": "unit-3"}, ledger=old, step="warehouse")
        words = "which are from before there was a chain"
    change(old, command)
    findings = [one for one in proof_of(old)[1] if one["serial_number"] == "TF-3"]
    assert [one["kind"] for one in findings] == [kind] and words in findings[0]["words"], findings


# Cut off, two at once, no room, no library, and another schema.


def begun(ledger, *how):
    station = subprocess.Popen(
        [sys.executable, "-c", STATION, ledger, *how],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert station.stdout.readline() == "ready\n"
    return station


def test_one_that_is_cut_off_is_as_it_was_and_upgraded_by_the_next(old, proof_of):
    before, schema = rows_of(old, *OF_BEFORE), schema_of(old)
    station = begun(old, "cut")
    printed, errors = station.communicate("go\n", timeout=60)
    assert (station.returncode, printed) == (-9, "filled\n"), errors
    with opened(old, Access.READ) as connection:
        assert is_old(connection)
        assert "ordered" not in sqlalchemy.inspect(connection).get_table_names()
    assert rows_of(old, *OF_BEFORE) == before
    with opened(old, Access.WRITE) as connection:
        assert f"from schema version {schema} to 3" in upgraded(connection)
    assert rows_of(old, *OF_BEFORE) == before and proof_of(old)[1] == []


def test_of_two_stations_at_once_one_upgrades_it(old, proof_of):
    schema = schema_of(old)
    stations = [begun(old, "slowly") for _station in range(2)]
    for station in stations:
        station.stdin.write("go\n")
        station.stdin.flush()
    said = [station.communicate(timeout=60) for station in stations]
    told = sorted(printed.splitlines()[-1] for printed, _errors in said)
    assert told[0] == "None" and told[1].startswith(f"The ledger was brought from schema version {schema} to 3."), said
    assert proof_of(old)[1] == []


def test_a_file_is_copied_before_and_the_copy_is_its_owners_only(run_module, sqlite_old, units):
    before = dump_of(sqlite_old)
    step = {"step": "warehouse", "records": units(1)}
    done = run_module("device_records", ledger=sqlite_old, **step)
    copy = f"{sqlite_old}.schema-1"
    assert f"What it was before is in {copy}." in str(done["warnings"])
    assert dump_of(copy) == before
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600
    assert sorted(os.listdir(os.path.dirname(sqlite_old))) == ["ledger.sqlite", "ledger.sqlite.schema-1"]
    # Which is a ledger that can be put back.
    os.replace(copy, sqlite_old)
    assert run_module("device_records", ledger=sqlite_old, **step)["changed"] == done["changed"]


def dump_of(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_where_no_copy_can_be_made_nothing_is_upgraded(sqlite_old):
    before = Path(sqlite_old).read_bytes()
    os.mkdir(f"{sqlite_old}.schema-1")
    with (
        pytest.raises(LedgerError, match=r"cannot be copied to .*\.schema-1 before: Is a directory\. Make room there"),
        opened(sqlite_old, Access.WRITE),
    ):
        pass
    assert Path(sqlite_old).read_bytes() == before
    assert sorted(os.listdir(os.path.dirname(sqlite_old))) == ["ledger.sqlite", "ledger.sqlite.schema-1"]


def test_a_missing_library_is_named_and_needed_by_nobody_else(sqlite_old, ledger, monkeypatch):
    monkeypatch.setattr(upgrade, "Operations", None)
    for access in (Access.READ, Access.PREDICT):
        with opened(sqlite_old, access) as connection:
            assert is_old(connection)
    with (
        pytest.raises(
            LedgerError, match=r"schema version 1 and is to be brought to 3, for which .* alembic is missing"
        ),
        opened(sqlite_old, Access.WRITE),
    ):
        pass
    assert os.listdir(os.path.dirname(sqlite_old)) == ["ledger.sqlite"]


def test_what_fails_after_the_upgrade_takes_it_back(old):
    with pytest.raises(ZeroDivisionError), opened(old, Access.WRITE):
        raise ZeroDivisionError
    with opened(old, Access.READ) as connection:
        assert is_old(connection)


@pytest.mark.parametrize("version", [0, -1, 4, 2**31 - 1])
def test_a_schema_that_is_not_known_is_refused_and_left_alone(old, version, change):
    change(old, f"UPDATE ledger SET schema_version = {version}")
    for access in Access:
        with (
            pytest.raises(
                LedgerError, match=rf"schema version {version}, and this version .* knows 3\. .* Nothing was changed\."
            ),
            opened(old, access),
        ):
            pass


def test_a_damaged_record_does_not_stop_the_upgrade(old, change):
    change(
        old,
        "UPDATE devices SET record = 'x' WHERE id = 1",
        "UPDATE devices SET record = '{\"steps\": 5}' WHERE id = 2",
        "UPDATE events SET what = '{}' WHERE id = 1",
        'UPDATE events SET what = \'{"state": "stopped", "number": 99999999999}\' WHERE id = 2',
        'UPDATE events SET what = \'{"state": ["stopped"], "reasons": 5}\' WHERE id = 3',
    )
    with opened(old, Access.WRITE) as connection:
        assert not is_old(connection)
    damaged = []
    with opened(old, Access.READ) as connection:
        rows = [row for row, _record in each_record(connection, damaged)]
    assert len(damaged) == 2 and not {1, 2} & set(rows) and len(rows) >= 4


@pytest.fixture
def sqlite_old(sqlite):
    """The file of schema 1."""
    Path(sqlite).parent.mkdir()
    with sqlite3.connect(sqlite) as connection:
        connection.executescript((OLD / "sqlite.sql").read_text())
    connection.close()
    return sqlite


def test_another_program_may_have_its_own_revisions_beside(postgresql):
    ledger = postgresql.ledger()
    schema = ledger.rpartition("%3D")[2]
    postgresql.tell(f"CREATE TABLE {schema}.alembic_version (version_num varchar(32)); "
                    f"INSERT INTO {schema}.alembic_version VALUES ('theirs')")  # fmt: skip
    for _again in range(2):
        with opened(ledger, Access.WRITE) as connection:
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all()
            assert found == ["theirs"]
