# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Step 5 over a batch in which the ledger has no registration ID of a unit: that one is told, and the others go on."""

from __future__ import annotations

import base64
import hashlib

import pytest
import yaml

CLAIMED, GENUINE, SILENT = "slot01", "slot02", "slot03"


@pytest.fixture
def ledger(dps, run_module, register, make_ek, tmp_path):
    """A ledger with a unit whose claim was withdrawn, the one that proved its key, and one that nobody switched on."""
    key, register_as = register

    def take(step, host, key, **fields):
        sha256 = hashlib.sha256(base64.b64decode(key)).hexdigest()
        record = {"host": host, "serial_number": host.upper(), "endorsement_key": key, **fields}
        proven = {"proven": sha256} if step == "software_install" else {}
        done = run_module(
            "device_records", ledger=str(tmp_path / "ledger.sqlite"), step=step, records=[{**record, **proven}]
        )
        assert done["verdicts"][host]["accepted"], done

    take("tpm_install", CLAIMED, key, registration_id="unit-2")
    take("software_install", GENUINE, key, registration_id="unit-2")
    take("software_install", SILENT, make_ek(3), registration_id="unit-3")
    run_module("dps_enrollment", **dps.connection(registration_id="unit-2", endorsement_key=key))
    register_as("unit-2")
    return tmp_path / "ledger.sqlite"


@pytest.fixture
def step(dps, ledger, run_step, tmp_path):
    """Runs the step over some units; (what was printed, the summary)."""

    def run(*units, **variables):
        hosts = {unit: {"tpmfleet_serial_number": unit.upper()} for unit in units}
        said = {"tpmfleet_ledger": str(ledger), "tpmfleet_activation_timeout": 2, **variables}
        said.update(
            tpmfleet_dps_connection_string=dps.where["connection_string"], tpmfleet_dps_ca_file=dps.where["ca_file"]
        )
        (tmp_path / "hosts.yml").write_text(yaml.safe_dump({"devices": {"hosts": hosts, "vars": said}}))
        return run_step("tpmfleet.azure_dps.field_activation")

    return run


def test_a_unit_without_a_registration_id_is_told_and_holds_nobody_up(step, tmp_path):
    printed, summary = step(CLAIMED, GENUINE, SILENT, tpmfleet_power_up_command=["touch"])
    assert summary["passed"] == [GENUINE] and summary["mend"] == summary["held_up"] == [], printed
    told = {one["unit"]: one for one in summary["pull"]}
    assert told.keys() == {CLAIMED, SILENT}
    assert told[CLAIMED]["reason"] == (
        "the ledger has no registration ID of it, since another unit has proven the key that it claimed, or none was "
        "read; pull it, and run step 2 or 3 for it (errors.md#no-registration-id)"
    )
    assert told[SILENT]["error"] == "not-assigned"
    # Only who can register is switched on.
    assert [one.name for one in tmp_path.glob("slot*")] == [SILENT]


def test_a_batch_of_which_nobody_can_register_asks_the_service_for_nobody(step, dps):
    dps.control("DELETE", "stats")
    printed, summary = step(CLAIMED, "slot09")
    told = {one["unit"]: one["error"] for one in summary["pull"]}
    assert told == {CLAIMED: "no-registration-id", "slot09": "not-in-ledger"}, printed
    assert dps.calls() == {}
