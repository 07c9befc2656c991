# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The line over one real machine: its kernel's TPM, systemd as its first process, a bare image, and cut power.

The tests stand in the order of the line and share the machine. A boot is most of what they cost, so each is taken for
all that can be seen of it.
"""

from __future__ import annotations

import base64
import json
import re
import time

import pytest
import tomllib
from tpm_rack.answers import COMMANDS

STEPS = ("ek_intake", "tpm_install", "software_install", "warehouse", "field_activation")
UNIT_FILE = "tpmfleet-dps-client.service"
# What every run says once the authorizations are those of the second version.
SECOND_KEY = ("-e", "tpmfleet_key_version=2")
TIMER = "tpmfleet-dps-client.timer"
PROGRAM = "/usr/bin/tpmfleet-dps-client"
# By which a slow chip makes each key later; the slowest of old ones took so long.
SLOW_SECONDS = 20


@pytest.mark.in_short
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


@pytest.mark.in_short
def test_the_five_steps_twice(line):
    for step in STEPS:
        assert line.passes(step).changed, step
        if step == "tpm_install":
            line.keep("before step 3")
    [seen] = line.seen().values()
    assert seen.owned and seen.enrolled and seen.assigned
    again = line.passes("site")
    assert again.changed == 0, again.changes


@pytest.mark.in_short
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


def test_its_systemd_takes_the_units_and_finds_the_service_shut(line):
    placed = line.says("systemctl", "show", "--property=FragmentPath", "--value", UNIT_FILE, TIMER).split()
    assert len(placed) == 2
    assert not line.says("systemd-analyze", "--no-pager", "verify", "--man=no", *placed)
    said = line.says("systemd-analyze", "--no-pager", "security", "--threshold=15", UNIT_FILE)
    assert re.search(r"Overall exposure level.*: [01]\.\d OK", said), said


def test_the_doctor_finds_it_well(line):
    path = line.directory / "doctor.json"
    run = line.passes("doctor", "-e", f"tpmfleet_doctor_report={path}")
    assert "DOCTOR: 1 of 1 devices are well, 0 with a fault; the station is well" in run.printed
    [said] = json.loads(path.read_text())["devices"].values()
    assert {one["verdict"] for one in said["findings"]} == {"ok"}, said


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


def test_what_the_client_of_azure_is_given_opens_the_tpm(line):
    """The image has its directory and not its tool, which comes with the service."""
    line.says("mkdir", "/etc/aziot")
    azure = ["-e", "tpmfleet_dps_client_flavour=aziot"]
    assert line.passes("software_install", *azure).changed
    assert line.passes("software_install", *azure).changed == 0
    assert line.says("stat", "-c", "%a %U", "/etc/aziot/config.toml").split() == ["600", "root"]
    given = tomllib.loads(line.says("cat", "/etc/aziot/config.toml"))
    assert given["provisioning"]["attestation"] == {
        "method": "tpm",
        "registration_id": line.records()[0]["registration_id"],
    }
    assert given["tpm"]["tcti"] == "device:/dev/tpmrm0"
    owner = ("-C", "o", "-P", given["tpm"]["hierarchy_authorization"]["owner"])
    line.says("tpm2_createprimary", "-T", given["tpm"]["tcti"], *owner, "-c", "/tmp/key")


def test_a_slow_tpm(line):
    """Step 3 has it make both keys: nobody is pulled for it, and its kernel waits as long."""
    line.put_back("before step 3")
    line.rack.break_(line.unit, "tpm-slow", str(SLOW_SECONDS))
    line.rack.power_on()
    began = time.monotonic()
    assert line.passes("software_install").changed
    made = line.machine.tpm.commands.count(COMMANDS["CreatePrimary"])
    assert made >= 2 and time.monotonic() - began > made * SLOW_SECONDS
    line.rack.power_off()
    line.rack.mend(line.unit, "tpm-slow")
    line.rack.power_on()
    assert line.passes("software_install").changed == 0


@pytest.mark.parametrize(
    ("command", "times", "seconds"),
    [
        # A key is persistent, and the TPM has no owner yet.
        ("EvictControl", 1, 0),
        # It has the owner's authorization, and not yet that of lockout.
        ("HierarchyChangeAuth", 1, 0),
        # It is owned, and the client is being placed.
        ("HierarchyChangeAuth", 2, 1),
        ("HierarchyChangeAuth", 2, 4),
    ],
)
def test_a_power_cut_in_step_3_is_mended_by_the_next_run(line, command, times, seconds):
    """What was not on the disk is lost, wherever it was; the TPM and the service keep what they have."""
    line.put_back("before step 3")
    line.count_commands()
    line.rack.power_on()
    line.cut_after(command, times, seconds, "software_install")
    line.rack.power_on()
    line.passes("software_install")
    assert line.passes("software_install").changed == 0
    assert line.says("systemctl", "is-enabled", UNIT_FILE).strip() == "enabled"
    line.says("test", "-x", PROGRAM)


def test_the_first_power_up_with_a_clock_years_behind_and_a_network_two_minutes_late(line):
    """The client waits for the network and signs with a time that it knows to have been; step 4 does too."""
    line.rack.power_off()
    line.rack.break_(line.unit, "clock-at", "2019-03-01T12:00:00")
    line.rack.break_(line.unit, "network-late", "120")
    try:
        line.rack.power_on()
        assert line.says("date", "+%Y").strip() == "2019"
        # The service remembers the assignment of the machine that was put back: the client has to have one of its own.
        deadline = time.monotonic() + 300
        while line.machine.execute(["tpmfleet-dps-client", "status"]).returncode != 0:
            assert time.monotonic() < deadline, line.says("journalctl", "--no-pager", "--unit", UNIT_FILE)
            time.sleep(5)
        line.passes("warehouse")
        line.passes("field_activation")
    finally:
        line.rack.power_off()
        line.rack.mend(line.unit)
        line.rack.power_on()


def test_the_ways_beside_the_line(line):
    """It moves, and its secrets change."""
    line.passes("reprovision")
    assert line.passes("rotate_ownership", *SECOND_KEY).changed
    assert line.passes("rotate_ownership", *SECOND_KEY).changed == 0
    line.passes("warehouse", *SECOND_KEY)


def test_another_mainboard_takes_the_place_of_its_own(line):
    """A new TPM of the same maker, on its list. What was on the disk stays."""
    line.rack.power_off()
    tpm = line.machine.tpm
    tpm.manufacture(authority=line.rack.authority)
    made = json.loads((tpm.state_dir / "maker.json").read_text())
    entry = {field: base64.b64encode(bytes.fromhex(value)).decode() for field, value in made.items() if value}
    spare = line.directory / "spare.jsonl"
    spare.write_text(json.dumps({**entry, "maker": "spare", "batch": line.unit}) + "\n")
    line.rack.power_on()
    line.passes("ek_intake", "-e", f"tpmfleet_ek_list={spare}")
    swapped = [*SECOND_KEY, "-e", "tpmfleet_replace_tpm=true"]
    assert line.passes("replace_tpm", *swapped).changed
    assert line.passes("replace_tpm", *swapped).changed == 0
    line.passes("field_activation", *SECOND_KEY)
    [seen] = line.seen().values()
    assert seen.owned and seen.enrolled and seen.assigned and seen.endorsement_key == entry["endorsement_key"]


def test_the_end_of_it(line):
    said = {"tpmfleet_key_version": 2, "tpmfleet_decommission_confirm": ["TF-000001"]}
    line.passes("decommission", "-e", json.dumps(said))
    [seen] = line.seen().values()
    assert not seen.owned and not seen.enrolled
    assert line.machine.execute(["test", "-e", PROGRAM]).returncode != 0
