# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An assigned device, run unattended, asks its hub whether it is let in, and registers anew where it is not."""

from __future__ import annotations

import json
import time

import pytest


@pytest.fixture
def assigned(enrolled, hub, proxy):
    """An assigned device that reaches its hub by the hub's own name."""
    assert enrolled.run("register").returncode == 0
    enrolled.configuration.update(ask_hub=True, proxy=proxy.address)
    proxy.routes[enrolled.assignment()["assigned_hub"]] = hub.https_port
    return enrolled


def hold(device, **changes):
    """Puts something else in what the device holds."""
    (device.state / "assignment.json").write_text(json.dumps({**device.assignment(), **changes}))


def roll_the_key(device, *, hours_ago):
    """The hub has another key than the device, whose assignment is so old."""
    before = device.assignment()
    device.configuration["ask_hub"] = False
    assert device.run("reprovision").returncode == 0
    device.configuration["ask_hub"] = True
    hold(device, key=before["key"], assigned_at=int(time.time()) - 3600 * hours_ago)


def test_a_hub_that_lets_the_device_in_changes_nothing(assigned, proxy):
    before = assigned.assignment()
    done = assigned.run("register")
    assert done.returncode == 0
    assert "nothing to do." in done.stderr
    assert proxy.asked == [before["assigned_hub"] + ":443"]
    assert assigned.assignment() == before


def test_a_hub_that_refuses_the_device_is_a_reason_to_register_anew(assigned):
    roll_the_key(assigned, hours_ago=2)
    done = assigned.run("register")
    assert done.returncode == 0, done.stderr
    assert "The hub refuses this device: HTTP 401: ErrorCode:IotHubUnauthorizedAccess" in done.stderr
    assert assigned.hub_accepts(assigned.run("token").stdout.strip())
    assert "nothing to do." in assigned.run("register").stderr


def test_a_hub_that_does_not_know_the_device(assigned):
    """As after it was deleted there, or moved to another hub by people."""
    hold(assigned, device_id="gone", assigned_at=0)
    done = assigned.run("register")
    assert "HTTP 404" in done.stderr
    assert assigned.assignment()["device_id"] == assigned.registration_id


def test_a_refusal_just_after_a_registration_is_told_and_not_answered_by_another(assigned):
    """Else a device that the hub keeps out would register at each of its restarts."""
    roll_the_key(assigned, hours_ago=0)
    before = assigned.assignment()
    done = assigned.run("register")
    assert done.returncode == 0
    assert "just after a registration: HTTP 401" in done.stderr
    assert assigned.assignment() == before


@pytest.mark.parametrize("answer", [None, {"status": 404, "body": "<html>"}, {"status": 503}], ids=str)
def test_a_hub_that_cannot_be_asked_is_no_reason(assigned, portal, proxy, answer):
    """No way to it, or something that is not the hub."""
    hold(assigned, assigned_at=0)
    before = assigned.assignment()
    port = int(portal(**answer).rpartition(":")[2]) if answer else 9
    proxy.routes[before["assigned_hub"]] = port
    done = assigned.run("register")
    assert done.returncode == 0
    assert "The hub was not asked" in done.stderr
    assert assigned.assignment() == before
    assert json.loads(assigned.run("status", "--json").stdout)["state"] == "assigned"


def test_a_token_that_a_wrong_clock_made_is_made_again(assigned, wrong_clock):
    """What the service told at registration is long past, so the first token is over when it is made."""
    hold(assigned, assigned_at=0)
    before = assigned.assignment()
    (assigned.state / "time-floor").unlink()
    done = assigned.run("register", environment=wrong_clock(60))
    assert done.returncode == 0, done.stderr
    assert "nothing to do." in done.stderr
    assert assigned.assignment() == before


def test_who_waits_for_the_answer_does_not_wait_for_the_hub(assigned, proxy):
    assert assigned.run("register", "--within", "20").returncode == 0
    assert assigned.run("register", "--once").returncode == 0
    assert proxy.asked == []


def test_a_look_that_finds_nothing_new_writes_nothing(assigned, proxy):
    """For years, daily and at each power-up; also where the hub cannot be asked."""
    for route in (None, 9):
        if route:
            proxy.routes[assigned.assignment()["assigned_hub"]] = route
        assert assigned.run("register").returncode == 0
        found = {path.name: path.lstat().st_mtime_ns for path in assigned.state.iterdir() if path.name != "time-floor"}
        assert assigned.run("register").returncode == 0
        after = {path.name: path.lstat().st_mtime_ns for path in assigned.state.iterdir() if path.name != "time-floor"}
        assert after == found
