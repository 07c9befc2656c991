# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m whole_lab up|down --lab-dir DIRECTORY``: the rack, the emulated service, and where everything is.

What the lab is to be comes to ``up`` in JSON on standard input. Both say in JSON whether they changed anything.
It is one program, because each task of Ansible costs more than a device of the rack.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import shutil
import string
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .described import inventory, lab
from .needed import missing


def _run(program: str, *arguments: str) -> bool:
    """Whether the lab's *program* changed anything; what it says where it fails is passed on."""
    command = [sys.executable, "-m", program, *arguments]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)["changed"]


def _write(path: Path, text: str) -> bool:
    """Whether *text*, which is for the lab's owner alone, was not there yet."""
    if path.exists() and path.read_text() == text:
        return False
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.rename(path)
    return True


def _options(**values: str | Sequence[str]) -> list[str]:
    """Values as options of a program, one that has several as often as it has."""
    found = []
    for name, value in values.items():
        for one in [value] if isinstance(value, str) else value:
            found.append(f"--{name.replace('_', '-')}={one}")
    return found


def up(directory: Path, wanted: dict) -> bool:
    """Sees to it that the lab runs as it is *wanted*."""
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o700)
    settings, key = directory / "settings.json", directory / "master-key"
    changed = [_write(settings, json.dumps(wanted["settings"], indent=4, sort_keys=True) + "\n")]
    access = {name: str(wanted[name]) for name in ("host", "port", "address", "device_host")}
    start = _options(state_dir=str(directory / "dps"), settings=str(settings), **access)
    changed.append(_run("dps_emulator", "start", *start))
    rack = _options(rack_dir=str(directory / "rack"), devices=str(wanted["devices"]))
    rack += _options(mirror=wanted["mirrors"], suite=wanted["suites"])
    if wanted["machines"]:
        rack += ["--machines", *_options(service_host=wanted["device_host"])]
    if wanted["machines"] or wanted["suites"]:
        rack += _options(images=wanted["images"])
    changed.append(_run("tpm_rack", "up", *rack))
    if not key.exists():
        changed.append(_write(key, "".join(secrets.choice(string.ascii_letters + string.digits) for _one in range(48))))
    changed.append(_write(directory / "lab.json", lab(directory)))
    changed.append(_write(directory / "inventory.yml", inventory(directory, Path(wanted["group_vars"]))))
    return any(changed)


def down(directory: Path) -> bool:
    """Ends it and removes what it kept."""
    _run("tpm_rack", "down", *_options(rack_dir=str(directory / "rack")))
    _run("dps_emulator", "stop", *_options(state_dir=str(directory / "dps")))
    there = directory.exists()
    if there:
        shutil.rmtree(directory)
    return there


def main() -> int:
    """0, or the code of the program that failed and said why."""
    parser = argparse.ArgumentParser(prog="whole_lab", description=__doc__)
    parser.add_argument("command", choices=("up", "down"))
    parser.add_argument("--lab-dir", type=Path, required=True)
    arguments = parser.parse_args()
    lab_dir = arguments.lab_dir
    lacking = missing() if arguments.command == "up" else ""
    if lacking:
        print(f"The lab cannot be started here: {lacking}", file=sys.stderr)
        return 1
    try:
        changed = up(lab_dir, json.load(sys.stdin)) if arguments.command == "up" else down(lab_dir)
    except subprocess.CalledProcessError as error:
        return error.returncode
    print(json.dumps({"changed": changed}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
