# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes through a whole ledger says how far it is while it runs, as ``ansible-playbook`` shows it."""

from __future__ import annotations

import base64
import hashlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices

ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
UNITS = 3_000
# In seconds; such a ledger takes any machine several of them.
INTERVAL = 0.02


@pytest.fixture(scope="module")
def ledger(tmp_path_factory, make_ek):
    """A ledger of many units, each with a key."""
    path = str(tmp_path_factory.mktemp("line") / "ledger.sqlite")
    records = []
    for number in range(UNITS):
        key = make_ek(number)
        digest = hashlib.sha256(base64.b64decode(key)).hexdigest()
        records.append({"serial_number": f"TF-{number}", "endorsement_key": key, "endorsement_key_sha256": digest})
    with opened(path, Access.WRITE) as connection:
        devices = Devices(connection)
        devices.expect(records)
        for record in records:
            row = devices.save(None, record)
            what = {"state": "done", "operator": "ada"}
            devices.note(row, None, at="2026-11-24T12:00:00Z", step="tpm_install", station="line-1", what=what)
        devices.write()
    return path


def test_the_inventory_says_it_too(ledger, tmp_path):
    def told(interval):
        source = tmp_path / "units.ledger.yml"
        source.write_text(yaml.safe_dump({
            "plugin": "tpmfleet.azure_dps.ledger", "ledger": ledger, "hostname": ["serial_number"],
            "progress_interval": interval,
        }))  # fmt: skip
        done = subprocess.run(
            [str(ANSIBLE_PLAYBOOK.with_name("ansible-inventory")), "--inventory", str(source), "--list"],
            env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        return done, [line for line in done.stderr.splitlines() if line.startswith("tpmfleet.azure_dps.ledger: ")]

    done, seen = told(INTERVAL)
    assert done.returncode == 0 and f"TF-{UNITS - 1}" in done.stdout, done.stderr
    line = rf"tpmfleet.azure_dps.ledger: read [\d,]+ of {UNITS:,}(, [\d,]+ a (second|minute), .+ left)?"
    assert seen and all(re.fullmatch(line, one) for one in seen), seen
    assert told(0)[1] == []
    refused, _seen = told(-1)
    # Up to ansible-core 2.18 its lines end where a terminal's do.
    assert "progress_interval has to be 0 or more" in " ".join(refused.stderr.split())


@pytest.mark.parametrize(
    ("module", "options"),
    [
        ("fleet_report", {"dest": "report.html"}),
        ("device_records_export", {"dest": "records.jsonl"}),
        ("ek_export", {"dest": "keys.jsonl", "certificates": "preferred", "maker": "M"}),
    ],
)
def test_it_says_how_far_it_is_and_nothing_where_nobody_wants_to_know(ledger, tmp_path, module, options):
    def told(interval):
        given = {**options, "dest": str(tmp_path / options["dest"]), "ledger": ledger, "progress_interval": interval}
        tasks = [{f"tpmfleet.azure_dps.{module}": given, "delegate_to": "localhost"}]
        playbook = tmp_path / "play.yml"
        playbook.write_text(yaml.safe_dump([{"hosts": "unit", "gather_facts": False, "tasks": tasks}]))
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(
            [str(ANSIBLE_PLAYBOOK), "--inventory", "unit,", str(playbook)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return [line for line in done.stderr.splitlines() if line.startswith(f"{module}: ")]

    line = rf"{module}: read [\d,]+ of {UNITS:,}(, [\d,]+ a (second|minute), .+ left)?|{module}: written \d of 1(, .+)?"
    seen = told(INTERVAL)
    assert seen and all(re.fullmatch(line, one) for one in seen), seen
    assert told(0) == []
