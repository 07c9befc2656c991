# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One simulated device: a directory that holds all it is, and the power that can be switched on and off."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path

from .file_system import ENVIRONMENT, HOST, SSHD_LOG
from .software_tpm import SoftwareTpm, reserved_port_pair


class DeviceError(Exception):
    """A simulated device did not do as it was told; the message holds what its console said."""


class Device:
    """The device in *directory*, whose name is the directory's.

    It shares the host's network, so its address is the loopback and a port of its own.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        self.tpm = SoftwareTpm(self.directory / "tpm")

    @property
    def name(self) -> str:
        """Host name and inventory name."""
        return self.directory.name

    @property
    def tcti(self) -> str:
        """How the device itself reaches its TPM."""
        return self.tpm.tcti

    @cached_property
    def ssh_port(self) -> int:
        """Where its sshd listens; chosen once."""
        return reserved_port_pair(self.directory / "ssh-port")

    @property
    def upper(self) -> Path:
        """What was written on the device, over the file system below."""
        return self.directory / "upper"

    @property
    def lower(self) -> Path:
        """The root file system below that: the host's, or the one that was chosen for it."""
        chosen = self.directory / "lower"
        return Path(chosen.read_text()) if chosen.exists() else HOST

    def stand_on(self, lower: Path) -> None:
        """Chooses the root file system below, before the device is first switched on."""
        (self.directory / "lower").write_text(str(lower))

    @property
    def files(self) -> Path:
        """Where the host writes on the device: its root, or the upper layer while no overlay is mounted over it.

        What is written into an upper layer under a mounted overlay may never be seen (Linux kernel documentation).
        """
        return Path(f"/proc/{self.init_pid}/root") if self.powered else self.upper

    @property
    def executions(self) -> int:
        """How many commands and subsystems its sshd was asked to run since it was made, by the log of that sshd."""
        log = self.files / SSHD_LOG
        return log.read_text(errors="replace").count("Starting session: ") if log.exists() else 0

    @property
    def _pid_file(self) -> Path:
        return self.directory / "power"

    @property
    def pid(self) -> int | None:
        """Process that holds the device's namespaces, None where the power is off."""
        try:
            pid = int(self._pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if str(self.directory).encode() in command else None

    @property
    def powered(self) -> bool:
        """Whether the power is on."""
        return self.pid is not None

    @property
    def init_pid(self) -> int:
        """The host's number of the device's first process."""
        try:
            return int(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()[0])
        except (FileNotFoundError, IndexError):
            raise DeviceError(f"{self.name} has no process: its power is off") from None

    def power_on(self) -> None:
        """Switches it on and waits until its sshd answers; its TPM gets power with it."""
        if self.powered:
            return
        self.tpm.start()
        command = ["unshare", "--mount", "--pid", "--uts", "--fork", "--kill-child=SIGKILL"]
        command += [sys.executable, "-m", "tpm_rack.boot", str(self.directory)]
        with open(self.directory / "console.log", "ab") as console:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
                cwd="/",
                env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])},
            )
        self._pid_file.write_text(f"{process.pid}\n")
        deadline = time.monotonic() + 60
        while not self.answers():
            if process.poll() is not None or time.monotonic() > deadline:
                self.power_off()
                raise DeviceError(f"{self.name} did not boot: {(self.directory / 'console.log').read_text()[-2000:]}")
            time.sleep(0.05)

    def power_off(self) -> None:
        """Cuts the power, as a pulled plug does: nothing is told that this comes."""
        pid = self.pid
        if pid is not None:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
            first = Path(f"/proc/{children[0] if children else pid}/cmdline")
            os.kill(pid, signal.SIGKILL)
            # The kernel ends the first process of a namespace only after all others in it.
            deadline = time.monotonic() + 20
            while _alive(first):
                if time.monotonic() > deadline:
                    raise DeviceError(f"{self.name} has processes that do not end")
                time.sleep(0.01)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._pid_file.unlink(missing_ok=True)
        self.tpm.stop()

    def power_cycle(self) -> None:
        """Off and on again."""
        self.power_off()
        self.power_on()

    def answers(self, seconds: float = 2) -> bool:
        """Whether its sshd greets, within so many *seconds*."""
        try:
            with socket.create_connection(("127.0.0.1", self.ssh_port), timeout=seconds) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def execute(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Runs *command* inside the device, from the console and not over the network."""
        enter = ["nsenter", f"--target={self.init_pid}", "--mount", "--pid", "--uts", "--root", "--wd", "--"]
        return subprocess.run(
            [*enter, *command],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )


def _alive(command_line: Path) -> bool:
    """Whether a process runs; one that has ended and was not yet waited for has no command line."""
    try:
        return bool(command_line.read_bytes())
    except (FileNotFoundError, ProcessLookupError):
        return False
