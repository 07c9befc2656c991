# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program as a file and as a service: what it needs, and what it is kept from."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.client_program import (
    build_program,
    packed_sources,
    read_units,
)

SERVICE, TIMER = "tpmfleet-dps-client.service", "tpmfleet-dps-client.timer"


@pytest.fixture(scope="module")
def sources(program, tmp_path_factory):
    """The modules in the program, by their names in it."""
    directory = tmp_path_factory.mktemp("sources")
    with zipfile.ZipFile(program) as archive:
        archive.extractall(directory)
    return sorted(directory.rglob("*.py"))


def test_equal_sources_give_an_equal_program(program):
    packed_sources.cache_clear()
    assert build_program("/usr/bin/python3") == program.read_bytes()


def test_one_file_needs_python_3_9_and_no_more(sources):
    vermin = Path(sys.executable).with_name("vermin")
    done = subprocess.run(
        [vermin, "--target=3.9-", "--violations", "--no-tips", *sources],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert len(sources) > 12


def test_nothing_but_python_and_tpm2_pytss_is_imported(sources):
    imported = set()
    for source in sources:
        for step in ast.walk(ast.parse(source.read_text())):
            if isinstance(step, ast.Import):
                imported |= {name.name.partition(".")[0] for name in step.names}
            elif isinstance(step, ast.ImportFrom) and not step.level:
                imported.add(step.module.partition(".")[0])
    assert imported - set(sys.stdlib_module_names) == {"tpm2_pytss", "tpmfleet_dps_client"}


def test_all_that_is_packed_is_used_and_all_that_is_used_is_packed(sources):
    """What a module of a device imports beside it, and never more than that."""
    root = next(source for source in sources if source.parent.name == "tpmfleet_dps_client").parent
    used, todo = set(), {root / "cli.py"}
    while todo:
        source = todo.pop()
        used.add(source)
        for step in ast.walk(ast.parse(source.read_text())):
            if isinstance(step, ast.ImportFrom) and step.level:
                base = source.parents[step.level - 1].joinpath(*(step.module or "").split("."))
                named = {base.with_suffix(".py"), *(base / f"{name.name}.py" for name in step.names)}
                todo |= {path for path in named if path.exists()} - used
    starting = {root / "__main__.py", root.parent / "__main__.py", *root.rglob("__init__.py")}
    assert used | starting == set(sources)


def test_neither_the_environment_nor_the_working_directory_changes_what_runs(program, tmp_path):
    """It is run as an executable, as its unit does; a module of the same name as one that it needs lies in the way."""
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    done = subprocess.run(
        [program, "--version"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "0.1.0\n")


@pytest.fixture
def units(tmp_path, program):
    """The units, with the program where the service names it."""
    shutil.copy(program, tmp_path / "client")
    for name, text in read_units().items():
        (tmp_path / name).write_text(text.replace("/usr/bin/tpmfleet-dps-client", str(tmp_path / "client")))
    return tmp_path


def analyze(*arguments):
    """What systemd says of units that are not installed; its whole output where it objects."""
    done = subprocess.run(
        ["systemd-analyze", "--no-pager", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_systemd_finds_nothing_wrong_with_the_units(units):
    assert analyze("verify", str(units / SERVICE), str(units / TIMER)) == ""


def test_the_service_is_exposed_to_no_more_than_it_needs(units):
    """Its scale, in tenths, goes from 0 to 100: at most 1.5."""
    said = analyze("security", "--offline=true", "--threshold=15", str(units / SERVICE))
    assert re.search(r"Overall exposure level.*: [01]\.\d OK", said), said


def test_a_unit_that_is_exposed_to_more_is_told(units):
    """The threshold is one that systemd holds the unit to."""
    text = (units / SERVICE).read_text().replace("NoNewPrivileges=yes", "").replace("SystemCallFilter", "X-Filter")
    (units / SERVICE).write_text(text)
    with pytest.raises(AssertionError, match="Overall exposure level"):
        analyze("security", "--offline=true", "--threshold=15", str(units / SERVICE))


def test_the_service_is_a_user_of_its_own_that_waits_for_the_network():
    service = read_units()[SERVICE].splitlines()
    assert "User=tpmfleet-dps-client" in service
    assert "StateDirectoryMode=0700" in service
    assert "Wants=network-online.target" in service
    assert any(line.startswith("After=network-online.target") for line in service)


def filtered(name):
    """The system calls in a set of systemd's."""
    calls = set()
    for line in analyze("syscall-filter", name).splitlines()[1:]:
        call = line.strip()
        if call and not call.startswith("#"):
            calls |= filtered(call) if call.startswith("@") else {call}
    return calls


def test_the_service_may_do_all_that_it_does(enrolled):
    """Every system call of a registration, a token and another registration is one that the unit lets through."""
    lines = [line for line in read_units()[SERVICE].splitlines() if line.startswith("SystemCallFilter=")]
    assert lines == ["SystemCallFilter=@system-service", "SystemCallFilter=~@privileged @resources"]
    allowed = filtered("@system-service") - filtered("@privileged") - filtered("@resources")
    enrolled.run("status")
    trace = enrolled.directory / "trace"
    for command in ("register", "token", "reprovision"):
        start = ["strace", "-f", "-o", str(trace), "-A", "/usr/bin/python3", str(enrolled.program)]
        done = subprocess.run(
            [*start, "--config", str(enrolled.directory / "config.json"), command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout
    done = set(re.findall(r"^\d+ +(?:<\.\.\. )?(\w+)[ (]", trace.read_text(), re.MULTILINE))
    assert {"openat", "connect", "fsync", "rename"} <= done
    assert done - allowed == set()
