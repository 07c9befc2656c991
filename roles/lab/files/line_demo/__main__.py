# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m line_demo --devices N``: the rack up, the site playbook twice, what was found, and the rack down again.

The last line on standard output is one line of JSON, all else is for people.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from .observe import Seen, observe
from .table import render


class Played(NamedTuple):
    """How many tasks of a run changed something, by its own account, and whether it went well."""

    changed: int
    succeeded: bool


def play(*arguments: str) -> Played:
    """Runs a playbook, which shows itself as it goes."""
    with tempfile.TemporaryDirectory(prefix="tpmfleet-demo-") as directory:
        summary = Path(directory) / "summary.json"
        environment = {**os.environ, "TPMFLEET_SUMMARY_FILE": str(summary)}
        process = subprocess.Popen(["ansible-playbook", *arguments], env=environment)
        try:
            code = process.wait()
        except BaseException:
            # What it would go on to start would come after the lab was taken down.
            process.terminate()
            process.wait()
            raise
        if not summary.exists():
            return Played(0, succeeded=False)
        return Played(json.loads(summary.read_text())["changed"], succeeded=code == 0)


def differences(before: list[Seen], after: list[Seen]) -> int:
    """How many devices are not as they were, in their TPM, their enrollment or their registration."""
    return sum(earlier != later for earlier, later in zip(before, after, strict=True))


def demonstrate(lab_dir: Path, devices: int) -> tuple[dict, bool]:
    """Both runs over a started lab; (what the closing line says, whether the second run met every device)."""
    lab = json.loads((lab_dir / "lab.json").read_text())
    site = ["-i", str(lab_dir / "inventory.yml"), "tpmfleet.azure_dps.site"]
    play(*site)
    first = observe(lab, lab_dir / "rack")
    again = play(*site)
    second = observe(lab, lab_dir / "rack")
    print("\n" + render(second, lab["device_api"]["id_scope"]) + "\n")
    found = {
        "devices": devices,
        "enrolled": sum(seen.enrolled for seen in second),
        "owned": sum(seen.owned for seen in second),
        "assigned": sum(seen.assigned for seen in second),
        # A task that says it changed something is believed; one that changed something and kept silent is found out.
        "second_run_changed": max(again.changed, differences(first, second)),
    }
    return found, again.succeeded and all(seen.reachable for seen in second)


def main() -> int:
    """0 when the whole rack is there, enrolled, owned and assigned, and the second run changed nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=8)
    devices = parser.parse_args().devices
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="tpmfleet-demo-") as directory:
        lab_dir = Path(directory) / "lab"
        where = ["-e", f"lab_dir={lab_dir}", "-e", f"lab_devices={devices}"]
        try:
            if not play("tpmfleet.azure_dps.lab_up", *where).succeeded:
                return 1
            found, all_met = demonstrate(lab_dir, devices)
        finally:
            play("tpmfleet.azure_dps.lab_down", *where)
    found["seconds"] = round(time.monotonic() - started, 1)
    print(json.dumps(found))
    complete = all(found[what] == devices for what in ("enrolled", "owned", "assigned"))
    return 0 if complete and all_met and not found["second_run_changed"] else 1


if __name__ == "__main__":
    # Told to end, it ends what it started.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    sys.exit(main())
