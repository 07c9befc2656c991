# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a newcomer has to set stands in one table, and what the README says of playbooks is so."""

from __future__ import annotations

import re
import subprocess
import sys
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


def test_the_page_of_all_variables_is_up_to_date():
    """scripts/variables.py writes it."""
    subprocess.run([sys.executable, "scripts/variables.py", "--check"], cwd=COLLECTION, check=True)


@pytest.mark.parametrize("path", sorted((COLLECTION / "playbooks").glob("*.yml")), ids=lambda path: path.stem)
def test_what_a_playbook_needs_is_in_the_table(path):
    """Root where it becomes root; and a slow sudo is waited for."""
    if path.stem.startswith("lab_") or path.stem == "site":
        return
    rows = [line for line in section("What each step needs").splitlines() if line.startswith("|")]
    (row,) = [line for line in rows if f"`{path.stem}`" in line.split("|")[1]]
    first, *later = yaml.safe_load(path.read_text())
    # As a word, and not in a name.
    assert bool(re.search(r"\broot\b", row)) is bool(first.get("become"))
    if first.get("become"):
        assert first["vars"]["ansible_ssh_timeout"] == "{{ tpmfleet_connection_timeout | default(30) }}"
    # Units that took their time are taken as the others, and waited for.
    left = first.get("vars", {}).pop("endorsement_key_slow_group", None)
    assert bool(left) is bool(later)
    for play in later:
        assert {**play, "name": "", "hosts": ""} == {**first, "name": "", "hosts": ""}
        assert f"'&{left}'" in play["hosts"]


def options(role: Path) -> set[str]:
    entries = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    return {name for entry in entries.values() for name in entry.get("options") or {}}


OPTIONS = {role.name: options(role) for role in sorted((COLLECTION / "roles").iterdir())}
EXAMPLES = sorted((COLLECTION / "docs" / "examples" / "roles").glob("*.yml"))
# Plays of the collection's own, and those that people copy.
PLAYS = [*EXAMPLES, *COLLECTION.glob("playbooks/*.yml"), *COLLECTION.glob("roles/*/tasks/*.yml")]
# What a role leaves on its hosts for the next one: registered, or set as a fact.
LEFT = {
    name
    for path in COLLECTION.glob("roles/*/tasks/*.yml")
    for name in re.findall(r"^ +register: (\w+)$|set_fact:\n +(\w+):", path.read_text(), re.MULTILINE)
    for name in name
    if name
}


def given(tasks: list) -> list[tuple[str, str]]:
    """Role and variable, of all that tasks or plays give to roles of the collection."""
    found = []
    for task in tasks:
        for key, inner in task.items():
            if key in ("block", "rescue", "always", "tasks", "pre_tasks", "post_tasks"):
                found += given(inner)
            elif key in ("ansible.builtin.import_role", "ansible.builtin.include_role"):
                found += [(inner["name"].rpartition(".")[2], name) for name in task.get("vars") or {}]
    return found


@pytest.mark.parametrize("path", PLAYS, ids=lambda path: str(path.relative_to(COLLECTION)))
def test_what_a_role_is_given_is_what_a_role_takes(path):
    """Ansible says nothing of a variable that was renamed and is given to a role under its old name."""
    taken = USED.union(LEFT, *OPTIONS.values())
    for role, name in given(yaml.safe_load(path.read_text()) or []):
        assert name in (OPTIONS[role] | USED if path in EXAMPLES else taken) or name.startswith("__"), (role, name)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.relative_to(COLLECTION)))
def test_what_an_example_names_is_there(path):
    named = set(re.findall(rf"(?<![\w.])(?:{'|'.join(OPTIONS)}|tpmfleet)_\w+", path.read_text())) - set(OPTIONS)
    assert named <= USED.union(LEFT, *OPTIONS.values())
