# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many devices that power up together, and a quota that lets few in at a time; ``make bench-herd`` is the large one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

BENCH = Path(__file__).resolve().parents[3] / "bench" / "client_herd.py"


def test_a_herd_ends_assigned_and_the_service_is_spared():
    """Six times what a window takes."""
    size = ["--clients", "30", "--within", "1", "--spread", "2", "--registrations", "5", "--window", "1"]
    command = [sys.executable, str(BENCH), *size]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, timeout=120)
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["assigned"] == found["clients"] == 30
    assert found["calls_per_needed"] <= 2
