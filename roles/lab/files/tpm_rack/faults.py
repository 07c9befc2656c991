# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be wrong with a device, each fault by the name it has on the command line.

A fault is broken by one function and mended by another. Faults that change the TPM keep what mending needs in the
device's directory.
"""

from __future__ import annotations

import json
import secrets
import shutil
import signal
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

from .device import Device, DeviceError
from .file_system import SESSION_GATE, write_sshd_configuration

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


@dataclass(frozen=True)
class Fault:
    """How a device is broken and mended; ``argument`` names what breaking it takes besides the device."""

    summary: str
    break_: Callable[..., None]
    mend: Callable[[Device], None]
    argument: str | None = None


def _tool(device: Device, *command: str, fails: bool = False) -> None:
    """Runs one of tpm2-tools on the device's TPM."""
    done = subprocess.run(
        [command[0], "-T", device.tpm.tcti, *command[1:]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if bool(done.returncode) != fails:
        raise DeviceError(f"{device.name}: {' '.join(command)}: {done.stdout}")


def _snapshot(device: Device) -> None:
    """Keeps the TPM's memory, so that mending gives back the TPM that was there."""
    kept = device.directory / "tpm.before-fault"
    if not kept.exists():
        was_running = device.tpm.running
        device.tpm.stop()
        shutil.copytree(device.tpm.state_dir, kept)
        if was_running:
            device.tpm.start()


def _restore(device: Device) -> None:
    kept = device.directory / "tpm.before-fault"
    was_running = device.tpm.running
    device.tpm.stop()
    shutil.rmtree(device.tpm.state_dir)
    kept.rename(device.tpm.state_dir)
    if was_running:
        device.tpm.start()


def _own_as_stranger(device: Device) -> None:
    _snapshot(device)
    auths = {hierarchy: secrets.token_urlsafe(24) for hierarchy in ("owner", "lockout")}
    for hierarchy, auth in auths.items():
        _tool(device, "tpm2_changeauth", "-c", hierarchy, auth)
    stranger = device.directory / "stranger.json"
    stranger.touch(mode=0o600)
    stranger.write_text(json.dumps(auths))


def _lock_out(device: Device) -> None:
    """One wrong guess at an object that the dictionary attack logic protects, with one try allowed."""
    _snapshot(device)
    _tool(device, "tpm2_dictionarylockout", "--setup-parameters", "--max-tries=1", "--recovery-time=3600",
          "--lockout-recovery-time=3600")
    work = device.directory / "lock-out"
    work.mkdir(exist_ok=True)
    try:
        _tool(device, "tpm2_createprimary", "-C", "o", "-c", f"{work}/primary", "-p", "right")
        _tool(device, "tpm2_flushcontext", "-t")
        _tool(device, "tpm2_create", "-C", f"{work}/primary", "-P", "wrong", "-u", f"{work}/u", "-r", f"{work}/r", fails=True)
        _tool(device, "tpm2_flushcontext", "-t")
    finally:
        shutil.rmtree(work)


def _gate_ssh(device: Device, commands: int) -> None:
    gate = device.upper / SESSION_GATE
    gate.parent.mkdir(parents=True, exist_ok=True)
    gate.write_text(GATE.format(counter=COUNTER))
    gate.chmod(0o755)
    counter = device.upper / COUNTER.lstrip("/")
    counter.parent.mkdir(parents=True, exist_ok=True)
    counter.write_text(f"{commands}\n")
    write_sshd_configuration(device.upper, device.ssh_port, f"ForceCommand /{SESSION_GATE}\n")
    _restart_sshd(device)


def _ungate_ssh(device: Device) -> None:
    write_sshd_configuration(device.upper, device.ssh_port)
    _restart_sshd(device)


def _restart_sshd(device: Device) -> None:
    """Ends the sessions too: one that is open already would go on under the old configuration."""
    if device.powered:
        device.execute(["pkill", f"-{signal.SIGKILL.value}", "sshd"])
        device.execute(["/usr/sbin/sshd"])


def _clone(device: Device, other: Device) -> None:
    _snapshot(device)
    was_running = other.tpm.running
    other.tpm.stop()
    other.tpm.clone_to(device.tpm)
    if was_running:
        other.tpm.start()


FAULTS = {
    "tpm-not-answering": Fault(
        "the TPM takes commands and never answers", lambda device: device.tpm.pause(), lambda device: device.tpm.resume()
    ),
    "tpm-gone": Fault("the TPM is not there", lambda device: device.tpm.stop(), lambda device: device.tpm.start()),
    "tpm-lockout": Fault("the TPM is in dictionary attack lockout", _lock_out, _restore),
    "tpm-owned-by-stranger": Fault("owner and lockout authorization are set, and nobody knows them", _own_as_stranger, _restore),
    "tpm-cloned": Fault("the TPM's memory is a copy of another device's", _clone, _restore, argument="device"),
    "ssh-gone-after": Fault("the connection is cut after a number of commands", _gate_ssh, _ungate_ssh, argument="count"),
    "powered-off": Fault("no power", lambda device: device.power_off(), lambda device: device.power_on()),
}
