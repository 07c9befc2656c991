# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rack: which devices there are, where each answers, and what is wrong with them.

Everything is in the rack's directory: ``rack.json`` (what the outside needs), ``ek-list.jsonl`` (what the TPM maker
sends), ``registry.json`` (the rack's own book) and a directory a device.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from .accelerator import EMULATOR, fastest
from .authority import Authority
from .device import Device
from .faults import FAULTS
from .file_system import HOST, hold_layers, prepare, release_layers
from .machine import Machine
from .machine_image import MachineImage

# The work of starting is done by other programs; a few more than there are cores keep the cores busy.
AT_ONCE = 4
POWERED_OFF = "powered-off"
# What a device and its TPM run on or are made by, as the host sees it.
RACK_PROGRAMS = ("unshare", "swtpm", "swtpm_setup", "swtpm_localca", "swtpm_cert", "ssh-keygen", EMULATOR)
RACK_MODULES = (b"tpm_rack.chip_front", b"tpm_rack.machine_tpm")


class RackError(Exception):
    """The rack was asked for what it cannot do."""


class Rack:
    """The rack in *directory*."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory).resolve()

    # -- the book -----------------------------------------------------------------------------------------------------

    @contextmanager
    def _book(self, changes: bool = True) -> Iterator[dict]:
        """The registry, locked against who *changes* it; who does so saves it."""
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        with open(self.directory / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX if changes else fcntl.LOCK_SH)
            path = self.directory / "registry.json"
            yield json.loads(path.read_text()) if path.exists() else {"next_serial": 1, "hidden": [], "devices": {}}

    def _save(self, book: dict) -> None:
        described = [self._describe(*one) for one in book["devices"].items()]
        roots = [str(path) for path in self.authority.ca_certificates]
        inside = {name: self._device(name).tcti for name in book["devices"]}
        found = {"devices": described, "ek_certificate_roots": roots, "tcti_on_device": inside}
        self._write("rack.json", json.dumps(found, indent=2))
        self._write("ek-list.jsonl", "".join(json.dumps(one["shipped"]) + "\n" for one in book["devices"].values()))
        self._write("registry.json", json.dumps(book, indent=2))

    @property
    def _devices(self) -> Path:
        return self.directory / "devices"

    def _write(self, name: str, text: str) -> None:
        new = self.directory / f"{name}.new"
        new.touch(mode=0o600)
        new.write_text(text)
        new.rename(self.directory / name)

    def _describe(self, name: str, entry: dict) -> dict:
        device = self._device(name)
        return {
            "name": name,
            "serial_number": entry["serial_number"],
            "tcti": device.tpm.tcti,
            "state_dir": str(device.tpm.state_dir),
            "ssh": {
                "host": "127.0.0.1",
                "port": device.ssh_port,
                "user": "root",
                "private_key_file": str(self.directory / "ssh_key"),
                "known_hosts_file": str(self.directory / "known_hosts"),
            },
        }

    def _device(self, name: str) -> Device:
        return self._at(self._devices / name)

    @staticmethod
    def _at(directory: Path) -> Device:
        """The device in *directory*, whichever it is."""
        return Machine(directory) if (directory / Machine.DESCRIPTION).exists() else Device(directory)

    def _select(self, book: dict, names: Sequence[str]) -> list[Device]:
        unknown = set(names) - set(book["devices"])
        if unknown:
            raise RackError(f"no such device in this rack: {', '.join(sorted(unknown))}")
        return [self._device(name) for name in names or book["devices"]]

    def device(self, name: str) -> Device:
        """One device, by its name."""
        with self._book(changes=False) as book:
            return self._select(book, [name])[0]

    @property
    def authority(self) -> Authority:
        """Who certified the TPMs of this rack."""
        return Authority(self.directory / "tpm-maker")

    # -- devices ------------------------------------------------------------------------------------------------------

    def up(
        self,
        devices: int,
        prefix: str = "rack1-slot",
        hidden: Sequence[Path] = (),
        machines: tuple[MachineImage, str] | None = None,
        roots: Sequence[Path] = (),
    ) -> bool:
        """Sees to it that there are at least *devices* devices and that all have power; True if anything was done.

        *hidden* are directories of the host that no device may see, besides the rack's own and people's homes. With
        *machines*, an image and the name by which they are to find this host, new devices are real machines. With
        *roots*, root file systems of other distributions, new devices have those in turn in place of the host's.
        """
        with self._book() as book:
            if machines is not None:
                image, service_host = machines
                known = book.get("machines") or {"accelerator": fastest()}
                book["machines"] = {**known, "image": str(image.directory), "service_host": service_host}
            book["hidden"] = sorted({*book["hidden"], *(str(Path(one).resolve()) for one in hidden)})
            if roots:
                book["roots"] = [str(root) for root in roots]
            names = [f"{prefix}{number:02d}" for number in range(1, devices + 1)]
            new = [name for name in names if name not in book["devices"]]
            self._make(book, new)
            off = [name for name in book["devices"] if not self._device(name).powered]
            off = [name for name in off if POWERED_OFF not in book["devices"][name]["faults"]]
            self._each(book, off, self._power_on)
            return bool(new or off)

    def add(self, name: str) -> None:
        """Puts one more device in the rack and switches it on."""
        with self._book() as book:
            if name in book["devices"]:
                raise RackError(f"{name} is in the rack already")
            self._make(book, [name])
            self._device(name).power_on()

    def remove(self, name: str) -> None:
        """Takes a device out; nothing of it stays."""
        with self._book() as book:
            [device] = self._select(book, [name])
            device.power_off()
            shutil.rmtree(device.directory)
            del book["devices"][name]
            self._write_known_hosts(book)
            self._save(book)

    def power_cycle(self, names: Sequence[str] = ()) -> None:
        """Cuts and gives back the power of *names*, or of all."""
        with self._book(changes=False) as book:
            self._each(book, names, self._power_off)
            self._each(book, names, self._power_on)

    def power_off(self, names: Sequence[str] = ()) -> None:
        """Cuts the power of *names*, or of all."""
        with self._book(changes=False) as book:
            self._each(book, names, self._power_off)

    def power_on(self, names: Sequence[str] = ()) -> None:
        """Switches *names* on, or all. What is broken stays broken: a device whose fault is no power gets none."""
        with self._book(changes=False) as book:
            self._each(book, names, self._power_on)

    def _each(self, book: dict, names: Sequence[str], act: Callable[[Device, list[str]], None]) -> None:
        """Does *act* with devices side by side; one rack program at a time is at work on a device."""

        def one(device: Device) -> None:
            with open(device.directory / "lock", "w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                act(device, book["devices"][device.name]["faults"])

        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(one, self._select(book, names)))

    @staticmethod
    def _power_off(device: Device, _faults: list[str]) -> None:
        device.power_off()

    @staticmethod
    def _power_on(device: Device, faults: list[str]) -> None:
        if POWERED_OFF not in faults:
            device.power_on()
            for fault in faults:
                FAULTS[fault].at_power_on(device)

    def down(self, keep: bool = False) -> bool:
        """Ends everything and, unless *keep*, removes the directory; True if there was anything.

        Takes no word for what runs: also what a killed rack program left is found and ended.
        """
        if not self.directory.exists():
            return False
        directories = sorted(self._devices.glob("*"))
        running = bool(self._processes(self.directory))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda directory: self._at(directory).power_off(), directories))
        self._end(self.directory)
        if not keep:
            release_layers(self._devices)
            shutil.rmtree(self.directory)
        return running or not keep

    @staticmethod
    def _end(directory: Path) -> None:
        """Ends what a killed rack program left running for the device, or devices, below *directory*."""
        while pids := Rack._processes(directory):
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.02)

    @staticmethod
    def _processes(directory: Path) -> list[int]:
        """Processes of the host that hold or make a device or TPM: their commands name a path below *directory*."""
        found = []
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                program, *arguments = (entry / "cmdline").read_bytes().split(b"\0")
                below = re.compile(re.escape(os.fsencode(directory)) + rb"(/|,|$)")
                ours = Path(os.fsdecode(program)).name in RACK_PROGRAMS or bool({*RACK_MODULES} & {*arguments})
                if ours and any(below.search(one) for one in arguments):
                    found.append(int(entry.name))
        return found

    # -- faults -------------------------------------------------------------------------------------------------------

    def break_(self, name: str, fault: str, argument: str | None = None) -> None:
        """Breaks a device by one of :data:`tpm_rack.faults.FAULTS`."""
        with self._book() as book:
            device = self._select(book, [name])[0]
            if fault not in FAULTS:
                raise RackError(f"no such fault: {fault}; there are {', '.join(FAULTS)}")
            kind = FAULTS[fault].argument
            if (kind is None) != (argument is None):
                raise RackError(f"{fault} takes {'a ' + kind if kind else 'no argument'}")
            if fault in book["devices"][name]["faults"]:
                raise RackError(f"{name} has this fault already: {fault}")
            given: list = []
            if argument is not None:
                given = self._select(book, [argument]) if kind == "device" else [_read_argument(fault, argument)]
            FAULTS[fault].break_(device, *given)
            book["devices"][name]["faults"].append(fault)
            self._save(book)

    def mend(self, name: str, fault: str | None = None) -> None:
        """Undoes one fault of a device, or all of them, the newest first."""
        with self._book() as book:
            device = self._select(book, [name])[0]
            faults = book["devices"][name]["faults"]
            for one in [fault] if fault else list(reversed(faults)):
                if one not in faults:
                    raise RackError(f"{name} does not have the fault {one}")
                FAULTS[one].mend(device)
                faults.remove(one)
                self._save(book)
            for one in faults if device.powered else []:
                # Power that came back with a mended fault undoes no other one.
                FAULTS[one].at_power_on(device)

    def status(self) -> list[dict]:
        """One entry a device: name, power, whether SSH answers, whether the TPM has power, and its faults."""
        with self._book(changes=False) as book:
            return [
                {
                    "name": device.name,
                    "powered": device.powered,
                    "ssh": device.answers(),
                    "tpm": device.tpm.running,
                    "faults": book["devices"][device.name]["faults"],
                }
                for device in self._select(book, [])
            ]

    # -- making -------------------------------------------------------------------------------------------------------

    def _make(self, book: dict, names: list[str]) -> None:
        if not names:
            return
        if not self._devices.exists():
            if "machines" in book:
                self._devices.mkdir(mode=0o700)
            else:
                hold_layers(self._devices)
        self._make_ssh_key(self.directory / "ssh_key")
        for name in names:
            book["devices"][name] = {
                "serial_number": f"TF-{book['next_serial']:06d}",
                "faults": [],
            }
            if book.get("roots"):
                book["devices"][name]["root"] = book["roots"][(book["next_serial"] - 1) % len(book["roots"])]
            book["next_serial"] += 1
        authority = self.authority
        # The first one makes the authority's own keys.
        self._make_one(book, names[0], authority)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            list(pool.map(lambda name: self._make_one(book, name, authority), names[1:]))
        self._write_known_hosts(book)
        self._save(book)

    def _make_one(self, book: dict, name: str, authority: Authority) -> None:
        entry = book["devices"][name]
        directory = self._devices / name
        if directory.exists():
            # Left by a rack program that was killed in the middle of this.
            self._end(directory)
            shutil.rmtree(directory)
        directory.mkdir()
        self._make_ssh_key(directory / "host_key")
        authorized = self.directory / "ssh_key.pub"
        if "machines" in book:
            device: Device = Machine(directory)
            how = dict(book["machines"])
            device.prepare(MachineImage(Path(how.pop("image"))), entry["serial_number"], authorized, **how)
        else:
            device = Device(directory)
            device.upper.mkdir()
            if "root" in entry:
                device.stand_on(Path(entry["root"]))
            hidden = [self.directory, *(Path(one) for one in book["hidden"])] if device.lower == HOST else []
            keys = {"host_key": directory / "host_key", "authorized": authorized}
            prepare(device.upper, name, entry["serial_number"], device.ssh_port, keys, hidden, device.lower)
        device.tpm.manufacture(authority)
        entry["shipped"] = self._shipped(device)

    @staticmethod
    def _make_ssh_key(path: Path) -> None:
        if not path.exists():
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", path.parent.name, "-f", str(path)]
            subprocess.run(command, check=True)

    def _write_known_hosts(self, book: dict) -> None:
        lines = []
        for device in self._select(book, []):
            kind, key, _comment = (device.directory / "host_key.pub").read_text().split(" ", 2)
            lines.append(f"[127.0.0.1]:{device.ssh_port} {kind} {key}\n")
        self._write("known_hosts", "".join(lines))

    @staticmethod
    def _shipped(device: Device) -> dict:
        """The line of the TPM maker's list."""
        known = json.loads((device.tpm.state_dir / "maker.json").read_text())
        keys = {field: base64.b64encode(bytes.fromhex(value)).decode() for field, value in known.items() if value}
        return {**keys, "maker": "tpmfleet lab TPM maker", "batch": "lab"}


def _read_argument(fault: str, argument: str) -> object:
    try:
        return FAULTS[fault].read(argument)
    except (OSError, ValueError) as error:
        raise RackError(f"{fault} takes a {FAULTS[fault].argument}, not {argument!r}: {error}") from error
