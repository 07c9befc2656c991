# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Root file systems of Debian's releases, made of their own packages by mmdebstrap(1) and kept.

``python -m tpm_rack.debian_root SUITE --cache DIRECTORY`` prints where the one of a simulated device is. SUITE is a
release, or a release and an architecture, such as ``bookworm/arm64``, whose programs the host runs by qemu-user.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

# What nobody reads on a device that lives for a test.
LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*", "/usr/share/lintian/*")
# A simulated device's: nothing that the TPM modules need, and systemd for what looks at unit files.
PACKAGES = ("ca-certificates", "mount", "openssh-server", "procps", "python3", "python3-venv", "sudo", "systemd")
# Devices that tpm2-pytss comes to as wheels, which bring no TPM libraries: bullseye has no package of it on any
# architecture, and armhf is where wheels of another one are tried.
ON_WHEELS = ("bullseye", "bookworm/armhf")
LIBRARIES = ("libtss2-fapi1", "libtss2-rc0", "libtss2-tcti-device0", "libtss2-tcti-swtpm0")


class RootError(Exception):
    """A root file system could not be made; the message holds what the program said."""


def run(*command: str | Path) -> None:
    """Runs a program that has to go well."""
    done = subprocess.run(
        [str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        raise RootError(f"{command[0]} failed: {done.stdout[-2000:]}")


def make_root(root: Path, suite: str, packages: Iterable[str], mirrors: Sequence[str], *options: str) -> None:
    """Makes the directory *root* of *packages* of Debian's *suite*; *mirrors* and *options* are mmdebstrap's."""
    excluded = [f"--dpkgopt=path-exclude={pattern}" for pattern in LEFT_OUT]
    spared = ["--dpkgopt=force-unsafe-io", '--aptopt=Acquire::Languages "none"', *excluded]
    wanted = ["--variant=apt", f"--include={','.join(packages)}", "--format=directory"]
    run("mmdebstrap", *wanted, *spared, *options, suite, root, *mirrors)


def from_cache(cache: Path, name: str, recipe: object, make: Callable[[Path], Path]) -> Path:
    """What *cache* has of *name* by this *recipe*, made where it has none; others of the name are removed.

    *make* gets a directory to work in, and returns what of it is to be kept.
    """
    cache = Path(cache).resolve()
    cache.mkdir(parents=True, exist_ok=True)
    wanted = cache / f"{name}-{hashlib.sha256(repr(recipe).encode()).hexdigest()[:16]}"
    with open(cache / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not wanted.exists():
            # Not every path that begins so: device-bookworm-arm64 is none of device-bookworm's.
            for old in cache.glob(f"{name}-{'[0-9a-f]' * 16}"):
                shutil.rmtree(old)
            with tempfile.TemporaryDirectory(dir=cache, prefix="making-") as work:
                make(Path(work)).rename(wanted)
    return wanted


def on_wheels(suite: str) -> bool:
    """Whether a device of *suite* gets tpm2-pytss as wheels."""
    return suite in ON_WHEELS or suite.partition("/")[0] in ON_WHEELS


def made_root(cache: Path, suite: str, mirrors: Sequence[str] = ()) -> Path:
    """The root file system of a simulated device of Debian's *suite*, from *cache*.

    A suite of another architecture than the host's has that behind a slash.
    """
    release, _slash, architecture = suite.partition("/")
    packages = (*PACKAGES, *(LIBRARIES if on_wheels(suite) else ()))
    options = [f"--architectures={architecture}"] if architecture else []

    def make(work: Path) -> Path:
        make_root(work / "root", release, packages, mirrors, *options)
        return work / "root"

    root = from_cache(cache, f"device-{suite.replace('/', '-')}", (packages, LEFT_OUT, suite, list(mirrors)), make)
    if architecture:
        try:
            run("chroot", root, "/bin/true")
        except RootError as error:
            # What it was told of qemu-user a kernel has forgotten after its next start.
            told = str(error).strip()
            raise RootError(
                f"programs of {architecture} do not run here: {told}. Run scripts/setup.sh vm emulation"
            ) from None
    return root


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="tpm_rack.debian_root", description=__doc__)
    parser.add_argument("suite")
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--mirror", action="append", default=[])
    arguments = parser.parse_args()
    try:
        print(made_root(arguments.cache, arguments.suite, arguments.mirror))
    except RootError as error:
        sys.exit(f"tpm_rack: {error}")
