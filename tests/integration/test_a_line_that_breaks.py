# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service that refuses, a device that is lost half-way, a controller that is killed: told, and completed by a rerun.

The tests stand in the order of the day and share its rack.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest

UNITS = ("rack1-slot01", "rack1-slot02", "rack1-slot03")
FIRST, _SECOND, LOST = UNITS
# Enrollment comes after ownership, so that there is something between them.
LATE = ("-e", "tpmfleet_enroll_at=software_install")
IN_A_HURRY = ("-e", "tpmfleet_dps_retry_budget=3")


@pytest.fixture(scope="module")
def line(start_line, dps_at):
    line = start_line(len(UNITS))
    line.dps = dps_at(line.directory / "dps")
    assert line.play("ek_intake").code == 0
    return line


@pytest.fixture
def enrolled(line):
    """How many enrollments there are."""
    yield lambda: line.dps.control("GET", "stats")["enrollments"]
    line.dps.control("DELETE", "faults")


def keys_of(seen):
    return {name: (one.endorsement_key, one.storage_root_key) for name, one in seen.items()}


def connection_string(line, **parts):
    """The connection string with other parts than its own."""
    own = dict(part.split("=", 1) for part in line.dps.where["connection_string"].split(";"))
    return ";".join(f"{name}={value}" for name, value in {**own, **parts}.items())


# A service that refuses.


REFUSED = r"answered 401.* It comes from tpmfleet_dps_connection_string\."


def a_wrong_key(line):
    return ["-e", f"tpmfleet_dps_connection_string={connection_string(line, SharedAccessKey='d3Jvbmc=')}"]


def a_policy_without_the_right(line):
    line.dps.settings(policies={"reader": ["EnrollmentRead"]})
    key = line.dps.control("GET", "policies")["reader"]
    said = connection_string(line, SharedAccessKeyName="reader", SharedAccessKey=key)
    return ["-e", f"tpmfleet_dps_connection_string={said}"]


def another_host(line):
    return ["-e", f"tpmfleet_dps_connection_string={connection_string(line, HostName='localhost:1')}", *IN_A_HURRY]


def a_service_without_time(line):
    line.dps.fault(path="^/enrollments", status=429, retry_after=1, count=1000)
    return IN_A_HURRY


def a_service_that_fails(line):
    line.dps.fault(path="^/enrollments", status=500, count=1000)
    return IN_A_HURRY


@pytest.mark.parametrize(
    ("fault", "words", "kind"),
    [
        (a_wrong_key, REFUSED, "MEND"),
        (a_policy_without_the_right, REFUSED, "MEND"),
        (another_host, r"localhost:1", "AGAIN"),
        (a_service_without_time, r"answered 429", "AGAIN"),
        (a_service_that_fails, r"answered 500", "AGAIN"),
    ],
)
def test_a_service_that_refuses_stops_the_batch_in_words_and_nothing_is_half_done(line, enrolled, fault, words, kind):
    run = line.play("tpm_install", *fault(line))
    assert run.code != 0
    assert re.search(words, run.batch_reason), run.printed
    assert "enrollment : Enroll the batch" in run.batch_reason
    # No unit is to be pulled for it, and what is to be mended is told from what passes.
    assert re.search(rf"^{kind}[^:]*: stopped at ", run.printed, re.MULTILINE)
    assert "LINE SUMMARY: 0 passed, 0 to pull, 3 held up" in run.printed
    assert enrolled() == 0
    for unit in UNITS:
        assert line.tool(unit, "tpm2_getcap", "handles-persistent").stdout == ""
    assert all("steps" not in record for record in line.records())


# A device that is lost between its reading and the work on it.


def test_a_device_that_is_lost_half_way_is_not_enrolled_and_the_others_are(line, enrolled, run_module):
    assert line.play("tpm_install", *LATE).code == 0
    assert enrolled() == 0
    # Its endorsement key is read, and then it is gone.
    line.rack.break_(LOST, "ssh-gone-after", "1")
    run = line.play("software_install", *LATE)
    assert run.bad == {LOST}
    assert "unreachable at device_work" in run.reason(LOST), run.printed
    [known] = [record for record in line.records() if record["host"] == LOST]
    told = run_module("device_story_info", ledger=str(line.ledger), serial_number=known["serial_number"])
    assert "NOT REACHED: " in told["lines"][-1], told["lines"]
    seen = line.seen()
    assert not seen[LOST].owned and not seen[LOST].enrollment and seen[LOST].client_id_scope is None
    assert all(seen[unit].owned and seen[unit].enrolled for unit in UNITS if unit != LOST)
    assert enrolled() == 2


