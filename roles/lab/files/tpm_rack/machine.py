# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One real machine: QEMU with a kernel of its own, a disk of its own, and a TPM on its bus.

To the rack it is what a simulated device is (:mod:`.device`). What differs is what a machine has: a power cut takes
what its kernel had not yet written, its TPM is ``/dev/tpm0``, and it reaches nothing but its host, which is 10.0.2.2
for it.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

from .accelerator import EMULATOR
from .device import Device, DeviceError
from .machine_image import MachineImage
from .monitor import Monitor, MonitorError, monitor

MEMORY = 512
# Names that were made are written after a minute where nothing asks for it sooner. The others spare an emulated
# processor work.
KERNEL_OPTIONS = (
    "root=/dev/vda rw rootflags=commit=60 console=ttyS0 net.ifnames=0 panic=5 "
    "quiet systemd.show_status=false mitigations=off apparmor=0 audit=0"
)
# What a machine's settings may be, all of which hold from its next power-up on.
CLOCK, NETWORK_AFTER = "clock", "network_after"
# Seconds in which it has to have booted, besides those that its network is late; an emulated processor on a busy host
# takes minutes.
BOOT_SECONDS = 900
# Seconds in which its sshd greets, at first and at most, and in which it has let somebody in.
ANSWER_SECONDS, MOST_PATIENCE, LOGIN_SECONDS = 2, 60, 120
HOST_NAMES = "127.0.0.1 localhost {name}\n10.0.2.2 {host}\n"


