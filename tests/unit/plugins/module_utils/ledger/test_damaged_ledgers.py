# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ledgers that were cut, in files and in a server, and records in them that are none: told, and never taken for new."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger import database
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import (
    Access,
    LedgerError,
    is_new,
    opened,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.ek_list import ListedKeys


@pytest.fixture
def line(take, key, ledger):
    """A ledger that knows two devices and a list."""
    verdicts = take(unit(1, key), unit(2, key), ledger=ledger)
    assert all(one.reasons == [] for one in verdicts.values())
    with opened(ledger, Access.WRITE) as connection:
        entry = {**key(9), "maker": "M", "batch": "1"}
        ListedKeys(connection).add([entry], taken_in="2026-11-24T12:00:00Z")
    return ledger


def unit(number, key, **fields):
    return {"host": f"slot{number}", "serial_number": f"TF-{number}", **key(number), **fields}


# Cut ledgers.


@pytest.mark.parametrize("access", list(Access))
@pytest.mark.parametrize("size", [0, 1, 2049, 2048, 4096, 8192, -4096, -1])
def test_a_file_that_was_cut_anywhere_is_never_a_new_ledger(take, key, sqlite, access, size):
    take(*(unit(number, key) for number in range(20)))
    whole = os.path.getsize(sqlite)
    os.truncate(sqlite, size if size >= 0 else whole + size)
    before = Path(sqlite).read_bytes()
    with pytest.raises(LedgerError) as error, opened(sqlite, access) as connection:
        Devices(connection).rows(100)
    if size % 512:
        assert "has no whole number of pages: it is none, or was cut. Restore it from its backup." in str(error.value)
    elif size:
        assert "cannot be used: database disk image is malformed" in str(error.value)
    else:
        assert "is an empty file, which no ledger is: it was cut. Restore it from its backup." in str(error.value)
        assert "To begin a new ledger knowingly, remove the file." in str(error.value)
    assert Path(sqlite).read_bytes() == before


@pytest.mark.parametrize("access", list(Access))
@pytest.mark.parametrize("table", sorted(database.METADATA.tables))
def test_a_table_that_is_gone_is_told_and_not_made_anew(line, postgresql, table, access, change):
    cascade = "" if "sqlite" in line else " CASCADE"
    change(line, f"DROP TABLE {table}{cascade}")
    for _again in range(2):
        with (
            pytest.raises(LedgerError, match=rf"has no table {table}: it is none, or was cut\. Restore it"),
            opened(line, access),
        ):
            pass


def test_a_file_without_any_table_is_no_new_ledger(sqlite, take, key):
    take(unit(1, key))
    with sqlite3.connect(sqlite) as connection:
        for table in ("events", "retired_keys", "devices", "listed_keys", "ledger", "marks"):
            connection.execute(f"DROP TABLE {table}")
    connection.close()
    with pytest.raises(LedgerError, match="has no table ledger, devices, listed_keys, retired_keys, events"):
        take(unit(1, key))


@pytest.mark.parametrize("access", list(Access))
@pytest.mark.parametrize(
    ("commands", "words"),
    [
        (
            ["DELETE FROM events", "DELETE FROM retired_keys", "DELETE FROM devices"],
            "its table devices once went up to 2",
        ),
        (
            ["DELETE FROM events WHERE device = 2", "DELETE FROM devices WHERE id = 2"],
            "its table devices once went up to 2",
        ),
        (["DELETE FROM events"], "its table events once went up to 2, and goes up to 0 now"),
        (["DELETE FROM listed_keys"], "its table listed_keys once went up to 1, and goes up to 0 now"),
        (["DELETE FROM ledger"], "says no schema version: it was cut"),
        (["UPDATE marks SET value = 70 WHERE name = 'devices'"], "its table devices once went up to 70"),
    ],
)
def test_rows_that_are_gone_are_told(line, commands, words, access, change):
    change(line, *commands)
    with pytest.raises(LedgerError, match=words), opened(line, access):
        pass


def test_a_new_ledger_says_that_it_is_one(ledger):
    for access in (Access.READ, Access.PREDICT, Access.WRITE):
        with opened(ledger, access) as connection:
            assert is_new(connection)
    with opened(ledger, Access.WRITE) as connection:
        assert not is_new(connection)


def test_it_is_told_by_the_modules(run_module, sqlite):
    options = {"ledger": sqlite, "step": "tpm_install", "records": [{"host": "slot1", "serial_number": "1"}]}
    for check in (True, False):
        assert "The ledger is new" in str(run_module("device_records", check=check, **options)["warnings"])
    assert "warnings" not in run_module("device_records", **options)


# A new file is there whole, or not at all.

MAKE = """
import os, sys
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
real = getattr(os, sys.argv[2])
def dies(*arguments):
    if sys.argv[3] == "after":
        real(*arguments)
    os._exit(9)
setattr(os, sys.argv[2], dies)
with opened(sys.argv[1], Access.WRITE):
    pass
"""


@pytest.mark.parametrize(("call", "when"), [("fsync", "before"), ("link", "before"), ("link", "after")])
def test_a_station_that_dies_while_it_makes_a_ledger_leaves_none_or_a_whole_one(sqlite, call, when):
    os.mkdir(os.path.dirname(sqlite))
    assert subprocess.run([sys.executable, "-c", MAKE, sqlite, call, when], check=False).returncode == 9
    assert os.path.exists(sqlite) == (when == "after")
    with opened(sqlite, Access.WRITE) as connection:
        assert Devices(connection).rows(1) == []
        assert is_new(connection) == (when == "before")


def test_a_new_file_is_on_the_disk_before_it_has_its_name(sqlite, monkeypatch):
    done = []
    real_sync, real_link = os.fsync, os.link
    monkeypatch.setattr(
        os, "fsync", lambda descriptor: (done.append(os.readlink(f"/proc/self/fd/{descriptor}")), real_sync(descriptor))
    )
    monkeypatch.setattr(os, "link", lambda source, target: (done.append(target), real_link(source, target)))
    with opened(sqlite, Access.WRITE):
        pass
    directory = os.path.dirname(sqlite)
    at = done.index(sqlite)
    assert done[0] == os.path.dirname(directory)
    assert done[at - 1].startswith(f"{directory}/.ledger-") and done[at + 1] == directory
    assert os.listdir(directory) == ["ledger.sqlite"]


# Records that are none.

DAMAGES = {
    "cut": ('{"host": "slo', "is not JSON"),
    "nothing": ("", "is not JSON"),
    "another type": ("[1, 2]", "it is no object"),
    "null": ("null", "it is no object"),
    "deep": ("[" * 100_000, "is nested deeper than 32 levels"),
    "no number": ('{"host": NaN}', "has NaN"),
    "places": ('{"places": 3}', "its places are no list of places"),
    "a place": ('{"places": [{"dps_id_scope": 1}]}', "its places are no list of places"),
    "steps": ('{"steps": []}', "its steps is no object"),
    "a step": ('{"steps": {"tpm_install": 5}}', "its step tpm_install is no step"),
    "a key": ('{"endorsement_key_sha256": {}}', "its endorsement_key_sha256 is no text"),
    "ownership": ('{"ownership": "ours"}', "its ownership is no object"),
}


def damage(ledger, table, column, text, where):
    with opened(ledger, Access.WRITE) as connection:
        named = database.METADATA.tables[table]
        connection.execute(named.update().where(where(named.c)).values(**{column: text}))


@pytest.mark.parametrize("what", DAMAGES)
def test_a_record_that_is_none_stops_its_own_device(line, take, key, what):
    text, words = DAMAGES[what]
    damage(line, "devices", "record", text, lambda columns: columns.serial_number == "TF-1")
    verdicts = take(unit(1, key), unit(2, key), unit(3, key), ledger=line)
    assert [bool(verdicts[host].reasons) for host in ("slot1", "slot2", "slot3")] == [True, False, False]
    (reason,) = verdicts["slot1"].reasons
    assert reason.startswith("the record of TF-1 (slot1) in the ledger (device 1) is damaged: it")
    assert words in reason and reason.endswith("restore the ledger from its backup")


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("endorsement_key_sha256", "0" * 64, "its endorsement_key_sha256 is not the one that it is found by"),
        ("registration_id", "another", "its registration_id is not the one that it is found by"),
        ("device_id", "another", "its device_id is not the one that it is found by"),
    ],
)
def test_a_record_that_is_found_by_what_it_does_not_say_stops_its_own_device(
    line, take, key, column, value, words, change
):
    change(line, f"UPDATE devices SET {column} = '{value}' WHERE id = 1")
    verdicts = take(unit(1, key), unit(2, key), ledger=line)
    assert words in verdicts["slot1"].reasons[0] and verdicts["slot2"].reasons == []


