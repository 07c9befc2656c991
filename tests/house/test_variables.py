# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a newcomer has to set stands in one table, and what the README says of playbooks is so."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

COLLECTION = Path(__file__).resolve().parents[2]
README = (COLLECTION / "README.md").read_text()
NAME = re.compile(r"\btpmfleet_[a-z0-9_]*[a-z0-9]\b(?!/)")
# The package of the field client and its files, which are no variables.
NO_VARIABLES = {"tpmfleet_dps_client"}
# Parts of what is merged into tpmfleet_enrollment are named by whoever sets them.
PART = re.compile(r"tpmfleet_enrollment_\w+")
CODE = [
    path
    for pattern in ("roles/*/*/*.yml", "roles/*/*/*.j2", "playbooks/*.yml", "plugins/**/*.py")
    for path in COLLECTION.glob(pattern)
    if "roles/lab/" not in str(path)
]
USED = {name for path in CODE for name in NAME.findall(path.read_text()) if not PART.fullmatch(name)} - NO_VARIABLES


def section(title: str) -> str:
    return re.split(r"^##", README.split(f"### {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def test_every_variable_is_in_the_table():
    """The next one that is in no document fails here."""
    assert len(USED) > 50
    rows = [line.split("|")[1] for line in section("Variables of the inventory").splitlines() if line.startswith("| `")]
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    assert USED - named == set()
    assert named - USED == set()


@pytest.mark.parametrize("path", sorted((COLLECTION / "playbooks").glob("*.yml")), ids=lambda path: path.stem)
def test_what_a_playbook_needs_is_in_the_table(path):
    """Root where it becomes root; and a slow sudo is waited for."""
    if path.stem.startswith("lab_") or path.stem == "site":
        return
    rows = [line for line in section("What each step needs").splitlines() if line.startswith("|")]
    (row,) = [line for line in rows if f"`{path.stem}`" in line.split("|")[1]]
    (play,) = yaml.safe_load(path.read_text())
    # As a word, and not in a name.
    assert bool(re.search(r"\broot\b", row)) is bool(play.get("become"))
    if play.get("become"):
        assert play["vars"]["ansible_ssh_timeout"] == "{{ tpmfleet_connection_timeout | default(30) }}"
