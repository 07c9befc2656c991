# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A line over real machines, started as ``make lab-vm`` does."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tpm_rack.answers import COMMANDS

COLLECTION = Path(__file__).resolve().parents[2]


def _line_of_the_rack():
    """The class Line of the tests over simulated devices, which reaches these by the same inventory."""
    path = COLLECTION / "tests" / "integration" / "conftest.py"
    specification = importlib.util.spec_from_file_location("tpmfleet_test_line", path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[specification.name] = module
    specification.loader.exec_module(module)
    return module.Line


class MachineLine(_line_of_the_rack()):
    """A started lab of one real machine, ``unit``."""

    unit = "rack1-slot01"

    @property
    def machine(self):
        """It, as the rack has it."""
        return self.rack.device(self.unit)

    def says(self, *command: str) -> str:
        """What a command prints that root runs on the machine, which has to go well."""
        done = self.machine.execute(list(command))
        assert done.returncode == 0, done.stdout
        return done.stdout

    def passes(self, playbook: str, *arguments: str, **environment: str):
        """The run of a playbook in which the unit passes."""
        run = self.play(playbook, *arguments, **environment)
        assert run.code == 0 and not run.bad, run.printed
        return run

    def keep(self, name: str) -> None:
        """Keeps the machine, which has no power meanwhile, with what the line knows of it."""
        self.rack.power_off()
        kept = self.directory / "kept" / name
        shutil.copytree(self.machine.directory / "tpm", kept / "tpm")
        shutil.copy(self.machine.directory / "disk.qcow2", kept)
        shutil.copy(self.ledger, kept)
        self.rack.power_on()

    def put_back(self, name: str) -> None:
        """The machine as it was kept, switched off."""
        self.rack.power_off()
        kept = self.directory / "kept" / name
        shutil.rmtree(self.machine.directory / "tpm")
        shutil.copytree(kept / "tpm", self.machine.directory / "tpm")
        shutil.copy(kept / "disk.qcow2", self.machine.directory)
        shutil.copy(kept / self.ledger.name, self.ledger)

    def count_commands(self) -> None:
        """From its next power-up on what the machine's TPM is asked for is counted."""
        self.machine.tpm.answer_by({})

    def cut_after(self, command: str, times: int, seconds: float, playbook: str) -> None:
        """Runs a playbook, and cuts the machine's power so many seconds after its TPM was asked for a command so often.

        What its TPM is asked says where in its work a machine is, however fast the host is.
        """
        began = len(self.machine.tpm.commands)
        printed = self.directory / "cut.log"
        with printed.open("w") as log:
            process = subprocess.Popen(
                [str(Path(sys.executable).parent / "ansible-playbook"), *self._over_the_rack(playbook)],
                cwd=COLLECTION,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            while self.machine.tpm.commands[began:].count(COMMANDS[command]) < times:
                assert process.poll() is None, printed.read_text()
                time.sleep(0.05)
            # A fast machine may have ended its step by then.
            with contextlib.suppress(subprocess.TimeoutExpired):
                assert process.wait(seconds) == 0, printed.read_text()
            self.rack.power_off()
        finally:
            self.kill(process)

    def client(self) -> dict:
        """What the client of the machine says of itself."""
        return json.loads(self.says("tpmfleet-dps-client", "status", "--json"))


@pytest.fixture(scope="session")
def line(tmp_path_factory):
    """The line. LAB_IMAGES is where the image is kept from one session to the next."""
    line = MachineLine(tmp_path_factory.mktemp("machines") / "lab")
    images = os.environ.get("LAB_IMAGES", str(tmp_path_factory.mktemp("images")))
    try:
        where = ["-e", "lab_machines=true", "-e", f"lab_images={images}"]
        line.lab_playbook("playbooks/lab_up.yml", "-e", "lab_devices=1", *where)
        yield line
    finally:
        line.lab_playbook("playbooks/lab_down.yml")


@pytest.fixture(autouse=True)
def _it_has_power(line):
    """Whatever a test before left: what fails where a boot took too long is that test and none after it."""
    line.rack.power_on()
