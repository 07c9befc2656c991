# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Each threat that the page on trust lists has a test, and the test is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

COLLECTION = Path(__file__).resolve().parents[2]
_NAMED = re.compile(r"`(test_\w+\.py)(?:::(\w+))?`")
_LEAST = 60


def threats():
    """The rows of the table, each a list of its cells."""
    table = (COLLECTION / "docs/trust.md").read_text().partition("## Threats")[2]
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows[1:] if not row.startswith("| ---")]


def functions_by_file():
    """The functions in each file of tests, by the file's name."""
    found = {}
    for path in (COLLECTION / "tests").rglob("test_*.py"):
        functions = (one.name for one in ast.walk(ast.parse(path.read_text())) if isinstance(one, ast.FunctionDef))
        found.setdefault(path.name, set()).update(functions)
    return found


def test_each_threat_has_a_test_that_is_there():
    rows = threats()
    assert len(rows) > _LEAST
    there = functions_by_file()
    wrong = []
    for row in rows:
        named = _NAMED.findall(row[-1])
        wrong += [row[0]] if len(row) != 3 or not named else []
        wrong += [f"{file}::{test}" for file, test in named if test and test not in there.get(file, ())]
        wrong += [file for file, test in named if not test and file not in there]
    assert wrong == []
