# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A rack list in slices, which workers elsewhere run through ansible-runner, with one ledger in PostgreSQL.

Workers are machines of their own: each has a network of its own and sees no file of the controller's, so that it has
what was sent to it and nothing else. One is lost half-way through a step, another one runs its slice again.

The tests stand in the order of the day and share its rack.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import ansible_runner
import psycopg
import pytest
import yaml

RUNNER = str(Path(sys.executable).with_name("ansible-runner"))
COLLECTION = "tpmfleet.azure_dps"
UNITS = [f"rack1-slot{number:02d}" for number in range(1, 5)]
# As AWX does: the n-th slice of two has every second host.
SLICES = [UNITS[0::2], UNITS[1::2]]
POSTGRESQL_PORT = 5432
# The lock of the ledger's writers.
WRITER = int.from_bytes(b"tpmfleet", "big")
ALL = {"query": "SELECT * FROM enrollments"}
LIMIT_SECONDS = 120


@dataclass
class Job:
    """What a job came to at the controller: how ansible-runner says that it ended, and the events that it was told."""

    status: str
    events: list[dict]

    @property
    def recap(self) -> dict[str, int]:
        """By host, how many tasks failed."""
        [told] = [one["event_data"] for one in self.events if one["event"] == "playbook_on_stats"]
        return {host: told["failures"].get(host, 0) + told["dark"].get(host, 0) for host in told["processed"]}

    @property
    def printed(self) -> str:
        return "\n".join(one["stdout"] for one in self.events)


class Controller:
    """Sends slices to workers, and keeps all that comes back in one place."""

    def __init__(self, line, directory: Path, ledger: str) -> None:
        self._line, self._directory, self._ledger = line, directory, ledger
        inventory = yaml.safe_load((line.directory / "inventory.yml").read_text())
        devices = inventory["devices"]
        self._inventory = {"hosts": devices["hosts"], "vars": {**inventory["all"]["vars"], **devices["vars"]}}
        self.results = directory / "results"
        self.results.mkdir()
        self.master_key = (line.directory / "master-key").read_text().strip()
        access = line.dps.where["connection_string"].partition("SharedAccessKey=")[2]
        self.secrets = {access, self.master_key, (line.directory / "rack" / "ssh_key").read_text().splitlines()[2]}

    def servers(self, hosts: list[str]) -> list[int]:
        """What a worker has to reach for a slice: its devices, and the service."""
        service = int(self._line.dps.where["endpoint"].rpartition(":")[2])
        return [service, *(self._inventory["hosts"][host]["ansible_port"] for host in hosts)]

    def job(self, playbook: str, hosts: list[str], number: int | str) -> Path:
        """The directory that is transmitted: the slice, and what this step needs of secrets and files."""
        place = self._directory / f"job{number}"
        (place / "project").mkdir(parents=True)
        (place / "env").mkdir()
        variables = {
            name: value
            for name, value in self._inventory["vars"].items()
            if name not in ("tpmfleet_master_key", "tpmfleet_power_up_command", "tpmfleet_ek_list")
        }
        lab = self._line.directory
        files = {"known_hosts": lab / "rack" / "known_hosts", "ca.pem": Path(variables["tpmfleet_dps_ca_file"])}
        files |= {Path(one).name: Path(one) for one in variables["tpmfleet_ek_certificate_roots"]}
        variables |= {
            "ansible_ssh_common_args": "-o UserKnownHostsFile=known_hosts",
            "tpmfleet_dps_ca_file": "ca.pem",
            "tpmfleet_ek_certificate_roots": [Path(one).name for one in variables["tpmfleet_ek_certificate_roots"]],
        }
        # AWX gives each of its jobs these; the ledger notes them.
        extra = {"awx_job_id": number, "awx_user_name": "ada", "tpmfleet_ledger": self._ledger}
        if playbook == "ek_intake":
            files["ek-list.jsonl"] = lab / "rack" / "ek-list.jsonl"
            variables["tpmfleet_ek_list"] = "ek-list.jsonl"
        if playbook == "software_install":
            extra["tpmfleet_master_key"] = self.master_key
        for name, path in files.items():
            shutil.copy(path, place / "project" / name)
        settings = "[defaults]\ninject_facts_as_vars = false\n[ssh_connection]\npipelining = true\n"
        (place / "project" / "ansible.cfg").write_text(settings)
        own = ("ansible_host", "ansible_port", "ansible_user", "tpmfleet_serial_number", "tpmfleet_tcti")
        sliced = {host: {name: self._inventory["hosts"][host][name] for name in own} for host in hosts}
        (place / "inventory").mkdir()
        (place / "inventory" / "slice.json").write_text(json.dumps({"devices": {"hosts": sliced, "vars": variables}}))
        (place / "env" / "extravars").write_text(json.dumps(extra))
        shutil.copy(lab / "rack" / "ssh_key", place / "env" / "ssh_key")
        return place

    def run(self, machine, playbook: str, hosts: list[str], number: int, watch: Callable | None = None) -> Job:
        """``transmit | worker | process``; *watch* is called with each event, and the machine."""
        ident, events = f"job{number}", []
        transmit = [RUNNER, "transmit", str(self.job(playbook, hosts, number)), "-p", f"{COLLECTION}.{playbook}"]
        work = machine.command(RUNNER, "worker", "--private-data-dir", machine.work_place(ident))

        def note(event: dict) -> bool:
            events.append(event)
            if watch:
                watch(event, machine)
            return True

        with (
            subprocess.Popen(transmit, stdout=subprocess.PIPE) as sent,
            subprocess.Popen(work, stdin=sent.stdout, stdout=subprocess.PIPE) as worker,
        ):
            over_time = threading.Timer(LIMIT_SECONDS, worker.kill)
            over_time.start()
            told = ansible_runner.interface.run(
                streamer="process",
                _input=worker.stdout,
                private_data_dir=str(self.results),
                ident=ident,
                quiet=True,
                event_handler=note,
            )
            over_time.cancel()
        return Job(told.status, events)