@pytest.mark.parametrize("number", [2, 7])
def test_a_record_with_the_key_of_another_stops_its_own_device(line, take, key, number):
    record = {"record_version": 1, **unit(1, key), "endorsement_key": key(number)["endorsement_key"]}
    damage(line, "devices", "record", json.dumps(record), lambda columns: columns.serial_number == "TF-1")
    verdicts = take(unit(1, key), unit(2, key), ledger=line)
    assert "its endorsement key is not the one that it says" in verdicts["slot1"].reasons[0]
    assert verdicts["slot2"].reasons == []


@pytest.mark.parametrize("decommission", [{"at": "x"}, {"done": 5}, {"begun": None}])
def test_a_decommissioning_without_a_date_stops_its_own_device(line, take, key, decommission):
    record = {"record_version": 1, **unit(1, key), "decommission": decommission}
    damage(line, "devices", "record", json.dumps(record), lambda columns: columns.serial_number == "TF-1")
    verdicts = take(unit(1, key), unit(2, key), ledger=line)
    assert "its decommission has no date" in verdicts["slot1"].reasons[0] and verdicts["slot2"].reasons == []


def test_a_key_that_was_taken_out_of_a_device_that_is_gone_stops_the_one_that_has_it(sqlite, take, key, change):
    take(unit(1, key), unit(2, key))
    digest = key(3)["endorsement_key_sha256"]
    change(sqlite, f"INSERT INTO retired_keys VALUES ('{digest}', 99, '2026-11-24T12:00:00Z')")
    verdicts = take(unit(3, key), unit(2, key))
    assert "the ledger tells of its device 99 and has no such device any more" in verdicts["slot3"].reasons[0]
    assert verdicts["slot2"].reasons == []


