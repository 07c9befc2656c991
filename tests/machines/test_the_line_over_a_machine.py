# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The line over one real machine: its kernel's TPM, systemd as its first process, a bare image, and cut power.

The tests stand in the order of the line and share the machine.
"""

from __future__ import annotations

import json

import pytest

STEPS = ("ek_intake", "tpm_install", "software_install", "warehouse", "field_activation")
UNIT_FILE = "tpmfleet-dps-client.service"
PROGRAM = "/usr/bin/tpmfleet-dps-client"


def test_it_is_a_machine(line):
    """So that what follows means something."""
    assert line.says("readlink", "/proc/1/exe").strip().endswith("systemd")
    assert line.says("cat", "/sys/class/tpm/tpm0/tpm_version_major").strip() == "2"
    assert line.says("systemctl", "is-system-running", "--wait").strip() == "running"
    assert line.machine.execute(["python3", "-c", "import tpm2_pytss"]).returncode != 0
    assert line.says("hostname").strip() == line.unit
    # Nothing but its host can be reached.
    assert "default" not in line.says("ip", "route")


def test_a_check_on_the_bare_image_says_what_a_run_would_do(line):
    run = line.passes("site", "--check")
    printed = " ".join(run.printed.split())
    assert "would install from packages" in printed and "then would read" in printed
    assert "LINE SUMMARY: 1 passed, 0 to pull" in run.printed


def test_the_five_steps_twice(line):
    for step in STEPS:
        assert line.passes(step).changed, step
        if step == "tpm_install":
            line.keep("before step 3")
    [seen] = line.seen().values()
    assert seen.owned and seen.enrolled and seen.assigned
    again = line.passes("site")
    assert again.changed == 0, again.changes


def test_what_step_3_said_is_on_the_disk_when_the_power_is_cut_at_once(line):
    """Of the last run nothing is lost either, since it changed nothing: so it is placed anew, and cut."""
    line.says("systemctl", "disable", "--quiet", UNIT_FILE)
    line.says("rm", "--recursive", PROGRAM)
    line.says("sync")
    assert line.passes("software_install").changed
    line.rack.power_cycle()
    assert line.says("systemctl", "is-enabled", UNIT_FILE).strip() == "enabled"
    line.says("test", "-x", PROGRAM)
    assert line.passes("warehouse").changed == 0


def test_the_tpm_as_its_own_tools_show_it(line):
    line.says("apt-get", "install", "--yes", "--quiet=2", "--no-install-recommends", "tpm2-tools")
    inspect = ["env", "TPM2TOOLS_TCTI=device:/dev/tpmrm0"]
    handles = line.says(*inspect, "tpm2_getcap", "handles-persistent")
    assert {"0x81000001", "0x81010001"} <= set(handles.replace("-", "").split())
    permanent = line.says(*inspect, "tpm2_getcap", "properties-variable")
    assert "ownerAuthSet:              1" in permanent and "lockoutAuthSet:            1" in permanent
    assert line.machine.execute([*inspect, "tpm2_changeauth", "-c", "owner", "mine"]).returncode != 0


def test_a_reboot_provisions_nothing_anew(line):
    before = line.client()
    line.machine.reboot()
    line.passes("field_activation")
    assert line.client()["assignment"] == before["assignment"]


def test_sudo_with_a_password(line):
    password = (line.machine.directory / "line-password").read_text()
    run = line.passes("warehouse", "-e", json.dumps({"ansible_user": "line", "ansible_become_password": password}))
    assert run.changed == 0


def test_without_root_it_is_said_before_anything_is_tried(line):
    run = line.play("software_install", "-e", '{"ansible_user": "line", "ansible_become": false}')
    assert run.code != 0 and "MEND ansible_become" in run.printed, run.printed
    assert "0 to pull" in run.printed


def test_another_user_of_the_tpm_meanwhile(line):
    line.rack.break_(line.unit, "tpm-shared")
    try:
        assert line.passes("warehouse").changed == 0
    finally:
        line.rack.mend(line.unit, "tpm-shared")


def test_a_slow_tpm(line):
    line.rack.break_(line.unit, "tpm-slow", "20")
    try:
        assert line.passes("warehouse").changed == 0
    finally:
        line.rack.mend(line.unit, "tpm-slow")


def test_a_clock_that_is_years_behind(line):
    """The client signs with a time that it knows to have been, and the line takes the machine as it is."""
    line.rack.break_(line.unit, "clock-at", "2019-03-01T12:00:00")
    try:
        line.passes("warehouse")
        told = line.says("tpmfleet-dps-client", "status")
        assert "assigned" in told
    finally:
        line.rack.mend(line.unit, "clock-at")


def test_a_network_that_comes_two_minutes_late(line):
    line.rack.break_(line.unit, "network-late", "120")
    try:
        line.passes("field_activation")
    finally:
        line.rack.mend(line.unit, "network-late")


@pytest.mark.parametrize(
    ("task", "seconds"),
    [
        ("Have ownership of the TPM claimed", 1),
        ("Place the client that provisions the device at power-up", 1),
        ("Place the client that provisions the device at power-up", 4),
        ("Write what was done into the ledger", 0),
    ],
)
def test_a_power_cut_in_step_3_is_mended_by_the_next_run(line, task, seconds):
    """What was not on the disk is lost, wherever it was; the TPM and the service keep what they have."""
    line.put_back("before step 3")
    line.rack.power_on()
    line.cut_at(task, seconds, "software_install")
    line.rack.power_on()
    line.passes("software_install")
    assert line.passes("software_install").changed == 0
    assert line.says("systemctl", "is-enabled", UNIT_FILE).strip() == "enabled"
    line.passes("field_activation")


def test_the_ways_beside_the_line(line):
    """On the machine as the last test left it: it moves, its secrets change, and it is taken out of service."""
    line.passes("reprovision")
    rotated = line.passes("rotate_ownership", "-e", "tpmfleet_key_version=2")
    assert rotated.changed
    line.passes("warehouse", "-e", "tpmfleet_key_version=2")
    said = {"tpmfleet_key_version": 2, "tpmfleet_decommission_confirm": ["TF-000001"]}
    line.passes("decommission", "-e", json.dumps(said))
    [seen] = line.seen().values()
    assert not seen.owned and not seen.enrolled
