# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one question that the role tpm_runtime asks a device."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from pathlib import Path

import pytest

PROBE = Path(__file__).resolve().parents[4] / "roles" / "tpm_runtime" / "files" / "probe.py"


@pytest.fixture(scope="module")
def probe():
    """The probe as a module."""
    specification = importlib.util.spec_from_file_location("tpm_runtime_probe", PROBE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def ask(*arguments: str, interpreter: tuple[str, ...] = ("/usr/bin/python3",)) -> dict:
    """What a Python of this machine answers, asked as the role does: the program as an argument."""
    asked = [*interpreter, "-c", PROBE.read_text(), *arguments]
    return json.loads(subprocess.run(asked, stdout=subprocess.PIPE, check=True, text=True).stdout)


@pytest.mark.parametrize(
    ("os_release", "family"),
    [
        ("ID=debian\nVERSION_ID=12\n", "debian"),
        ("ID=ubuntu\nID_LIKE=debian\n", "debian"),
        ('ID="rhel"\nID_LIKE="fedora"\n', "redhat"),
        ('ID="rocky"\nID_LIKE="rhel centos fedora"\n', "redhat"),
        ("# Fedora\nID=fedora\n", "redhat"),
        ("ID=alpine\n", "alpine"),
        ("", "unknown"),
    ],
)
def test_family(probe, os_release, family):
    assert probe.family_of(os_release) == family


@pytest.mark.parametrize("tcti", ["swtpm:host=127.0.0.1,port=1", "device:/dev/tpmrm0", "device"])
def test_a_device_that_lacks_nothing(tcti):
    """No TPM is needed for the answer: nothing listens at this port."""
    answer = ask(tcti)
    assert answer["missing"] == [] and answer["family"] == "debian"
    # The device's own Python has the one of its distribution.
    assert re.match(r"tpm2-pytss \d+(\.\d+)+ and libtss2-tcti-", answer["found"])


def test_each_thing_that_is_missing_is_named():
    """A Python without site packages lacks the binding; the others are not there at all."""
    answer = ask("nosuch:x=1", "/opt/absent/bin/python", interpreter=("/usr/bin/python3", "-S"))
    environment, binding, library = answer["missing"]
    assert environment == "/opt/absent/bin/python, which is not there"
    assert binding.startswith("tpm2-pytss for /usr/bin/python3 (ModuleNotFoundError")
    assert library == "libtss2-tcti-nosuch.so.0"
