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
import http.client
from tpm2_pytss import ESAPI
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
    cut(http.client.HTTPSConnection, name)
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


# Notes what is done to the disk, in its order: what was written, synced and renamed, directories included.
DISK_LOG = """
import atexit, json
names, log = {}, []
def wrap(name, note):
    real = getattr(os, name)
    def call(*given, **named):
        result = real(*given, **named)
        note(result, *given)
        return result
    setattr(os, name, call)
wrap("open", lambda result, path, *rest: names.__setitem__(result, str(path)))
wrap("write", lambda result, descriptor, *rest: descriptor > 2 and log.append(["write", names[descriptor]]))
wrap("fsync", lambda result, descriptor: log.append(["sync", names[descriptor]]))
wrap("rename", lambda result, old, new: log.append(["rename", str(old), str(new)]))
atexit.register(lambda: print(json.dumps(log)))
"""


def test_nothing_takes_its_place_before_it_is_on_the_disk(quick):
    """A file that is renamed was synced after its last write, and its directory is synced before anything else is done.

    A killed process loses nothing that it wrote, a cut power does: this is what the difference hangs on.
    """
    done = quick.run("register", python="/usr/bin/python3", fault=DISK_LOG)
    assert done.returncode == 0, done.stderr
    log = json.loads(done.stdout)
    renamed = [at for at, step in enumerate(log) if step[0] == "rename"]
    assert {os.path.basename(log[at][2]) for at in renamed} == {"status.json", "registering", "assignment.json"}
    for at in renamed:
        _rename, source, target = log[at]
        before = [step for step in log[:at] if step[1] == source]
        assert before[-1] == ["sync", source]
        assert log[at + 1] == ["sync", os.path.dirname(target)]


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
