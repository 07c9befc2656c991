# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How many statements a batch costs at the ledger, whose other writers wait for each: the same for a batch of any size.

Counted from the opening of the ledger to its end. A change that adds one has to say here why. The heads of the chains
of events are read and written, a statement each for a batch. The first batch of all looks for events from before them.
Where devices stand is written in one statement, when their steps were done in one, and what failed in one.
"""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
import sqlalchemy
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.ek_list import ListedKeys
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.reading import each_record, failures
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.selection import Selection

STATEMENTS = """
what is found               sqlite  postgresql
----------------------------------------------
new devices                 19      20
the same again              16      17
with an outcome             18      19
other TPMs                  19      20
keys of other devices       16      17
the same keys, proven       21      22
retired keys                16      17
other units in the slots    18      19
"""


@pytest.fixture
def statements():
    """The statements of this process since the list was last cleared; one that is given many rows counts as one."""
    told = []

    def note(_connection, _cursor, statement, *_others):
        told.append(statement)

    sqlalchemy.event.listen(sqlalchemy.engine.Engine, "before_cursor_execute", note)
    yield told
    sqlalchemy.event.remove(sqlalchemy.engine.Engine, "before_cursor_execute", note)


def day(take, ledger, key, count):
    """What a ledger sees of *count* devices: pairs of what is found, and a call that has it judged."""

    def units(first=0, **fields):
        return [
            {"host": f"slot{number}", "serial_number": f"TF-{number}", **key(number + first), **fields}
            for number in range(count)
        ]

    def step(records, **others):
        return lambda: take(*records, ledger=ledger, **others)

    proven = [{**unit, "proven": unit["endorsement_key_sha256"]} for unit in units()]
    swapped = units(first=1000, exceptions=["tpm_replacement"])
    others = [{**unit, "host": f"other{number}", "serial_number": None} for number, unit in enumerate(swapped)]
    theirs = [{**unit, "serial_number": f"TG-{number}"} for number, unit in enumerate(units(first=2000))]
    return [
        ("new devices", step(units(), policy="preferred")),
        ("the same again", step(units(), policy="preferred")),
        ("with an outcome", step([{**one, "outcome": {"ownership": "done"}} for one in proven])),
        ("other TPMs", step(swapped)),
        ("keys of other devices", step(others)),
        ("the same keys, proven", step([{**one, "proven": one["endorsement_key_sha256"]} for one in others])),
        ("retired keys", step([{**one, "serial_number": f"TH-{number}"} for number, one in enumerate(units())])),
        ("other units in the slots", step(theirs)),
    ]


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_batch_costs_as_many_statements_as_are_written_down(request, take, key, statements, database):
    asked: dict[str, list[int]] = {}
    for count in (2, 7):
        ledger = str(request.getfixturevalue("tmp_path") / f"{count}.sqlite")
        if database == "postgresql":
            ledger = request.getfixturevalue("postgresql").ledger()
        with opened(ledger, Access.WRITE) as connection:
            ListedKeys(connection).add([{"maker": "M", "batch": "1", **key(n)} for n in range(9)], taken_in="2026")
        for what, judge in day(take, ledger, key, count):
            statements.clear()
            judge()
            asked.setdefault(what, []).append(len(statements))
    column = 1 if database == "sqlite" else 2
    rows = [row.rsplit(maxsplit=2) for row in STATEMENTS.strip().splitlines()[2:]]
    counted = "\n".join(["what was counted:", *(f"{what:<28}{counts}" for what, counts in asked.items())])
    assert asked == {row[0]: [int(row[column])] * 2 for row in rows}, counted


@pytest.mark.parametrize("asked", ["all", "named"])
def test_what_is_known_of_a_batch_is_read_in_as_many_statements_as_of_one(
    run_module, take, key, statements, sqlite, asked
):
    counted = []
    records = [{"host": f"slot{number}", "serial_number": f"TF-{number}", **key(number)} for number in range(40)]
    take(*records)
    names = [{"host": one["host"], "serial_number": one["serial_number"]} for one in records]
    for count in (2, 40):
        which = {"limit": count} if asked == "all" else {"devices": names[:count]}
        statements.clear()
        found = run_module("device_records_info", ledger=sqlite, history=True, **which)["records"]
        assert [one["host"] for one in found] == [f"slot{number}" for number in range(count)]
        assert all(len(one["history"]) == 1 for one in found)
        counted.append(len(statements))
    assert counted[0] == counted[1] < 12


@pytest.mark.parametrize("filters", [{"last_step": "warehouse"}, {"failed_step": "tpm_install"}, {"key_version": 1}])
def test_what_is_selected_of_many_is_read_in_as_many_statements_as_of_few(take, key, statements, sqlite, filters):
    counted = []
    for first, count in ((0, 2), (2, 40)):
        units = [
            {"host": f"slot{n}", "serial_number": f"TF-{n}", **key(n), "ownership": {"key_version": 1}}
            for n in range(first, first + count)
        ]
        take(*units, step="warehouse")
        take(*[{**one, "outcome": {"ownership": "done"}} for one in units], step="warehouse")
        take(*[{**one, **key(1000 + n)} for n, one in enumerate(units, first)])
        statements.clear()
        with opened(sqlite, Access.READ) as connection:
            selection = Selection(filters, now=datetime(2026, 11, 27, tzinfo=timezone.utc))
            rows = [row for row, _record in each_record(connection, [], selection)]
            found = failures(connection, selection)
        assert len(rows) == first + count and len(found.of_row) == first + count
        counted.append(len(statements))
    assert counted[0] == counted[1] < 14
