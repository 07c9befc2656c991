# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A unit that fails on the device is in its history, and what was known of it stays."""

from __future__ import annotations

import base64
import hashlib

import pytest

SCOPE = "0ne00000A0A"
REASON = "it does not hold the endorsement key that it reports. Take it off the line."


@pytest.fixture
def line(run_module, make_ek, tmp_path):
    """Has steps say what they found of units, and tells what the ledger has."""

    class Line:
        ledger = str(tmp_path / "ledger.sqlite")

        def unit(self, number, key=None, **fields):
            public = make_ek(number if key is None else key)
            named = {"host": f"slot{number}", "serial_number": f"TF-{number}", "endorsement_key": public}
            return {**named, "registration_id": f"unit-{number if key is None else key}", **fields}

        def proven(self, number, key=None):
            public = base64.b64decode(make_ek(number if key is None else key))
            return {"proven": hashlib.sha256(public).hexdigest()}

        def take(self, step, *records, **options):
            said = run_module(
                "device_records", ledger=self.ledger, step=step, station="line-1", records=list(records), **options
            )
            return said["verdicts"]

        def enrolled(self, number, key=None):
            self.take("tpm_install", self.unit(number, key, enrolling=SCOPE))
            done = {"outcome": {"enrollment": "done"}, "dps_id_scope": SCOPE}
            self.take("tpm_install", self.unit(number, key, **done))

        def fail(self, number, **found):
            named = {"host": f"slot{number}", "serial_number": f"TF-{number}"}
            return self.take("software_install", {**named, "failed": {"reason": REASON, **found}})[f"slot{number}"]

        def record(self, number):
            asked = {"devices": [{"serial_number": f"TF-{number}"}], "history": True}
            return run_module("device_records_info", ledger=self.ledger, **asked)["records"][0]

        def story(self, number):
            return run_module("device_story_info", ledger=self.ledger, serial_number=f"TF-{number}")["lines"]

    return Line()


def test_a_failure_is_in_the_history_and_changes_nothing_else(line, run_module):
    line.take("tpm_install", line.unit(1), line.unit(2))
    before = line.record(1)
    verdict = line.fail(1, not_proven=True)
    assert (verdict["accepted"], verdict["state"], verdict["reasons"]) == (False, "stopped", [REASON])
    after = line.record(1)
    assert {**after, "history": []} == {**before, "history": []}
    event = after["history"][-1]
    assert (event["state"], event["step"], event["reasons"]) == ("failed", "software_install", [REASON])
    assert event["not_proven"] is True
    assert "FAILED on the device: it does not hold the endorsement key" in line.story(1)[-1]
    assert run_module("ledger_verify_info", ledger=line.ledger)["intact"]
    told = run_module("fleet_info", ledger=line.ledger)
    assert told["states"] == {"done": 1, "failed": 1}
    assert [(one["step"], one["count"]) for one in told["failures"]] == [("software_install", 1)]


def test_one_that_could_not_be_reached_is_in_the_history(line, run_module):
    line.take("tpm_install", line.unit(1))
    line.fail(1, unreachable=True, reason="ssh: connect to host 10.0.0.3 port 22: No route to host")
    assert line.record(1)["history"][-1]["state"] == "unreachable"
    assert "step 3" in line.story(1)[-1] and "NOT REACHED: ssh: connect to host 10.0.0.3" in line.story(1)[-1]
    told = run_module("fleet_info", ledger=line.ledger)
    assert told["states"] == {"unreachable": 1}
    assert [one["cause"] for one in told["failures"]] == ["ssh: connect to host … port …: No route to host"]


def test_a_failure_of_a_unit_that_nobody_knows_names_it(line, run_module):
    verdict = line.fail(7)
    assert not verdict["known"] and verdict["reasons"] == [REASON]
    assert run_module("fleet_info", ledger=line.ledger)["failures"][0]["count"] == 1
    assert run_module("ledger_verify_info", ledger=line.ledger)["intact"]


