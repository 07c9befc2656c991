# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What users get: the tarball that is built, installed as they install it, and what it asks of a container."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

COLLECTION = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
# Import name to what its package is called, where the two differ.
PACKAGES = {"azure.core": "azure-core", "azure.identity": "azure-identity", "sqlalchemy": "SQLAlchemy"}
PACKAGES |= {"azure.mgmt": "azure-mgmt-iothubprovisioningservices"}
# Of Ansible itself, of the collection, or of the device, where tpm_runtime sees to them.
NOT_OF_THE_CONTROLLER = {"ansible", "ansible_collections", "yaml", "jinja2", "tpm2_pytss"}


def run(*command: object, cwd: Path = COLLECTION, **environment: str) -> str:
    """What *command* printed; its whole output is the failure's message where it fails."""
    program, *arguments = map(str, command)
    done = subprocess.run(
        [TOOLS / program, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A collections path with nothing but what the tarball has."""
    directory = tmp_path_factory.mktemp("shipped")
    run("ansible-galaxy", "collection", "build", "--output-path", directory)
    (archive,) = directory.glob("*.tar.gz")
    # Else Ansible has it already: the one that is tested here.
    only = {"ANSIBLE_COLLECTIONS_PATH": str(directory / "collections"), "PYTHONPATH": ""}
    run("ansible-galaxy", "collection", "install", "--offline", "-p", directory / "collections", archive, **only)
    return directory / "collections"


def test_its_modules_are_found_by_name(installed):
    ask = ["ansible-doc", "--list", "--json", "tpmfleet.azure_dps"]
    listed = json.loads(run(*ask, ANSIBLE_COLLECTIONS_PATH=str(installed), PYTHONPATH=""))
    modules = {f"tpmfleet.azure_dps.{path.stem}" for path in (COLLECTION / "plugins" / "modules").glob("*.py")}
    assert set(listed) == modules


def requirements(path: Path) -> dict[str, str]:
    """Package to the line that asks for it."""
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return {line.partition(">=")[0].partition("[")[0]: line for line in lines}


def imported() -> set[str]:
    """The packages that the controller's code imports."""
    found = set()
    for path in [*COLLECTION.glob("plugins/**/*.py"), *COLLECTION.glob("roles/*/filter_plugins/*.py")]:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module or ""]
            for name in names:
                top = ".".join(name.split(".")[:2]) if name.startswith("azure.") else name.split(".")[0]
                if top not in sys.stdlib_module_names | NOT_OF_THE_CONTROLLER:
                    found.add(PACKAGES.get(top, top))
    return found


def test_what_is_required_is_what_is_imported():
    assert set(requirements(COLLECTION / "requirements.txt")) == imported()


def test_ansible_builder_finds_what_the_collection_asks_for(installed):
    told = yaml.safe_load(run("ansible-builder", "introspect", installed).split("---\n", 1)[1])
    python = " ".join(told["python"])
    assert [
        package for package in [*requirements(COLLECTION / "requirements.txt"), "psycopg"] if package not in python
    ] == []
    system = {line.split()[0]: line for line in told["system"]}
    assert "platform:dpkg" in system["openssh-client"] and "platform:rpm" in system["openssh-clients"]


def test_ansible_builder_takes_the_example(tmp_path):
    example = COLLECTION / "docs" / "examples" / "execution-environment.yml"
    run("ansible-builder", "create", "--file", example, "--context", tmp_path / "context")
    assert "tpmfleet.azure_dps" in (tmp_path / "context" / "_build" / "requirements.yml").read_text()
    assert "ansible-core>=2.17" in next((tmp_path / "context").glob("*file")).read_text()
