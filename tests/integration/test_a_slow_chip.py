# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One unit whose TPM takes its time for each key: the others do not wait for it, and it makes each key once.

The tests stand in their order and share a rack.
"""

from __future__ import annotations

import base64
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tpm_rack.answers import COMMANDS

TOOLS = Path(sys.executable).parent
COLLECTION = Path(__file__).resolve().parents[2]
UNITS = ("rack1-slot01", "rack1-slot02", "rack1-slot03")
# The one that stands for the batch where a task is done once.
SLOW, *OTHERS = UNITS
SECONDS = 8
LEFT = "/run/tpmfleet-going-on"
AFTER_ROTATION = ("-e", "tpmfleet_key_version=2")
LINE = {"ANSIBLE_STDOUT_CALLBACK": "tpmfleet.azure_dps.line"}


@pytest.fixture(scope="module")
def line(start_line):
    line = start_line(len(UNITS))
    line.rack.break_(SLOW, "tpm-slow", str(SECONDS))
    assert line.play("ek_intake").code == 0
    return line


def left_for_later(step):
    """What is told of *step* where the slow unit is not waited for."""
    return [
        *(f"STEP {step}", f"LATER {SLOW}", "FINISHED: 2 of 3", f"STEP {step}, for TPMs"),
        "LINE SUMMARY: 3 passed, 0 to pull",
    ]


def keys(line):
    """The endorsement key on record of each unit."""
    return {record["host"]: record["endorsement_key_sha256"] for record in line.records()}


def keys_made(line):
    """How many keys the slow TPM was asked to make so far."""
    return line.rack.device(SLOW).tpm.commands.count(COMMANDS["CreatePrimary"])


def left_on(line):
    """What a reading has left on the slow device."""
    return line.rack.device(SLOW).execute(["sh", "-c", f"ls {LEFT} 2>&- || true"]).stdout.split()


def told(run):
    """The beginnings of the lines that say how far a step is."""
    found = re.findall(
        r"^(STEP [^:,.]*(?:, for TPMs)?|  LATER \S+|  FINISHED: \d of \d|LINE SUMMARY.*)", run.printed, re.MULTILINE
    )
    return [one.strip(": ") for one in found]


def times(line, step):
    """When each unit came through *step*."""
    return {record["host"]: record["steps"][step]["at"] for record in line.records()}


def holders():
    """The processes that are at work where nobody waits for them."""
    found = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with suppress(OSError):
            if LEFT in os.readlink(descriptor):
                found.add(int(descriptor.parts[2]))
    return found


def test_a_check_leaves_it_too_and_writes_nothing(line):
    check = line.play("tpm_install", "--check", **LINE)
    assert check.code == 0, check.printed
    assert told(check) == left_for_later("Step 2")
    assert keys_made(line) == 1 and left_on(line) == []
    assert line.records() == []


def test_the_others_are_told_before_it_and_it_makes_its_key_once(line):
    before = keys_made(line)
    run = line.play("tpm_install", **LINE)
    assert run.code == 0, run.printed
    assert told(run) == left_for_later("Step 2")
    assert keys_made(line) - before == 1 and left_on(line) == []
    when = times(line, "tpm_install")
    assert all(when[unit] < when[SLOW] for unit in OTHERS)


def test_one_whose_work_is_lost_is_read_anew(line):
    """As where its power fails meanwhile."""
    before = keys_made(line)
    arguments = [str(TOOLS / "ansible-playbook"), *line._over_the_rack("tpm_install")]
    process = subprocess.Popen(arguments, cwd=COLLECTION, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 60
    while not holders():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.1)
    for pid in holders():
        os.kill(pid, signal.SIGKILL)
    printed = process.communicate()[0]
    assert process.returncode == 0, printed
    assert keys_made(line) - before == 2 and left_on(line) == []


def test_another_unit_that_fails_meanwhile_is_told_and_counts(line):
    line.rack.device(OTHERS[0]).power_off()
    try:
        run = line.play("tpm_install", **LINE)
    finally:
        line.rack.device(OTHERS[0]).power_on()
    assert run.code != 0 and "LINE SUMMARY: 2 passed, 1 to pull" in run.printed, run.printed
    assert f"PULL {OTHERS[0]}: unreachable" in run.printed


def test_a_batch_that_ends_before_its_turn_holds_it_up(line):
    nowhere = "HostName=localhost:1;SharedAccessKeyName=a;SharedAccessKey=YQ=="
    run = line.play(
        "tpm_install", "-e", f"tpmfleet_dps_connection_string='{nowhere}'", "-e", "tpmfleet_dps_retry_budget=1", **LINE
    )
    assert run.code != 0 and "LINE SUMMARY: 0 passed, 0 to pull, 3 held up" in run.printed, run.printed


def test_the_whole_line_is_done_for_the_others_first(line):
    before = keys_made(line)
    run = line.play("site", **LINE)
    assert run.code == 0, run.printed
    assert told(run) == [
        *(
            "STEP Step 1",
            "STEP Step 2",
            f"LATER {SLOW}",
            "FINISHED: 2 of 3",
            "STEP Step 3",
            "STEP Step 4",
            "STEP Step 5",
        ),
        *("STEP Step 2, for TPMs", "STEP Step 3, for TPMs", "STEP Step 4, for TPMs", "STEP Step 5"),
        "LINE SUMMARY: 3 passed, 0 to pull",
    ]
    # Its endorsement key for step 2, and both of its keys for step 3, which persists them.
    assert keys_made(line) - before == 3 and left_on(line) == []
    seen = line.seen()
    assert all(one.listed and one.enrolled and one.owned and one.assigned for one in seen.values())


@pytest.mark.parametrize(
    ("playbook", "step", "arguments"),
    [
        ("warehouse", "Step 4", ()),
        ("reprovision", "Move units to another DPS or hub", ()),
        ("rotate_ownership", "Ownership gets the next key version", AFTER_ROTATION),
    ],
)
def test_it_is_left_where_its_key_is_made_again_to_be_known(line, playbook, step, arguments):
    """Nothing vouches for the template of a key whose certificate is not looked at."""
    before = keys_made(line)
    run = line.play(playbook, "-e", "tpmfleet_ek_certificate_policy=ignored", *arguments, **LINE)
    assert run.code == 0, run.printed
    assert told(run) == left_for_later(step)
    assert keys_made(line) - before == 1 and left_on(line) == []


def test_step_3_alone_leaves_it_with_both_keys_once(line, clients_at_rest):
    """Its TPM is cleared, as one that never was claimed."""
    # That of the unit is in the field already, and would ask for keys of its own.
    with clients_at_rest([line.rack.device(SLOW)]):
        assert line.tool(SLOW, "tpm2_clear", "-c", "p").returncode == 0
        before = keys_made(line)
        run = line.play("software_install", "-e", "tpmfleet_new_storage_root_key_allowed=true", *AFTER_ROTATION, **LINE)
        assert run.code == 0, run.printed
        assert keys_made(line) - before == 2
    assert f"LATER {SLOW}" in told(run) and "LINE SUMMARY: 3 passed, 0 to pull" in run.printed
    when = times(line, "software_install")
    assert all(when[unit] < when[SLOW] for unit in OTHERS)


def test_a_new_tpm_that_is_slow_takes_the_place_of_the_old_one_after_the_others(line, tmp_path, clients_at_rest):
    """Another mainboard; the others have theirs, as in a run again."""
    had = keys(line)
    tpm = line.rack.device(SLOW).tpm
    tpm.stop()
    tpm.manufacture(authority=line.rack.authority)
    tpm.start()
    made = json.loads((tpm.state_dir / "maker.json").read_text())
    entry = {name: base64.b64encode(bytes.fromhex(value)).decode() for name, value in made.items() if value}
    spare = tmp_path / "spare.jsonl"
    spare.write_text(json.dumps({**entry, "maker": "spare", "batch": SLOW}) + "\n")
    assert line.play("ek_intake", "-e", f"tpmfleet_ek_list={spare}").code == 0
    with clients_at_rest([line.rack.device(SLOW)]):
        before = keys_made(line)
        run = line.play("replace_tpm", "-e", "tpmfleet_replace_tpm=true", *AFTER_ROTATION, **LINE)
        assert run.code == 0, run.printed
        assert keys_made(line) - before == 2 and left_on(line) == []
    assert told(run) == left_for_later("A mainboard was swapped")
    assert {unit for unit, key in keys(line).items() if key != had[unit]} == {SLOW}
    when = times(line, "replace_tpm")
    assert all(when[unit] < when[SLOW] for unit in OTHERS)


def test_its_enrollment_is_ended_after_those_of_the_others(line):
    before = keys_made(line)
    named = json.dumps({"tpmfleet_decommission_confirm": [record["serial_number"] for record in line.records()]})
    run = line.play(
        "decommission", "-e", named, "-e", "tpmfleet_ek_certificate_policy=ignored", *AFTER_ROTATION, **LINE
    )
    assert run.code == 0, run.printed
    assert told(run) == left_for_later("Take units out of service for good")
    assert keys_made(line) - before == 1 and left_on(line) == []
    assert not any(one.enrolled or one.owned for one in line.seen().values())
    when = times(line, "decommission")
    assert all(when[unit] < when[SLOW] for unit in OTHERS)
