# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What users get: the tarball that is built, installed as they install it, and what it asks of a container."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

COLLECTION = Path(__file__).resolve().parents[2]
TOOLS = Path(sys.executable).parent
# Import name to what its package is called, where the two differ.
PACKAGES = {"azure.core": "azure-core", "azure.identity": "azure-identity", "sqlalchemy": "SQLAlchemy", "fpdf": "fpdf2"}
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
def archives(tmp_path_factory):
    """The collection's tarball, and the lab's."""
    directory = tmp_path_factory.mktemp("built")
    run("ansible-galaxy", "collection", "build", "--output-path", directory)
    run("python", "scripts/build_lab.py", directory)
    (lab,) = directory.glob("tpmfleet-azure_dps_lab-*.tar.gz")
    (collection,) = directory.glob("tpmfleet-azure_dps-*.tar.gz")
    return collection, lab


def install(collections: Path, *archives: Path) -> dict[str, str]:
    """Installs them into *collections*; the environment in which Ansible knows these and no others."""
    # Else Ansible has it already: the one that is tested here.
    only = {"ANSIBLE_COLLECTIONS_PATH": str(collections), "PYTHONPATH": ""}
    run("ansible-galaxy", "collection", "install", "--offline", "-p", collections, *archives, **only)
    return only


@pytest.fixture(scope="module")
def installed(archives, tmp_path_factory):
    """A collections path with nothing but what the collection's tarball has."""
    collections = tmp_path_factory.mktemp("shipped")
    install(collections, archives[0])
    return collections


def test_users_get_what_they_use(archives, installed):
    """No tests, no emulator, nothing of a checkout."""
    place = installed / "ansible_collections" / "tpmfleet" / "azure_dps"
    assert {path.name for path in place.iterdir()} == {
        *("CHANGELOG.rst", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "README.md", "SECURITY.md"),
        *("FILES.json", "LICENSE", "MANIFEST.json", "ansible.cfg", "requirements.txt"),
        *("changelogs", "docs", "inventories", "meta", "playbooks", "plugins", "roles"),
    }
    assert not [path for path in place.rglob("*") if "lab" in path.name.split("_") or path.stem == "lab"]
    assert archives[0].stat().st_size < 900_000


def test_the_quick_start_works_as_it_is_written(archives, tmp_path, guide):
    """Over both collections as they are installed, in an empty directory; only whence they come is not the guide's."""
    only = {**install(tmp_path / "collections", *archives), "ANSIBLE_LOCALHOST_WARNING": "0"}
    station = tmp_path / "station"
    station.mkdir()
    try:
        printed = guide("quick-start.md", "Start a rack", cwd=station, **only)
    finally:
        run("ansible-playbook", "tpmfleet.azure_dps_lab.lab_down", cwd=station, PWD=str(station), **only)
    assert "rack1-slot01" in printed and "failed=1" not in printed
    assert re.search(r"rack1-slot01: .*hub-\w+\.azure-devices\.example", " ".join(printed.split()))
    assert "--slot01" in printed
    assert not (station / ".lab").exists()


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
