# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One software TPM: swtpm(8) as a TCP server, with a state directory that outlives it as a chip's memory does.

Python's own library alone, because the tests of the device's modules also run under a device's own Python.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .answers import Answers

RSA_EK_HANDLE = 0x81010001
ECC_EK_HANDLE = 0x81010016
RSA_EK_CERTIFICATE = 0x01C00002

# Below the range that Linux hands out for outgoing connections, so that none of those sits on a TPM's port.
PORTS = range(20000, 32000, 2)


class SoftwareTpmError(Exception):
    """swtpm did not do as it was told; the message holds what it said."""


def reserve_port_pair(owner: Path) -> int:
    """A port P on the loopback such that P (commands) and P+1 (control) are free, kept for the file *owner*.

    A TPM without power listens nowhere, so that a free port says little: what is promised to whom is written down in a
    directory that all racks of the machine share. A promise ends when its owner's file is gone.
    """
    promises = Path(tempfile.gettempdir()) / f"tpm-rack-ports-{os.getuid()}"
    promises.mkdir(mode=0o700, exist_ok=True)
    with open(promises / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for port in random.sample(PORTS, len(PORTS)):
            promise = promises / str(port)
            if promise.exists() and _kept(Path(promise.read_text())) == port or not _free(port):
                continue
            promise.write_text(str(owner))
            # While the lock is held, so that no other one takes the promise for an ended one.
            owner.write_text(json.dumps({"port": port, "owner": str(owner)}))
            return port
    raise SoftwareTpmError("no free pair of ports on the loopback")


def reserved_port_pair(owner: Path) -> int:
    """The port that the file *owner* keeps, or a new one where it keeps none."""
    return _kept(owner) or reserve_port_pair(owner)


def _kept(owner: Path) -> int | None:
    """The port kept in *owner*; a copy of another one's file keeps none, since two cannot listen on one port."""
    try:
        kept = json.loads(owner.read_text())
    except FileNotFoundError:
        return None
    return kept["port"] if kept["owner"] == str(owner) else None


def _free(port: int) -> bool:
    with socket.socket() as data, socket.socket() as control:
        try:
            data.bind(("127.0.0.1", port))
            control.bind(("127.0.0.1", port + 1))
        except OSError:
            return False
    return True


class SoftwareTpm:
    """A TPM in *state_dir*. Its port is chosen once and stays, as a soldered chip keeps its bus address."""

    def __init__(self, state_dir: Path, port: int | None = None) -> None:
        self.state_dir = Path(state_dir).resolve()
        self._wanted_port = port

    @property
    def _memory(self) -> Path:
        return self.state_dir / "swtpm"

    @property
    def _pid_file(self) -> Path:
        return self.state_dir / "swtpm.pid"

    @property
    def port(self) -> int:
        """Where it takes commands; control is one above."""
        if self._wanted_port is None:
            self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._wanted_port = reserved_port_pair(self.state_dir / "port")
        return self._wanted_port

    @property
    def _script(self) -> Path:
        return self.state_dir / "answers.json"

    def answer_by(self, script: dict | None) -> None:
        """From its next start on it answers by *script* (:mod:`tpm_rack.answers`); None makes it swtpm again."""
        if script is None:
            self._script.unlink(missing_ok=True)
            return
        Answers(script)
        self.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._script.write_text(json.dumps(script))

    @property
    def answers_by_script(self) -> bool:
        """Whether a script is there for its next start, or its last."""
        return self._script.exists()

    @property
    def commands(self) -> list[int]:
        """The command codes that it was asked for while it answered by a script, an empty one too, in their order."""
        log = self.state_dir / "commands.log"
        return [int(code, 16) for code in log.read_text().split()] if log.exists() else []

    @property
    def tcti(self) -> str:
        """How the TPM software stack and tpm2-tools are pointed at it."""
        return f"swtpm:host=127.0.0.1,port={self.port}"

    @property
    def pid(self) -> int | None:
        """Process ID of its swtpm, None where it does not run."""
        try:
            pid = int(self._pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return None
        return pid if str(self._memory).encode() in command else None

    @property
    def running(self) -> bool:
        """Whether it is powered; a paused one is."""
        return self.pid is not None

    def manufacture(self, authority=None, certificate: bool = True, persistent_ek: bool = False) -> None:
        """Makes a new TPM, certified by *authority* (:class:`tpm_rack.authority.Authority`).

        swtpm_setup(8) leaves the endorsement keys persistent, most chips do not: they are evicted unless
        *persistent_ek*. What the maker knows of the TPM is kept in ``maker.json``.
        """
        if certificate and authority is None:
            raise SoftwareTpmError("an endorsement key certificate needs an authority")
        self._memory.mkdir(parents=True, exist_ok=True, mode=0o700)
        command = ["swtpm_setup", "--tpm2", "--tpmstate", str(self._memory), "--overwrite"]
        # Without --create-ek-cert swtpm_setup makes no endorsement key either, so the key's own option stands for it.
        command += (
            ["--create-ek-cert", "--config", str(authority.setup_configuration)] if certificate else ["--createek"]
        )
        if certificate:
            command += ["--vmid", self.state_dir.parent.name or "tpm"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise SoftwareTpmError(f"swtpm_setup failed: {done.stdout}")
        self.start()
        try:
            (self.state_dir / "maker.json").write_text(json.dumps(self._maker_knows(certificate)))
            if not persistent_ek:
                for handle in (RSA_EK_HANDLE, ECC_EK_HANDLE):
                    self._evict(handle)
        finally:
            self.stop()

    def start(self, seconds: float = 10) -> None:
        """Powers it and waits until it answers; nothing where it runs already."""
        if self.running:
            return
        fronted = self.answers_by_script
        port = reserved_port_pair(self.state_dir / "port-behind") if fronted else self.port
        command = ["swtpm", "socket", "--tpm2", "--daemon", "--tpmstate", f"dir={self._memory},mode=0600"]
        command += ["--server", f"type=tcp,bindaddr=127.0.0.1,port={port}"]
        command += ["--ctrl", f"type=tcp,bindaddr=127.0.0.1,port={port + 1}"]
        command += ["--flags", "not-need-init,startup-clear", "--pid", f"file={self._pid_file}"]
        command += ["--log", f"file={self.state_dir}/swtpm.log,level=1"]
        deadline = time.monotonic() + seconds
        while True:
            done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
            if done.returncode == 0:
                break
            if time.monotonic() > deadline:
                raise SoftwareTpmError(f"swtpm did not start in {self.state_dir}: {done.stdout}")
            time.sleep(0.1)
        if fronted:
            self._stand_before(port)
        while not self._accepts():
            if time.monotonic() > deadline:
                raise SoftwareTpmError(f"the TPM in {self.state_dir} does not take connections")
            time.sleep(0.1)

    def _stand_before(self, port: int) -> None:
        programs = Path(__file__).resolve().parents[1]
        front = subprocess.Popen(
            [sys.executable, "-m", "tpm_rack.chip_front", str(self.port), str(port), str(self.state_dir)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(programs)},
        )
        self._front_pid_file.write_text(f"{front.pid}\n")

    @property
    def _front_pid_file(self) -> Path:
        return self.state_dir / "chip-front.pid"

    def _stand_aside(self) -> None:
        try:
            pid = int(self._front_pid_file.read_text())
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            command = []
        if b"tpm_rack.chip_front" in command and os.fsencode(self.state_dir) in command:
            os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._front_pid_file.unlink(missing_ok=True)

    def stop(self) -> None:
        """Cuts its power. The chip's memory stays; as with a real one, no command is told that this comes."""
        self._stand_aside()
        pid = self.pid
        if pid is None:
            return
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGTERM)
        for patience in range(100):
            if self.pid is None:
                break
            if patience == 50:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)
        self._pid_file.unlink(missing_ok=True)

    def power_cycle(self) -> None:
        """Off and on again: sessions and transient objects are gone, persistent ones stay."""
        self.stop()
        self.start()

    def pause(self) -> None:
        """From now on it takes commands and never answers, as a hung chip does."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """It answers again."""
        if self.pid is not None:
            os.kill(self.pid, signal.SIGCONT)

    def clone_to(self, other: SoftwareTpm) -> None:
        """Copies the chip's memory into *other*, which then is this very TPM as far as any command can tell."""
        was_running = other.running
        other.stop()
        shutil.rmtree(other._memory)
        shutil.copytree(self._memory, other._memory, ignore=shutil.ignore_patterns(".lock"))
        if was_running:
            other.start()

    def _accepts(self) -> bool:
        """On both of its ports: a machine asks for control before it has a command."""
        try:
            for port in (self.port, self.port + 1):
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            return False
        return True

    def _command(self, code: int, body: bytes, tag: int = 0x8001) -> bytes:
        """Sends one TPM command and returns what follows the response header (TPM 2.0 part 1, section 18)."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as connection:
            connection.sendall(struct.pack(">HII", tag, 10 + len(body), code) + body)
            stream = connection.makefile("rb")
            _tag, size, response_code = struct.unpack(">HII", stream.read(10))
            answer = stream.read(size - 10)
        if response_code:
            raise SoftwareTpmError(f"TPM command {code:#x} failed with {response_code:#x}")
        return answer

    def _read_public(self, handle: int) -> bytes:
        """TPM2_ReadPublic: the TPM2B_PUBLIC of the object at *handle*."""
        answer = self._command(0x173, struct.pack(">I", handle))
        return answer[: 2 + struct.unpack(">H", answer[:2])[0]]

    def _evict(self, handle: int) -> None:
        """TPM2_EvictControl with the owner's empty authorization; a handle that is empty stays so."""
        password = struct.pack(">IIHBH", 9, 0x40000009, 0, 0, 0)
        try:
            self._command(
                0x120, struct.pack(">II", 0x40000001, handle) + password + struct.pack(">I", handle), tag=0x8002
            )
        except SoftwareTpmError:
            if handle == RSA_EK_HANDLE:
                raise

    def _nv_read(self, index: int) -> bytes:
        """TPM2_NV_Read of the whole *index*, with the index's own empty authorization."""
        public = self._command(0x169, struct.pack(">I", index))
        # TPM2B_NV_PUBLIC ends with dataSize.
        length = struct.unpack(">H", public[: 2 + struct.unpack(">H", public[:2])[0]][-2:])[0]
        password = struct.pack(">IIHBH", 9, 0x40000009, 0, 0, 0)
        read = b""
        while len(read) < length:
            chunk = min(1024, length - len(read))
            body = struct.pack(">II", index, index) + password + struct.pack(">HH", chunk, len(read))
            answer = self._command(0x14E, body, tag=0x8002)
            read += answer[6 : 6 + struct.unpack(">H", answer[4:6])[0]]
        return read

    def _maker_knows(self, certificate: bool) -> dict[str, str | None]:
        return {
            "endorsement_key": self._read_public(RSA_EK_HANDLE).hex(),
            "endorsement_key_certificate": self._nv_read(RSA_EK_CERTIFICATE).hex() if certificate else None,
        }
