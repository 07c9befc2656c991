# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One rack of three devices for all tests of the rack; a test leaves it as it found it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class Console:
    """A rack, and what a user of it has: rack.json, ssh and tpm2-tools."""

    rack: object
    directory: Path

    def entry(self, name: str) -> dict:
        """What rack.json says of a device."""
        devices = json.loads((self.directory / "rack.json").read_text())["devices"]
        [found] = [one for one in devices if one["name"] == name]
        return found

    def ssh(self, name: str, command: str) -> subprocess.CompletedProcess[str]:
        """Runs *command* on a device as a stock client does, with its host key checked."""
        access = self.entry(name)["ssh"]
        arguments = ["ssh", "-n", "-i", access["private_key_file"], "-p", str(access["port"])]
        arguments += ["-o", f"UserKnownHostsFile={access['known_hosts_file']}", "-o", "StrictHostKeyChecking=yes"]
        arguments += ["-o", "BatchMode=yes", "-o", "ConnectTimeout=5", f"{access['user']}@{access['host']}", command]
        return subprocess.run(arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    def said(self, name: str, command: str) -> str:
        """What *command* printed, which must have gone well."""
        done = self.ssh(name, command)
        assert done.returncode == 0, done.stdout
        return done.stdout.strip()

    def tpm(self, name: str, tool: str, *arguments: str, seconds: float = 10) -> subprocess.CompletedProcess[str]:
        """Runs one of tpm2-tools on a device's TPM; raises TimeoutExpired if that does not answer."""
        command = [tool, "-T", self.entry(name)["tcti"], *arguments]
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=seconds, check=False
        )

    def endorsement_key(self, name: str, work: Path) -> bytes:
        """The public endorsement key, made from the template as a fresh TPM has none persistent."""
        done = self.tpm(name, "tpm2_createek", "-G", "rsa", "-c", str(work / "ek"), "-u", str(work / "ek.public"))
        assert done.returncode == 0, done.stdout
        self.tpm(name, "tpm2_flushcontext", "-t")
        return (work / "ek.public").read_bytes()


@pytest.fixture(scope="session")
def console(tmp_path_factory):
    """A rack of three that is up."""
    from tpm_rack.rack import Rack

    directory = tmp_path_factory.mktemp("rack") / "rack"
    rack = Rack(directory)
    rack.up(3, hidden=[tmp_path_factory.getbasetemp()])
    yield Console(rack, directory)
    rack.down()
