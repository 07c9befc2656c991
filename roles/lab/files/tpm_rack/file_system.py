# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What of a simulated device's file system is its own from the start.

Written straight into the upper layer of its overlay: a file there stands before the host's, and a directory marked
opaque hides the host's (Linux kernel documentation, overlayfs, "whiteouts and opaque directories").
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import uuid
from pathlib import Path

# What a device has below its own files, unless it is another distribution's (:mod:`.device_root`).
HOST = Path("/")
PROGRAMS = Path("usr/lib/tpm-rack")
INIT = f"/{PROGRAMS}/systemctl3.py"
# What the first process is called, so that a device's facts say systemd.
INIT_INTERPRETER = f"/{PROGRAMS}/systemd"
TIMERS = f"/{PROGRAMS}/timers.py"
SYSTEMCTL = Path("usr/bin/systemctl")
ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
SESSION_GATE = PROGRAMS / "session"
SERIAL_NUMBER = Path("etc/serial-number")
SSHD_LOG = Path("var/log/sshd.log")
SSHD = ("/usr/sbin/sshd", "-E", f"/{SSHD_LOG}")

# Services that the host starts are not the device's; what is enabled on the device itself is.
ENABLED_UNITS = (
    "etc/systemd/system/multi-user.target.wants",
    "etc/systemd/system/default.target.wants",
    "etc/systemd/system/sockets.target.wants",
    "etc/systemd/system/timers.target.wants",
    "usr/lib/systemd/system/multi-user.target.wants",
    "usr/lib/systemd/system/sockets.target.wants",
    "usr/lib/systemd/system/timers.target.wants",
    *(f"etc/rc{level}.d" for level in "0123456S"),
)
# The rack starts sshd itself: a unit that is restarted after a failure would mend a cut line.
MASKED_UNITS = ("ssh.service", "ssh.socket")
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
LogLevel VERBOSE
MaxSessions 200
MaxStartups 200
Subsystem sftp /usr/lib/openssh/sftp-server
"""


def hold_layers(directory: Path) -> None:
    """Makes *directory* a place for upper layers: in memory where its file system takes none, as in a container.

    A directory in memory is a mount of the host, to be given back by :func:`release_layers`.
    """
    directory.mkdir(mode=0o700)
    probe = directory / "probe"
    for name in ("upper", "work", "root"):
        (probe / name).mkdir(parents=True)
    layers = f"lowerdir=/,upperdir={probe}/upper,workdir={probe}/work"
    # In a mount namespace of its own, so that the probe's mount ends with it.
    mount = ["unshare", "--mount", "mount", "-t", "overlay", "overlay", "-o", layers, str(probe / "root")]
    fits = subprocess.run(mount, stderr=subprocess.DEVNULL, check=False).returncode == 0
    shutil.rmtree(probe)
    if not fits:
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=0700", "tmpfs", str(directory)], check=True)


def release_layers(directory: Path) -> None:
    """Undoes :func:`hold_layers`, also where that was done more than once."""
    while directory.is_mount():
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


# The replacement takes a oneshot service that has run for an active one and never runs it again; systemd takes it for
# inactive (systemd.service(5), RemainAfterExit=).
ONESHOT_CORRECTIONS = (
    (
        'active = returncode and "failed" or "active"',
        'active = returncode and "failed" or (doRemainAfterExit and "active" or "inactive")',
    ),
    (
        'if not self.is_active_from(conf):\n            logg.warning("%s start not active", runs)',
        'if service_result != "success" if runs in ["oneshot"] else not self.is_active_from(conf):\n'
        '            logg.warning("%s start not active", runs)',
    ),
)


def _init_program() -> str:
    """A systemctl that is its own init, since systemd itself needs a control group tree to itself."""
    package = importlib.util.find_spec("systemctl2")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError("docker-systemctl-replacement is not there: install requirements.txt of the role lab")
    program = (Path(package.submodule_search_locations[0]) / "systemctl3.py").read_text()
    for theirs, ours in ONESHOT_CORRECTIONS:
        if theirs not in program:
            raise ValueError(
                "this docker-systemctl-replacement is not the release that requirements.txt of the role lab pins"
            )
        program = program.replace(theirs, ours, 1)
    return program


def _write_shadow(upper: Path, lower: Path) -> None:
    """The accounts below without their password hashes; none is locked either, since sshd refuses a key for those."""
    accounts = [line.split(":") for line in (lower / "etc/shadow").read_text().splitlines()]
    shadow = upper / "etc/shadow"
    shadow.touch(mode=0o600)
    shadow.write_text("".join(":".join([name, "*", *rest]) + "\n" for name, _hash, *rest in accounts))


def write_sshd_configuration(upper: Path, port: int, extra: str = "") -> None:
    """The device's sshd_config(5), with *extra* lines at its end."""
    (upper / "etc/ssh/sshd_config").write_text(SSHD_CONFIGURATION.format(port=port) + extra)


def prepare(
    upper: Path,
    name: str,
    serial_number: str,
    ssh_port: int,
    keys: dict[str, Path],
    hidden: list[Path],
    lower: Path = HOST,
) -> None:
    """Fills a new device's upper layer.

    *keys* names its ``host_key`` and the ``authorized`` public key; *hidden* are directories of the host that no
    device may see, such as the rack's own. *lower* is the root file system that the device has below its own.
    """
    for directory in (*OWN_DIRECTORIES, *(str(one).lstrip("/") for one in hidden)):
        path = upper / directory
        path.mkdir(parents=True, exist_ok=True)
        os.setxattr(path, "trusted.overlay.opaque", b"y")
    (upper / "root").chmod(0o700)
    (upper / "etc/hostname").write_text(f"{name}\n")
    (upper / "etc/hosts").write_text(f"127.0.0.1 localhost {name}\n::1 localhost\n")
    (upper / "etc/machine-id").write_text(f"{uuid.uuid4().hex}\n")
    (upper / "var/lib/dbus").mkdir(parents=True)
    # As Debian has it; the host's own may be a file, which facts would show as every device's.
    (upper / "var/lib/dbus/machine-id").symlink_to("/etc/machine-id")
    _write_shadow(upper, lower)
    for unit in MASKED_UNITS:
        (upper / "etc/systemd/system" / unit).symlink_to("/dev/null")
    (upper / SERIAL_NUMBER).write_text(f"{serial_number}\n")
    shutil.copy(keys["host_key"], upper / "etc/ssh/host_key")
    (upper / "etc/ssh/host_key").chmod(0o600)
    shutil.copy(keys["authorized"], upper / "etc/ssh/authorized_keys")
    write_sshd_configuration(upper, ssh_port)
    _install_programs(upper)


def _install_programs(upper: Path) -> None:
    """The init, the timers and systemctl(1), run by the device's own Python whatever the host's path puts first."""
    programs, on_device = upper / PROGRAMS, Path(__file__).parent / "on_device"
    programs.mkdir(parents=True, exist_ok=True)
    (programs / "systemctl3.py").write_text(_init_program())
    shutil.copyfile(on_device / "timers.py", programs / "timers.py")
    (upper / INIT_INTERPRETER.lstrip("/")).symlink_to("/usr/bin/python3")
    systemctl = upper / SYSTEMCTL
    systemctl.parent.mkdir(parents=True, exist_ok=True)
    systemctl.write_text("#!/usr/bin/python3\n" + (on_device / "systemctl.py").read_text())
    systemctl.chmod(0o755)
