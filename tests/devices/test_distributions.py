# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The five steps over devices of several suites, by each one's own Python, TPM libraries and systemd's tools.

The tests stand in the order of the line and share its rack.
"""

from __future__ import annotations

import json
import re

import pytest
from ansible_collections.tpmfleet.azure_dps.tests.devices.device_suites import DEVICES, RELEASES

UNITS = "/etc/systemd/system/tpmfleet-dps-client"
# Before 250 systemd-analyze wants to know the first process's control group, and moves what is in it to another one. On
# a device of the rack that is the host's, with all that runs there: so it gets one of its own, with a first process.
VERIFY = """
mount -t cgroup2 none /sys/fs/cgroup && mkdir /sys/fs/cgroup/verify || exit
alone='mount -t proc proc /proc && umount /sys/fs/cgroup && mount -t cgroup2 none /sys/fs/cgroup || exit
    systemd-analyze --no-pager verify --man=no "$0"
    exit $?'
unshare --pid --fork /bin/sh -c '
    echo 0 >/sys/fs/cgroup/verify/cgroup.procs && exec unshare --cgroup --mount /bin/sh -c "$1" "$0"' "$0" "$alone"
code=$?
find /sys/fs/cgroup/verify -depth -type d -exec rmdir {} ';'
exit $code
"""


each = pytest.mark.parametrize("unit", DEVICES, ids=DEVICES.values())


def says(line, unit, *command):
    """What a command prints on a device, where it has to go well."""
    done = line.rack.device(unit).execute(list(command))
    assert done.returncode == 0, done.stdout
    return done.stdout


@each
def test_each_device_is_of_its_suite(line, unit, host_architecture):
    suite, _slash, architecture = DEVICES[unit].partition("/")
    release, python = RELEASES[suite]
    assert says(line, unit, "dpkg", "--print-architecture").strip() == (architecture or host_architecture)
    assert f'VERSION_ID="{release}"' in says(line, unit, "cat", "/etc/os-release")
    assert f"Python {python}." in says(line, unit, "/usr/bin/python3", "--version")
    assert line.rack.device(unit).execute(["/usr/bin/python3", "-c", "import tpm2_pytss"]).returncode != 0


def test_a_check_pulls_none_of_the_bare_devices(line):
    run = line.play("software_install", "--check", "-i", str(line.directory / "more.json"))
    assert run.code == 0 and f"LINE SUMMARY: {len(DEVICES)} passed, 0 to pull" in run.printed, run.printed


def test_the_line_twice(line):
    run = line.play("site", "-i", str(line.directory / "more.json"))
    assert run.code == 0, run.printed
    assert all(one.listed and one.enrolled and one.owned and one.assigned for one in line.seen().values())
    again = line.play("site", "-i", str(line.directory / "more.json"))
    assert (again.code, again.changed) == (0, 0), again.printed


@each
def test_the_client_runs_on_each(line, unit):
    assert says(line, unit, "tpmfleet-dps-client", "status").startswith("Assigned to ")
    assert says(line, unit, "tpmfleet-dps-client", "selftest")


@each
def test_systemd_of_each_finds_nothing_wrong_with_the_units(line, unit):
    for name in ("service", "timer"):
        assert says(line, unit, "unshare", "--mount", "/bin/sh", "-c", VERIFY, f"{UNITS}.{name}") == ""
    version = int(re.search(r"systemd (\d+)", says(line, unit, "systemd-analyze", "--version"))[1])
    # Before 250 it looks at units of a running systemd only.
    if version >= 250:
        exposure = ["systemd-analyze", "--no-pager", "security", "--offline=true", "--threshold=15"]
        said = says(line, unit, *exposure, f"{UNITS}.service")
        assert re.search(r"Overall exposure level.*: [01]\.\d OK", said), said


def test_a_move_and_the_end_on_each(line):
    """What step 3 placed is asked, changed and taken away by each Python."""
    serials = [device["serial_number"] for device in line.lab["devices"]]
    said = {"tpmfleet_key_version": 2, "tpmfleet_decommission_confirm": serials}
    for playbook in ("rotate_ownership", "decommission"):
        how = ["-e", json.dumps(said), "-i", str(line.directory / "more.json")]
        run = line.play(playbook, *how)
        assert run.code == 0, run.printed
    assert not any(one.owned or one.enrolled for one in line.seen().values())
