# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes docs/variables.md: every variable of the inventory with the options of roles that it sets, and every option of
every role. Meanings are the README's and the argument specifications'. With ``--check`` it only tells whether that is
up to date."""

from __future__ import annotations

import argparse
import re
import sys
from collections import defaultdict
from pathlib import Path

import yaml
from role_readmes import table

COLLECTION = Path(__file__).resolve().parents[1]
PAGE = COLLECTION / "docs" / "variables.md"
HEAD = """# Variables

<!-- Made by scripts/variables.py. -->

A variable `tpmfleet_…` is said in the inventory, for all devices, a group or one, and reaches every role that has a use
for it: that is the way to set up a line. An option of a role has the role's name before it. It takes its default from
the variable, and is said where a play of your own calls the role, as in the example of each role's README.
"""


def rows_of_the_readme() -> list[tuple[list[str], str, str]]:
    """Names, meaning and default, as the table of the README has them."""
    readme = (COLLECTION / "README.md").read_text()
    part = readme.split("### Variables of the inventory\n", 1)[1].split("\n#", 1)[0]
    cells = [re.split(r"(?<!\\)\|", line)[1:-1] for line in part.splitlines() if line.startswith("| `")]
    return [(re.findall(r"`(\w+…?)`", names), meaning.strip(), default.strip()) for names, meaning, default in cells]


def options_that_take() -> dict[str, list[str]]:
    """Variable of the inventory to the options of roles whose defaults name it."""
    found = defaultdict(list)
    for path in sorted(COLLECTION.glob("roles/*/defaults/main.yml")):
        for option, default in (yaml.safe_load(path.read_text()) or {}).items():
            for name in re.findall(r"\btpmfleet_\w+", str(default)):
                if option not in found[name]:
                    found[name].append(option)
    return found


def page() -> str:
    """The whole text."""
    taken = options_that_take()
    parts = [
        HEAD,
        "## Of the inventory\n",
        "| Variable | Meaning | Default | Options of roles |",
        "| --- | --- | --- | --- |",
    ]
    for names, meaning, default in rows_of_the_readme():
        options = [f"`{option}`" for name in names for option in taken.get(name, ())]
        cells = (", ".join(f"`{name}`" for name in names), meaning, default, ", ".join(dict.fromkeys(options)))
        parts.append("| " + " | ".join(cell.replace("(docs/", "(") for cell in cells) + " |")
    for path in sorted(COLLECTION.glob("roles/*/meta/argument_specs.yml")):
        role = path.parents[1].name
        # Which is no part of a line; it has its own guide.
        if role == "lab":
            continue
        for entry, specification in yaml.safe_load(path.read_text())["argument_specs"].items():
            parts.append(f"\n## Of the role {role}" + ("" if entry == "main" else f", `tasks_from: {entry}`") + "\n")
            parts.append(table(specification.get("options") or {}))
    return "\n".join(parts) + "\n"


def main() -> int:
    """1 where --check found it not up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    text = page()
    stale = not PAGE.exists() or PAGE.read_text() != text
    if stale and not check:
        PAGE.write_text(text)
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
