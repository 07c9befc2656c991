# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Relative paths begin where the command was given: in runs of playbooks by name, and for every option."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.failure import DEVICE_MODULES
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.station_action import (
    LEDGER,
    LISTS_OF_MODULES,
    OPTIONS_WITH_PATHS,
    PATH_LISTS,
    PATH_OPTIONS,
    StationAction,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.station_path import from_here, ledger_from_here

COLLECTION = Path(__file__).resolve().parents[4]
ANSIBLE_PLAYBOOK = str(Path(sys.executable).parent / "ansible-playbook")
MODULES = sorted(path.stem for path in (COLLECTION / "plugins" / "modules").glob("*.py"))
# The head of a step looks at variables only; no option of it names a file, as it has none.
STATION_MODULES = [
    name for name in MODULES if f"tpmfleet.azure_dps.{name}" not in DEVICE_MODULES and name != "step_start"
]


def play(directory: Path, playbook: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Gives the command in *directory*; PWD says something else, as it does where no shell was in between."""
    return subprocess.run(
        [ANSIBLE_PLAYBOOK, playbook, *arguments],
        cwd=directory,
        env={**os.environ, "PWD": "/", "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.fixture
def station(tmp_path):
    """A directory with an inventory of one unit and an empty EK list."""
    (tmp_path / "hosts.yml").write_text("devices: {hosts: {unit1: {ansible_connection: local}}}\n")
    (tmp_path / "list.csv").write_text("endorsement_key,serial_number\n")
    return tmp_path


def files_of_the_collection() -> set[Path]:
    return {path for path in COLLECTION.rglob("*") if path.is_file() and "__pycache__" not in path.parts}


def test_a_ledger_lands_where_the_command_was_given(station):
    """The playbook is named by its full name, so that its directory is the installed collection's."""
    before = files_of_the_collection()
    done = play(
        station,
        "tpmfleet.azure_dps.ek_intake",
        *("-i", "hosts.yml", "-e", "tpmfleet_ledger=books/ledger.sqlite", "-e", "tpmfleet_ek_list=list.csv"),
    )
    assert "list.csv" in done.stdout and str(station / "list.csv") in done.stdout, done.stdout
    assert (station / "books" / "ledger.sqlite").exists(), done.stdout
    assert f"WRITTEN {station / 'books' / 'ledger.sqlite'}" in done.stdout
    assert files_of_the_collection() == before


def test_an_empty_path_is_refused_and_is_the_inventorys(station):
    done = play(
        station,
        "tpmfleet.azure_dps.ek_intake",
        *("-i", "hosts.yml", "-e", "tpmfleet_ledger=", "-e", "tpmfleet_ek_list=a"),
    )
    assert done.returncode != 0
    assert "MEND tpmfleet_ledger: " in done.stdout and "ledger is empty, which is no path" in done.stdout, done.stdout


def test_a_plan_lands_where_the_command_was_given_and_is_named(station):
    (station / "manifest.jsonl").write_text("")
    done = play(
        station,
        "tpmfleet.azure_dps.enrollments_apply",
        *("-e", "enrollments_manifest=nowhere/manifest.jsonl", "-e", "enrollments_plan_file=plan.jsonl"),
        *("-e", "tpmfleet_dps_connection_string=HostName=a.example;SharedAccessKeyName=a;SharedAccessKey=QQ=="),
    )
    assert str(station / "nowhere" / "manifest.jsonl") in done.stdout, done.stdout


def documented(module: str) -> dict:
    """The options of a module, those of its fragments with them."""
    text = (COLLECTION / "plugins" / "modules" / f"{module}.py").read_text()
    read = yaml.safe_load(re.search(r'DOCUMENTATION = r"""(.*?)"""', text, re.DOTALL)[1])
    options = dict(read.get("options") or {})
    for fragment in read.get("extends_documentation_fragment") or []:
        name, part = (fragment.removeprefix("tpmfleet.azure_dps.").split(".") + ["documentation"])[:2]
        place = importlib.import_module(f"ansible_collections.tpmfleet.azure_dps.plugins.doc_fragments.{name}")
        options.update(yaml.safe_load(getattr(place.ModuleDocFragment, part.upper())).get("options") or {})
    return options


def names_of_paths(options: dict) -> set[str]:
    """The options that are paths, alone or in a list, and inside of others."""
    found = {name for name, one in options.items() if "path" in (one.get("type"), one.get("elements"))}
    for name, one in options.items():
        inner = names_of_paths(one.get("suboptions") or {})
        if inner:
            assert name in OPTIONS_WITH_PATHS, name
            found |= inner
    return found


@pytest.mark.parametrize("module", STATION_MODULES)
def test_every_path_of_a_module_of_the_station_begins_there(module):
    """The next option that names a file fails here, and so does the next module without the action."""
    options = documented(module)
    assert names_of_paths(options) <= PATH_OPTIONS | PATH_LISTS
    lists = {name for name, one in options.items() if one.get("elements") == "path"}
    assert lists == {name for name in options if name in PATH_LISTS or (module, name) in LISTS_OF_MODULES}
    if LEDGER in options:
        assert options[LEDGER]["type"] == "str"
    routed = yaml.safe_load((COLLECTION / "meta" / "runtime.yml").read_text())["plugin_routing"]["modules"]
    actions = COLLECTION / "plugins" / "action"
    own = actions / f"{module}.py"
    if not own.exists():
        own = actions / f"{routed[module]['action_plugin'].removeprefix('tpmfleet.azure_dps.')}.py"
    action = importlib.import_module(f"ansible_collections.tpmfleet.azure_dps.plugins.action.{own.stem}")
    assert issubclass(action.ActionModule, StationAction)


# A file of the controller in a task that is not ours: a lookup, and what a module of Ansible's does on this machine.
LOOKUPS = re.compile(r"""(?:lookup|query)\('ansible\.builtin\.(?:file|fileglob|template)', (?P<what>[^)]*)\)""")
PLACES = ("dest", "path", "src", "chdir")


def tasks_in(part: object):
    """Every task below *part* of a file of tasks or plays."""
    if isinstance(part, list):
        for one in part:
            yield from tasks_in(one)
    elif isinstance(part, dict):
        yield part
        for name in ("tasks", "block", "rescue", "always"):
            yield from tasks_in(part.get(name) or [])


FILES = [
    path
    for folder in ("roles/*/tasks", "roles/*/defaults", "roles/*/vars", "playbooks")
    for path in sorted(COLLECTION.glob(f"{folder}/*.yml"))
    if "roles/lab/" not in str(path) and not path.name.startswith("lab_")
]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(COLLECTION)))
def test_every_file_that_ansible_itself_takes_begins_there(path):
    """In lookups, and in what Ansible's own modules do on the station."""
    text = path.read_text()
    for found in LOOKUPS.finditer(text):
        what = found["what"]
        assert "station_path" in what or "role_path" in what, what
    read = yaml.safe_load(text) or []
    if path.parent.name not in ("tasks", "playbooks"):
        return
    plays_here = any(one.get("connection") == "local" for one in read)
    for task in tasks_in(read):
        if task.get("delegate_to") != "localhost" and not plays_here:
            continue
        for action, arguments in task.items():
            if not action.startswith("ansible.builtin.") or not isinstance(arguments, dict):
                continue
            for name in PLACES:
                value = str(arguments.get(name) or "")
                assert not value or "station_path" in value or "__tpm_runtime_archive" in value, (action, value)
            argv = str(arguments.get("argv") or "")
            assert not re.search(r"\w+_(dir|file|path)\b", argv), argv


