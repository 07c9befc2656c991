# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be wrong with a device, each fault by the name it has on the command line.

A fault is broken by one function and mended by another. Faults that change the TPM keep what mending needs in the
device's directory.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import yaml

from .answers import Answers, ScriptError, slow_at_keys
from .device import Device, DeviceError
from .file_system import SESSION_GATE, SSHD, write_sshd_configuration
from .machine import CLOCK, NETWORK_AFTER, Machine
from .machine_image import ON_MACHINE

GATE = """\
#!/bin/sh
# Lets a number of commands through, then cuts every connection to the device, as a line that breaks does.
left=$(cat {counter} 2>/dev/null || echo 0)
if [ "$left" -le 0 ]; then
    /usr/bin/pkill -KILL sshd
    exit 255
fi
echo $((left - 1)) > {counter}
if [ -n "$SSH_ORIGINAL_COMMAND" ]; then exec /bin/sh -c "$SSH_ORIGINAL_COMMAND"; fi
exec /bin/sh -i
"""
COUNTER = "/var/lib/tpm-rack-commands-left"
TPM_USER = "tpm-user"
# More than any dictionary attack limit that a fleet would set.
MOST_TRIES = 100


@dataclass(frozen=True)
class Fault:
    """How a device is broken and mended; ``argument`` names what breaking it takes besides the device."""

    summary: str
    break_: Callable[..., None]
    mend: Callable[[Device], None]
    argument: str | None = None
    # What the argument's text means; OSError or ValueError where it means nothing. A device is looked up by the rack.
    read: Callable[[str], object] = int
    # What a power cycle would undo is done anew; most faults outlive one by themselves.
    at_power_on: Callable[[Device], None] = lambda _device: None


