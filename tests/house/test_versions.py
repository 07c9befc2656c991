# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The versions of ansible-core that people are told are those that are checked."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import subprocess
import sys
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


def test_no_later_python_is_needed_than_the_oldest_of_them_needs():
    """3.10, which is nowhere at hand to run it: seen by the features that are used."""
    vermin = [Path(sys.executable).with_name("vermin"), "--target=3.10-", "--violations", "--no-tips"]
    looked = subprocess.run([*vermin, COLLECTION / "plugins"], stdout=subprocess.PIPE, text=True, check=False)
    assert looked.returncode == 0, looked.stdout


def test_ansible_refuses_older_ones():
    runtime = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text())
    assert runtime["requires_ansible"] == f">={told()[0]}.0"


def test_a_ternary_chooses_between_texts():
    """Before ansible-core 2.19 both of its values are made, and one of them may not be there to be made."""
    paths = [*(COLLECTION / "roles").rglob("*.yml"), *(COLLECTION / "playbooks").glob("*.yml")]
    found = [one for path in paths for one in re.findall(r"\|\s*ternary\(([^)]*)\)", path.read_text())]
    assert found and [one for one in found if not re.fullmatch(r"'\w*', '\w*'", one)] == []


def test_ansible_test_installs_what_unit_tests_and_what_they_test_import():
    """Where the tests of this repository run, everything is there; ansible-test begins with nothing.

    It runs those of the plugins: see the sessions of noxfile.py.
    """
    text = (COLLECTION / "tests" / "unit" / "requirements.txt").read_text()
    named = {_canonical(re.split(r"[\[=<>~!]", line)[0]) for line in text.splitlines() if line and line[0] != "#"}
    known = importlib.metadata.packages_distributions()
    wanted = {}
    for folder in ("plugins", "roles/lab/files", "tests/unit/plugins"):
        for path in (COLLECTION / folder).rglob("*.py"):
            for name in _imported(ast.parse(path.read_text())):
                for distribution in known.get(name, ()):
                    wanted.setdefault(_canonical(distribution), path.relative_to(COLLECTION))
    # Ansible, and what ansible-test brings itself.
    for name in ("ansible-core", "jinja2", "pytest"):
        wanted.pop(name, None)
    assert {name: path for name, path in wanted.items() if name not in named} == {}


def _imported(tree: ast.AST) -> set[str]:
    """The packages that *tree* imports, by their first name; of a namespace of many distributions, by no name."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {one.name for one in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module)
    return {name.partition(".")[0] for name in names} - {"azure"}


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.strip()).lower()
