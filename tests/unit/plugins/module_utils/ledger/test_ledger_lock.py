# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long a batch keeps the other stations waiting, at a PostgreSQL that is a millisecond away.

The time is put together of what it is made of: each way there and back, and what station and server compute, by the
processor's own clocks. Others are at work on the machine that tests, and a clock on the wall would tell of them; how
fast its processor is meanwhile is measured beside each batch.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

import pytest
import sqlalchemy
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.judgement import Step
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.policy import CertificatePolicy

DEVICES = 300
ONE_WAY_SECONDS = 0.0005
MOST_SECONDS = 0.2
RUNS = 5


@pytest.fixture
def far(postgresql, relay):
    """Stands before a server that is a millisecond away, there and back."""
    far = relay([postgresql.socket], one_way_seconds=ONE_WAY_SECONDS)
    yield far
    far.end()


class Held:
    """What passes while a batch has the lock: seconds of computing here and in the server, and ways there and back."""

    def __init__(self, turns) -> None:
        self._turns = turns

    def _now(self, backend: int) -> dict[str, float]:
        # The first field is the time on a processor, in nanoseconds (Linux, Documentation/scheduler/sched-stats).
        server = int(Path(f"/proc/{backend}/schedstat").read_text().split()[0]) / 1e9
        return {"station": time.thread_time(), "server": server, "turns": self._turns()}

    def begin(self, _connection, cursor, statement, *_others) -> None:
        if "pg_advisory_xact_lock" in statement:
            self._backend = cursor.connection.info.backend_pid
            self._before = self._now(self._backend)

    def end(self, _connection, _record) -> None:
        now = self._now(self._backend)
        self.took = {name: now[name] - before for name, before in self._before.items()}

    @property
    def seconds(self) -> float:
        computing = (self.took["station"] + self.took["server"]) / slowness()
        return computing + 2 * ONE_WAY_SECONDS * self.took["turns"]


@pytest.fixture
def held(far, postgresql):
    """From the moment at which a batch has the lock until its transaction has ended."""
    held = Held(lambda: far.turns[postgresql.socket])
    listened = [
        (sqlalchemy.engine.Engine, "after_cursor_execute", held.begin),
        (sqlalchemy.pool.Pool, "checkin", held.end),
    ]
    for one in listened:
        sqlalchemy.event.listen(*one)
    yield held
    for one in listened:
        sqlalchemy.event.remove(*one)


def slowness() -> float:
    """How many times slower the processor is now than one that takes 70 ms for work of this kind; at least 1."""
    begun = time.thread_time()
    for number in range(2000):
        text = json.dumps({f"name-{one}": f"value {number} {one}" for one in range(40)}, sort_keys=True)
        json.loads(text)
        hashlib.sha256(text.encode()).hexdigest()
    return max(1.0, (time.thread_time() - begun) / 0.07)


def test_a_rack_of_300_holds_the_others_up_for_less_than_a_fifth_of_a_second(postgresql, far, held, key):
    address = f"host=127.0.0.1&port={far.standing_for[postgresql.socket]}"
    ledger = postgresql.ledger().replace(f"host={postgresql.directory}", address)
    told: dict[str, list[dict]] = {}
    for run in range(RUNS):
        units = [
            {"host": f"r{run}s{one}", "serial_number": f"TF-{run}-{one}", **key(1000 * run + one)}
            for one in range(DEVICES)
        ]
        units = [{**one, "registration_id": f"{one['registration_id']}-{run}"} for one in units]
        proven = [
            {**one, "proven": one["endorsement_key_sha256"], "outcome": {"ownership": "done", "enrollment": "done"}}
            for one in units
        ]
        for what, records in (("new", units), ("with an outcome", proven), ("again", proven)):
            with opened(ledger, Access.WRITE) as connection:
                policy = CertificatePolicy("ignored")
                step = Step(
                    connection,
                    step="software_install",
                    station="line-1",
                    at="2026-11-24T12:00:00Z",
                    list_policy="ignored",
                    certificates=policy,
                    operator="ada",
                    run_id="night-7",
                )
                assert not any(one.reasons for one in step.take(records).values())
            told.setdefault(what, []).append({**held.took, "seconds": held.seconds})
    least = {what: min(run["seconds"] for run in runs) for what, runs in told.items()}
    assert all(seconds < MOST_SECONDS for seconds in least.values()), told
    # A network, a station and a server that are not there would prove nothing.
    assert all(run["turns"] > 8 and run["station"] > 0 and run["server"] > 0 for runs in told.values() for run in runs)