def _tool(device: Device, *command: str, fails: bool = False) -> str:
    """What one of tpm2-tools says, run on the device's TPM."""
    done = subprocess.run(
        [command[0], "-T", device.tpm.tcti, *command[1:]],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if bool(done.returncode) != fails:
        raise DeviceError(f"{device.name}: {' '.join(command)}: {done.stdout}")
    return done.stdout


def _snapshot(device: Device) -> None:
    """Keeps the TPM's memory, so that mending gives back the TPM that was there."""
    kept = device.directory / "tpm.before-fault"
    if kept.exists():
        raise DeviceError(f"{device.name}: its TPM's memory is broken already, mend that first")
    with _without_power(device):
        shutil.copytree(device.tpm.state_dir, kept)


def _restore(device: Device) -> None:
    with _without_power(device):
        shutil.rmtree(device.tpm.state_dir)
        (device.directory / "tpm.before-fault").rename(device.tpm.state_dir)


@contextmanager
def _without_power(device: Device) -> Iterator[None]:
    """Its TPM is off, and has power again afterwards if it had before."""
    had_power = device.tpm.running
    device.tpm.stop()
    yield
    if had_power:
        device.tpm.start()


@contextmanager
def _with_power(device: Device) -> Iterator[None]:
    had_power = device.tpm.running
    device.tpm.start()
    yield
    if not had_power:
        device.tpm.stop()


def _own_as_stranger(device: Device) -> None:
    """The values are kept where only root of the host reads them, for tests that play the stranger."""
    auths = {hierarchy: secrets.token_hex(16) for hierarchy in ("owner", "lockout")}
    _snapshot(device)
    with _with_power(device):
        for hierarchy, auth in auths.items():
            _tool(device, "tpm2_changeauth", "-c", hierarchy, auth)
    stranger = device.directory / "stranger.json"
    stranger.touch(mode=0o600)
    stranger.write_text(json.dumps(auths))


def _disown(device: Device) -> None:
    _restore(device)
    (device.directory / "stranger.json").unlink()


def _lock_out(device: Device) -> None:
    """Guesses wrong at an object that the dictionary attack logic protects, until the TPM has had enough.

    The object is of the null hierarchy, which needs no authorization: so a TPM with an owner can be locked out too.
    """
    _snapshot(device)
    with _with_power(device), tempfile.TemporaryDirectory() as work:
        _tool(device, "tpm2_createprimary", "-C", "n", "-c", f"{work}/primary", "-p", "right")
        guess = ("tpm2_create", "-C", f"{work}/primary", "-P", "wrong", "-u", f"{work}/u", "-r", f"{work}/r")
        for _guess in range(MOST_TRIES):
            _tool(device, "tpm2_flushcontext", "-t")
            _tool(device, *guess, fails=True)
            if re.search(r"inLockout:\s+1", _tool(device, "tpm2_getcap", "properties-variable")):
                break
        _tool(device, "tpm2_flushcontext", "-t")


def _gate_ssh(device: Device, commands: int) -> None:
    files = device.files
    gate = files / SESSION_GATE
    gate.write_text(GATE.format(counter=COUNTER))
    gate.chmod(0o755)
    counter = files / COUNTER.lstrip("/")
    counter.parent.mkdir(parents=True, exist_ok=True)
    counter.write_text(f"{commands}\n")
    write_sshd_configuration(files, device.ssh_port, f"ForceCommand /{SESSION_GATE}\n")
    _restart_sshd(device)


def _ungate_ssh(device: Device) -> None:
    write_sshd_configuration(device.files, device.ssh_port)
    _restart_sshd(device)


def _restart_sshd(device: Device) -> None:
    """Ends the sessions too: one that is open already would go on under the old configuration."""
    if device.powered:
        device.execute(["pkill", "-KILL", "sshd"])
        device.execute([*SSHD])


def _clone(device: Device, other: Device) -> None:
    _snapshot(device)
    with _without_power(other):
        other.tpm.clone_to(device.tpm)


def _read_script(path: str) -> dict:
    """The script in a file of YAML, which JSON is too."""
    try:
        script = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ScriptError(f"it is no YAML: {error}") from error
    Answers(script)
    return script


def _answer_by(device: Device, script: dict) -> None:
    if device.tpm.answers_by_script:
        raise DeviceError(f"{device.name}: its TPM answers by a script already, mend that first")
    with _without_power(device):
        device.tpm.answer_by(script)


def _answer_plainly(device: Device) -> None:
    with _without_power(device):
        device.tpm.answer_by(None)


def _machine(device: Device) -> Machine:
    if not isinstance(device, Machine):
        raise DeviceError(f"{device.name} is a simulated device, and this is a fault of real machines")
    return device


def _power_up_with(device: Device, **settings: str | int | None) -> None:
    """Changes what holds from a power-up on, and has it hold."""
    _machine(device).set(**settings)
    if device.powered:
        device.power_cycle()


def _read_moment(text: str) -> str:
    return datetime.fromisoformat(text).strftime("%Y-%m-%dT%H:%M:%S")


def _share_tpm(device: Device) -> None:
    program = (ON_MACHINE / "tpm_user.py").read_text()
    command = ["systemd-run", "--quiet", "--collect", f"--unit={TPM_USER}", "/usr/bin/python3", "-c", program]
    done = _machine(device).execute(command)
    if done.returncode:
        raise DeviceError(f"{device.name}: {done.stdout}")


def _have_tpm_alone(device: Device) -> None:
    if device.powered:
        device.execute(["systemctl", "stop", TPM_USER])


FAULTS = {
    "tpm-not-answering": Fault(
        "the TPM takes commands and never answers",
        lambda device: device.tpm.pause(),
        lambda device: device.tpm.resume(),
        at_power_on=lambda device: device.tpm.pause(),
    ),
    "tpm-gone": Fault(
        "the TPM is not there",
        lambda device: device.tpm.stop(),
        lambda device: device.tpm.start() if device.powered else None,
        at_power_on=lambda device: device.tpm.stop(),
    ),
    "tpm-slow": Fault(
        "the TPM takes so many seconds to make a key, as a slow chip does",
        lambda device, seconds: _answer_by(device, slow_at_keys(seconds)),
        _answer_plainly,
        argument="number of seconds",
    ),
    "tpm-answers": Fault(
        "the TPM answers by a script: response codes, delays, and what it tells of itself",
        _answer_by,
        _answer_plainly,
        argument="script",
        read=_read_script,
    ),
    "tpm-lockout": Fault("the TPM is in dictionary attack lockout", _lock_out, _restore),
    "tpm-owned-by-stranger": Fault(
        "owner and lockout authorization are set, and nobody knows them", _own_as_stranger, _disown
    ),
    "tpm-cloned-from": Fault("the TPM's memory is a copy of another device's", _clone, _restore, argument="device"),
    "ssh-gone-after": Fault(
        "the connection is cut after a number of commands", _gate_ssh, _ungate_ssh, argument="count"
    ),
    "tpm-shared": Fault(
        "another program of the machine uses its TPM all the time",
        _share_tpm,
        _have_tpm_alone,
        at_power_on=_share_tpm,
    ),
    "clock-at": Fault(
        "the machine's clock stands at a moment at each power-up",
        lambda device, moment: _power_up_with(device, **{CLOCK: moment}),
        lambda device: _power_up_with(device, **{CLOCK: None}),
        argument="moment",
        read=_read_moment,
    ),
    "network-late": Fault(
        "the machine's network comes so many seconds after the power",
        lambda device, seconds: _power_up_with(device, **{NETWORK_AFTER: seconds}),
        lambda device: _machine(device).set(**{NETWORK_AFTER: None}),
        argument="number of seconds",
    ),
    "powered-off": Fault("no power", lambda device: device.power_off(), lambda device: device.power_on()),
}
