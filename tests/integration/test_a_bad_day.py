# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rack on a bad day: every unit but two has a fault of its own, the good ones pass, and the summary names the others.

The tests stand in the order of the day and share its rack.
"""

from __future__ import annotations

import configparser
import json
import re
import threading
import time
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.tests.relay import Relay

GOOD, UNPLUGGED = "rack1-slot01", "rack1-slot09"
STRANGER, LOCKED_OUT, SILENT, GONE = (f"rack1-slot0{number}" for number in (2, 3, 4, 5))
GENUINE, CLONE = "rack1-slot06", "rack1-slot07"
UNLISTED = "rack1-slot08"


@pytest.fixture(scope="module")
def day(start_line):
    """The line with its faults, and the first run of the day."""
    line = start_line(9)
    path = line.rack.directory / "ek-list.jsonl"
    line.rack.break_(STRANGER, "tpm-owned-by-stranger")
    line.rack.break_(LOCKED_OUT, "tpm-lockout")
    line.rack.break_(SILENT, "tpm-not-answering")
    line.rack.break_(GONE, "tpm-gone")
    line.rack.break_(CLONE, "tpm-cloned-from", GENUINE)
    line.rack.break_(UNPLUGGED, "powered-off")
    shipped = path.read_text().splitlines(keepends=True)
    path.write_text("".join(shipped[:7] + shipped[8:]))
    line.first = line.play("site", "-e", "tpmfleet_tpm_timeout=5")
    return line


def test_the_good_unit_passes(day):
    """Faults beside it are not its own."""
    seen = day.seen()[GOOD]
    assert seen.enrolled and seen.owned and seen.assigned, day.first.printed


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (STRANGER, "owner_auth is not the owner authorization. Nothing was changed"),
        (LOCKED_OUT, "lockout"),
        (SILENT, "did not answer within 5 s"),
        (GONE, "No TPM answers"),
        (GENUINE, f"also found on TF-000007 ({CLONE})"),
        (CLONE, f"also found on TF-000006 ({GENUINE})"),
        (UNLISTED, "is on no list of a TPM maker"),
        (UNPLUGGED, "unreachable"),
    ],
)
def test_each_bad_unit_is_named_with_its_reason(day, unit, words):
    """One look at the summary says which to pull and why."""
    reason = day.first.reason(unit)
    assert words in reason, f"{reason!r} is what is said of {unit}"


def test_nothing_else_is_pulled(day):
    assert day.first.bad == {STRANGER, LOCKED_OUT, SILENT, GONE, GENUINE, CLONE, UNLISTED, UNPLUGGED}
    assert "LINE SUMMARY: 1 passed, 8 to pull" in day.first.printed


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (STRANGER, "owner_auth is not the owner authorization"),
        (LOCKED_OUT, "lockout"),
        (SILENT, "did not answer within 5 s"),
        (GONE, "No TPM answers"),
    ],
)
def test_what_failed_on_a_unit_is_in_its_story(day, run_module, unit, words):
    """Also of those that could not be read, so that the ledger does not know them yet."""
    serial = f"TF-{int(unit[-2:]):06}"
    lines = run_module("device_story_info", ledger=str(day.ledger), serial_number=serial)["lines"]
    failed = [line for line in lines if "FAILED on the device" in line]
    assert failed and words in failed[0], lines
    assert all(f"FAILED on the device: {unit}" not in line for line in failed)


def test_a_stopped_unit_is_neither_enrolled_nor_changed(day):
    """The two with one key above all: neither is enrolled."""
    seen = day.seen()
    for unit in (GENUINE, CLONE, UNLISTED):
        assert not seen[unit].enrollment and not seen[unit].owner_auth_set, unit
    stranger = json.loads((day.rack.device(STRANGER).directory / "stranger.json").read_text())
    for hierarchy, auth in stranger.items():
        assert day.tool(STRANGER, "tpm2_changeauth", "-c", hierarchy, "-p", auth, auth).returncode == 0


def test_what_is_mended_passes_the_next_run(day):
    """Mended in the rack, the list complete, run again: all is completed, and the good unit is only verified."""
    before = day.seen()[GOOD]
    for unit in (STRANGER, LOCKED_OUT, SILENT, GONE, CLONE, UNPLUGGED):
        day.rack.mend(unit)
    again = day.play("site")
    assert again.code == 0 and not again.bad, again.printed
    seen = day.seen()
    assert seen[GOOD] == before
    assert all(one.assigned and one.owned and one.enrolled for one in seen.values())
    assert day.play("site").changed == 0


def test_a_unit_that_loses_its_power_in_the_middle_is_noticed_by_its_connection(day, make_station, tmp_path):
    """Neither end of a connection is told. With the settings of ansible.cfg, but three seconds in place of fifteen."""
    settings = configparser.ConfigParser()
    settings.read(Path(__file__).parents[2] / "ansible.cfg")
    ssh_args = settings["ssh_connection"]["ssh_args"].replace("ServerAliveInterval=15", "ServerAliveInterval=3")
    described = json.loads((day.rack.directory / "rack.json").read_text())["devices"]
    unit = next(one for one in described if one["name"] == GOOD)
    relay = Relay([unit["ssh"]["port"]])
    known = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    port = relay.standing_for[unit["ssh"]["port"]]
    station = make_station(tmp_path, unit, ansible_host="127.0.0.1", ansible_port=port, ansible_ssh_common_args=known)
    begun = day.rack.device(GOOD).files / "root/begun"

    def lose_power():
        until = time.monotonic() + 60
        while not begun.exists() and time.monotonic() < until:
            time.sleep(0.05)
        relay.fall_silent()
        lost.append(time.monotonic())

    lost: list[float] = []
    losing = threading.Thread(target=lose_power)
    losing.start()
    work = {"ansible.builtin.shell": "touch /root/begun && exec sleep 600"}
    try:
        printed = station.play([work], succeeds=False, ANSIBLE_SSH_ARGS=ssh_args)
    finally:
        losing.join()
        relay.end()
    assert begun.exists() and re.search(rf"{GOOD} +: .*unreachable=1", printed), printed
    assert "Is it switched on and on the network?" in printed
    # Without these settings it would be as long as the work takes.
    assert time.monotonic() - lost[0] < 60
