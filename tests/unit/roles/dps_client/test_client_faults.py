# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong in the field, and that each is told in words and survived."""

from __future__ import annotations

import json
import subprocess

import pytest

# How long it is waited is another test's.
IMPATIENT = "wait = time.sleep\ntime.sleep = lambda seconds: wait(min(seconds, 0.1))"


def test_a_device_that_is_not_enrolled_says_so_and_registers_once_it_is(device):
    done = device.run("register", "--once")
    assert done.returncode == 77
    assert "not enrolled" in done.stderr
    assert json.loads(device.run("status", "--json").stdout)["state"] == "refused"
    device.enroll()
    assert device.run("register", "--once").returncode == 0


def test_a_disabled_enrollment_is_told(device):
    device.enroll(provisioningStatus="disabled")
    done = device.run("register", "--once")
    assert done.returncode == 77
    assert "disabled" in done.stderr


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backof_cap", 3),
        ("backoff_base", 0),
        ("backoff_cap", -1),
        ("network_timeout", "long"),
        ("refused_delay", True),
        ("ask_hub", 1),
        ("tcti", None),
        ("id_scope", ""),
        ("global_endpoint", "http://dps.example"),
        ("global_endpoint", "https://[dps"),
    ],
)
def test_a_broken_configuration_is_named(enrolled, name, value):
    enrolled.configuration[name] = value
    done = enrolled.run("register", "--once", timeout=20)
    assert done.returncode != 0
    assert name in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "fault",
    [
        {"status": 500},
        {"status": 503, "retry_after": 1},
        {"status": 429, "retry_after": 1},
        {"drop": "before"},
        {"drop": "after"},
        {"delay": 1.5},
    ],
    ids=lambda fault: "-".join(f"{name}-{value}" for name, value in fault.items()),
)
@pytest.mark.parametrize("path", ["/register", "/operations/"], ids=["register", "poll"])
def test_a_service_that_stumbles(enrolled, fault, path):
    """Each of its answers may be the one that is missing; the device ends assigned."""
    enrolled.configuration["network_timeout"] = 1
    enrolled.dps.control("POST", "faults", {"path": path, "count": 2, **fault})
    done = enrolled.run("register", fault=IMPATIENT)
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    assert enrolled.dps.control("GET", "faults") == []
    assert enrolled.hub_accepts(enrolled.run("token").stdout.strip())


def test_what_retry_after_asks_for_is_waited(enrolled):
    enrolled.dps.control("POST", "faults", {"status": 429, "retry_after": 7})
    note = "real = time.sleep\ntime.sleep = lambda seconds: (print('waited', seconds), real(0.1))"
    done = enrolled.run("register", fault=note)
    assert done.returncode == 0, done.stderr
    assert "throttled" in done.stderr
    assert float(done.stdout.split()[1]) >= 7


def test_somebody_who_waits_is_not_kept_beyond_the_time(device):
    """Within it the service's Retry-After is heeded, a refusal ends it at once, and the rest is for the next boot."""
    assert device.run("register", "--within", "30").returncode == 77
    device.enroll()
    device.dps.control("POST", "faults", {"status": 503, "retry_after": 3600})
    done = device.run("register", "--within", "30", timeout=25)
    assert done.returncode == 75
    assert json.loads(device.run("status", "--json").stdout)["next_attempt_at"] is None
    device.dps.control("POST", "faults", {"status": 503, "count": 2})
    assert device.run("register", "--within", "30").returncode == 0


def test_two_at_once_take_turns(enrolled):
    """The service is asked by one of them; the other finds the work done."""
    enrolled.run("status")
    configuration = str(enrolled.directory / "config.json")
    command = ["/usr/bin/python3", str(enrolled.program), "--config", configuration, "register"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _turn in range(2)]
    said = sorted(process.communicate(timeout=60)[1].split()[0] for process in both)
    assert said == ["Already", "Assigned"]
