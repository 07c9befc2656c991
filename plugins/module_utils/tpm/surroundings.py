# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is around a device's TPM: its nodes, its driver, who holds it, the disks and the init. Only reads."""

from __future__ import annotations

import grp
import os
import pwd
import shutil
import stat
from typing import Any, Callable

# Where what this collection places on a device goes, by the directories that a device has anyway.
PLACES = ("/etc", "/usr/lib", "/var/lib", "/tmp")
NODES = ("/dev/tpm0", "/dev/tpmrm0")
_CLASS = "/sys/class/tpm/tpm0"
_BOOTED_BY_SYSTEMD = "/run/systemd/system"
_MOST_NAMES = 8
_MIB = 1 << 20


def nodes() -> list[dict[str, Any]]:
    """The device nodes that are there, each with who may use it."""
    found = []
    for path in NODES:
        try:
            state = os.stat(path)
        except OSError:
            continue
        kind = "device" if stat.S_ISCHR(state.st_mode) else "other"
        found.append(
            {
                "path": path,
                "kind": kind,
                "mode": f"{stat.S_IMODE(state.st_mode):04o}",
                "owner": _name(pwd.getpwuid, state.st_uid),
                "group": _name(grp.getgrgid, state.st_gid),
            }
        )
    return found


def _name(look_up: Callable[[int], Any], number: int) -> str:
    try:
        return str(look_up(number)[0])
    except KeyError:
        return str(number)


def version_major() -> int | None:
    """1 for a TPM 1.2 and 2 for a TPM 2.0, as Linux (5.6 and later) says; None where it says nothing."""
    try:
        with open(os.path.join(_CLASS, "tpm_version_major"), encoding="ascii") as file:
            return int(file.read(16))
    except (OSError, ValueError):
        return None


def driver() -> str | None:
    """The kernel's driver of the TPM, such as ``tpm_tis``; None where there is no TPM, or none that has one."""
    try:
        return os.path.basename(os.readlink(os.path.join(_CLASS, "device", "driver")))
    except OSError:
        return None


def holders() -> list[str]:
    """The names of the programs that have /dev/tpm0 open, which lets nobody else in. Whoever is not root sees less."""
    found = set()
    for process in filter(str.isdigit, os.listdir("/proc")):
        directory = f"/proc/{process}/fd"
        try:
            if any(os.readlink(f"{directory}/{one}") == NODES[0] for one in os.listdir(directory)):
                with open(f"/proc/{process}/comm", encoding="utf-8", errors="replace") as file:
                    found.add(file.read(64).strip())
        except OSError:
            # Gone meanwhile, or somebody else's.
            continue
    return sorted(found)[:_MOST_NAMES]


def may_use(tcti: str) -> bool | None:
    """Whether this process may open the node of *tcti*; None where that names none."""
    kind, _colon, path = tcti.partition(":")
    return os.access(path, os.R_OK | os.W_OK) if kind == "device" and path else None


def user() -> str:
    """Who this process is."""
    return _name(pwd.getpwuid, os.geteuid())


def file_systems() -> list[dict[str, Any]]:
    """Of each place, whether it can be written at all and how many MiB are free."""
    found = []
    for path in PLACES:
        try:
            state = os.statvfs(path)
        except OSError:
            continue
        free = state.f_bavail * state.f_frsize // _MIB
        found.append({"path": path, "writable": not state.f_flag & os.ST_RDONLY, "free_mib": free})
    return found


def systemd(run: Callable[[list[str]], tuple[int, str, str]]) -> dict[str, Any]:
    """Whether the device was booted by systemd, and its version where that is told (``systemd 252 (…)``)."""
    version = None
    if shutil.which("systemctl"):
        words = run(["systemctl", "--version"])[1].split()
        if len(words) > 1 and words[1].isdigit() and len(words[1]) < 6:
            version = int(words[1])
    return {"running": os.path.isdir(_BOOTED_BY_SYSTEMD), "version": version}


def stack_version(run: Callable[[list[str]], tuple[int, str, str]]) -> str | None:
    """The version of the TPM2 software stack (tpm2-tss), which only the system's packages tell; None where none does.

    Debian has its parts as packages of their own, and in the names of some the version of their interface.
    """
    for program, arguments in (
        ("dpkg-query", ["-W", "-f=${db:Status-Status} ${Version}\n", "libtss2-esys*"]),
        ("rpm", ["-q", "--qf", "installed %{VERSION}\n", "tpm2-tss"]),
    ):
        if shutil.which(program):
            code, out, _err = run([program, *arguments])
            found = [line.partition(" ")[2].strip() for line in out.splitlines() if line.startswith("installed ")]
            if code == 0 and found:
                return found[0][:64]
    return None


def client(command: str, service: str, run: Callable[[list[str]], tuple[int, str, str]]) -> dict[str, Any]:
    """Whether the field client is placed, and what systemd says of its *service*."""
    placed = os.path.exists(command)
    state = None
    if placed and shutil.which("systemctl"):
        state = run(["systemctl", "is-active", service])[1].strip()[:40] or None
    return {"placed": placed, "state": state}