@pytest.fixture(scope="module")
def line(start_line, dps_at):
    line = start_line(len(UNITS))
    line.dps = dps_at(line.directory / "dps")
    return line


@pytest.fixture(scope="module")
def ledger(postgresql):
    """The part of the database that is this line's; workers reach it at its usual port."""
    near = postgresql.ledger()
    return near, near.replace(f"host={postgresql.directory}", f"host=127.0.0.1&port={POSTGRESQL_PORT}")


@pytest.fixture(scope="module")
def controller(line, ledger, tmp_path_factory):
    return Controller(line, tmp_path_factory.mktemp("controller"), ledger[1])


@pytest.fixture(scope="module")
def machines(worker_machine, relay, controller, postgresql, line, tmp_path_factory):
    """Starts a worker that reaches what a slice needs; all are ended with the module."""
    started = []

    def start(hosts):
        hidden = [tmp_path_factory.mktemp("worker"), tmp_path_factory.getbasetemp(), postgresql.directory]
        reaches = [*controller.servers(hosts), postgresql.socket]
        machine = worker_machine(relay, hidden[1:], reaches, {postgresql.socket: POSTGRESQL_PORT})
        started.append(machine)
        return machine

    yield start
    for machine in started:
        machine.lose()


def each(hosts, run_id):
    return [(host, run_id) for host in hosts]


@pytest.fixture(scope="module")
def events(tables):
    """How many events the ledger has of each host and run: one when it was judged, another for what was done."""
    told = "SELECT host, what::json->>'run_id', count(*) FROM events GROUP BY 1, 2"
    return lambda: {(host, run): count for host, run, count in tables(told)}


@pytest.fixture(scope="module")
def tables(ledger):
    """The rows of a table of the ledger, as they are in the database."""

    def rows(query: str) -> list[tuple]:
        where, _options, schema = ledger[0].partition("&options=-csearch_path%3D")
        plain = where.replace("postgresql+psycopg", "postgresql")
        with psycopg.connect(plain, options=f"-csearch_path={schema}") as connection:
            return connection.execute(query).fetchall()

    return rows


def is_about(event: dict, kind: str, module: str) -> bool:
    return event["event"] == kind and event["event_data"].get("resolved_action") == f"{COLLECTION}.{module}"


def side_by_side(controller, workers, playbook, numbers, watches):
    """A job for each slice, at the same time."""
    with ThreadPoolExecutor(len(workers)) as pool:
        return list(pool.map(controller.run, workers, [playbook] * len(workers), SLICES, numbers, watches))


def test_what_is_global_is_a_job_of_its_own(controller, machines, tables):
    """The makers' list is taken in once, by a worker that reaches no device."""
    machine = machines([])
    job = controller.run(machine, "ek_intake", UNITS, 1)
    assert job.status == "successful", job.printed
    assert tables("SELECT count(*) FROM listed_keys") == [(len(UNITS),)]
    assert tables("SELECT count(*) FROM devices") == [(0,)]


def test_a_worker_has_its_slice_and_reaches_nothing_else(controller, machines, line):
    """Not the controller's files, not the other slice's devices, no other network; not what its step does not need."""
    mine, others = SLICES
    machine = machines(mine)
    assert machine.run("find", str(line.directory.parents[1]), "-mindepth", "1") == f"{machine.home}\n"
    assert machine.run("ip", "route", "show", "table", "main") == ""
    listening = {
        int(one.split()[1].rpartition(":")[2], 16) for one in machine.run("cat", "/proc/net/tcp").splitlines()[1:]
    }
    assert listening == {*controller.servers(mine), POSTGRESQL_PORT}
    for playbook in ("tpm_install", "software_install"):
        place = controller.job(playbook, mine, f"seen-{playbook}")
        sent = "".join(one.read_text() for one in place.rglob("*") if one.is_file())
        assert all(host in sent for host in mine) and not any(host in sent for host in others)
        assert (controller.master_key in sent) is (playbook == "software_install")