def test_what_happened_before_the_ledger_knew_a_unit_is_in_its_story(line, run_module, make_ek):
    line.fail(1)
    line.fail(11)
    listed = {"ek_list_policy": "required"}
    assert not line.take("tpm_install", line.unit(1), **listed)["slot1"]["accepted"]
    before = line.story(1)
    assert before[0] == "The ledger knows no device with the serial number TF-1." and len(before) == 3
    assert "FAILED on the device" in before[1] and "is on no list of a TPM maker" in before[2]
    line.take("tpm_install", line.unit(1))
    line.fail(1)
    after = line.story(1)
    assert after[1:3] == before[1:] and len(after) == 5
    assert len(line.story(11)) == 2 and len(line.story(111)) == 1
    assert run_module("ledger_verify_info", ledger=line.ledger)["intact"]


def test_nothing_is_noted_in_a_check(line):
    line.take("tpm_install", line.unit(1))
    named = {"host": "slot1", "serial_number": "TF-1", "failed": {"reason": REASON}}
    line.take("software_install", named, check=True)
    assert len(line.record(1)["history"]) == 1


def test_one_that_failed_stops_no_other(line):
    line.take("tpm_install", line.unit(1), line.unit(2))
    failed = {"host": "slot1", "serial_number": "TF-1", "failed": {"reason": "x\x1b[2J"}}
    verdicts = line.take("software_install", failed, line.unit(2, outcome={"ownership": "done"}))
    assert verdicts["slot2"]["accepted"] and not verdicts["slot1"]["accepted"]
    assert "\x1b" not in str(line.record(1)["history"])


@pytest.mark.parametrize("failed", ["words", 5, ["a"], {"reason": None}, {"reason": {"a": 1}}])
def test_whatever_it_is_said_to_have_failed_for_it_is_noted(line, failed):
    line.take("tpm_install", line.unit(1))
    line.take("software_install", {"host": "slot1", "serial_number": "TF-1", "failed": failed})
    assert line.record(1)["history"][-1]["state"] == "failed"


def place_of(record):
    [place] = record["places"]
    return place


def test_an_enrollment_that_was_disabled_is_enabled_by_the_step_in_which_the_key_is_proven(line, record_schema):
    line.enrolled(1)
    line.fail(1, not_proven=True, enrollment="disabled")
    known = line.record(1)
    assert place_of(known)["disabled"] and "provisioning_status" not in known
    known.pop("history")
    record_schema.validate(known)
    # Not by being read, nor by a step that enrolls before the proof.
    for step in ("tpm_install", "warehouse"):
        read = {} if step == "warehouse" else {"enrolling": SCOPE}
        assert "provisioning_status" not in line.take(step, line.unit(1, **read))["slot1"]["record"]
    judged = line.take("software_install", line.unit(1, enrolling=SCOPE))["slot1"]["record"]
    assert judged["provisioning_status"] == "enabled"
    assert place_of(line.record(1))["disabled"] and "provisioning_status" not in line.record(1)
    done = {"outcome": {"possession": "done", "enrollment": "done"}, "dps_id_scope": SCOPE, **line.proven(1)}
    line.take("software_install", line.unit(1, **done))
    assert "disabled" not in place_of(line.record(1))
    judged = line.take("software_install", line.unit(1, enrolling=SCOPE))["slot1"]["record"]
    assert "provisioning_status" not in judged


def test_what_the_inventory_says_of_the_enrollment_goes_before(line):
    line.enrolled(1)
    line.fail(1, enrollment="disabled")
    judged = line.take("software_install", line.unit(1, enrolling=SCOPE, provisioning_status="disabled"))
    assert judged["slot1"]["record"]["provisioning_status"] == "disabled"


def test_the_unit_whose_key_it_is_gets_the_enrollment_that_another_had_disabled(line):
    """The first one has named the key of the second one, which nobody had seen yet, and did not prove it."""
    line.enrolled(1, key=2)
    line.fail(1, not_proven=True, enrollment="disabled")
    judged = line.take("software_install", line.unit(2, enrolling=SCOPE, **line.proven(2)))["slot2"]
    assert judged["accepted"] and judged["record"]["provisioning_status"] == "enabled"
    done = {"outcome": {"possession": "done", "enrollment": "done"}, "dps_id_scope": SCOPE, **line.proven(2)}
    line.take("software_install", line.unit(2, **done))
    assert "disabled" not in place_of(line.record(2)) and "places" not in line.record(1)
