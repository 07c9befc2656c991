# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""scripts/setup.sh over a machine whose package manager and Python are stand-ins that note what they were asked."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

COLLECTION = Path(__file__).resolve().parents[2]
MAKE_PROFILES = re.compile(r"^([a-z -]+): PROFILES = ([a-z ]+)$", re.MULTILINE)
BUILD = ["gcc", "libtss2-dev", "pkg-config", "python3-dev", "python3-venv"]
# Packages are files in $MACHINE/installed. What is to fail is a file in $MACHINE/broken.
PROGRAMS = {
    "sudo": 'exec "$@"',
    "dpkg-query": '[ -e "$MACHINE/installed/${@: -1}" ] && echo "ii "',
    "apt-get": """
        echo "apt-get $1" >>"$MACHINE/log"
        [ "$1" = install ] || exit 0
        packages=()
        for word in "${@:2}"; do [[ $word == --* ]] || packages+=("$word"); done
        for word in "${packages[@]}"; do [ ! -e "$MACHINE/broken/$word" ] || { echo "E: no $word" >&2; exit 100; }; done
        # The large ones end when pip has begun: one after the other would wait for ever.
        if [ -e "$MACHINE/meets" ] && [[ " ${packages[*]} " == *" chromium "* ]]; then
            touch "$MACHINE/apt"
            until [ -e "$MACHINE/pip" ]; do sleep 0.02; done
        fi
        for word in "${packages[@]}"; do touch "$MACHINE/installed/$word"; done
        """,
    # The kernel's formats are files in $MACHINE/kernel, beside those that packages bring.
    "update-binfmts": """
        if [ "$1" = --display ]; then
            [ -e "$MACHINE/installed/qemu-user-static" ] || exit 0
            for format in qemu-aarch64 qemu-alpha qemu-arm; do
                [ -e "$MACHINE/kernel/$format" ] && echo "$format (enabled):" || echo "$format (disabled):"
                echo "     package = qemu-user-static"
            done
            exit 0
        fi
        echo "update-binfmts $*" >>"$MACHINE/log"
        [ ! -e "$MACHINE/broken/kernel" ] || { echo "update-binfmts: no binfmt_misc" >&2; exit 2; }
        touch "$MACHINE/kernel/$2"
        """,
    "python3": """
        echo "venv after $(cd "$MACHINE/installed" && echo *)" >>"$MACHINE/log"
        mkdir -p .venv/bin
        cp "$MACHINE/bin/pip" .venv/bin/python
        """,
    "pip": """
        echo "pip" >>"$MACHINE/log"
        if [ -e "$MACHINE/meets" ]; then
            touch "$MACHINE/pip"
            until [ -e "$MACHINE/apt" ]; do sleep 0.02; done
        fi
        [ ! -e "$MACHINE/broken/pip" ] || { echo "ERROR: no wheel" >&2; exit 1; }
        """,
}


