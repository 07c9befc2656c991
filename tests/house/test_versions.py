# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The versions of ansible-core that people are told are those that are checked."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import yaml

COLLECTION = Path(__file__).resolve().parents[2]


def told() -> list[str]:
    (row,) = re.findall(r"^\| ansible-core \| (.*) \|$", (COLLECTION / "README.md").read_text(), re.MULTILINE)
    return row.split(", ")


def test_each_version_has_its_sessions():
    """Read, and not asked of nox, which needs other libraries than Galaxy's importer has beside it."""
    noxfile = ast.parse((COLLECTION / "noxfile.py").read_text())
    values = [
        one.value for one in noxfile.body if isinstance(one, ast.Assign) and ast.unparse(one.targets[0]) == "CORES"
    ]
    assert list(ast.literal_eval(values[0])) == told()


def test_continuous_integration_runs_them():
    jobs = yaml.safe_load((COLLECTION / ".github" / "workflows" / "ci.yml").read_text())["jobs"]
    assert jobs["core"]["strategy"]["matrix"]["core"] == told()
    assert jobs["test"]["steps"][-1]["run"] == ".ci/run"


def test_ansible_refuses_older_ones():
    runtime = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text())
    assert runtime["requires_ansible"] == f">={told()[0]}.0"
