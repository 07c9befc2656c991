# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From power-up to a hub: what the client is for."""

from __future__ import annotations

import json
import sys

import pytest

DEVICE_PYTHON = "/usr/bin/python3"


@pytest.mark.parametrize("python", [DEVICE_PYTHON, sys.executable], ids=["device", "newest"])
def test_a_powered_up_device_ends_assigned_and_its_token_opens_the_hub(enrolled, python):
    done = enrolled.run("register", python=python)
    assert done.returncode == 0, done.stderr
    state = enrolled.dps.call("GET", f"/registrations/{enrolled.registration_id}")
    assert (state["status"], state["assignedHub"]) == ("assigned", enrolled.assignment()["assigned_hub"])
    assert enrolled.hub_accepts(enrolled.run("token", python=python).stdout.strip())
    assert enrolled.transient_objects() == []


def test_the_next_boot_has_nothing_to_do(enrolled):
    assert enrolled.run("register").returncode == 0
    before = (enrolled.state / "assignment.json").read_bytes()
    enrolled.tpm.power_cycle()
    again = enrolled.run("register")
    assert "nothing to do" in again.stderr
    assert (enrolled.state / "assignment.json").read_bytes() == before


def test_reprovisioning_takes_a_new_key_and_keeps_the_one_before(enrolled):
    assert enrolled.run("register").returncode == 0
    first = enrolled.assignment()
    assert enrolled.run("reprovision").returncode == 0
    second = enrolled.assignment()
    assert second["key"] != first["key"]
    assert second["previous"]["key"] == first["key"]
    assert enrolled.hub_accepts(enrolled.run("token").stdout.strip())


def test_another_service_in_the_configuration_is_registered_with(enrolled):
    assert enrolled.run("register").returncode == 0
    enrolled.configuration["id_scope"] = "0neOTHER"
    done = enrolled.run("register", "--once")
    assert done.returncode == 77
    assert "ID scope" in done.stderr
    assert enrolled.assignment()["id_scope"] != "0neOTHER"


def test_a_cleared_tpm_registers_anew(enrolled):
    """TPM2_Clear replaces the storage root key, so the kept hub key is void; the endorsement key stays."""
    assert enrolled.run("register").returncode == 0
    assert enrolled.run("register", fault=CLEAR.format(enrolled.tpm.tcti)).returncode == 0
    assert enrolled.hub_accepts(enrolled.run("token").stdout.strip())


CLEAR = """
from tpm2_pytss import ESAPI, ESYS_TR
with ESAPI("{}") as esys:
    esys.clear(ESYS_TR.LOCKOUT)
"""


def test_the_status_tells_people_and_programs_and_no_key(enrolled):
    assert enrolled.run("status").stdout == "The client has not run yet.\n"
    enrolled.run("register")
    shown = json.loads(enrolled.run("status", "--json").stdout)
    assert shown["state"] == "assigned"
    assert shown["assignment"]["device_id"] == enrolled.registration_id
    assert "key" not in shown["assignment"]


def test_without_a_registration_id_the_one_of_the_stock_sdks_is_used(device):
    wanted = json.loads(device.run("selftest").stdout)["registration_id"]
    assert wanted == device.registration_id
    del device.configuration["registration_id"]
    made = json.loads(device.run("selftest").stdout)["registration_id"]
    assert len(made) == 52
    assert made == made.lower()


# At its end the client tells its processor seconds and its peak; ru_maxrss of a child begins with its parent's.
COST = """
import atexit, json, resource
def tell():
    used = resource.getrusage(resource.RUSAGE_SELF)
    peak = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
    print(json.dumps([used.ru_utime + used.ru_stime, int(peak[0])]))
atexit.register(tell)
"""


def test_registering_costs_little(enrolled):
    done = enrolled.run("register", python=DEVICE_PYTHON, fault=COST)
    assert done.returncode == 0
    seconds, kibibytes = json.loads(done.stdout)
    assert seconds < 1.5
    assert kibibytes < 60 * 1024
