# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the lab as a collection of its own, ``tpmfleet.azure_dps_lab``, into the directory OUTPUT.

It is for people who want to try the line without a checkout; no production install has an emulator in it.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import yaml

COLLECTION = Path(__file__).resolve().parents[1]
NAME = "azure_dps_lab"
PARTS = (
    "LICENSE",
    "bindep.txt",
    "inventories/lab",
    "meta/runtime.yml",
    "playbooks/lab_up.yml",
    "playbooks/lab_down.yml",
    "roles/lab",
)


def assemble(place: Path) -> None:
    """Puts the collection's sources into the directory *place*."""
    for part in PARTS:
        source, target = COLLECTION / part, place / part
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    for path in place.rglob("*"):
        if path.is_file() and path.suffix in (".yml", ".md", ".py"):
            # The role and its playbooks are called by their name in the collection that they are in.
            path.write_text(re.sub(r"\btpmfleet\.azure_dps\.lab", f"tpmfleet.{NAME}.lab", path.read_text()))
    runtime = yaml.safe_load((place / "meta" / "runtime.yml").read_text())
    (place / "meta" / "runtime.yml").write_text(
        yaml.safe_dump({"requires_ansible": runtime["requires_ansible"]}, explicit_start=True)
    )
    galaxy = yaml.safe_load((COLLECTION / "galaxy.yml").read_text())
    guide = (COLLECTION / "docs" / "lab.md").read_text()
    (place / "README.md").write_text(re.sub(r"\]\(([\w-]+\.md)", rf"]({galaxy['documentation']}/\1", guide))
    galaxy |= {
        "name": NAME,
        "description": "A simulated rack and an emulated DPS, to try tpmfleet.azure_dps with.",
        "dependencies": {"tpmfleet.azure_dps": f">={galaxy['version']}"},
        "build_ignore": [],
    }
    (place / "galaxy.yml").write_text(yaml.safe_dump(galaxy, explicit_start=True, sort_keys=False))


def main() -> int:
    """What ansible-galaxy returned."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", metavar="OUTPUT", help="a directory, in which the tarball is written")
    output = Path(parser.parse_args().output).absolute()
    with tempfile.TemporaryDirectory() as place:
        assemble(Path(place))
        build = ["ansible-galaxy", "collection", "build", "--force", "--output-path", str(output), place]
        return subprocess.run(build, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
