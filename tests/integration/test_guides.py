# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every ansible-playbook command of the guides, as it stands there, over one rack in the order of a fleet's life."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

COLLECTION = Path(__file__).parents[2]
GUIDES = [COLLECTION / "README.md", *sorted((COLLECTION / "docs").glob("*.md"))]
COMMAND = re.compile(r"^\$ (ansible-playbook (?:.*\\\n)*.*)$", re.MULTILINE)
# What no rack has, and the test that runs it.
ELSEWHERE = {
    "awx.md": "test_awx.py",
    "quick-start.md": "test_what_is_shipped.py",
    "control-plane.md": "test_maker_access.py",
    "errors.md": "test_explain.py",
    "lab.md": "test_what_is_shipped.py",
    "work-orders.md": "test_work_orders.py",
}
# Beside a rack: a program that no registry here has.
UNTRIED = {"--vault-password-file": "asks a person for the vault's new password"}
# A command by the words that are no other's, in the order of a fleet's life.
LIFE = (
    "README.md software_install",
    "steps.md warehouse",
    "records.md device_records_export",
    "records.md device_records_import",
    "enrollments.md enrollments_apply --check",
    "enrollments.md enrollments_apply -e",
    "warehouse.md warehouse_audit",
    "ledger.md story",
    "ledger.md ledger_verify",
    "ownership.md rotate_ownership",
    "warehouse.md reprovision",
    "warehouse.md replace_tpm",
    "warehouse.md decommission",
)


def commands() -> dict[str, str]:
    """Each command by its guide and its words, without those that run elsewhere."""
    found = {}
    for guide in GUIDES:
        for command in COMMAND.findall(guide.read_text()):
            if guide.name not in ELSEWHERE and not any(word in command for word in UNTRIED):
                words = " ".join(command.replace("\\\n", " ").split())
                found[f"{guide.name} {words}"] = command
    return found


def the_one(life: str, found: dict[str, str]) -> str:
    """The command that *life* means."""
    guide, *words = life.split()
    wanted = " ".join(words)
    (name,) = [one for one in found if one.startswith(f"{guide} ") and f"tpmfleet.azure_dps.{wanted}" in one]
    return name


def test_the_next_command_of_a_guide_is_run_too():
    found = commands()
    assert {the_one(life, found) for life in LIFE} == set(found)
    assert all(list((COLLECTION / "tests").rglob(test)) for test in ELSEWHERE.values())


@pytest.fixture(scope="module")
def station(start_line, tmp_path_factory):
    """A directory as a station's, with a rack in its inventory: what to run there, and where."""
    line = start_line(4)
    directory = tmp_path_factory.mktemp("station")
    factory = directory / "inventories" / "factory"
    (factory / "group_vars").mkdir(parents=True)
    (factory / "inventory.yml").symlink_to(line.directory / "inventory.yml")
    (directory / "ansible.cfg").write_text(
        "[defaults]\ninject_facts_as_vars = false\ncallbacks_enabled = tpmfleet.azure_dps.line_summary\n"
        "inventory = localhost.yml\n"
    )
    # The emulated service has a certificate of its own.
    here = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "tpmfleet_dps_ca_file": line.lab["ca_file"],
    }
    (directory / "localhost.yml").write_text(yaml.safe_dump({"all": {"hosts": {"localhost": here}}}))

    def run(command: str) -> str:
        command = command.replace("/var/lib/tpmfleet/ledger.sqlite", str(line.ledger)).replace("/srv/", f"{directory}/")
        environment = {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "ANSIBLE_NOCOLOR": "1"}
        environment["ANSIBLE_CONFIG"] = str(directory / "ansible.cfg")
        environment["TPMFLEET_DPS_CONNECTION_STRING"] = line.lab["service"]["connection_string"]
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=directory,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}"
        return done.stdout

    def set_variables(**variables: object) -> None:
        (factory / "group_vars" / "devices.yml").write_text(yaml.safe_dump(variables))

    run.set_variables, run.directory, run.line = set_variables, directory, line
    return run


def test_a_playbook_of_ones_own(station):
    """That of the page about the steps, on new units."""
    (playbook,) = re.findall(r"```yaml\n(---\n.*?)```", (COLLECTION / "docs" / "steps.md").read_text(), re.DOTALL)
    (station.directory / "station.yml").write_text(playbook)
    station.set_variables(tpmfleet_labels="labels.pdf")
    station("ansible-playbook -i inventories/factory tpmfleet.azure_dps.ek_intake station.yml")
    assert all(one.owned and one.client_id_scope for one in station.line.seen().values())
    assert (station.directory / "labels.pdf").read_bytes().startswith(b"%PDF")


def test_every_command_of_the_guides_runs_as_it_stands_there(station):
    found = commands()
    # As the page about swapped boards says.
    host = station.directory / "inventories" / "factory" / "host_vars" / "rack1-slot03.yml"
    host.parent.mkdir()
    host.write_text("tpmfleet_replace_tpm: true\n")
    for life in LIFE:
        printed = station(found[the_one(life, found)])
        if "rotate_ownership" in life:
            # As the end of a rotation, and its guide, say.
            station.set_variables(tpmfleet_key_version=2, tpmfleet_labels="labels.pdf")
        elif "device_records_export" in life:
            exported = station.directory / "boxed.jsonl"
            assert exported.exists()
            (station.directory / "devices.jsonl").write_text(exported.read_text())
        elif "story" in life:
            assert "TF-000001" in printed
    assert [one["host"] for one in station.line.records() if one.get("decommission")] == ["rack1-slot04"]
