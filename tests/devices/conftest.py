# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A line over devices of several releases of Debian, each with the user land of its own packages."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

COLLECTION = Path(__file__).resolve().parents[2]
# Release to its device, in the order in which the rack gives them out.
SUITES = {"bullseye": "rack1-slot01", "bookworm": "rack1-slot02", "trixie": "rack1-slot03"}
# It has no package of tpm2-pytss.
WHEELS = "bullseye"


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
def wheels(images):
    """tpm2-pytss for the Python of the release without a package of it."""
    directory = images / f"wheels-{WHEELS}"
    if not any(directory.glob("tpm2_pytss-*.whl")):
        make = [str(COLLECTION / "scripts" / "device_wheels.sh"), WHEELS, "amd64", str(directory)]
        done = subprocess.run(make, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        assert done.returncode == 0, done.stdout
    return directory


@pytest.fixture(scope="session")
def line(images, wheels, tmp_path_factory):
    """The line: a device a release, and the inventory of the one that gets wheels."""
    line = _line_of_the_rack()(tmp_path_factory.mktemp("line") / "lab")
    how = {"lab_devices": len(SUITES), "lab_suites": list(SUITES), "lab_images": str(images)}
    try:
        line.lab_playbook("playbooks/lab_up.yml", "-e", json.dumps(how))
        said = {"tpmfleet_tpm_runtime_source": "wheels", "tpmfleet_tpm_runtime_wheels_dir": str(wheels)}
        more = {"devices": {"hosts": {SUITES[WHEELS]: said}}}
        (line.directory / "more.json").write_text(json.dumps(more))
        yield line
    finally:
        line.lab_playbook("playbooks/lab_down.yml")
