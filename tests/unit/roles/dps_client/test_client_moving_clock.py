# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A clock that is set while the client runs: nothing is signed, waited for or refused by what it showed before."""

from __future__ import annotations

import json
import re
import time

import pytest

YEAR = 365 * 86400
# The wall clock shows OFF seconds more. {when} happens while the TPM signs for the first time, which takes a while.
MOVED = """
from tpmfleet_dps_client.tpm import credential
shown, sign, off, turns = time.time, credential.sign, [{off}], []
time.time = lambda: shown() + off[0]
def slow(*given, **named):
    turns.append(1)
    result = sign(*given, **named)
    if len(turns) == 1:
        {when}
    return result
credential.sign = slow
"""


@pytest.fixture
def assigned(enrolled):
    assert enrolled.run("register", "--once").returncode == 0
    return enrolled


def expires_in(done):
    """Seconds for which a token that was just made is good."""
    assert done.returncode == 0, done.stderr
    return int(re.search(r"&se=(\d+)", done.stdout)[1]) - time.time()


@pytest.mark.parametrize("off", [-20 * YEAR, -60, 60, 5 * YEAR])
def test_a_clock_that_is_set_while_the_tpm_signs(assigned, off):
    """By NTP, in whichever direction: what counts is what it shows in the end."""
    done = assigned.run("token", fault=MOVED.format(off=off, when="off[0] = 0"))
    assert 3500 < expires_in(done) < 3610
    assert assigned.hub_accepts(done.stdout.strip())


def test_a_floor_that_another_process_moves_while_the_tpm_signs(assigned):
    """The clock stands in 1970, and all that is known of the time is old when the client starts."""
    keep = f"""
def keep(moment, path={str(assigned.state / "time-floor")!r}):
    with open(path, "w") as file:
        file.write(str(int(moment)))
    os.utime(path, (int(moment), int(moment)))
"""
    long_ago, learned = f"{keep}keep(1795478401)\n", "keep(shown())"
    done = assigned.run("token", fault=long_ago + MOVED.format(off=-56 * YEAR, when=learned))
    assert 3500 < expires_in(done) < 3610
    assert "clock of this device is wrong" in done.stderr


def test_a_tpm_that_takes_long_does_not_eat_into_the_token(assigned):
    """The time of its keys and its turn is over before the clock is read."""
    slow_key = """
from tpmfleet_dps_client import chip
primary, passed = chip._primary, [0.0]
def minutes(*given):
    passed[0] += 600
    return primary(*given)
chip._primary = minutes
shown, boot = time.time, time.clock_gettime
time.time = lambda: shown() + passed[0]
time.clock_gettime = lambda clock: boot(clock) + passed[0]
"""
    done = assigned.run("token", "--ttl", "900", fault=slow_key)
    assert 900 + 600 - 20 < expires_in(done) < 900 + 600 + 20


def test_a_clock_that_is_set_after_the_service_told_the_time(enrolled):
    """At the challenge it is 1970; before the token is made NTP comes, which the time that was told does not add to."""
    come = """
shown, off, real = time.time, [-56 * 365 * 86400], service.Service.call
time.time = lambda: shown() + off[0]
def call(self, *given, **named):
    answer = real(self, *given, **named)
    off[0] = 0
    return answer
service.Service.call = call
"""
    done = enrolled.run("register", "--once", fault=come)
    assert done.returncode == 0, done.stderr
    assert abs(enrolled.assignment()["assigned_at"] - time.time()) < 60
    assert abs((enrolled.state / "time-floor").stat().st_mtime - time.time()) < 60
    assert enrolled.hub_accepts(enrolled.run("token").stdout.strip())


@pytest.mark.parametrize("jump", [-30 * YEAR, 5 * YEAR])
def test_waits_do_not_follow_the_clock(enrolled, jump):
    """It is set while the client waits for its next attempt, and for the service to assign."""
    set_meanwhile = f"""
shown, sleep, off = time.time, time.sleep, [0.0]
time.time = lambda: shown() + off[0]
def wait(seconds):
    sleep(min(seconds, 0.1))
    off[0] = {jump} if not off[0] else 0.0
time.sleep = wait
"""
    enrolled.dps.control("POST", "faults", {"status": 503, "count": 1})
    begin = time.monotonic()
    done = enrolled.run("register", "--within", "30", fault=set_meanwhile)
    assert done.returncode == 0, done.stderr
    assert time.monotonic() - begin < 15
    assert abs(enrolled.assignment()["assigned_at"] - time.time()) < 60


def test_a_date_in_retry_after_is_one_of_the_service(enrolled, portal):
    """Five minutes from its own Date, whatever this device's clock shows."""
    enrolled.configuration["global_endpoint"] = portal(
        status=503,
        body="{}",
        date="Thu, 26 Nov 2026 12:00:00 GMT",
        headers={"Retry-After": "Thu, 26 Nov 2026 12:05:00 GMT"},
    )
    note = "real = time.sleep\ndef note(seconds):\n    print('waited', seconds)\n    os._exit(0)\ntime.sleep = note"
    done = enrolled.run("register", fault=note)
    assert 300 <= float(re.search(r"Next attempt in (\d+) s", done.stderr)[1]) <= 600, done.stderr


def test_the_status_tells_the_best_known_time(assigned):
    """Not the one of a clock that stands in 1970."""
    done = assigned.run("register", "--once", fault="shown = time.time\ntime.time = lambda: 60.0")
    assert done.returncode == 0, done.stderr
    assert abs(json.loads(assigned.run("status", "--json").stdout)["updated_at"] - time.time()) < 120
