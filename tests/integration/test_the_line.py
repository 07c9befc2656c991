# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The five steps over a fresh rack, each checked before it is run: a check writes nothing and tells what a run changes.

The tests stand in the order of the line and share its rack.
"""

from __future__ import annotations

import json
from collections import Counter

import pytest

UNITS = ("rack1-slot01", "rack1-slot02")
# A task that runs once for the batch is told under the name of its first host.
FIRST = UNITS[0]
STEPS = ("ek_intake", "tpm_install", "software_install", "warehouse", "field_activation")

HOLD = "tpmfleet.azure_dps.endorsement_key : Hold the batch's endorsement keys against the EK list and the ledger"
WORK = "tpmfleet.azure_dps.device_work : Claim the TPM, have it prove its keys, and place the client"
PLACE = "tpmfleet.azure_dps.dps_client : Place the client that provisions the device at power-up"
ENROLL = "tpmfleet.azure_dps.enrollment : Enroll the batch"
POWER_UP = "tpmfleet.azure_dps.field_activation : Power up the devices that are not assigned yet"
TELL = "tpmfleet.azure_dps.field_activation : Write what the service says into the ledger"


@pytest.fixture(scope="module")
def line(start_line, dps_at):
    line = start_line(2)
    line.dps = dps_at(line.directory / "dps")
    line.checks, line.runs = {}, {}
    return line


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
    run = line.runs[step] = line.play(step)
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
    step_4 = [(task, unit) for task in (WORK, PLACE) for unit in UNITS]
    assert check - run == Counter(steps_3_and_4 + step_4)


def test_what_is_left_in_the_ledger_is_device_records(line, record_schema):
    records = line.records()
    assert [record["host"] for record in records] == list(UNITS)
    for record in records:
        record_schema.validate(record)
        assert list(record["steps"]) == sorted(record["steps"])
        assert set(record["steps"]) == set(STEPS) - {"ek_intake"}


def test_a_second_run_changes_nothing_and_says_that_it_verified(line, run_module):
    seen, records, before = line.seen(), line.records(), story(line, run_module)
    run = line.play("site")
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


def story(line, run_module):
    """The history of each device."""
    found = run_module("device_records_info", ledger=str(line.ledger), history=True)
    return {record["host"]: record["history"] for record in found["records"]}


def test_a_boxed_unit_with_the_same_target_is_only_verified(line):
    before = picture(line)
    line.dps.control("DELETE", "stats")
    run = line.play("warehouse")
    assert (run.code, run.changes) == (0, Counter()), run.printed
    assert set(line.dps.calls()) == {"enrollment.get"}
    # That somebody looked is in the history.
    assert difference(before, picture(line)) == {"ledger"}


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
