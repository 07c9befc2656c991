# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a simulated device's file system is its own from the start.

Written straight into the upper layer of its overlay: a file there stands before the host's, and a directory marked opaque
hides the host's (Linux kernel documentation, overlayfs, "whiteouts and opaque directories").
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import uuid
from pathlib import Path

INIT = "/usr/bin/systemctl"
SESSION_GATE = Path("usr/lib/tpm-rack/session")
SERIAL_NUMBER = Path("etc/serial-number")

# Services that the host starts are not the device's; what is enabled on the device itself is.
ENABLED_UNITS = (
    "etc/systemd/system/multi-user.target.wants",
    "etc/systemd/system/default.target.wants",
    "etc/systemd/system/sockets.target.wants",
    "etc/systemd/system/timers.target.wants",
    "usr/lib/systemd/system/multi-user.target.wants",
    "usr/lib/systemd/system/sockets.target.wants",
    "usr/lib/systemd/system/timers.target.wants",
)
OWN_DIRECTORIES = ("etc/ssh", "root", "home", "var/log", *ENABLED_UNITS)

SSHD_CONFIGURATION = """\
Port {port}
ListenAddress 127.0.0.1
HostKey /etc/ssh/host_key
AuthorizedKeysFile /etc/ssh/authorized_keys
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
StrictModes no
UseDNS no
UsePAM no
MaxSessions 200
MaxStartups 200
Subsystem sftp internal-sftp
"""


def _init_program() -> Path:
    """A systemctl that is its own init, since systemd itself needs a control group tree to itself."""
    package = importlib.util.find_spec("systemctl2")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("docker-systemctl-replacement is not there: install tests/requirements.txt")
    return Path(package.submodule_search_locations[0]) / "systemctl3.py"


def write_sshd_configuration(upper: Path, port: int, extra: str = "") -> None:
    """The device's sshd_config(5), with *extra* lines at its end."""
    (upper / "etc/ssh/sshd_config").write_text(SSHD_CONFIGURATION.format(port=port) + extra)


def prepare(upper: Path, name: str, serial_number: str, ssh_port: int, keys: dict[str, Path], hidden: Path) -> None:
    """Fills a new device's upper layer.

    *keys* names its ``host_key`` and the ``authorized`` public key; *hidden* is the rack's directory, which holds what no
    device may see.
    """
    for directory in (*OWN_DIRECTORIES, str(hidden).lstrip("/")):
        path = upper / directory
        path.mkdir(parents=True, exist_ok=True)
        os.setxattr(path, "trusted.overlay.opaque", b"y")
    (upper / "root").chmod(0o700)
    (upper / "etc/hostname").write_text(f"{name}\n")
    (upper / "etc/hosts").write_text(f"127.0.0.1 localhost {name}\n::1 localhost\n")
    (upper / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (upper / SERIAL_NUMBER).write_text(f"{serial_number}\n")
    shutil.copy(keys["host_key"], upper / "etc/ssh/host_key")
    (upper / "etc/ssh/host_key").chmod(0o600)
    shutil.copy(keys["authorized"], upper / "etc/ssh/authorized_keys")
    write_sshd_configuration(upper, ssh_port)
    init = upper / INIT.lstrip("/")
    init.parent.mkdir(parents=True, exist_ok=True)
    program = _init_program().read_text()
    # The device's own Python, not the first one of a path that an interactive host may have set.
    init.write_text("#!/usr/bin/python3\n" + program.split("\n", 1)[1])
    init.chmod(0o755)