@pytest.mark.parametrize("path", ["", "  ", None, 5, "a\0b"])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(ValueError, match="ledger"):
        from_here(path, "ledger")
    with pytest.raises(ValueError, match="ledger"):
        ledger_from_here(path, "ledger")


def test_paths(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert from_here("a/../b") == str(tmp_path / "b") and from_here("/a") == "/a" and from_here("~/a") == "~/a"
    assert ledger_from_here("a.sqlite", "ledger") == str(tmp_path / "a.sqlite")
    assert ledger_from_here("sqlite:///a.sqlite", "ledger") == f"sqlite:///{tmp_path}/a.sqlite"
    assert ledger_from_here("sqlite:////a.sqlite", "ledger") == "sqlite:////a.sqlite"
    assert ledger_from_here("postgresql+psycopg://a/b", "ledger") == "postgresql+psycopg://a/b"


def test_the_summary_of_a_lab_is_in_the_directory_of_the_command(station):
    """The files that a run wrote are in the summary for programs, too."""
    done = subprocess.run(
        [ANSIBLE_PLAYBOOK, "tpmfleet.azure_dps.ek_intake", "-i", "hosts.yml", "-e", "tpmfleet_ledger=a.sqlite"]
        + ["-e", "tpmfleet_ek_list=list.csv"],
        cwd=station,
        env={**os.environ, "TPMFLEET_SUMMARY_FILE": "summary.json"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    read = json.loads((station / "summary.json").read_text())
    assert read["files"] == [str(station / "a.sqlite")], done.stdout


def test_a_ca_file_of_the_service_begins_there_and_an_empty_one_is_left_out(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PWD", str(tmp_path))
    action = importlib.import_module("ansible_collections.tpmfleet.azure_dps.plugins.action.work_report_import")
    given = []
    monkeypatch.setattr(action.ActionModule, "work", lambda self, *_: given.append(self._task.args["service"]) or {})
    for ca_file in ("ca.pem", "", None):
        one = action.ActionModule.__new__(action.ActionModule)
        one._connection = SimpleNamespace(transport="local")
        service = {"host": "dps.example", "ca_file": ca_file, "connection_string": ""}
        one._task = SimpleNamespace(args={"service": service}, action="tpmfleet.azure_dps.work_report_import")
        assert not one.run().get("failed")
    left = {"host": "dps.example"}
    assert given == [{**left, "ca_file": str(tmp_path / "ca.pem")}, left, left]