def test_two_workers_take_a_slice_each_and_one_is_lost_before_the_ledger_heard_of_it(
    controller, machines, postgresql, events, line
):
    with psycopg.connect(
        host=str(postgresql.directory), user="line", dbname="postgres", autocommit=True
    ) as another_station:

        def lose_it_once_it_has_enrolled(event, machine):
            # The ledger is busy meanwhile, so that nothing can be written into it before the worker is lost.
            if is_about(event, "playbook_on_task_start", "dps_enrollments"):
                another_station.execute("SELECT pg_advisory_lock(%s)", [WRITER])
            if is_about(event, "runner_on_ok", "dps_enrollments"):
                machine.lose()
                another_station.execute("SELECT pg_advisory_unlock_all()")

        workers = [machines(hosts) for hosts in SLICES]
        watches = (None, lose_it_once_it_has_enrolled)
        whole, lost = side_by_side(controller, workers, "tpm_install", (2, 3), watches)
    assert whole.status == "successful" and whole.recap == dict.fromkeys(SLICES[0], 0), whole.printed
    assert lost.status == "error" and not any(one["event"] == "playbook_on_stats" for one in lost.events)
    # What it did is done, and all that was told until then is here.
    assert line.dps.control("GET", "stats")["enrollments"] == len(UNITS)
    assert any(is_about(one, "runner_on_ok", "dps_enrollments") for one in lost.events)
    assert events() == {**dict.fromkeys(each(SLICES[0], "awx-2"), 2), **dict.fromkeys(each(SLICES[1], "awx-3"), 1)}


def test_another_worker_runs_the_lost_slice_again_and_nothing_is_doubled(controller, machines, events, tables, line):
    before = {one["registrationId"]: one["etag"] for one in line.dps.call("POST", "/enrollments/query", ALL)}
    job = controller.run(machines(SLICES[1]), "tpm_install", SLICES[1], 4)
    assert job.status == "successful" and job.recap == dict.fromkeys(SLICES[1], 0), job.printed
    assert {one["registrationId"]: one["etag"] for one in line.dps.call("POST", "/enrollments/query", ALL)} == before
    assert sorted(before) == sorted(name for (name,) in tables("SELECT registration_id FROM devices"))
    assert tables("SELECT host FROM devices ORDER BY host") == [(host,) for host in UNITS]
    # The lost run and the one after it are two stories of the same unit, and each is told once.
    assert events() == {
        **dict.fromkeys(each(SLICES[0], "awx-2"), 2),
        **dict.fromkeys(each(SLICES[1], "awx-3"), 1),
        **dict.fromkeys(each(SLICES[1], "awx-4"), 2),
    }


def test_a_worker_that_is_lost_while_it_works_on_devices(controller, machines, events, tables, line):
    """A claim may be half done on one unit, done on the next, and nobody knows."""

    def lose_it_at_the_first_device(event, machine):
        if is_about(event, "runner_on_ok", "device_work"):
            machine.lose()

    workers = [machines(hosts) for hosts in SLICES]
    lost, whole = side_by_side(controller, workers, "software_install", (5, 6), (lose_it_at_the_first_device, None))
    assert whole.status == "successful" and lost.status == "error", whole.printed
    assert [name for name, count in events().items() if name[1] == "awx-5" and count != 1] == []
    again = controller.run(workers[1], "software_install", SLICES[0], 7)
    assert again.recap == dict.fromkeys(SLICES[0], 1), "a worker reached devices that are not of its slice"
    again = controller.run(machines(SLICES[0]), "software_install", SLICES[0], 8)
    assert again.status == "successful" and again.recap == dict.fromkeys(SLICES[0], 0), again.printed
    seen = line.seen()
    assert all(one.owned and one.enrolled and one.client_id_scope for one in seen.values())
    assert len({one.storage_root_key for one in seen.values()}) == len(UNITS)
    assert line.dps.control("GET", "stats")["enrollments"] == len(UNITS)
    assert tables("SELECT count(*) FROM devices") == [(len(UNITS),)]


def test_the_one_ledger_has_the_whole_story_and_nothing_is_wrong_with_it(run_module, ledger, controller):
    verified = run_module("ledger_verify_info", ledger=ledger[0])
    assert verified["intact"], verified["first"]
    records = run_module("device_records_info", ledger=ledger[0])["records"]
    assert {one["host"]: sorted(one["steps"]) for one in records} == dict.fromkeys(
        UNITS, ["software_install", "tpm_install"]
    )
    # All that came back is in one place, and has no secret in it.
    kept = [one for one in controller.results.rglob("*") if one.is_file()]
    assert len(kept) > 100 and all(controller.secrets)
    assert [
        one for one in kept if any(secret in one.read_text(errors="replace") for secret in controller.secrets)
    ] == []