class Machine(Device):
    """The machine in *directory*, whose name is the directory's."""

    DESCRIPTION = "machine.json"

    @property
    def tcti(self) -> str:
        """The kernel's resource manager."""
        return "device:/dev/tpmrm0"

    def prepare(
        self, image: MachineImage, serial_number: str, authorized: Path, *, service_host: str, accelerator: str
    ) -> None:
        """Makes its disk, over that of *image*, and what it gets at its first power-up; see :mod:`.accelerator`.

        *authorized* is the public key that logs in as root and as ``line``, whose password for sudo(8) is in the file
        ``line-password``; *service_host* is a name that the machine is to find its host by.
        """
        described = {"image": str(image.directory), "serial_number": serial_number, "accelerator": accelerator}
        self._describe(described)
        subprocess.run(
            ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image.disk), "-F", "raw", str(self._disk)], check=True
        )
        password = secrets.token_urlsafe(12)
        kept = self.directory / "line-password"
        kept.touch(mode=0o600)
        kept.write_text(password)
        crypt = ["openssl", "passwd", "-6", "-stdin"]
        hashed = subprocess.run(crypt, input=password, stdout=subprocess.PIPE, text=True, check=True).stdout
        key = authorized.read_text()
        hosts = HOST_NAMES.format(name=self.name, host=service_host)
        with tarfile.open(self._own_things, "w") as archive:
            for path, content, mode in (
                ("files/etc/hostname", f"{self.name}\n", 0o644),
                ("files/etc/hosts", hosts, 0o644),
                ("files/etc/ssh/host_key", (self.directory / "host_key").read_text(), 0o600),
                ("files/root/.ssh/authorized_keys", key, 0o600),
                ("files/home/line/.ssh/authorized_keys", key, 0o600),
                ("line-password", hashed.strip(), 0o600),
                ("serial-number", f"{serial_number}\n", 0o644),
            ):
                member = tarfile.TarInfo(path)
                member.size, member.mode = len(content.encode()), mode
                archive.addfile(member, io.BytesIO(content.encode()))

    def set(self, **settings: str | int | None) -> None:
        """Changes its settings, for its next power-up; None takes one away."""
        description = {**self._description, **settings}
        self._describe({name: value for name, value in description.items() if value is not None})

    # -- what is on the host ------------------------------------------------------------------------------------------

    @property
    def _description(self) -> dict:
        return json.loads((self.directory / self.DESCRIPTION).read_text())

    def _describe(self, description: dict) -> None:
        (self.directory / self.DESCRIPTION).write_text(json.dumps(description, indent=2))

    @property
    def _disk(self) -> Path:
        return self.directory / "disk.qcow2"

    @property
    def _own_things(self) -> Path:
        return self.directory / "own-things.tar"

    @property
    def files(self) -> Path:
        """None: what is on its disk is the machine's alone."""
        raise DeviceError(f"{self.name} is a machine, and its disk is not the host's to write on")

    @property
    def pid(self) -> int | None:
        """Process that is the machine, None where the power is off."""
        try:
            pid = int(self._pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if os.fsencode(self._disk) in command else None

    # -- power --------------------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Switches it on and waits until its sshd answers; its TPM gets power with it."""
        if self.powered:
            return
        self.tpm.start()
        late = self._description.get(NETWORK_AFTER, 0)
        self._switch_on()
        if late:
            self._plug_in(False)
            time.sleep(late)
            self._plug_in(True)
        self._wait_for_boot()

    def reboot(self) -> None:
        """Has its own systemd start it anew, and waits for that."""
        with self._monitor() as told:
            # The connection may end before the answer comes.
            self.execute(["systemctl", "reboot"])
            told.wait_for("RESET", BOOT_SECONDS)
        self._wait_for_boot()

    def _wait_for_boot(self) -> None:
        deadline = time.monotonic() + BOOT_SECONDS
        patience: float = ANSWER_SECONDS
        while True:
            asked = time.monotonic()
            if self.answers(patience):
                return
            if not self.powered or time.monotonic() > deadline:
                self.power_off()
                raise DeviceError(f"{self.name} did not boot: {self._console.read_text(errors='replace')[-2000:]}")
            # A greeting is work: who asks anew before a slow machine had the time for one keeps it from ever having it.
            if time.monotonic() - asked >= patience:
                patience = min(patience * 1.5, MOST_PATIENCE)
            time.sleep(0.2)

    def _switch_on(self) -> None:
        ours, its = socket.socketpair()
        programs = str(Path(__file__).resolve().parents[1])
        with ours, its, open(self._console, "ab") as console:
            how = {"stdin": subprocess.DEVNULL, "stdout": console, "stderr": console, "start_new_session": True}
            subprocess.Popen(
                [sys.executable, "-m", "tpm_rack.machine_tpm", str(ours.fileno()), str(self.tpm.port), self.directory],
                pass_fds=[ours.fileno()],
                cwd="/",
                env={**os.environ, "PYTHONPATH": programs},
                **how,
            )
            process = subprocess.Popen(self._command(its.fileno()), pass_fds=[its.fileno()], cwd=self.directory, **how)
        self._pid_file.write_text(f"{process.pid}\n")
        # A program that has just begun has no arguments yet, by which it is known.
        while not self.powered and process.poll() is None:
            time.sleep(0.01)

    @property
    def _console(self) -> Path:
        return self.directory / "console.log"

    def _command(self, tpm: int) -> list[str]:
        described = self._description
        image = MachineImage(Path(described["image"]))
        network = f"user,id=network,hostfwd=tcp:127.0.0.1:{self.ssh_port}-:22"
        command = [EMULATOR, "-name", self.name, "-machine", "q35", "-accel", described["accelerator"], "-cpu", "max"]
        command += ["-smp", "1", "-m", str(MEMORY), "-nodefaults", "-no-user-config", "-display", "none"]
        command += ["-kernel", str(image.kernel), "-initrd", str(image.initial_ramdisk)]
        command += ["-append", " ".join([KERNEL_OPTIONS, *self._clock_options(described)])]
        command += ["-chardev", "file,id=console,path=console.log,append=on", "-serial", "chardev:console"]
        command += ["-drive", f"file={self._disk},if=virtio,format=qcow2,cache=writeback"]
        command += ["-drive", f"file={self._own_things},if=virtio,format=raw,readonly=on"]
        command += ["-netdev", network, "-device", "virtio-net-pci,netdev=network,romfile="]
        command += ["-chardev", f"socket,id=tpm,fd={tpm}", "-tpmdev", "emulator,id=tpm,chardev=tpm"]
        command += ["-device", "tpm-crb,tpmdev=tpm", "-object", "rng-random,id=random,filename=/dev/urandom"]
        command += ["-device", "virtio-rng-pci,rng=random", "-smbios", f"type=1,serial={described['serial_number']}"]
        command += ["-rtc", f"base={described.get(CLOCK, 'utc')}"]
        return [*command, "-qmp", "unix:monitor,server=on,wait=off"]

    @staticmethod
    def _clock_options(described: dict) -> list[str]:
        """Has systemd set the clock back too: it brings one that is before its own release up to that (systemd(1))."""
        if CLOCK not in described:
            return []
        moment = datetime.fromisoformat(described[CLOCK]).replace(tzinfo=timezone.utc)
        return [f"systemd.clock_usec={int(moment.timestamp())}000000"]

    @contextmanager
    def _monitor(self) -> Iterator[Monitor]:
        """QEMU's; what it cannot do is said of this machine."""
        try:
            with monitor(self.directory) as told:
                yield told
        except MonitorError as error:
            raise DeviceError(f"{self.name}: {error}") from error

    def _plug_in(self, plugged: bool) -> None:
        """The network cable."""
        with self._monitor() as told:
            told.order("set_link", name="network", up=plugged)

    def power_off(self) -> None:
        """Cuts the power: what the machine's kernel had not written is lost. Of what it had, the disk loses nothing."""
        pid = self.pid
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
            deadline = time.monotonic() + 20
            while self.pid is not None:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
                if time.monotonic() > deadline:
                    raise DeviceError(f"{self.name} does not end")
                time.sleep(0.01)
        self._pid_file.unlink(missing_ok=True)
        self.tpm.stop()

    def execute(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """Runs *command* as root on the machine."""
        rack = self.directory.parents[1]
        ssh = ["ssh", "-F", "none", "-p", str(self.ssh_port), "-i", str(rack / "ssh_key"), "-o", "BatchMode=yes"]
        ssh += ["-o", f"UserKnownHostsFile={rack / 'known_hosts'}", "-o", f"ConnectTimeout={LOGIN_SECONDS}"]
        return subprocess.run(
            [*ssh, "root@127.0.0.1", "--", shlex.join(command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
