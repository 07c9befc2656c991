# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger as a file and as a server's database: whose it is, who waits for whom, and what is said when it fails."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger import database
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import (
    Access,
    LedgerError,
    opened,
    password_in,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices

RECORD = {"host": "rack1-slot01", "serial_number": "TF-1"}
PASSWORD = "geheim-5tz"

# A station: waits for the word to go, judges one device, and is slow to finish.
STATION = """
import json, sys, time
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.judgement import Step
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.policy import CertificatePolicy
ledger, record = sys.argv[1], json.loads(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
begun = time.monotonic()
with opened(ledger, Access.WRITE) as connection:
    step = Step(connection, step="tpm_install", station=record["host"], at="now", list_policy="ignored",
                certificates=CertificatePolicy("ignored"))
    [verdict] = step.take([record]).values()
    inside = time.monotonic()
    time.sleep(0.3)
print(json.dumps({"reasons": verdict.reasons, "times": [begun, inside, time.monotonic()]}))
"""


def save(ledger, record=None, access=Access.WRITE):
    with opened(ledger, access) as connection:
        devices = Devices(connection)
        row = devices.save(None, record or RECORD)
        devices.write()
        return row


def known(ledger, access=Access.READ):
    with opened(ledger, access) as connection:
        devices = Devices(connection)
        return [devices.record(row) for row in devices.rows(100)]


# Whose it is.


def test_a_new_file_is_its_owners_only(sqlite):
    before = os.umask(0)
    try:
        save(sqlite)
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(sqlite).st_mode) == 0o600
    assert stat.S_IMODE(os.stat(os.path.dirname(sqlite)).st_mode) == 0o750


def test_a_url_for_sqlite_is_its_path(sqlite):
    save(f"sqlite:///{sqlite}")
    assert stat.S_IMODE(os.stat(sqlite).st_mode) == 0o600
    assert known(sqlite) == [RECORD]


def test_a_home_directory_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save("~/ledger.sqlite")
    assert (tmp_path / "ledger.sqlite").exists()


# What is kept.


def test_what_is_written_is_kept(ledger):
    save(ledger)
    assert known(ledger) == [RECORD]


@pytest.mark.parametrize("access", [Access.PREDICT, Access.READ])
def test_what_is_predicted_is_not_kept(ledger, access):
    save(ledger)
    save(ledger, {"host": "rack1-slot02", "serial_number": "TF-2"}, access)
    assert known(ledger) == [RECORD]


@pytest.mark.parametrize("access", [Access.PREDICT, Access.READ])
@pytest.mark.parametrize("how", ["{}", "sqlite:///{}"])
def test_a_file_that_is_not_there_is_not_made_to_look_at(sqlite, access, how):
    with opened(how.format(sqlite), access) as connection:
        devices = Devices(connection)
        assert devices.record(devices.save(None, RECORD)) == RECORD
    assert not os.path.exists(os.path.dirname(sqlite))


def test_no_byte_of_a_file_changes_in_check_mode(sqlite):
    save(sqlite)
    before = Path(sqlite).read_bytes()
    save(sqlite, {"host": "rack1-slot02"}, Access.PREDICT)
    assert Path(sqlite).read_bytes() == before
    assert os.listdir(os.path.dirname(sqlite)) == ["ledger.sqlite"]


def test_a_failure_half_way_takes_all_back(ledger):
    save(ledger)
    with pytest.raises(ZeroDivisionError), opened(ledger, Access.WRITE) as connection:
        devices = Devices(connection)
        devices.save(None, {"host": "rack1-slot02"})
        devices.write()
        raise ZeroDivisionError
    with (
        pytest.raises(LedgerError, match=r"serial_number.*Nothing was written"),
        opened(ledger, Access.WRITE) as connection,
    ):
        devices = Devices(connection)
        devices.save(None, {"host": "rack1-slot03"})
        devices.save(None, RECORD)
        devices.write()
    assert known(ledger) == [RECORD]


# Who waits for whom.


def test_two_stations_never_accept_one_key_for_two_devices(ledger, key):
    """Both begin at once, in a ledger that neither has made yet, and both units have proven it: one is a clone."""
    stations = []
    for number in (1, 2):
        proven = {"proven": key()["endorsement_key_sha256"]}
        record = json.dumps({"host": f"rack{number}", "serial_number": f"TF-{number}", **key(), **proven})
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        stations.append(subprocess.Popen([sys.executable, "-c", STATION, ledger, record], **pipes))
    assert [station.stdout.readline() for station in stations] == ["ready\n"] * 2
    for station in stations:
        station.stdin.write("go\n")
        station.stdin.flush()
    said = [station.communicate(timeout=60) for station in stations]
    results = sorted((json.loads(out) for out, errors in said if not errors), key=lambda one: one["times"][1])
    assert len(results) == 2, said
    winner, loser = results
    assert winner["reasons"] == []
    [reason] = loser["reasons"]
    assert reason.startswith("its endorsement key is already that of TF-")
    assert loser["times"][0] < winner["times"][2] <= loser["times"][1]
    assert len(known(ledger)) == 1


def test_a_reader_waits_for_nobody(ledger):
    save(ledger)
    found = []
    with opened(ledger, Access.WRITE) as connection:
        devices = Devices(connection)
        devices.save(None, {"host": "rack1-slot02"})
        devices.write()
        reader = threading.Thread(target=lambda: found.append(known(ledger)))
        reader.start()
        reader.join(timeout=20)
        assert found == [[RECORD]]


