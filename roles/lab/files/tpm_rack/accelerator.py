# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What runs a real machine's processor: the kernel's virtual machines where they work, else QEMU's own emulation.

A ``/dev/kvm`` that is there says little: inside a virtual machine there may be one that runs firmware so slowly that
nothing ever boots. So a processor has to show it, with firmware and a boot sector of a few instructions.
"""

from __future__ import annotations

import subprocess
import tempfile

EMULATOR = "qemu-system-x86_64"
# 128 MB for translated code, not QEMU's 1 GB: a machine takes a third of the memory, and a reboot, which overwrites all
# code that was translated, is not held up by a gigabyte of it.
KVM, EMULATED = "kvm", "tcg,tb-size=128"
# mov al, 42; mov dx, 0xf4; out dx, al; hlt. At that port QEMU has a device that ends it with twice the value and one.
BOOT_SECTOR = bytes.fromhex("b02abaf400eef4").ljust(510, b"\0") + b"\x55\xaa"
EXIT_CODE = 85
# An emulated processor takes less than one.
SECONDS = 5


def works(accelerator: str, seconds: float = SECONDS) -> bool:
    """Whether QEMU boots with *accelerator* in so many *seconds*."""
    command = [EMULATOR, "-machine", "pc", "-accel", accelerator, "-cpu", "max", "-m", "64", "-nodefaults"]
    command += ["-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
    with tempfile.NamedTemporaryFile(suffix=".img") as sector:
        sector.write(BOOT_SECTOR)
        sector.flush()
        try:
            done = subprocess.run(
                [*command, "-drive", f"file={sector.name},format=raw,if=floppy"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=seconds,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return False
    return done.returncode == EXIT_CODE


def fastest() -> str:
    """The accelerator to use on this host."""
    return KVM if works(KVM) else EMULATED
