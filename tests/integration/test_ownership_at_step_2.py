# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A line that claims ownership where the TPM is installed in the device, and finds it claimed at the next step.

The tests stand in the order of the day and share its rack.
"""

from __future__ import annotations

import pytest
from tpm_rack.answers import COMMANDS

UNIT = "rack1-slot01"
AT_STEP_2 = ["-e", "tpmfleet_claim_ownership_at=tpm_install"]


@pytest.fixture(scope="module")
def line(start_line):
    line = start_line(1)
    as_swtpm_does = line.directory.parent / "plain.json"
    as_swtpm_does.write_text("{}")
    line.rack.break_(UNIT, "tpm-answers", str(as_swtpm_does))
    assert line.play("ek_intake").code == 0
    return line


def outcome(line, run_module, step):
    """What the ledger says that the last run of a step came to."""
    [record] = run_module("device_records_info", ledger=str(line.ledger), history=True)["records"]
    return [event for event in record["history"] if event["step"] == step][-1]["outcome"]


def test_a_check_claims_nothing_and_says_that_it_would(line):
    before = line.seen()[UNIT]
    run = line.play("tpm_install", *AT_STEP_2, "--check")
    assert (run.code, run.bad) == (0, set()), run.printed
    assert run.changed > 0
    assert line.seen()[UNIT] == before
    assert not before.owned


def test_ownership_is_claimed_and_written_down(line, run_module):
    tpm = line.rack.device(UNIT).tpm
    before = len(tpm.commands)
    run = line.play("tpm_install", *AT_STEP_2)
    assert (run.code, run.bad) == (0, set()), run.printed
    # A chip can take a minute for each.
    assert tpm.commands[before:].count(COMMANDS["CreatePrimary"]) == 2
    assert line.seen()[UNIT].owned
    assert outcome(line, run_module, "tpm_install")["ownership"] == "done"


def test_a_second_run_verifies_it(line, run_module):
    run = line.play("tpm_install", *AT_STEP_2)
    assert (run.code, run.changed) == (0, 0), run.printed
    assert outcome(line, run_module, "tpm_install")["ownership"] == "verified"


def test_the_next_step_verifies_it_too(line, run_module):
    run = line.play("software_install", *AT_STEP_2)
    assert run.code == 0, run.printed
    assert outcome(line, run_module, "software_install")["ownership"] == "verified"
    assert outcome(line, run_module, "software_install")["dps_client"] == "done"
