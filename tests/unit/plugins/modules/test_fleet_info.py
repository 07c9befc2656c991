# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The fleet in numbers, by the module."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

import pytest

OLD = Path(__file__).parents[1] / "module_utils" / "ledger" / "of_earlier_releases" / "sqlite.sql"


@pytest.fixture
def ledger(tmp_path):
    return str(tmp_path / "ledger.sqlite")


def test_the_fleet_is_counted(run_module, ledger, make_ek):
    def take(step, *numbers, **fields):
        records = [
            {
                "host": f"slot{n}",
                "serial_number": f"TF-{n}",
                "registration_id": f"unit-{n}",
                "endorsement_key": make_ek(n),
            }
            for n in numbers
        ]
        run_module(
            "device_records", ledger=ledger, step=step, station="line-1", records=[{**one, **fields} for one in records]
        )

    take("tpm_install", 1, 2, 3, 4)
    take("software_install", 1, 2, outcome={"ownership": "done"}, ownership={"key_version": 2}, dps_id_scope="0neA")
    take("warehouse", 2, endorsement_key=make_ek(9))
    take("decommission", 4, outcome={"ownership": "done"})
    told = run_module("fleet_info", ledger=ledger)
    named = ("devices", "decommissioned", "last_steps", "states", "key_versions", "dps_id_scopes", "listed_keys")
    assert {name: told[name] for name in named} == {
        "devices": 4,
        "decommissioned": 1,
        "last_steps": {"": 1, "software_install": 2},
        "states": {"done": 2, "stopped": 1},
        "key_versions": {"": 1, "2": 2},
        "dps_id_scopes": {"": 1, "0neA": 2},
        "listed_keys": 0,
    }
    cause = (
        "its endorsement key … is not the one that was read before, …; is this another unit or another TPM? If the TPM "
        "was replaced, set tpmfleet_replace_tpm for this host"
    )
    assert told["failures"] == [{"cause": cause, "step": "warehouse", "station": "line-1", "count": 1}]


def test_a_new_ledger_counts_nothing_and_is_not_made(run_module, ledger):
    assert run_module("fleet_info", ledger=ledger)["devices"] == 0
    assert not Path(ledger).exists()


def test_an_old_ledger_says_what_to_do(run_module, ledger):
    with contextlib.closing(sqlite3.connect(ledger)) as connection:
        connection.executescript(OLD.read_text())
    before = Path(ledger).read_bytes()
    told = run_module("fleet_info", ledger=ledger)
    assert told["failed"] and "The next step that writes it brings it to the present one" in told["msg"]
    assert Path(ledger).read_bytes() == before
