# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the lab lacks is said in one sentence with its commands, and nothing that it uses is left out."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest
from whole_lab import needed

ROLE = Path(__file__).resolve().parents[4] / "roles" / "lab"
# An import, and the package that has it where that is called otherwise.
PACKAGES = {"systemctl2": "docker-systemctl-replacement", "tpm2_pytss": "tpm2-pytss"}
# What runs on a device or beside Ansible has these from there.
OF_OTHERS = {"ansible", "yaml"}


def of_the_controller() -> set[str]:
    """The packages that the lab's programs import where Ansible runs, or look for by their names."""
    own = {path.stem for path in (ROLE / "files").iterdir()}
    found = set()
    for path in (ROLE / "files").rglob("*.py"):
        if "on_device" in path.parts or "on_machine" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "importlib.util.find_spec":
                names = [ast.literal_eval(node.args[0])]
            found |= {name.partition(".")[0] for name in names}
    return {PACKAGES.get(name, name) for name in found - own - set(sys.stdlib_module_names) - OF_OTHERS}


def test_what_is_required_is_what_is_used():
    lines = [line for line in needed.REQUIREMENTS.read_text().splitlines() if not line.startswith("#")]
    assert {re.split(r"[<>=]", line)[0] for line in lines} == of_the_controller()


def test_packages_are_those_of_bindep():
    asked = (ROLE.parents[1] / "bindep.txt").read_text()
    for package in [*needed.PROGRAMS.values(), *needed.OF_DEVICES.values()]:
        assert re.search(rf"^{package} \[platform:dpkg lab", asked, re.MULTILINE), package


def test_the_quick_start_installs_the_packages_of_bindep():
    packages = (ROLE.parents[1] / "bindep.txt").read_text()
    asked = re.findall(r"^(\S+) \[platform:dpkg[^]]* lab[] ]", packages, re.MULTILINE)
    guide = (ROLE.parents[1] / "docs" / "quick-start.md").read_text().replace("\\\n", "")
    assert re.search(r"^\$ apt-get install (.*)$", guide, re.MULTILINE)[1].split() == asked


def test_nothing_is_missing_here():
    assert needed.missing() == ""


def test_all_that_is_missing_is_said_at_once_with_what_installs_it(monkeypatch, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text("# what is needed\nno-such-library>=1\nrequests>=2\nnone-either==2\n")
    monkeypatch.setattr(needed, "REQUIREMENTS", requirements)
    monkeypatch.setattr(needed, "PROGRAMS", {"no-such-program": "its-package", "sh": "dash"})
    monkeypatch.setattr(needed, "OF_DEVICES", {str(tmp_path / "none"): "python3-its-package"})
    said = needed.missing()
    assert "lacks no-such-library, none-either: " in said
    assert f"{sys.executable} -m pip install -r {requirements}" in said
    assert said.endswith("apt-get install its-package python3-its-package")


@pytest.mark.parametrize(("user", "said"), [(0, ""), (1000, "root")])
def test_it_is_for_root(monkeypatch, user, said):
    monkeypatch.setattr(needed.os, "geteuid", lambda: user)
    assert said in needed.missing()
