# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A device whose clock is wrong, for Python and for OpenSSL alike: a library stands between them and the kernel."""

from __future__ import annotations

import email.utils
import json
import os
import time

import pytest

RELEASED = 1795478400


@pytest.mark.parametrize(
    "moment",
    [60, 946684800, RELEASED + 3600, RELEASED + 50 * 365 * 86400],
    ids=["never set", "2000", "behind the certificate", "absurd"],
)
def test_a_clock_that_cannot_be_right_is_not_believed(enrolled, wrong_clock, moment):
    """Dates of certificates and tokens come from the service then."""
    done = enrolled.run("register", "--once", environment=wrong_clock(moment))
    assert done.returncode == 0, done.stderr
    assert abs(enrolled.assignment()["assigned_at"] - time.time()) < 120
    assert enrolled.hub_accepts(enrolled.run("token").stdout.strip())


def test_the_time_that_the_service_told_outlives_the_power(enrolled, wrong_clock):
    """At the next boot the clock is wrong again and nobody is asked, yet a token is one that the hub takes today."""
    assert enrolled.run("register", "--once").returncode == 0
    done = enrolled.run("token", environment=wrong_clock(60))
    assert "clock of this device is wrong" in done.stderr
    assert enrolled.hub_accepts(done.stdout.strip())


def test_a_clock_that_is_ahead_is_told(enrolled, wrong_clock):
    """It may be right, so the certificate counts as expired."""
    done = enrolled.run("register", "--once", environment=wrong_clock(time.time() + 5 * 365 * 86400))
    assert done.returncode == 75
    assert "Is the clock wrong?" in done.stderr
    assert enrolled.run("register", "--once").returncode == 0


def test_an_expired_certificate_is_refused_also_by_a_clock_that_is_behind(enrolled, wrong_clock, portal):
    """Chain and name are right, and the time is the service's own."""
    told = email.utils.formatdate(time.time() + 10 * 365 * 86400, usegmt=True)
    enrolled.configuration["global_endpoint"] = portal(date=told)
    done = enrolled.run("register", "--once", environment=wrong_clock(60))
    assert done.returncode == 75
    assert "is valid from" in done.stderr


def test_a_service_cannot_set_the_clock_beyond_its_own_certificate(enrolled, portal):
    """Else one wrong Date would end all trust in certificates for ever."""
    good = enrolled.configuration["global_endpoint"]
    told = email.utils.formatdate(time.time() + 10 * 365 * 86400, usegmt=True)
    challenge = json.dumps({"authenticationKey": "AAAA"})
    enrolled.configuration["global_endpoint"] = portal(status=401, body=challenge, date=told)
    assert enrolled.run("register", "--once").returncode == 75
    floor = enrolled.state / "time-floor"
    assert not floor.exists() or floor.stat().st_mtime < time.time() + 120
    enrolled.configuration["global_endpoint"] = good
    assert enrolled.run("register", "--once").returncode == 0


@pytest.mark.parametrize("content", [b"", b"2400000000", b"\xff" * 8, b"9" * 5000], ids=len)
def test_a_kept_time_that_is_to_come_is_not_believed_for_ever(enrolled, content):
    """As a damaged disk may say it: until then no certificate would be valid."""
    floor = enrolled.state / "time-floor"
    floor.write_bytes(content)
    os.utime(floor, (2_390_000_000, 2_390_000_000))
    assert enrolled.run("register", "--once").returncode == 0
    assert abs(floor.stat().st_mtime - time.time()) < 120 and int(floor.read_text()) == int(floor.stat().st_mtime)
