# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A step as it is run by people, over an inventory that the test has written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ANSIBLE_PLAYBOOK = Path(sys.executable).with_name("ansible-playbook")


@pytest.fixture
def run_step(tmp_path):
    """Runs ansible-playbook over ``hosts.yml``; (what was printed, the summary)."""

    def run(*arguments, **environment):
        done = subprocess.run(
            [str(ANSIBLE_PLAYBOOK), "-i", "hosts.yml", *arguments],
            cwd=tmp_path,
            env={**os.environ, "ANSIBLE_NOCOLOR": "1", "TPMFLEET_SUMMARY_FILE": "summary.json", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        return done.stdout, json.loads((tmp_path / "summary.json").read_text())

    return run
