# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The five steps over a fresh rack, each checked before it is run: a check writes nothing and tells what a run changes.

The tests stand in the order of the line and share its rack. What each step asks of devices, TPMs and service is counted
beside that.
"""

from __future__ import annotations

import getpass
import json
from collections import Counter
from pathlib import Path

import pytest

UNITS = ("rack1-slot01", "rack1-slot02")
# A task that runs once for the batch is told under the name of its first host.
FIRST = UNITS[0]
STEPS = ("ek_intake", "tpm_install", "software_install", "warehouse", "field_activation")

HOLD = "tpmfleet.azure_dps.endorsement_key : Hold the batch's endorsement keys against the EK list and the ledger"
WORK = "tpmfleet.azure_dps.device_work : Do the step's work on the TPM and the client"
ENROLL = "tpmfleet.azure_dps.enrollment : Enroll the batch"
POWER_UP = "tpmfleet.azure_dps.field_activation : Power up the devices that are not assigned yet"
TELL = "tpmfleet.azure_dps.field_activation : Write what the service says into the ledger"

# What the first run of each step and one that changes nothing ask for, exactly, for the two units. A change that adds
# one has to say here why; one that takes some away writes the smaller number down, so that nobody adds it again. Tasks
# count also where they are skipped, and those of the batch are what its first host has beyond another one. While step 5
# waits, the field client is at work in the TPM, and how often the service is asked depends on the time. Of the batch's
# tasks of step 3 three are about work orders, and are skipped where there is none.
ASKED_FOR = """
step              run    executions  tasks   tasks    TPM commands  keys made  service
                         a device    a host  a batch  a device      a device   calls
