# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a look-up, a batch and a count cost in a ledger of a million devices, in SQLite and in PostgreSQL.

Prints one line of JSON a database. The ledger has the records of an earlier release, in the size of real ones, and is
brought to the present schema as any other. Told are the seconds of that, the milliseconds of a look-up by each name
(the median of many, each of another device), of a story, of a batch of 50 that is written, and the seconds of a count,
of a selection of a few devices among all, and of the same in an inventory's words.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import hashlib
import importlib.util
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import sqlalchemy
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.counts import counts
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import (
    DEVICES,
    EVENTS,
    LEDGER,
    LISTED_KEYS,
    METADATA,
    RETIRED_KEYS,
    Access,
    opened,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.judgement import Step
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.reading import each_record, failures
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.selection import Selection
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.policy import CertificatePolicy
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding

COLLECTION = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

import bench_scale  # noqa: E402

AT_A_TIME = 5000
LOOK_UPS = 300
NAMES = ("serial_number", "device_id", "host", "registration_id", "endorsement_key_sha256")
REASON = "its endorsement key 0123456789abcdef… is on no list of a TPM maker that was taken in (step 1)"


def tool(*path: str):
    """A module of the tests, which are no package."""
    place = COLLECTION.joinpath("tests", *path)
    specification = importlib.util.spec_from_file_location(f"tpmfleet_bench_{place.stem}", place)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class Fleet:
    """Made-up devices, each told by its number, as schema 1 has them."""

    def __init__(self, count: int) -> None:
        self.count = count
        maker = tool("unit", "plugins", "conftest.py").TpmMaker("Bench")
        key = rsa.generate_private_key(65537, 2048).public_key()
        # Some for all: nobody looks at what they say, and to sign a million takes half an hour.
        self._certificates = [
            base64.b64encode(maker.certify(key, days=(-1, 400 + 30 * month)).public_bytes(Encoding.DER)).decode()
            for month in range(100)
        ]

    @staticmethod
    def key(number: int) -> dict:
        """What a record has of an endorsement key."""
        modulus = b"".join(hashlib.sha256(b"%d/%d" % (number, part)).digest() for part in range(8))
        public = bench_scale.endorsement_key(int.from_bytes(b"\xc0" + modulus[1:-1] + b"\x01", "big"))
        told = bench_scale.derived(public)
        return {
            "endorsement_key": told["public"],
            **{f"endorsement_key_{name}": told[name] for name in ("sha256", "name")},
            "registration_id": told["registration_id"],
        }

    def record(self, number: int) -> dict:
        steps = ("software_install", "warehouse", "field_activation")[: 1 + number % 3]
        record = {
            "record_version": 1,
            "host": f"rack{number // 50}-slot{number % 50:02}",
            "serial_number": f"TF-{number:07}",
            "device_id": f"device-{number:07}",
            **self.key(number),
            "endorsement_key_certificate": self._certificates[number % len(self._certificates)],
            "dps_id_scope": f"0ne0000{number % 7:04}",
            "maker": f"Maker {number % 5}",
            "batch": f"2026-{number % 400:03}",
            "tpm_type": "discrete",
            "ownership": {"profile": "fleet", "key_version": 2 if number % 1000 == 0 else 1, "owner_auth_set": True},
            "steps": {
                step: {
                    "at": f"2026-{1 + number % 12:02}-{1 + number % 28:02}T0{place}:00:00Z",
                    "station": f"line-{number % 20}",
                    "outcome": {"ownership": "done", "enrollment": "done"},
                }
                for place, step in enumerate(steps)
            },
        }
        if number % 50 == 0:
            record["decommission"] = {"done": "2026-11-01T00:00:00Z"}
        return record

    def rows(self, number: int) -> tuple[dict, list[dict], dict]:
        """(The row of its device, those of its events, that of its key on a list.)"""
        record = self.record(number)
        row = {"id": number + 1, **{name: record[name] for name in NAMES}, "record": json.dumps(record, sort_keys=True)}
        events = [
            {
                "device": number + 1,
                "host": record["host"],
                "step": step,
                "at": said["at"],
                "station": said["station"],
                "what": json.dumps({"outcome": said["outcome"], "state": "done"}, sort_keys=True),
            }
            for step, said in record["steps"].items()
        ]
        if number % 20 == 0:
            stopped = json.dumps({"reasons": [REASON], "state": "stopped"})
            events.append({**events[0], "at": f"2026-11-{1 + number // 20 % 28:02}T08:00:00Z", "what": stopped})
        entry = {name: record[name] for name in ("maker", "batch", "endorsement_key", "registration_id")}
        listed = {
            "endorsement_key_sha256": record["endorsement_key_sha256"],
            "maker": record["maker"],
            "batch": record["batch"],
            "entry": json.dumps(entry, sort_keys=True),
            "taken_in": f"2026-01-{1 + number % 28:02}T00:00:00Z",
        }
        return row, events, listed

    def fill(self, url: str) -> None:
        """Writes them into an empty database, in schema 1."""
        engine = sqlalchemy.create_engine(url)
        tables = (LEDGER, DEVICES, LISTED_KEYS, RETIRED_KEYS, EVENTS)
        with engine.begin() as connection:
            METADATA.create_all(connection, tables=tables)
            connection.execute(sqlalchemy.text("DROP INDEX ix_listed_keys_taken_in"))
            connection.execute(LEDGER.insert().values(schema_version=1))
            for first in range(0, self.count, AT_A_TIME):
                found = [self.rows(number) for number in range(first, min(first + AT_A_TIME, self.count))]
                connection.execute(DEVICES.insert(), [row for row, _events, _listed in found])
                connection.execute(EVENTS.insert(), [event for _row, events, _listed in found for event in events])
                connection.execute(LISTED_KEYS.insert(), [listed for _row, _events, listed in found])
            if engine.dialect.name == "postgresql":
                highest = "SELECT setval(pg_get_serial_sequence('devices', 'id'), (SELECT max(id) FROM devices))"
                connection.execute(sqlalchemy.text(highest))
        if engine.dialect.name == "postgresql":
            # As its own process does some time after so much was written.
            with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                connection.execute(sqlalchemy.text("VACUUM ANALYZE"))
        engine.dispose()


@contextlib.contextmanager
def taking(told: dict, what: str, *, digits: int = 2):
    """Notes in *told* how many seconds *what* takes."""
    begin = time.monotonic()
    yield
    told[what] = round(time.monotonic() - begin, digits)


def look_ups(ledger: str, fleet: Fleet, told: dict) -> None:
    """The milliseconds of a look-up by each name, and of a story, in a ledger that is open already and opened anew."""
    chosen = random.Random(1)
    with opened(ledger, Access.READ) as connection:
        for name in NAMES:
            taken = []
            for _turn in range(LOOK_UPS):
                value = fleet.record(chosen.randrange(fleet.count))[name]
                devices = Devices(connection)
                begin = time.monotonic()
                row = devices.other_row_with(name, value, None)
                devices.record(row)
                taken.append(time.monotonic() - begin)
            told[f"ms_look_up_{name}"] = round(statistics.median(taken) * 1000, 2)
        stories = []
        for _turn in range(LOOK_UPS):
            row = 1 + chosen.randrange(fleet.count)
            begin = time.monotonic()
            Devices(connection).history(row)
            stories.append(time.monotonic() - begin)
        told["ms_story"] = round(statistics.median(stories) * 1000, 2)


def batch(ledger: str, fleet: Fleet, told: dict) -> None:
    """A step that verifies 50 devices."""
    records = [{name: fleet.record(number)[name] for name in ("host", "serial_number")} for number in range(70, 120)]
    with taking(told, "s_batch_of_50", digits=3), opened(ledger, Access.WRITE) as connection:
        step = Step(
            connection,
            step="warehouse",
            station="line-1",
            at="2026-11-25T08:00:00Z",
            list_policy="ignored",
            certificates=CertificatePolicy("ignored"),
        )
        step.take(records)


def select(ledger: str, told: dict, what: str, **filters) -> None:
    """The seconds of a selection, and how many it has."""
    selection = Selection(filters, now=datetime(2026, 11, 27, tzinfo=timezone.utc))
    with taking(told, f"s_{what}"), opened(ledger, Access.READ) as connection:
        failed = failures(connection, selection) if selection.of_failures else None
        rows = [
            row for row, _record in each_record(connection, [], selection) if failed is None or row in failed.of_row
        ]
    told[f"n_{what}"] = len(rows)


def measured(database: str, ledger: str, url: str, fleet: Fleet) -> dict:
    """What is told of one database."""
    told: dict = {"database": database, "devices": fleet.count}
    with taking(told, "s_fill"):
        fleet.fill(url)
    with taking(told, "s_upgrade"), opened(ledger, Access.WRITE):
        pass
    if database == "postgresql":
        engine = sqlalchemy.create_engine(url)
        with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(sqlalchemy.text("VACUUM ANALYZE"))
        engine.dispose()
    look_ups(ledger, fleet, told)
    batch(ledger, fleet, told)
    for turn in ("first", "again"):
        with taking(told, f"s_count_{turn}"), opened(ledger, Access.READ) as connection:
            assert counts(connection)["devices"] == fleet.count
    select(ledger, told, "key_version_2", key_version=2)
    select(ledger, told, "boxed_on_a_day", step="warehouse", after="2026-03-03", before="2026-03-04")
    select(ledger, told, "of_a_shipment", maker="Maker 1", batch="2026-001")
    select(
        ledger,
        told,
        "failed_on_a_day",
        failed_step="software_install",
        failed_after="2026-11-24",
        failed_before="2026-11-25",
    )
    return told


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=1_000_000)
    parser.add_argument("--databases", nargs="+", default=["sqlite", "postgresql"])
    parser.add_argument("--directory", default=None, help="where there is room: some 5 kB a device and database")
    options = parser.parse_args()
    fleet = Fleet(options.devices)
    place = Path(tempfile.mkdtemp(prefix="bench-ledger-", dir=options.directory))
    try:
        if "sqlite" in options.databases:
            path = str(place / "ledger.sqlite")
            print(json.dumps(measured("sqlite", path, f"sqlite:///{path}", fleet)), flush=True)
            shutil.rmtree(place)
            place.mkdir()
        if "postgresql" in options.databases:
            place.chmod(0o755)
            (place / "server").mkdir()
            server = tool("postgresql.py").PostgreSql(place / "server")
            server.start()
            try:
                url = server.ledger()
                print(json.dumps(measured("postgresql", url, url, fleet)), flush=True)
            finally:
                server.stop()
    finally:
        shutil.rmtree(place)


if __name__ == "__main__":
    sys.exit(main())
