# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The role tpm_runtime on a simulated device over SSH: what is there is verified, what is missing comes."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def line(start_line):
    """A line of one device."""
    return start_line(1)


@pytest.fixture(scope="module")
def device(line):
    """That device, and what lab.json says of it."""
    described = line.lab["devices"][0]
    return line.rack.device(described["name"]), described


@pytest.fixture
def run_role(device, make_station, tmp_path):
    """Runs the role with *arguments*; returns what it left in ``tpm_runtime_result``, and what was printed."""
    _device, described = device
    station = make_station(tmp_path, described, tpmfleet_tcti=described["tcti"])
    return lambda *arguments, **expected: station.role("tpm_runtime", *arguments, **expected)


def without_the_library(device) -> None:
    """Takes Debian's package off the device's own file system; apt might have no list of packages."""
    removed = device[0].execute(["dpkg", "--remove", "python3-tpm2-pytss"])
    assert removed.returncode == 0, removed.stdout


def can_import(device, python: str = "/usr/bin/python3") -> bool:
    """Asked on the device's console, past Ansible."""
    return device[0].execute([python, "-c", "import tpm2_pytss.ESAPI"]).returncode == 0


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """What a station carries: tpm2-pytss for the device's Python, all it needs, and pip."""
    directory = tmp_path_factory.mktemp("wheels")
    make = [sys.executable, "-m", "pip", "--python", "/usr/bin/python3", "--quiet", "wheel", "tpm2-pytss<3", "pip"]
    subprocess.run([*make, "--wheel-dir", str(directory)], check=True)
    return directory


def test_what_is_there_is_verified_in_one_round_trip(run_role):
    result, printed = run_role()
    assert result["state"] == "verified"
    assert result["how"] == "tpm2-pytss 1.2.0 and libtss2-tcti-swtpm.so.0 for /usr/bin/python3"
    tasks = [line for line in printed.splitlines() if line.startswith(("ok: [rack", "changed: [rack", "included:"))]
    # The argument check is the controller's own; the look is the device's; the last one is this test's.
    assert len(tasks) == 3, printed


def test_packages(device, run_role):
    """Check mode says it and leaves it, a run does it, and a second run verifies it."""
    without_the_library(device)
    planned, printed = run_role("--check")
    assert planned["state"] == "planned" and "No module named 'tpm2_pytss'" in planned["how"]
    assert "changed=1" in printed and not can_import(device)
    done, _printed = run_role()
    assert done["state"] == "done" and done["how"].endswith("installed from packages")
    assert can_import(device)
    again, printed = run_role()
    assert again["state"] == "verified" and "changed=0" in printed


@pytest.mark.parametrize("way", ["no python3-apt", "no list of packages", "wheels", "wheels for an environment"])
def test_check_of_a_bare_device_pulls_nobody(way, line, device, wheels, tmp_path):
    """It says what a run would do, which first installs what the check itself would need."""
    without_the_library(device)
    arguments = []
    if way.startswith("wheels"):
        arguments = ["-e", "tpmfleet_tpm_runtime_source=wheels", "-e", f"tpmfleet_tpm_runtime_wheels_dir={wheels}"]
    elif way == "no python3-apt":
        device[0].execute(["apt-get", "remove", "--yes", "--quiet", "python3-apt"])
    else:
        device[0].execute(["/bin/sh", "-c", "rm -r /var/lib/apt/lists; mkdir /var/lib/apt/lists"])
    if way.endswith("environment"):
        arguments += ["-e", "tpmfleet_tpm_runtime_wheels_venv=/opt/none"]
        said = {"devices": {"hosts": {device[0].name: {"ansible_python_interpreter": "/opt/none/bin/python"}}}}
        (tmp_path / "more.json").write_text(json.dumps(said))
        arguments += ["-i", str(tmp_path / "more.json")]
    # Of the whole line too, whose last step finds in the ledger what no step before it wrote.
    checked = line.play("site" if way == "no python3-apt" else "software_install", "--check", *arguments)
    assert checked.code == 0 and "LINE SUMMARY: 1 passed, 0 to pull" in checked.printed, checked.printed
    printed = " ".join(checked.printed.split())
    assert "would install from" in printed and "then would read" in printed
    assert not can_import(device)


def test_wheels(device, run_role, wheels):
    """With neither network nor package: into a virtual environment, and for the system's Python."""
    without_the_library(device)
    carried = ["-e", "tpm_runtime_source=wheels", "-e", f"tpm_runtime_wheels_dir={wheels}"]
    environment = [*carried, "-e", "tpm_runtime_wheels_venv=/opt/tpmfleet"]
    planned, _printed = run_role(*environment, "--check")
    assert planned["state"] == "planned" and "/opt/tpmfleet/bin/python, which is not there" in planned["how"]
    for arguments, python in ((environment, "/opt/tpmfleet/bin/python"), (carried, "/usr/bin/python3")):
        assert not can_import(device, python)
        done, _printed = run_role(*arguments)
        assert done["state"] == "done" and f"for {python}, installed from wheels" in done["how"]
        assert can_import(device, python)
        again, _printed = run_role(*arguments)
        assert again["state"] == "verified"
    left = device[0].execute(["/bin/sh", "-c", "ls /tmp | grep ansible"]).stdout
    assert left == ""


def test_a_directory_without_wheels_is_told(device, run_role, tmp_path):
    """Nothing is tried on the device."""
    arguments = ["-e", "tpm_runtime_source=wheels", "-e", f"tpm_runtime_wheels_dir={tmp_path}"]
    arguments += ["-e", "tpm_runtime_wheels_venv=/opt/none"]
    _result, printed = run_role(*arguments, succeeds=False)
    assert "There is no wheel of tpm2-pytss in tpm_runtime_wheels_dir" in printed


def test_a_library_that_no_package_brings_is_named(run_role):
    """A TCTI that does not exist: apt's own words are the reason."""
    _result, printed = run_role("-e", "tpm_runtime_tcti=nosuch:", succeeds=False)
    assert "libtss2-tcti-nosuch0" in printed