def test_a_twin_of_a_damaged_record_is_stopped(line, take, key):
    damage(line, "devices", "record", "{", lambda columns: columns.serial_number == "TF-1")
    (reason,) = take(unit(7, key, **{**key(1)}), ledger=line)["slot7"].reasons
    assert "the record of TF-1 (slot1) in the ledger (device 1) is damaged" in reason


def test_a_listed_entry_that_is_none_stops_the_device_that_has_its_key(line, take, key):
    for text in ("{", "5", '{"maker": 5}', "{}"):
        damage(line, "listed_keys", "entry", text, lambda columns: columns.maker == "M")
        verdicts = take(unit(9, key), unit(2, key), ledger=line, policy="preferred" if text == "{" else "ignored")
        assert "what a TPM maker's list said of the key" in verdicts["slot9"].reasons[0]
        assert "is damaged" in verdicts["slot9"].reasons[0]


def test_damaged_records_and_events_are_told_where_they_are_listed(line, run_module):
    damage(line, "devices", "record", "[]", lambda columns: columns.serial_number == "TF-1")
    damage(line, "events", "what", "\x1b", lambda columns: columns.device == 2)
    result = run_module("device_records_info", ledger=line, history=True)
    assert [one["serial_number"] for one in result["records"]] == ["TF-2"]
    assert "is damaged: it is not JSON" in result["records"][0]["history"][0]["damaged"]
    assert (
        "the record of TF-1 (slot1) in the ledger (device 1) is damaged: it is no object"
        in result["damaged"][0]["reason"]
    )
    assert "1 records in the ledger are damaged" in str(result["warnings"])


def test_blobs_and_numbers_where_text_was_are_told(sqlite, take, key):
    take(unit(1, key))
    for value in (b"\xff\x00", 5, 5.5):
        with sqlite3.connect(sqlite) as connection:
            connection.execute("UPDATE devices SET record = ?", [value])
        connection.close()
        assert "is damaged: it" in take(unit(1, key))["slot1"].reasons[0]
