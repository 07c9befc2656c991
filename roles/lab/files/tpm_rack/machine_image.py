# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The image that real machines start from: Debian's own packages, made once by mmdebstrap(1) and kept.

It is bare: a kernel, systemd, sshd, sudo and Python, and nothing that the TPM modules need. What they need lies in
/srv/packages as a repository of its own, since a machine of the lab reaches no network but its host's.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from .debian_root import LEFT_OUT, from_cache, make_root, run

ON_MACHINE = Path(__file__).parent / "on_machine"
# The cloud's kernel has the drivers that QEMU's devices need, and a TPM's.
PACKAGES = (
    "ca-certificates",
    "dbus",
    "initramfs-tools",
    "iproute2",
    "kmod",
    "linux-image-cloud-amd64",
    "openssh-server",
    "procps",
    "python3",
    "sudo",
    "systemd",
    "systemd-sysv",
    "udev",
)
TO_INSTALL_FROM = ("libtss2-tcti-device0", "python3-apt", "python3-tpm2-pytss", "python3-venv", "tpm2-tools")
# Drivers of what QEMU shows and no test looks at; loading each takes an emulated processor a second.
LEFT_ALONE = (
    *("aesni_intel", "ahci", "button", "crc32_pclmul", "crct10dif_pclmul", "evdev", "ghash_clmulni_intel", "i2c_i801"),
    *("iTCO_wdt", "intel_rapl_common", "intel_rapl_msr", "joydev", "lpc_ich", "pcspkr", "psmouse", "serio_raw"),
)
DISK_SIZE = "3G"

NETWORK = """\
[Match]
Type=ether
[Network]
Address=10.0.2.15/24
LinkLocalAddressing=no
IPv6AcceptRA=no
"""
SSHD = """\
PasswordAuthentication no
KbdInteractiveAuthentication no
UseDNS no
MaxSessions 200
MaxStartups 200
HostKey /etc/ssh/host_key
"""

# Before there is a kernel, so that its initial ramdisk is made once, and holds what leads to the disk and no more: an
# emulated processor takes longer to unpack the usual one than to boot.
EXTRACTED = r"""
set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
echo MODULES=list >"$1/etc/initramfs-tools/conf.d/lab"
printf '%s\n' virtio_pci virtio_blk ext4 >"$1/usr/share/initramfs-tools/modules.d/lab"
"""
# Run by mmdebstrap outside of the new root, which is "$1"; "$2" and the like are not there: names are put in by format.
CUSTOMIZE = r"""
set -eu
root=$1
in_root() {{ chroot "$root" "$@"; }}
export DEBIAN_FRONTEND=noninteractive
in_root apt-get clean
in_root apt-get install --quiet=2 --yes --no-install-recommends --download-only {offered}
mkdir -p "$root/srv/packages" "$root/usr/lib/tpm-rack" "$root/etc/ssh/sshd_config.d" "$root/root/.ssh"
mv "$root"/var/cache/apt/archives/*.deb "$root/srv/packages/"
(cd "$root/srv/packages" && dpkg-scanpackages --multiversion . 2>/dev/null >Packages)
rm -rf "$root"/etc/apt/sources.list "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/*
echo 'deb [trusted=yes] file:/srv/packages ./' >"$root/etc/apt/sources.list"
in_root useradd --create-home --shell /bin/bash --groups sudo line
rm -f "$root"/etc/ssh/ssh_host_*
install -m 0644 {sshd} "$root/etc/ssh/sshd_config.d/lab.conf"
install -m 0644 {network} "$root/etc/systemd/network/lab.network"
install -m 0755 {on_machine}/first-power-up.sh "$root/usr/lib/tpm-rack/first-power-up"
install -m 0644 {on_machine}/first-power-up.service "$root/etc/systemd/system/first-power-up.service"
in_root systemctl --quiet enable first-power-up.service systemd-networkd.service systemd-networkd-wait-online.service
in_root systemctl --quiet disable apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer e2scrub_reap.service
in_root systemctl --quiet mask systemd-firstboot.service systemd-binfmt.service systemd-pstore.service
printf 'blacklist %s\n' {left_alone} >"$root/etc/modprobe.d/lab.conf"
: >"$root/etc/machine-id"
echo '/dev/vda / ext4 defaults,commit=60 0 1' >"$root/etc/fstab"
"""


class MachineImage:
    """The image in *directory*: ``disk.raw``, ``vmlinuz`` and ``initrd.img``."""

    def __init__(self, directory: Path) -> None:
        self.directory = Path(directory)
        self.disk, self.kernel, self.initial_ramdisk = (
            self.directory / name for name in ("disk.raw", "vmlinuz", "initrd.img")
        )


def made_image(cache: Path, suite: str = "bookworm", mirrors: Sequence[str] = ()) -> MachineImage:
    """The image of Debian's *suite*, from *cache*, see :mod:`.debian_root`."""
    lists = (PACKAGES, TO_INSTALL_FROM, LEFT_OUT, LEFT_ALONE, DISK_SIZE, NETWORK, SSHD, EXTRACTED, CUSTOMIZE)
    files = [path.read_text() for path in sorted(ON_MACHINE.glob("first-power-up.*"))]
    recipe = (lists, files, suite, list(mirrors))
    return MachineImage(from_cache(cache, f"machine-{suite}", recipe, lambda work: _make(work, suite, mirrors)))


def _make(work: Path, suite: str, mirrors: Sequence[str]) -> Path:
    image, root = work / "image", work / "root"
    image.mkdir()
    (work / "sshd").write_text(SSHD)
    (work / "network").write_text(NETWORK)
    customize = CUSTOMIZE.format(
        offered=" ".join(TO_INSTALL_FROM),
        left_alone=" ".join(LEFT_ALONE),
        sshd=work / "sshd",
        network=work / "network",
        on_machine=ON_MACHINE,
    )
    for name, script in (("extract", EXTRACTED), ("customize", customize)):
        (work / name).write_text(f"#!/bin/sh{script}")
        (work / name).chmod(0o755)
    hooks = [f"--extract-hook={work / 'extract'}", f"--customize-hook={work / 'customize'}"]
    # What the hook left for apt to find is not to be cleaned.
    make_root(root, suite, PACKAGES, mirrors, *hooks, "--skip=cleanup/apt")
    [kernel] = (root / "boot").glob("vmlinuz-*")
    shutil.copyfile(kernel, image / "vmlinuz")
    shutil.copyfile(kernel.with_name(kernel.name.replace("vmlinuz", "initrd.img")), image / "initrd.img")
    disk = image / "disk.raw"
    run("mke2fs", "-q", "-t", "ext4", "-E", "root_owner=0:0", "-d", root, disk, DISK_SIZE)
    shutil.rmtree(root)
    return image
