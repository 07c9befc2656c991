# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A wait for devices tells whom it waits for, as ``ansible-playbook`` shows it, long before its time has run out."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import yaml

ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")


def test_devices_that_nobody_switched_on_are_told_while_it_waits(dps, tmp_path):
    options = {"registration_ids": ["pump-1", "pump-2"], "wait_for": "assigned", "wait_timeout": 3}
    # As whom the operator knows it, where that was said.
    options["names"] = {"Pump-1": "rack1-slot01"}
    task = {"tpmfleet.azure_dps.dps_registration_info": {**options, "progress_interval": 1}, "delegate_to": "localhost"}
    connection = {"group/tpmfleet.azure_dps.dps": dps.connection()}
    play = {"hosts": "unit", "gather_facts": False, "module_defaults": connection, "tasks": [task]}
    (tmp_path / "play.yml").write_text(yaml.safe_dump([play]))
    command = [str(ANSIBLE_PLAYBOOK), "--inventory", "unit,", str(tmp_path / "play.yml")]
    done = subprocess.run(
        command, env={**os.environ, "ANSIBLE_NOCOLOR": "1"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("dps_registration_info: ")]
    assert len(told) >= 2, done.stderr
    assert told[0].endswith(
        "2 never called the service (rack1-slot01, pump-2): are they switched on and on the network?"
    ) and told[0].startswith("dps_registration_info: 0 of 2 assigned after ")
