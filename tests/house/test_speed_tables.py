# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What docs/speed.md says of figures is what the benches measured, and what is computed of it is computed so."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

COLLECTION = Path(__file__).resolve().parents[2]
SCRIPT = COLLECTION / "scripts" / "speed_tables.py"
MEASURED = json.loads((COLLECTION / "tests" / "bench" / "measured.json").read_text())


def tables():
    specification = importlib.util.spec_from_file_location("speed_tables", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def cells(text: str, first: str) -> list[str]:
    """The row that begins with *first*."""
    [row] = [line for line in text.splitlines() if line.startswith(f"| {first} |")]
    return [cell.strip() for cell in row.strip("| ").split("|")]


def number(cell: str) -> float:
    return float(re.search(r"[\d,.]+", cell)[0].replace(",", ""))


def test_the_tables_are_what_the_script_makes():
    done = subprocess.run([sys.executable, str(SCRIPT), "--check"], check=False)
    assert done.returncode == 0, "run scripts/speed_tables.py"


def test_another_figure_makes_another_table():
    """Or the document would tell of figures that nobody measured."""
    module = tables()
    text = module.DOCUMENT.read_text()
    other = json.loads(json.dumps(MEASURED))
    for which in ("line", "larger"):
        other[which]["first"]["ours"]["controller"] = 9.0
    other["scale"]["exponent"]["first"] = 1.5
    made = module.filled(text, other)
    assert made != text
    assert cells(made, "4")[2] == "1,600"
    assert cells(made, "Exponent of controller CPU, step 2, first")[2:] == ["1.5", "**not met**"]


def test_units_an_hour_are_the_least_of_what_limits_them():
    module = tables()
    line, larger = MEASURED["line"], MEASURED["larger"]
    made = module.sizing(line, larger, MEASURED["scale"])
    small, large = (one["devices"] * one["first"]["ours"]["controller"] for one in (line, larger))
    seconds = (large - small) / (larger["devices"] - line["devices"])
    for workers in (1, 4, 16):
        _workers, _step2, processor, slow, quota, least = cells(made, str(workers))
        assert abs(number(processor) / (workers * 3600 / seconds) - 1) < 0.06
        assert number(quota) == 60_000
        assert number(least) == min(map(number, (processor, slow, quota)))


def test_every_goal_is_told_with_whether_it_is_met():
    document = (COLLECTION / "docs" / "speed.md").read_text()
    for name, kind, goal in [one for goals in tables().GOALS.values() for one in goals]:
        _name, said, measured, met = cells(document, name)
        assert said == f"{kind} {goal:g}"
        holds = number(measured) <= goal if kind == "≤" else number(measured) >= goal
        assert met == ("met" if holds else "**not met**")
