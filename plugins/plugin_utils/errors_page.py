# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""docs/errors.md of the installed collection, as people read it in a terminal."""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import ENTRIES, PAGE

PATH = Path(__file__).resolve().parents[2] / "docs" / PAGE
_ELSEWHERE = "https://github.com/tpmfleet/azure_dps/tree/main/docs/errors.md"
_NAME = re.compile(rf"(?:.*{re.escape(PAGE)}#)?([a-z0-9-]+)\)?")
# Links and the marks of code and of what is bold say nothing in a terminal; where a link goes to does.
_LINK = re.compile(r"\[([^\]]+)\]\(([^)#]+)(#[^)]*)?\)")
_MARKS = re.compile(r"\*\*|`")


def explanation(entries: str) -> list[str]:
    """The lines of the *entries*, which are separated by commas; of all names where there are none."""
    try:
        parts = sections(PATH.read_text(encoding="utf-8"))
    except OSError:
        return [f"The page is not in this installation; it is at {_ELSEWHERE}"]
    wanted = [one.strip() for one in entries.split(",") if one.strip()]
    if not wanted:
        return [*(f"{name}: {_quoted(body)}" for name, body in parts.items()), "", f"The page is {PATH}"]
    lines: list[str] = []
    for one in wanted:
        found = _NAME.fullmatch(one)
        name = found[1] if found else one
        if name in parts:
            lines += [name, "", *map(_plain, parts[name]), ""]
            continue
        near = difflib.get_close_matches(name, ENTRIES, n=3)
        guess = f" Is it {' or '.join(near)}?" if near else " Without -e error= all of them are listed."
        lines += [f"There is no entry '{visible(name, most=80)}'.{guess}", ""]
    return [*lines, f"The page is {PATH}"]


def sections(page: str) -> dict[str, list[str]]:
    """Entry to the lines of its text, without those that are empty at its begin and end."""
    found: dict[str, list[str]] = {}
    lines: list[str] = []
    for line in page.splitlines():
        if line.startswith("#"):
            lines = []
            if line.startswith("### "):
                found[line[4:].strip()] = lines
        else:
            lines.append(line.rstrip())
    return {name: "\n".join(body).strip("\n").split("\n") for name, body in found.items()}


def _quoted(body: list[str]) -> str:
    return next((line.strip() for line in body if line.startswith("    ")), "")


def _plain(line: str) -> str:
    return line if line.startswith("    ") else _MARKS.sub("", _LINK.sub(r"\1 (\2\3)", line))
