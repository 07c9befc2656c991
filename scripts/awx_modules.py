# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes what the documentation of modules of awx.awx says of their options, for the tests of docs/examples/awx.yml.

Usage: awx_modules.py REPOSITORY, a git repository of https://github.com/ansible/awx. Of each option its type, elements,
choices, aliases, whether it is required, and its suboptions; nothing else of it is taken.
"""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[1]
TABLE = ROOT / "tests" / "house" / "awx_modules.json"
PLAYBOOK = ROOT / "docs" / "examples" / "awx.yml"
FACTS = ("type", "elements", "choices", "aliases", "required")
FRAGMENT = "awx_collection/plugins/doc_fragments/auth.py"


class Loader(yaml.SafeLoader):
    """Of a playbook, in which a value may be said not to be a template."""


Loader.add_constructor("!unsafe", lambda loader, node: loader.construct_scalar(node))


def documentation(source: str) -> dict:
    """What a module or a fragment documents."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            return yaml.safe_load(node.value.value)
    raise SystemExit("a file without DOCUMENTATION")


def facts(options: dict) -> dict:
    """Of each option what an argument is checked by."""
    found = {}
    for name, option in sorted(options.items()):
        found[name] = {fact: option[fact] for fact in FACTS if fact in option}
        if "suboptions" in option:
            found[name]["options"] = facts(option["suboptions"])
    return found


def main() -> None:
    """Writes the table of the modules that the playbook uses."""
    repository = sys.argv[1]

    def git(*command: str) -> str:
        return subprocess.run(["git", "-C", repository, *command], stdout=subprocess.PIPE, text=True, check=True).stdout

    [play] = yaml.load(PLAYBOOK.read_text(), Loader)
    modules = sorted({name.split(".")[-1] for task in play["tasks"] for name in task if name.startswith("awx.awx.")})
    everywhere = facts(documentation(git("show", f"HEAD:{FRAGMENT}"))["options"])
    table = {}
    for module in modules:
        own = documentation(git("show", f"HEAD:awx_collection/plugins/modules/{module}.py"))["options"]
        table[module] = {**everywhere, **facts(own)}
    source = {
        "source": "https://github.com/ansible/awx, awx_collection/plugins/modules: DOCUMENTATION of each",
        "commit": git("rev-parse", "HEAD").strip(),
        "made_by": "scripts/awx_modules.py",
        "modules": table,
    }
    TABLE.write_text(json.dumps(source, indent=1) + "\n")


if __name__ == "__main__":
    main()
