# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Writes the README of each role: purpose and variables from its argument specification, its example, then what was
written by hand below the mark. With ``--check`` it only tells which ones are not up to date."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

import yaml

COLLECTION = Path(__file__).resolve().parents[1]
EXAMPLES = COLLECTION / "docs" / "examples" / "roles"
MARK = "<!-- Above this line: made by scripts/role_readmes.py. Below it: by hand. -->"
# Ansible's markup for names and values; of a plugin its type is left out.
_MARKUP = re.compile(r"\b(?:C|V|O|RV|E|I|M)\(([^)]*)\)|\bP\(([^)#]*)#[a-z]+\)")


def readme(role: Path) -> str:
    """The whole text of the README of *role*."""
    specification = yaml.safe_load((role / "meta" / "argument_specs.yml").read_text())["argument_specs"]
    main = specification["main"]
    parts = [f"# {role.name}", _text(main["short_description"]) + ".", _listed(main["description"])]
    example = (EXAMPLES / f"{role.name}.yml").read_text().removeprefix("---\n")
    parts += ["## Example", f"```yaml\n{example.rstrip()}\n```"]
    for name, entry in specification.items():
        title = "## Variables" if name == "main" else f"## Variables of `tasks_from: {name}`"
        parts += [title, table(entry.get("options") or {})]
    parts += [MARK]
    by_hand = _by_hand(role / "README.md")
    return "\n\n".join(parts) + "\n" + (f"\n{by_hand}" if by_hand else "")


def _by_hand(path: Path) -> str:
    if not path.exists():
        return ""
    _made, _mark, rest = path.read_text().partition(MARK)
    return rest.strip("\n") + "\n" if rest.strip() else ""


def _listed(description: str | list[str]) -> str:
    paragraphs = [description] if isinstance(description, str) else description
    return "\n".join(f"- {_text(one)}" for one in paragraphs)


def table(options: dict) -> str:
    """The *options* of an argument specification as a table in Markdown."""
    if not options:
        return "None."
    rows = ["| Variable | Type | Default | Meaning |", "| --- | --- | --- | --- |"]
    for name, option in options.items():
        described = option.get("description", "")
        meaning = " ".join(map(_text, [described] if isinstance(described, str) else described))
        if option.get("choices"):
            meaning = f"One of {', '.join(f'`{one}`' for one in option['choices'])}. {meaning}"
        kind = option["type"] + (f" of {option['elements']}" if option.get("elements") else "")
        default = "required" if option.get("required") else _default(option)
        rows.append("| " + " | ".join(one.replace("|", "\\|") for one in (f"`{name}`", kind, default, meaning)) + " |")
    return "\n".join(rows)


def _default(option: dict) -> str:
    if option.get("default") in (None, "", [], {}):
        return ""
    value = option["default"]
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _text(markup: str) -> str:
    return _MARKUP.sub(lambda found: f"`{found[1] or found[2]}`", " ".join(str(markup).split()))


def main() -> int:
    """1 where --check found one that is not up to date."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for role in sorted(path.parents[1] for path in COLLECTION.glob("roles/*/meta/argument_specs.yml")):
        path, text = role / "README.md", readme(role)
        if not path.exists() or path.read_text() != text:
            stale.append(str(path.relative_to(COLLECTION)))
            if not check:
                path.write_text(text)
    sys.stdout.write("".join(f"{one} {'is not up to date' if check else 'written'}\n" for one in stale))
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