--------------------------------------------------------------------------------------
ek_intake         first  0           0       2        0             0          0
ek_intake         again  0           0       2        0             0          0
tpm_install       first  1           1       8        20            1          3
tpm_install       again  1           1       8        20            0          2
software_install  first  2           2       11       78            2          2
software_install  again  2           2       11       76            0          2
warehouse         first  2           4       14       80            0          2
warehouse         again  2           4       14       94            0          2
field_activation  first  0           2       7        -             0          -
field_activation  again  0           2       7        0             0          4
"""
WIDTHS = (12, 8, 9, 14, 11, 1)


@pytest.fixture(scope="module")
def line(start_line, dps_at):
    line = start_line(2)
    line.dps = dps_at(line.directory / "dps")
    line.checks, line.runs = {}, {}
    as_swtpm_does = line.directory.parent / "plain.json"
    as_swtpm_does.write_text("{}")
    for unit in UNITS:
        line.rack.break_(unit, "tpm-answers", str(as_swtpm_does))
    line.asked_for = {}
    yield line
    as_swtpm_does.unlink()


def counted(line, playbook, runs):
    """Runs *playbook*, and keeps what each of its plays asked for as the *runs*, pairs of step and run."""
    log = line.directory / "counts"
    log.write_text("")
    callback = {"ANSIBLE_CALLBACK_PLUGINS": str(Path(__file__).with_name("counting_callback"))}
    run = line.play(playbook, COUNTS_LAB=str(line.directory), COUNTS_LOG=str(log), **callback)
    counts = [json.loads(count) for count in log.read_text().splitlines()]
    line.asked_for.update(zip(runs, counts, strict=True))
    return run


def picture(line):
    """All that a step may change, by name: the ledger, what the service has, the TPMs' memory, the devices' files."""
    found = {"ledger": line.ledger.read_bytes() if line.ledger.exists() else None}
    found["enrollments"] = line.dps.control("GET", "stats")["enrollments"]
    for unit, seen in line.seen().items():
        found[unit] = seen
        device = line.rack.device(unit)
        found[unit, "TPM"] = (device.tpm.state_dir / "swtpm" / "tpm2-00.permall").read_bytes()
        for place in ("etc", "usr", "var/lib"):
            for path in (device.upper / place).rglob("*"):
                # Of itself the client that runs there writes how it fares, whenever it has tried something.
                if "tpm-rack" not in path.parts and path.name != "status.json":
                    status = path.lstat()
                    name = str(path.relative_to(device.upper))
                    # What came or went in a directory is told by its own name, and its time is that of the status too.
                    when = None if path.is_dir() else (status.st_size, status.st_mtime_ns)
                    found[unit, name] = (status.st_mode, when)
    return found


def difference(before, after):
    """The names of what is not as it was."""
    return {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}


def test_a_check_of_the_whole_line_writes_nothing_anywhere(line):
    before = picture(line)
    line.checks["site"] = line.play("site", "--check", "--diff")
    assert line.checks["site"].code == 0, line.checks["site"].printed
    assert difference(before, picture(line)) == set()
    assert before["ledger"] is None and not before["enrollments"]
    for unit in UNITS:
        assert line.tool(unit, "tpm2_getcap", "handles-persistent").stdout == ""


@pytest.mark.parametrize("step", STEPS)
def test_a_check_of_a_step_tells_exactly_what_its_run_changes(line, step):
    before = picture(line)
    check = line.play(step, "--check", "--diff")
    assert check.code == 0, check.printed
    assert difference(before, picture(line)) == set()
    run = line.runs[step] = counted(line, step, [(step, "first")])
    assert run.code == 0, run.printed
    assert check.changes == run.changes
    assert run.changes


def test_every_unit_is_where_the_line_leads(line):
    seen = line.seen()
    assert all(one.listed and one.enrolled and one.owned and one.assigned for one in seen.values())


def test_the_check_of_the_whole_line_told_every_change_but_those_of_step_5(line):
    """A check does nothing, so a later step finds undone what an earlier one only told, and tells it once more; and
    step 5 looks devices up in a ledger that does not know them yet. Nothing else is told, and nothing else is missing.
    """
    run = sum((line.runs[step].changes for step in STEPS), Counter())
    check = line.checks["site"].changes
    assert run - check == Counter([(POWER_UP, FIRST), (TELL, FIRST)])
    steps_3_and_4 = [(HOLD, FIRST), (ENROLL, FIRST)] * 2
    # What is not on record has to be claimed and proven before it is enrolled, and is given its client after that.
    step_4 = [(WORK, unit) for unit in UNITS] * 2
    assert check - run == Counter(steps_3_and_4 + step_4)


def test_what_is_left_in_the_ledger_is_device_records(line, record_schema):
    records = line.records()
    assert [record["host"] for record in records] == list(UNITS)
    for record in records:
        record_schema.validate(record)
        assert list(record["steps"]) == sorted(record["steps"])
        assert set(record["steps"]) == set(STEPS) - {"ek_intake"}


def test_a_second_run_changes_nothing_and_says_that_it_verified(line, run_module, clients_at_rest):
    seen, records, before = line.seen(), line.records(), story(line, run_module)
    with clients_at_rest([line.rack.device(unit) for unit in UNITS]):
        found = picture(line)
        run = counted(line, "site", [(step, "again") for step in STEPS])
        line.differs = difference(found, picture(line))
    assert (run.code, run.changed, run.changes) == (0, 0, Counter()), run.printed
    assert line.seen() == seen
    assert line.records() == records
    printed = " ".join(run.printed.split())
    for unit, events in story(line, run_module).items():
        news = events[len(before[unit]) :]
        assert {event["step"] for event in news} == set(STEPS) - {"ek_intake"}
        parts = {part: said for event in news for part, said in event.get("outcome", {}).items()}
        assert parts.pop("assigned_hub") == seen[unit].registration["assignedHub"]
        assert set(parts.values()) == {"verified"}
        # For people, of steps 3 and 4.
        assert printed.count(f"{unit}: ownership verified, possession verified, dps_client verified") == 2


def test_who_and_which_run_is_in_the_history_and_the_ledger_is_proven(line, run_module):
    by_run = {}
    for events in story(line, run_module).values():
        assert {event["operator"] for event in events} == {getpass.getuser()}
        for event in events:
            by_run.setdefault(event["run_id"], []).append(event["step"])
    # The runs of the steps one by one, and the one of all of them.
    assert sorted(len(set(steps)) for steps in by_run.values()) == [1, 1, 1, 1, 4]
    proof = run_module("ledger_verify_info", ledger=str(line.ledger))
    assert proof["intact"] and proof["devices"] == len(UNITS)
    told = run_module("device_story_info", ledger=str(line.ledger), serial_number=line.records()[0]["serial_number"])
    assert len(told["lines"]) == 1 + len(story(line, run_module)[UNITS[0]])
    assert any("step 3, " in line and "Done: the DPS client" in line for line in told["lines"])


def story(line, run_module):
    """The history of each device."""
    found = run_module("device_records_info", ledger=str(line.ledger), history=True)
    return {record["host"]: record["history"] for record in found["records"]}


def told(count, clients_at_work):
    """What a play asked for, as a row of ASKED_FOR has it; each client asks its TPM in its own time."""
    first, second = (count["hosts"][unit] for unit in UNITS)
    same = ("executions", "keys") if clients_at_work else ("executions", "commands", "keys")
    assert [first[name] for name in same] == [second[name] for name in same]
    calls = sum(number for operation, number in count["calls"].items() if not operation.startswith("device."))
    tasks = (second["tasks"], first["tasks"] - second["tasks"])
    return [str(number) for number in (first["executions"], *tasks, first["commands"], first["keys"], calls)]


def test_no_step_asks_for_more_than_is_written_down(line):
    rows = [row.split() for row in ASKED_FOR.strip().splitlines()[3:]]
    at_work = {(step, run) for step, run, *allowed in rows if "-" in allowed}
    asked = {key: told(count, key in at_work) for key, count in line.asked_for.items()}
    for step, run, *allowed in rows:
        numbers = asked[step, run]
        asked[step, run] = [told if said != "-" else "-" for said, told in zip(allowed, numbers, strict=True)]
    table = ["what was asked for:"]
    for step, run, *_numbers in rows:
        numbers = "".join(f"{number:<{width}}" for number, width in zip(asked[step, run], WIDTHS, strict=True))
        table.append(f"{step:<18}{run:<7}{numbers}")
    assert asked == {(step, run): allowed for step, run, *allowed in rows}, "\n".join(table)


def test_units_with_the_same_target_are_only_verified(line):
    assert set(line.asked_for["warehouse", "again"]["calls"]) == {"enrollment.get"}
    # That somebody looked is in the history.
    assert line.differs == {"ledger"}


def test_the_lab_is_announced_with_exactly_these_keys(line):
    lab = line.lab
    assert set(lab) == {"ca_file", "service", "device_api", "devices"}
    assert set(lab["service"]) == {"endpoint", "connection_string"}
    assert set(lab["device_api"]) == {"endpoint", "id_scope"}
    for device in lab["devices"]:
        assert set(device) == {"name", "serial_number", "tcti", "state_dir", "ssh"}
        assert set(device["ssh"]) == {"host", "port", "user", "private_key_file", "known_hosts_file"}
    names = [part.split("=", 1)[0] for part in lab["service"]["connection_string"].split(";")]
    assert names == ["HostName", "SharedAccessKeyName", "SharedAccessKey"]
    assert json.dumps(lab)