class Machine:
    """A fresh one."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.checkout = directory, directory / "checkout"
        for name in ("scripts/setup.sh", "bindep.txt", "requirements.txt", "tests/requirements.txt"):
            (self.checkout / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(COLLECTION / name, self.checkout / name)
        for name in ("bin", "installed", "broken", "kernel"):
            (directory / name).mkdir()
        for name, text in PROGRAMS.items():
            (directory / "bin" / name).write_text(f"#!/bin/bash\n{text}\n")
            (directory / "bin" / name).chmod(0o755)

    def setup(self, *profiles: str) -> subprocess.CompletedProcess:
        """Runs it; what was noted is from this run alone."""
        (self.directory / "log").write_text("")
        return subprocess.run(
            [self.checkout / "scripts" / "setup.sh", *profiles],
            env={"PATH": f"{self.directory / 'bin'}:{os.environ['PATH']}", "MACHINE": str(self.directory)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    @property
    def noted(self) -> list[str]:
        return (self.directory / "log").read_text().splitlines()

    @property
    def installed(self) -> set[str]:
        return {path.name for path in (self.directory / "installed").iterdir()}


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def of_profile(*wanted: str) -> set[str]:
    lines = [line for line in (COLLECTION / "bindep.txt").read_text().splitlines() if not line.startswith("#")]
    return {line.split()[0] for line in lines if set(wanted) & set(line.rstrip("]").split()[2:])}


def test_a_fresh_machine_gets_all_of_it_and_the_next_run_does_nothing(machine):
    (machine.directory / "meets").touch()
    done = machine.setup()
    assert done.returncode == 0 and done.stderr == "", done.stderr
    assert machine.installed == of_profile("lab", "test") >= set(BUILD)
    # What the environment is built with is there before it, and the rest comes beside it.
    assert machine.noted[:2] == ["apt-get update", "apt-get install"]
    assert f"venv after {' '.join(BUILD)}" in machine.noted
    again = machine.setup()
    assert (again.returncode, again.stdout, again.stderr, machine.noted) == (0, "", "", [])


def test_another_profile_costs_its_packages_alone(machine):
    assert machine.setup().returncode == 0
    done = machine.setup("vm")
    assert done.returncode == 0 and machine.noted == ["apt-get update", "apt-get install"]
    assert machine.installed == of_profile("lab", "test", "vm")


def test_other_architectures_are_for_the_kernel_too(machine):
    asked = ["update-binfmts --enable qemu-aarch64", "update-binfmts --enable qemu-arm"]
    assert machine.setup("vm").returncode == 0
    assert not any("binfmts" in line for line in machine.noted)
    done = machine.setup("vm", "emulation")
    assert done.returncode == 0 and machine.noted == ["apt-get update", "apt-get install", *asked]
    assert machine.installed == of_profile("lab", "test", "vm", "emulation")
    assert machine.setup("vm", "emulation").returncode == 0 and machine.noted == []
    # What a kernel was told is gone after its next start.
    (machine.directory / "kernel" / "qemu-arm").unlink()
    (machine.directory / "broken" / "kernel").touch()
    done = machine.setup("vm", "emulation")
    assert done.returncode != 0 and "no binfmt_misc" in done.stderr
    assert "the kernel was not told how to run arm64 and armhf" in done.stderr
    (machine.directory / "broken" / "kernel").unlink()
    assert machine.setup("vm", "emulation").returncode == 0 and machine.noted == asked[1:]


def test_profiles_that_make_asks_for_are_there_and_emulation_is_for_nothing_else():
    profiles = {}
    for targets, names in MAKE_PROFILES.findall((COLLECTION / "Makefile").read_text()):
        profiles |= dict.fromkeys(targets.split(), names.split())
    assert all(of_profile(name) for names in profiles.values() for name in names)
    assert [target for target, names in profiles.items() if "emulation" in names] == ["test-architectures"]


def test_other_requirements_make_the_environment_again(machine):
    assert machine.setup().returncode == 0
    with (machine.checkout / "requirements.txt").open("a") as requirements:
        requirements.write("another\n")
    assert machine.setup().returncode == 0
    assert [line.split()[0] for line in machine.noted] == ["venv", "pip"]


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (["pip"], ["ERROR: no wheel", "the virtual environment in .venv could not be made"]),
        (["chromium"], ["E: no chromium", "not all system packages could be installed: cabextract chromium"]),
        (["gcc"], ["E: no gcc"]),
        (["pip", "chromium"], ["no wheel", "no chromium", "environment in .venv could", "not all system packages"]),
    ],
    ids=" ".join,
)
def test_what_fails_is_said_and_done_by_the_next_run(machine, broken, said):
    for name in broken:
        (machine.directory / "broken" / name).touch()
    done = machine.setup()
    assert done.returncode != 0
    assert [words for words in said if words not in done.stderr] == []
    # The other part is whole: nothing is cut off in its middle.
    assert ("chromium" in machine.installed) == (broken == ["pip"])
    assert (machine.checkout / ".venv" / "requirements.sha256").exists() == (broken == ["chromium"])
    for name in broken:
        (machine.directory / "broken" / name).unlink()
    assert machine.setup().returncode == 0
    assert machine.installed == of_profile("lab", "test")
