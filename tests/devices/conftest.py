# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A line over devices of several releases of Debian, or architectures, each with the user land of its own packages."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.tests.devices.device_suites import DEVICES, MIRRORS, SUITES
from tpm_rack.debian_root import on_wheels

COLLECTION = Path(__file__).resolve().parents[2]


def _line_of_the_rack():
    path = COLLECTION / "tests" / "integration" / "conftest.py"
    specification = importlib.util.spec_from_file_location("tpmfleet_test_line", path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module.Line


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Where root file systems and wheels are kept from one session to the next, by LAB_IMAGES."""
    return Path(os.environ.get("LAB_IMAGES") or tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def host_architecture():
    """That of devices whose suite names none, as Debian calls it."""
    return subprocess.check_output(["dpkg", "--print-architecture"], text=True).strip()


@pytest.fixture(scope="session")
def wheels(images, host_architecture):
    """Where tpm2-pytss is for the Python of each device that gets wheels."""
    found = {}
    for unit, suite in DEVICES.items():
        if on_wheels(suite):
            release, _slash, architecture = suite.partition("/")
            found[unit] = images / f"wheels-{suite.replace('/', '-')}"
            if not any(found[unit].glob("tpm2_pytss-*.whl")):
                make = [COLLECTION / "scripts" / "device_wheels.sh", release, architecture or host_architecture]
                command = [*map(str, make), str(found[unit]), *MIRRORS]
                done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
                assert done.returncode == 0, done.stdout
    return found


@pytest.fixture(scope="session")
def line(images, wheels, tmp_path_factory):
    """The line: a device a suite, and the inventory of those that get wheels."""
    line = _line_of_the_rack()(tmp_path_factory.mktemp("line") / "lab")
    how = {"lab_devices": len(SUITES), "lab_suites": SUITES, "lab_mirrors": MIRRORS, "lab_images": str(images)}
    try:
        line.lab_playbook("playbooks/lab_up.yml", "-e", json.dumps(how))
        hosts = {
            unit: {"tpmfleet_tpm_runtime_source": "wheels", "tpmfleet_tpm_runtime_wheels_dir": str(directory)}
            for unit, directory in wheels.items()
        }
        (line.directory / "more.json").write_text(json.dumps({"devices": {"hosts": hosts}}))
        yield line
    finally:
        line.lab_playbook("playbooks/lab_down.yml")