def test_a_rerun_completes_it_through_a_service_in_trouble_and_doubles_nothing(line, enrolled):
    before = keys_of(line.seen())
    line.rack.mend(LOST)
    line.dps.fault(path="^/enrollments", status=500)
    line.dps.fault(path="^/enrollments", status=429, retry_after=1, count=2)
    line.dps.fault(path="^/enrollments/", method="PUT", drop="after")
    run = line.play("software_install", *LATE)
    assert run.code == 0, run.printed
    assert line.dps.control("GET", "faults") == []
    assert {host for _task, host in run.changes} <= {FIRST, LOST}
    said = f"{LOST}: ownership done, possession verified, dps_client done, enrollment done"
    assert said in " ".join(run.printed.split())
    seen = line.seen()
    assert all(one.owned and one.enrolled and one.client_id_scope for one in seen.values())
    assert {unit: keys for unit, keys in keys_of(seen).items() if unit != LOST} == {
        unit: keys for unit, keys in before.items() if unit != LOST
    }
    assert enrolled() == len(line.records()) == 3


# A controller that is killed while it enrolls.


def test_a_controller_that_is_killed_while_it_enrolls(line, enrolled, run_module):
    """The service has enrolled the unit, and nobody heard of it any more."""
    before = keys_of(line.seen())
    [known] = [record for record in line.records() if record["host"] == FIRST]
    run_module("dps_enrollment", **line.dps.connection(registration_id=known["registration_id"], state="absent"))
    assert enrolled() == 2
    line.dps.fault(path="^/enrollments/", method="PUT", drop="after")
    line.dps.fault(path="^/enrollments/", method="PUT", delay=60, count=10)
    line.play_until(lambda: enrolled() == 3, "software_install", *LATE)
    assert [record for record in line.records() if record["host"] == FIRST] == [known]
    line.dps.control("DELETE", "faults")
    run = line.play("software_install", *LATE)
    assert run.code == 0, run.printed
    assert not run.changes
    assert keys_of(line.seen()) == before
    assert enrolled() == len(line.records()) == 3


def test_the_day_ends_well(line, record_schema):
    assert line.play("site", *LATE).code == 0
    assert all(one.assigned and one.owned and one.enrolled for one in line.seen().values())
    for record in line.records():
        record_schema.validate(record)


# The end of the lab.


def traces(directory):
    """Processes and mounts that have to do with a lab in *directory*."""
    found = [line for line in Path("/proc/mounts").read_text().splitlines() if str(directory) in line]
    for process in Path("/proc").glob("[0-9]*"):
        try:
            parts = [(process / "cmdline").read_bytes(), os.fsencode(os.readlink(process / "root"))]
        except OSError:
            continue
        if int(process.name) != os.getpid() and any(os.fsencode(directory) in part for part in parts):
            found.append(b" ".join(parts).decode(errors="replace"))
    return found


def test_nothing_is_left_of_a_lab_that_was_ended(line):
    """Also where a device is broken and another has no power."""
    ports = [device["ssh"]["port"] for device in line.lab["devices"]]
    ports += [int(device["tcti"].rsplit("port=", 1)[1]) for device in line.lab["devices"]]
    ports += [int(line.dps.where["endpoint"].rsplit(":", 1)[1])]
    interfaces = ["ip", "-brief", "link"]
    before = subprocess.run(interfaces, stdout=subprocess.PIPE, check=True).stdout
    line.rack.break_(FIRST, "tpm-not-answering")
    line.rack.break_(LOST, "powered-off")
    assert traces(line.directory)
    line.lab_playbook("playbooks/lab_down.yml")
    assert traces(line.directory) == []
    assert not line.directory.exists()
    assert list(line.directory.parent.iterdir()) == []
    for port in ports:
        with socket.socket() as asking:
            assert asking.connect_ex(("127.0.0.1", port)) != 0, port
    assert subprocess.run(interfaces, stdout=subprocess.PIPE, check=True).stdout == before
    line.lab_playbook("playbooks/lab_down.yml")
