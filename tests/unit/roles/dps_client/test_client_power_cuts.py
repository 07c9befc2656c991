# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The power goes at every step; the next boot always ends assigned, as the same device."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time

import pytest

# The power goes just before the N-th of these: what changes the disk, what is said to and heard from the service, and
# what the TPM is asked for. Waiting is cut short.
POWER_CUT = """
from tpm2_pytss import ESAPI
from tpmfleet_dps_client import https
from tpmfleet_dps_client.tpm import credential
left = {number}
def cut(owner, name):
    real = getattr(owner, name)
    def call(*given, **named):
        global left
        left -= 1
        if left == 0:
            os._exit(99)
        return real(*given, **named)
    setattr(owner, name, call)
for name in ("open", "write", "fsync", "rename", "ftruncate", "unlink", "utime"):
    cut(os, name)
for name in ("connect", "request", "getresponse"):
    cut(https.Connection, name)
for name in ("activate_credential", "import_key", "sign"):
    cut(credential, name)
cut(ESAPI, "evict_control")
wait = time.sleep
time.sleep = lambda seconds: wait(min(seconds, 0.05))
"""
STEPS = 30


@pytest.fixture
def quick(enrolled):
    """The service assigns at once."""
    enrolled.dps.settings(assignment_seconds=0.02)
    return enrolled


def converges(device):
    """The next boot, which nothing disturbs, ends with one identity, which its hub knows."""
    device.tpm.power_cycle()
    done = device.run("register", fault=POWER_CUT.format(number=0))
    assert done.returncode == 0, done.stderr
    assert device.hub_accepts(device.run("token").stdout.strip())
    held = device.dps.call("GET", f"/registrations/{device.registration_id}")
    wanted = (device.registration_id, device.assignment()["device_id"], device.assignment()["assigned_hub"])
    assert wanted == (held["registrationId"], held["deviceId"], held["assignedHub"])
    if device.configuration.get("persistent_handle"):
        assert device.hub_key_is_at(device.configuration["persistent_handle"])
    left = {path.name for path in device.state.iterdir()}
    assert left >= {"assignment.json", "lock", "status.json", "time-floor"}
    assert "registering" not in left


@pytest.mark.parametrize("held", [False, True], ids=["first", "again, the key persisted"])
def test_every_step_may_be_the_last(quick, held):
    if held:
        quick.configuration["persistent_handle"] = "0x81000100"
        assert quick.run("register").returncode == 0
    number = 0
    while True:
        number += 1
        done = quick.run("reprovision" if held else "register", fault=POWER_CUT.format(number=number))
        if done.returncode == 0:
            break
        assert done.returncode == 99, done.stderr
        converges(quick)
        if not held:
            assert quick.run("forget").returncode == 0
    # Fewer would mean that the cuts do not reach what the client does.
    assert number > STEPS
    assert {path.name for path in quick.state.iterdir()} == {"assignment.json", "lock", "status.json", "time-floor"}


# Says when the service may roll the hub key, and when the registration is over.
WORDS = """
from tpmfleet_dps_client.service import Service
call = Service.call
def told(self, method, path, *, body=None, authorization=None):
    if method == "PUT" and authorization:
        os.write(2, b"The key may be rolled.")
    return call(self, method, path, body=body, authorization=authorization)
Service.call = told
"""
# Files of which the loss costs nothing.
WORTHLESS = ("lock", "status.json", "status.json.new", "registering.new", "time-floor.new")


@pytest.fixture
def recorded(quick, power_cut):
    """A function: what a run of the client does to the disk."""

    def run(*arguments):
        recording = power_cut.record(quick.command(*arguments, fault=WORDS), roots=[quick.state])
        assert recording.done.returncode == 0, recording.done.stderr
        return recording

    return run


@pytest.mark.parametrize("held", [False, True], ids=["first", "again"])
def test_a_power_cut_loses_what_was_not_synced(quick, recorded, held):
    """From the moment on when the service may roll the key, every disk that a boot may find leads to the new one."""
    if held:
        assert quick.run("register").returncode == 0
    recording = recorded("reprovision" if held else "register")
    assert recording.unsynced(when_said="The key may be rolled.", but=WORTHLESS) == []
    assert recording.unsynced(when_said="Assigned to", but=WORTHLESS) == []
    assert recording.unsynced(but=WORTHLESS) == []
    states = {}
    for cut in recording.cuts():
        named = {path.rpartition("/")[2]: node[1:] for path, node in cut.tree.items()}
        kept = named.get("assignment.json", [b""])[0]
        rolled = "The key may be rolled." in cut.said
        assert rolled or bool(kept) == held, cut
        assert not rolled or "registering" in named or kept == recording.end.tree[f"{quick.state}/assignment.json"][1]
        if rolled:
            # Each state with another content counts once, whatever its status says.
            states[tuple((name, node[0]) for name, node in sorted(named.items()) if "status" not in name)] = cut
    assert len(states) >= 4
    # Each of those that note the registration registers anew, after which the recorded key is void in truth.
    for cut in sorted(states.values(), key=lambda cut: f"{quick.state}/registering" in cut.tree):
        cut.lay_out(quick.state, quick.state)
        converges(quick)


def test_what_is_forgotten_stays_so(quick, recorded):
    """No disk holds an assignment that may be void and says nothing of that."""
    assert quick.run("register").returncode == 0
    (quick.state / "registering").write_bytes(b" ")
    recording = recorded("forget")
    assert recording.unsynced() == []
    for cut in recording.cuts():
        left = {path.rpartition("/")[2] for path in cut.tree}
        assert "assignment.json" not in left or "registering" in left, cut


def test_a_damaged_assignment_is_set_aside_for_good(quick, recorded):
    (quick.state / "assignment.json").write_bytes(b"damaged")
    recording = recorded("register")
    assert recording.unsynced(when_said="was set aside") == []


def test_a_boot_loop(quick):
    """Killed at any moment of its life and its TPM with it, twenty times; then it is left alone."""
    chance = random.Random(os.environ.get("TPMFLEET_SEED", "5"))
    configuration = quick.directory / "config.json"
    configuration.write_text(json.dumps(quick.configuration))
    start = ["/usr/bin/python3", str(quick.program), "--config", str(configuration)]
    ended = 0
    for _boot in range(20):
        what = "reprovision" if chance.random() < 0.5 else "register"
        with subprocess.Popen([*start, what], stderr=subprocess.DEVNULL) as process:
            time.sleep(chance.uniform(0.1, 1.2))
            ended += process.poll() is not None
            process.send_signal(signal.SIGKILL)
        quick.tpm.power_cycle()
    assert ended < 20
    converges(quick)
