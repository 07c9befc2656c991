# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A disk without room: met before the service is asked, and no obstacle once it has assigned."""

from __future__ import annotations

import subprocess

import pytest

# Everything but the room that was reserved is gone by the time that the service answers.
FILLS_UP_MEANWHILE = """
from tpmfleet_dps_client import state
real = state.State.begin_registering
def begin(self):
    real(self)
    with open(self.path / "fill", "wb", buffering=0) as stream:
        try:
            while True:
                stream.write(b" " * 512)
        except OSError:
            pass
state.State.begin_registering = begin
"""


@pytest.fixture
def small(enrolled):
    """The device, with room for an assignment and not for two."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(enrolled.state)], check=True)
    yield enrolled
    subprocess.run(["umount", str(enrolled.state)], check=True)


def fill(device):
    """Leaves no room at all."""
    with (device.state / "fill").open("wb", buffering=0) as stream, pytest.raises(OSError, match="No space"):
        while True:
            stream.write(b" " * 512)


def test_a_full_disk_is_met_before_the_service_is_asked_to_assign(small):
    fill(small)
    assert "No space left" in small.run("selftest").stderr
    done = small.run("register", "--once")
    assert done.returncode == 75
    assert "No space left" in done.stderr
    calls = small.dps.control("GET", "stats")["calls"]
    assert not (small.state / "registering").exists()
    (small.state / "fill").unlink()
    assert small.run("register", "--once").returncode == 0
    assert small.dps.control("GET", "stats")["calls"] != calls
    assert small.hub_accepts(small.run("token").stdout.strip())


def test_a_disk_that_fills_up_meanwhile_does_not_lose_the_assignment(small):
    done = small.run("register", "--once", fault=FILLS_UP_MEANWHILE)
    assert done.returncode == 0, done.stderr
    assert (small.state / "fill").stat().st_size > 0
    assert small.hub_accepts(small.run("token").stdout.strip())
    assert "nothing to do" in small.run("register", "--once").stderr


def test_a_full_disk_does_not_lose_what_is_held(small):
    """Reprovisioning fails, and the key before it is still the one that the hub takes."""
    assert small.run("register", "--once").returncode == 0
    before = (small.state / "assignment.json").read_bytes()
    fill(small)
    assert small.run("reprovision", "--once").returncode == 75
    assert (small.state / "assignment.json").read_bytes() == before
    assert small.hub_accepts(small.run("token").stdout.strip())
