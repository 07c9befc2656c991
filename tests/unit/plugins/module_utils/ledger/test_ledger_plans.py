# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How both databases find what a ledger of many devices is asked: by an index, and never by reading all records.

The statements are those that the code sends, explained by the database itself. The ledger has 3,000 devices: as many as
PostgreSQL needs to find its indexes worth their while.
"""

from __future__ import annotations

import re
from datetime import datetime, timezone

import pytest
import sqlalchemy
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.counts import counts
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import DEVICES, Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.ek_list import ListedKeys
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.ordered import units_on
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.reading import each_record, failures
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.selection import Selection

COUNT = 3000
STEPS = ("tpm_install", "software_install", "warehouse")
# Whose rows are as long as a record, an event or an entry.
LONG = ("devices", "events", "listed_keys")
NAMES = ("serial_number", "device_id", "host", "registration_id", "endorsement_key_sha256")


def record(number, key):
    return {
        "host": f"slot{number}",
        "serial_number": f"TF-{number}",
        "device_id": f"device-{number}",
        **key(number),
        "maker": f"Maker {number % 3}",
        "batch": f"B-{number % 100}",
        "dps_id_scope": f"0ne{number % 100}",
        "ownership": {"key_version": number % 100},
        "steps": {
            step: {"at": f"2026-{1 + number % 12:02}-{1 + number % 28:02}T08:00:00Z", "station": f"line-{number % 50}"}
            for step in STEPS
        },
        "work_order": {"number": f"WO-{number % 100}", "state": "done", "at": "2026-10-01T08:00:00Z"},
        "earlier_work_orders": [
            {"number": "WO-OF-ALL", "state": "done", "at": "2026-09-01T08:00:00Z", "file_sha256": f"{number:064}"}
        ],
        **({"decommission": {"done": "2026-11-01T00:00:00Z"}} if number % 30 == 0 else {}),
    }


@pytest.fixture(scope="module")
def filled(tmp_path_factory, postgresql, make_ek):
    """The ledgers, by database."""
    import base64
    import hashlib

    def key(number):
        public = make_ek(number)
        said = hashlib.sha256(base64.b64decode(public)).hexdigest()
        return {"endorsement_key": public, "endorsement_key_sha256": said, "registration_id": f"unit-{number}"}

    ledgers = {"sqlite": str(tmp_path_factory.mktemp("plans") / "ledger.sqlite"), "postgresql": postgresql.ledger()}
    for ledger in ledgers.values():
        with opened(ledger, Access.WRITE) as connection:
            devices = Devices(connection)
            ListedKeys(connection).add(
                [{"maker": "M", "batch": "1", **key(number)} for number in range(COUNT)], taken_in="2026-01-01"
            )
            records = [record(number, key) for number in range(COUNT)]
            devices.expect(records)
            for number, one in enumerate(records):
                row = devices.save(None, one)
                for step in STEPS:
                    named = {"at": "2026-01-01T08:00:00Z", "step": step, "station": "line-1"}
                    devices.note(row, f"slot{number}", **named, what={"state": "done"})
                if number % 30 == 1:
                    failed = {"state": "stopped", "reasons": [f"its endorsement key {number:016x}… is on no list"]}
                    at = f"2026-11-{1 + number // 30 % 28:02}T08:00:00Z"
                    devices.note(row, f"slot{number}", at=at, step="warehouse", station="line-1", what=failed)
            devices.write()
    postgresql.tell("VACUUM ANALYZE", autocommit=True)
    return ledgers


@pytest.fixture
def plans():
    """The plans of the statements that are sent while they are asked for, as lines of the database's own words."""
    told = []
    explaining = []

    def note(connection, _cursor, statement, parameters, context, many):
        if explaining or not statement.lstrip().upper().startswith("SELECT") or many:
            return
        explaining.append(True)
        words = "EXPLAIN QUERY PLAN " if connection.dialect.name == "sqlite" else "EXPLAIN "
        told.extend(str(tuple(line)) for line in connection.exec_driver_sql(words + statement, parameters))
        explaining.clear()

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", note)
    yield told
    sqlalchemy.event.remove(sqlalchemy.engine.Engine, "before_cursor_execute", note)


def whole(plan):
    """The lines of *plan* in which a whole table of long rows is read."""
    scans = re.compile(rf"SCAN ({'|'.join(LONG)})\b(?!.* USING (COVERING )?INDEX)|Seq Scan on ({'|'.join(LONG)})\b")
    return [line for line in plan if scans.search(line)]


