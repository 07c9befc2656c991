# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a simulated device does when power comes: mounts its file systems, starts sshd, and hands over to its init.

Runs as ``python -m tpm_rack.boot DEVICE_DIR`` as the first process of new mount, PID and UTS namespaces, so that all it
does is gone when that process is killed, which is how the power is cut.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from .device import Device
from .file_system import ENVIRONMENT, INIT, INIT_INTERPRETER, SSHD, TIMERS

HOST_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")


def _mount(*arguments: str) -> None:
    subprocess.run(["mount", *arguments], check=True)


def _mount_root(device_dir: Path) -> Path:
    """The root file system below, read through the device's own upper layer, which takes all that is written."""
    root = device_dir / "root"
    for name in ("root", "upper", "work"):
        (device_dir / name).mkdir(exist_ok=True)
    layers = f"lowerdir={Device(device_dir).lower},upperdir={device_dir}/upper,workdir={device_dir}/work"
    _mount("-t", "overlay", "overlay", "-o", layers, str(root))
    return root


def _enter(root: Path) -> None:
    """Makes *root* the root of the namespace, so that none of the host's mounts is left in it."""
    old = root / "mnt"
    subprocess.run(["pivot_root", str(root), str(old)], check=True)
    os.chdir("/")
    _mount("--make-rprivate", "/")
    subprocess.run(["umount", "--lazy", "/mnt"], check=True)


def _mount_volatile(root: Path) -> None:
    """What starts anew at each power-up."""
    _mount("-t", "proc", "proc", f"{root}/proc")
    _mount("-t", "sysfs", "-o", "ro", "sysfs", f"{root}/sys")
    for directory, mode in (("run", "0755"), ("tmp", "1777"), ("dev", "0755")):
        _mount("-t", "tmpfs", "-o", f"mode={mode}", "tmpfs", f"{root}/{directory}")
    for name in HOST_DEVICES:
        node = root / "dev" / name
        node.touch()
        _mount("--bind", f"/dev/{name}", str(node))
    for directory in ("pts", "shm"):
        (root / "dev" / directory).mkdir()
    _mount("-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=0620", "devpts", f"{root}/dev/pts")
    _mount("-t", "tmpfs", "-o", "mode=1777", "tmpfs", f"{root}/dev/shm")
    (root / "dev" / "ptmx").symlink_to("pts/ptmx")
    (root / "dev" / "fd").symlink_to("/proc/self/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (root / "dev" / name).symlink_to(f"/proc/self/fd/{number}")
    for directory in ("sshd", "systemd/system", "lock"):
        (root / "run" / directory).mkdir(parents=True)


def main() -> None:
    """Never returns: becomes the device's init."""
    device_dir = Path(sys.argv[1])
    root = _mount_root(device_dir)
    _mount_volatile(root)
    socket.sethostname(device_dir.name)
    _enter(root)
    subprocess.run(SSHD, env=ENVIRONMENT, check=True)
    subprocess.Popen(["/usr/bin/python3", TIMERS], env=ENVIRONMENT)
    os.execve(INIT_INTERPRETER, ["/usr/bin/python3", INIT, "init"], ENVIRONMENT)


if __name__ == "__main__":
    main()
