# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The intake of a long list as ``ansible-playbook`` shows it while it runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")
COUNT = 3_000
# In seconds; such a list takes any machine several of them.
INTERVAL = 0.02


def test_a_long_list_says_how_far_it_is_and_none_where_nobody_wants_to_know(make_ek, tmp_path):
    source = tmp_path / "list.jsonl"
    with source.open("w") as file:
        for number in range(COUNT):
            file.write(json.dumps({"endorsement_key": make_ek(number)}) + "\n")

    def told(name, interval):
        options = {"src": str(source), "ledger": str(tmp_path / name), "maker": "M", "progress_interval": interval}
        tasks = [{"tpmfleet.azure_dps.ek_list": options, "delegate_to": "localhost"}]
        playbook = tmp_path / "play.yml"
        playbook.write_text(yaml.safe_dump([{"hosts": "unit", "gather_facts": False, "tasks": tasks}]))
        command = [str(ANSIBLE_PLAYBOOK), "--inventory", "unit,", str(playbook)]
        environment = {**os.environ, "ANSIBLE_NOCOLOR": "1"}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return [line for line in done.stderr.splitlines() if line.startswith("ek_list: ")]

    seen = told("ledger.sqlite", INTERVAL)
    assert seen and all(re.fullmatch(r"ek_list: read [\d,]+(, [\d,]+ a (second|minute))?", line) for line in seen), seen
    assert told("other.sqlite", 0) == []
