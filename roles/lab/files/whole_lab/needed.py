# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lab needs of the machine that it runs on, and in one sentence what of it is missing and how it is got."""

from __future__ import annotations

import os
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parents[2] / "requirements.txt"
# A program, and the package of Debian that has it.
PROGRAMS = {
    "ip": "iproute2",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "swtpm": "swtpm",
    "swtpm_setup": "swtpm-tools",
    "tpm2_getcap": "tpm2-tools",
    "unshare": "util-linux",
}
# A simulated device has the file system of its host below its own, so what a device needs lies there.
OF_DEVICES = {"/usr/lib/python3/dist-packages/tpm2_pytss": "python3-tpm2-pytss"}


def missing() -> str:
    """What is missing here, with the command that installs it; empty where nothing is."""
    told = []
    if os.geteuid() != 0:
        told.append("it mounts file systems, so it has to be started by root")
    libraries = [name for name in _libraries() if not _is_installed(name)]
    if libraries:
        told.append(
            f"the Python that runs Ansible lacks {', '.join(libraries)}: "
            f"{sys.executable} -m pip install -r {REQUIREMENTS}"
        )
    path = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    packages = {package for program, package in PROGRAMS.items() if shutil.which(program, path=path) is None}
    packages |= {package for place, package in OF_DEVICES.items() if not Path(place).exists()}
    if packages:
        told.append(f"this machine lacks programs: apt-get install {' '.join(sorted(packages))}")
    return "; ".join(told)


def _libraries() -> list[str]:
    lines = [line.strip() for line in REQUIREMENTS.read_text().splitlines()]
    return [re.split(r"[<>=!~\[; ]", line)[0] for line in lines if line and not line.startswith("#")]


def _is_installed(name: str) -> bool:
    try:
        metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    return True
