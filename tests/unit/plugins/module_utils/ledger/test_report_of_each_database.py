# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report and the exports of a ledger, in both kinds of database: the same bytes."""

from __future__ import annotations

from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.fleet_report import gathered
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices

PARTS = str(Path(gathered.__file__).parent)
# More than a database gives at a time, of the devices and of the events.
UNITS = 2 * gathered.ROWS + 7


@pytest.fixture
def filled(key):
    """A function: fills a ledger with units, and events of units that were never known."""

    def fill(ledger):
        def where(day, step):
            return {"at": f"2026-11-{day:02}T10:00:00Z", "step": step, "station": f"line-{day % 3}"}

        by = {"operator": "ada", "run_id": "r1"}
        records = [
            {"serial_number": f"TF-{number}", "host": f"rack1-slot{number}", **(key(number) if number < 40 else {})}
            for number in range(UNITS)
        ]
        with opened(ledger, Access.WRITE) as connection:
            devices = Devices(connection)
            devices.expect(records)
            for number, record in enumerate(records):
                row = devices.save(None, record)
                for step in ("tpm_install", "warehouse")[: number % 3]:
                    devices.note(row, record["host"], **where(number % 27 + 1, step), what={"state": "done", **by})
                if not number % 50:
                    what = {"state": "stopped", "reasons": [f"TF-{number} has no lid"], **by}
                    devices.note(row, record["host"], **where(28, "warehouse"), what=what)
            for number in range(3):
                what = {"state": "stopped", "reasons": ["it says no key"]}
                devices.note(None, f"stranger-{number}", **where(29, "tpm_install"), what=what)
            devices.write()
        return ledger

    return fill


def test_they_are_the_same_of_both(run_module, filled, sqlite, postgresql, tmp_path):
    made = {}
    for name, ledger in (("sqlite", sqlite), ("postgresql", postgresql.ledger())):
        filled(ledger)
        files = {kind: tmp_path / f"{name}.{kind}" for kind in ("html", "csv", "jsonl", "keys")}
        report = {"ledger": ledger, "dest": str(files["html"]), "csv": str(files["csv"]), "parts": PARTS}
        progress = tmp_path / f"{name}.json"
        result = run_module("fleet_report", **report, progress_file=str(progress))
        assert (result["changed"], result["units"], result["damaged"]) == (True, UNITS, [])
        assert run_module("fleet_report", **report)["changed"] is False
        exported = run_module("device_records_export", ledger=ledger, dest=str(files["jsonl"]))
        assert exported["total"] == UNITS
        keys = run_module("ek_export", ledger=ledger, dest=str(files["keys"]), certificates="preferred", maker="M")
        assert keys["total"] == 40
        made[name] = [path.read_bytes() for path in files.values()]
        assert progress.exists()
    assert made["sqlite"] == made["postgresql"] and all(made["sqlite"])
