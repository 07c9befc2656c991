# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role software_tpm on a device over SSH: a prototype gets one TPM and keeps it; production refuses it."""

from __future__ import annotations

import json

import pytest

PROTOTYPE = ("-e", "tpmfleet_production=false")


@pytest.fixture(scope="module")
def prototype(tmp_path_factory):
    """One simulated device, switched on, and a port of its own for the TPM that it is to get.

    Yields the device, the rack and what ``rack.json`` says of it, with ``tpm_port`` added.
    """
    from tpm_rack.rack import Rack
    from tpm_rack.software_tpm import reserve_port_pair

    directory = tmp_path_factory.mktemp("prototype")
    rack = Rack(directory / "rack")
    try:
        rack.up(1)
        described = json.loads((rack.directory / "rack.json").read_text())["devices"][0]
        # Simulated devices share the host's network, so a second TPM needs a port that no other rack has.
        described["tpm_port"] = reserve_port_pair(directory / "port")
        yield rack.device(described["name"]), rack, described
    finally:
        rack.down()


@pytest.fixture
def run_role(prototype, make_station, tmp_path):
    """Runs the role with *arguments*; returns what it left in ``software_tpm_result``, and what was printed."""
    _device, _rack, described = prototype
    station = make_station(tmp_path, described, tpmfleet_software_tpm_port=described["tpm_port"])
    return lambda *arguments, **expected: station.role("software_tpm", *arguments, **expected)


def test_production_is_refused_unless_the_inventory_allows_the_host(prototype, run_role):
    """By default too: an inventory that says nothing is a production one."""
    device, _rack, _described = prototype
    for arguments in ((), ("-e", "tpmfleet_production=true")):
        _result, printed = run_role(*arguments, succeeds=False)
        assert "a software TPM is refused" in " ".join(printed.split())
    assert device.execute(["test", "-e", "/etc/systemd/system/tpmfleet-swtpm.service"]).returncode == 1
    planned, _printed = run_role("--check", "-e", "tpmfleet_software_tpm_allowed=true")
    assert planned["state"] == "planned"
    assert device.execute(["test", "-e", "/var/lib/tpmfleet-swtpm"]).returncode == 1


def test_a_prototype_gets_one_tpm_and_keeps_it(prototype, run_role):
    """From a device without swtpm: planned, done, verified, and the same key after the power was cut."""
    device, rack, described = prototype
    removed = device.execute(["apt-get", "remove", "--yes", "--quiet", "swtpm", "swtpm-tools"])
    assert removed.returncode == 0, removed.stdout
    planned, _printed = run_role(*PROTOTYPE, "--check")
    assert planned["state"] == "planned" and planned["endorsement_key"] == {}

    done, _printed = run_role(*PROTOTYPE)
    tcti = f"swtpm:host=127.0.0.1,port={described['tpm_port']}"
    assert (done["state"], done["tpm_type"], done["tcti"]) == ("done", "software", tcti)
    public = done["endorsement_key"]["public"]

    for arguments in (PROTOTYPE, (*PROTOTYPE, "--check")):
        verified, printed = run_role(*arguments)
        assert verified["state"] == "verified" and "changed=0" in printed
        assert verified["endorsement_key"]["public"] == public

    rack.power_cycle([described["name"]])
    after, printed = run_role(*PROTOTYPE)
    # Nothing had to be started: it came with the power.
    assert after["state"] == "verified" and after["endorsement_key"]["public"] == public, printed
    running = device.execute(["ps", "-C", "swtpm", "-o", "user=,args="]).stdout
    assert running.startswith("tss ") and "dir=/var/lib/tpmfleet-swtpm" in running
