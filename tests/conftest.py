# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What tests share: software TPMs, the emulated service, and where the lab's programs are found.

Imports of the lab are inside the fixtures: the TPM tests also run under a device's own Python, which has none of it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COLLECTION = Path(__file__).resolve().parents[1]
LAB_PROGRAMS = COLLECTION / "roles" / "lab" / "files"
sys.path.insert(0, str(LAB_PROGRAMS))


@pytest.fixture(scope="session")
def lab_ca(tmp_path_factory):
    """The authority that certifies the endorsement keys of this session's software TPMs."""
    from tpm_rack.authority import Authority

    return Authority(tmp_path_factory.mktemp("tpm-maker"))


@pytest.fixture(scope="session")
def manufactured_state(lab_ca, tmp_path_factory):
    """The state directory of one new TPM with EK certificates; a test copies it, because making one takes a second."""
    from tpm_rack.software_tpm import SoftwareTpm

    state = tmp_path_factory.mktemp("manufactured") / "tpm"
    SoftwareTpm(state).manufacture(authority=lab_ca)
    return state


@pytest.fixture
def software_tpm(manufactured_state, tmp_path):
    """A running TPM, as it comes from its maker."""
    from tpm_rack.software_tpm import SoftwareTpm

    state = tmp_path / "tpm"
    shutil.copytree(manufactured_state, state)
    tpm = SoftwareTpm(state)
    tpm.start()
    yield tpm
    tpm.stop()


@pytest.fixture(scope="session")
def emulator(tmp_path_factory):
    """The emulated service, running: what its emulator.json says, and ``state_dir``."""
    state_dir = tmp_path_factory.mktemp("emulator")
    program = [sys.executable, "-m", "dps_emulator"]
    environment = {**os.environ, "PYTHONPATH": str(LAB_PROGRAMS)}
    where = ["--state-dir", str(state_dir)]
    subprocess.run([*program, "start", *where, "--host", "localhost", "--port", "0"], env=environment, check=True)
    yield {**json.loads((state_dir / "emulator.json").read_text()), "state_dir": state_dir}
    subprocess.run([*program, "stop", *where], env=environment, check=True)
