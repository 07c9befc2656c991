# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The devices that people are told the line was run over are those that `make` runs it over."""

from __future__ import annotations

import re
from pathlib import Path

from ansible_collections.tpmfleet.azure_dps.tests.devices.device_suites import RELEASES
from tpm_rack.debian_root import on_wheels

COLLECTION = Path(__file__).resolve().parents[2]


def run() -> dict[str, str]:
    """Each suite, and the target that has a device of it."""
    (named,) = re.findall(r"LAB_SUITES \?= (.*)", (COLLECTION / "Makefile").read_text())
    return {**dict.fromkeys(RELEASES, "test-devices"), **dict.fromkeys(named.split(), "test-architectures")}


def rows(document: str, heading: str) -> list[list[str]]:
    """The cells of the table below *heading*, without those of its own head."""
    (section,) = re.findall(
        rf"^## {heading}$(.*?)(?=^## |\Z)", (COLLECTION / document).read_text(), re.DOTALL | re.MULTILINE
    )
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_the_role_that_installs_the_libraries_names_each():
    told = {}
    for device, libraries, how in rows("roles/tpm_runtime/README.md", "What was run"):
        told[device] = ("wheels" in libraries, re.findall(r"make (test-(?:devices|architectures))", how))
    expected = {}
    for suite, target in run().items():
        name, _slash, architecture = suite.partition("/")
        release, python = RELEASES[name]
        expected[f"Debian {release}, {architecture or 'amd64'}, Python {python}"] = (on_wheels(suite), [target])
    # Wheels are tried on the station's own release by tests of the role itself.
    expected["Debian 12, amd64, Python 3.11"] = (True, ["test-devices"])
    assert told == expected


def test_the_guide_to_the_lab_names_each():
    told = {}
    for release, architecture, suite, python, libraries, target in rows(
        "docs/lab.md", "Other releases of Debian, and other architectures"
    ):
        wheels = re.findall(r"^from wheels, by `scripts/device_wheels.sh (\w+ \w+) DIRECTORY`$", libraries)
        told[suite.strip("`")] = (release, architecture, python, wheels, target)
    expected = {}
    for suite, target in run().items():
        name, _slash, architecture = suite.partition("/")
        release, python = RELEASES[name]
        wheels = [f"{name} {architecture or 'amd64'}"] if on_wheels(suite) else []
        expected[suite] = (f"Debian {release}", architecture or "amd64", python, wheels, f"`make {target}`")
    assert told == expected