def test_a_station_that_never_ends_is_not_waited_for_for_ever(ledger, monkeypatch):
    save(ledger)
    monkeypatch.setattr(database, "LOCK_TIMEOUT_SECONDS", 1)
    told = []

    def second():
        with pytest.raises(LedgerError) as error:
            save(ledger, {"host": "rack1-slot02"})
        told.append(str(error.value))

    with opened(ledger, Access.WRITE):
        waiting = threading.Thread(target=second)
        waiting.start()
        waiting.join(timeout=20)
    assert "another station has been writing it for 1 s" in told[0]
    assert told[0].endswith("run again when it is done. Nothing was written.")


# What is said when it fails.


def test_a_station_that_is_lost_in_the_middle_of_a_batch_holds_the_others_up_for_a_moment(postgresql, monkeypatch):
    """Its machine has no power any more, and the server is told nothing: here it goes on after that, and is refused."""
    monkeypatch.setattr(database, "SILENCE_SECONDS", 1)
    ledger = postgresql.ledger()
    save(ledger)
    begun = time.monotonic()
    told = r"silent for 1 s .* taken for lost; run again\. Nothing was written"
    with pytest.raises(LedgerError, match=told) as refused, opened(ledger, Access.WRITE) as connection:
        lost = Devices(connection)
        lost.save(None, {"host": "rack1-slot02", "serial_number": "TF-2"})
        save(ledger, {"host": "rack1-slot03", "serial_number": "TF-3"})
        assert time.monotonic() - begun < 20
        lost.write()
    assert refused.value.passing
    assert sorted(one["host"] for one in known(ledger)) == ["rack1-slot01", "rack1-slot03"]


def test_the_ledger_of_another_release_is_left_alone(ledger):
    save(ledger)
    with opened(ledger, Access.WRITE) as connection:
        connection.execute(database.LEDGER.update().values(schema_version=7))
    for access in Access:
        with pytest.raises(LedgerError, match=r"schema version 7, and this version of the collection knows 3"):
            known(ledger, access)


@pytest.mark.parametrize("access", [Access.WRITE, Access.PREDICT])
def test_a_place_where_none_can_be_made_is_told_in_check_mode_too(tmp_path, access):
    (tmp_path / "file").write_text("")
    with pytest.raises(LedgerError, match=rf"The ledger {tmp_path}/file/sub/ledger cannot be made: .*ot a directory"):
        save(f"{tmp_path}/file/sub/ledger", access=access)


def test_a_directory_that_may_not_be_written_is_told_in_check_mode(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    with pytest.raises(LedgerError, match=rf"cannot be made: {tmp_path} may not be written"):
        save(f"{tmp_path}/sub/ledger", access=Access.PREDICT)


@pytest.mark.parametrize("access", list(Access))
def test_what_is_no_ledger_is_told(tmp_path, access):
    path = tmp_path / "list.csv"
    path.write_text("EK_PUB,TPM_SERIAL\n" * 1000)
    with pytest.raises(LedgerError, match=rf"The ledger {path} has no whole number of pages: it is none, or was cut"):
        known(str(path), access)
    path.write_text("EK_PUB,TPM_SERIA\n" * 512)
    with pytest.raises(LedgerError, match=rf"The ledger {path} cannot be used: file is not a database"):
        known(str(path), access)
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    for place, what in ((tmp_path, "a directory"), (fifo, r"a FIFO \(a named pipe\)"), (Path("/dev/zero"), "a device")):
        with pytest.raises(LedgerError, match=rf"The ledger {place} is {what}, not a file\."):
            known(str(place), access)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        (f"postgresql+psycopg://line:{PASSWORD}@127.0.0.1:1/ledger", r"ledger on 127.0.0.1 cannot be used: .*refused"),
        (f"postgresql+psycopg://line:{PASSWORD}@127.0.0.1:port/ledger", "is no URL that can be understood"),
        (f"postgresql+psycopg://line:a@{PASSWORD}@127.0.0.1/ledger", "is no URL that can be understood"),
        (f"line:{PASSWORD}@127.0.0.1:://ledger", "is no URL that can be understood"),
        (f"postgresql+none://line:{PASSWORD}@127.0.0.1/ledger", r"for want of the driver postgresql\+none"),
        (f"mysql://line:{PASSWORD}@127.0.0.1/ledger", "is in mysql, which is not supported"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:///file:ledger?uri=true", "names no file"),
    ],
)
def test_a_url_that_leads_nowhere_is_told_without_its_password(url, words):
    with pytest.raises(LedgerError, match=words) as error:
        save(url)
    assert PASSWORD not in str(error.value)


def test_a_wrong_password_is_not_told(postgresql):
    url = postgresql.url(f"{postgresql.GUARDED}:{PASSWORD}")
    with pytest.raises(LedgerError, match="postgres on this machine cannot be used: .*authentication failed") as error:
        save(url)
    assert PASSWORD not in str(error.value)


def test_a_missing_driver_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LedgerError, match=r"ledger on db cannot be opened for want of the driver postgresql\+psycopg"):
        save("postgresql+psycopg://line@db/ledger")


@pytest.mark.parametrize(
    ("ledger", "password"),
    [
        ("/var/lib/line/ledger.sqlite", None),
        ("postgresql+psycopg://line@db/ledger", None),
        ("postgresql+psycopg://line:a%40b@db/ledger", "a@b"),
        ("oracle://x:y@z", None),
    ],
)
def test_a_password_is_found_so_that_it_can_be_hidden(ledger, password):
    assert password_in(ledger) == password