def chosen(**filters):
    return Selection(filters, now=datetime(2026, 11, 27, tzinfo=timezone.utc))


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("name", NAMES)
def test_a_device_is_found_by_an_index(filled, plans, database, name, key):
    wanted = {"serial_number": "TF-7", "device_id": "device-7", "host": "slot7", "registration_id": "unit-7"}
    value = wanted.get(name) or key(7)[name]
    with opened(filled[database], Access.READ) as connection:
        del plans[:]
        devices = Devices(connection)
        row = devices.other_row_with(name, value, None)
        assert devices.record(row)["serial_number"] == "TF-7"
        assert len(devices.history(row)) == 3
        assert len(devices.histories([row, row + 1])) == 2
    assert plans and whole(plans) == []


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_batch_is_found_by_indexes(filled, plans, database, key):
    with opened(filled[database], Access.READ) as connection:
        del plans[:]
        devices = Devices(connection)
        devices.expect([{"host": f"slot{n}", "serial_number": f"TF-{n}", **key(n)} for n in range(10)])
        ListedKeys(connection).expect([key(n)["endorsement_key_sha256"] for n in range(10)])
        assert devices.row_of({"serial_number": "TF-9"})
    assert plans and whole(plans) == []


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    ("filters", "most"),
    [
        ({"key_version": 1}, 40),
        ({"dps_id_scope": "0ne5"}, 40),
        ({"maker": "Maker 1", "batch": "B-1"}, 40),
        ({"batch": "B-1"}, 40),
        ({"step": "warehouse", "after": "2026-03-03", "before": "2026-03-04"}, 60),
        ({"last_step": "warehouse", "station": "line-3"}, 70),
        ({"failed_step": "warehouse", "failed_after": "2026-11-03", "failed_before": "2026-11-04"}, 10),
        ({"failed_after": "2026-11-03", "failed_before": "2026-11-04", "decommissioned": False}, 10),
    ],
)
def test_devices_are_selected_by_an_index(filled, plans, database, filters, most):
    selection = chosen(**filters)
    with opened(filled[database], Access.READ) as connection:
        every = [row for row, one in each_record(connection, []) if selection.takes(one)]
        del plans[:]
        found = {row for row, _record in each_record(connection, [], selection)}
        if selection.of_failures:
            failed = set(failures(connection, selection).of_row)
            every = [row for row in every if row in failed]
            found &= failed
    assert sorted(found) == every and 0 < len(every) <= most
    assert plans and whole(plans) == []
    assert any("ix_" in line for line in plans), plans


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_units_of_an_order_are_found_by_an_index(filled, plans, database):
    with opened(filled[database], Access.READ) as connection:
        del plans[:]
        devices = Devices(connection)
        units = units_on(devices, "WO-7")
        assert len(units.records) == COUNT // 100 and units.damaged == {}
        assert devices.order_in_file(f"{7:064}") == "WO-OF-ALL" and devices.order_in_file("f" * 64) is None
        assert devices.serial_numbers_like(["tf-7", "tf-x"]) == {"tf-7"}
    assert plans and whole(plans) == []
    assert len(units_on_all(filled[database])) == COUNT


def units_on_all(ledger):
    """The order before the last one of every device."""
    with opened(ledger, Access.READ) as connection:
        return units_on(Devices(connection), "WO-OF-ALL").records


def test_a_plan_that_reads_a_whole_table_is_seen(filled, plans):
    """Else none would ever be."""
    for ledger in filled.values():
        with opened(ledger, Access.READ) as connection:
            del plans[:]
            connection.execute(sqlalchemy.select(DEVICES.c.record)).all()
        assert whole(plans) != []


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_the_fleet_is_counted_without_a_record(filled, plans, database):
    with opened(filled[database], Access.READ) as connection:
        del plans[:]
        told = counts(connection)
    assert plans and whole(plans) == []
    assert told["devices"] == COUNT and told["decommissioned"] == COUNT // 30
    assert told["last_steps"] == {"warehouse": COUNT - COUNT // 30}
    assert told["states"] == {"done": COUNT - 2 * COUNT // 30, "stopped": COUNT // 30}
    assert sum(told["key_versions"].values()) == COUNT - COUNT // 30 and told["key_versions"]["1"] == COUNT // 100
    assert told["listed_keys"] == COUNT
    one = {"cause": "its endorsement key … is on no list", "step": "warehouse", "station": "line-1"}
    assert told["failures"] == [{**one, "count": COUNT // 30}]
