# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Timer units of a simulated device, which the replacement of systemd does not have.

As a program it starts the timers that are enabled and then their services when they are due (systemd.timer(5)):
OnBootSec, OnStartupSec, OnActiveSec, OnUnitActiveSec and OnUnitInactiveSec. OnCalendar is accepted and never due.
"""

from __future__ import annotations

import configparser
import re
import subprocess
import time
from pathlib import Path

REPLACEMENT = "/usr/lib/tpm-rack/systemctl3.py"
UNITS = tuple(Path(one) for one in ("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system"))
WANTED = tuple(units / "timers.target.wants" for units in UNITS)
# A file a timer that runs; gone at power-off, as the timers are.
ACTIVE = Path("/run/tpm-rack/timers")
# By the first letters of each, as many as tell it from the others.
SECONDS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800, "mo": 2629800, "y": 31557600}


def unit_settings(timer: str) -> dict[str, str] | None:
    """The [Timer] section with its drop-ins; None where there is no such unit."""
    files = [units / timer for units in UNITS if (units / timer).exists()][:1]
    if not files:
        return None
    files += sorted(one for units in UNITS for one in (units / f"{timer}.d").glob("*.conf"))
    parser = configparser.ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(files)
    return dict(parser["Timer"]) if parser.has_section("Timer") else {}


def activate(timer: str) -> int:
    """From now on it counts; 0, as an exit status."""
    ACTIVE.mkdir(parents=True, exist_ok=True)
    (ACTIVE / timer).touch()
    return 0


def deactivate(timer: str) -> int:
    """It no longer counts; 0, as an exit status."""
    (ACTIVE / timer).unlink(missing_ok=True)
    return 0


def is_active(timer: str) -> bool:
    """Whether it counts."""
    return (ACTIVE / timer).exists()


def seconds(span: str) -> float:
    """A time span as systemd.time(7) writes it, such as ``1min 30s`` or ``90``."""
    parts = re.findall(r"([\d.]+)\s*(ms|mo|[a-z]?)[a-z]*", span)
    return sum(float(number) * SECONDS[unit or "s"] for number, unit in parts)


class _Timer:
    """A timer that runs: when it was activated, and when its service last began and ended (seconds since boot)."""

    def __init__(self, name: str, now: float) -> None:
        self._settings = unit_settings(name) or {}
        self._unit = self._settings.get("Unit", name.removesuffix(".timer") + ".service")
        self._activated = now
        self._began: float | None = None
        self._ended: float | None = None
        self._run: subprocess.Popen[bytes] | None = None

    def _due(self) -> float | None:
        if self._began is None:
            since = {"OnBootSec": 0.0, "OnStartupSec": 0.0, "OnActiveSec": self._activated}
        else:
            since = {"OnUnitActiveSec": self._began, "OnUnitInactiveSec": self._ended or self._began}
        spans = [start + seconds(self._settings[name]) for name, start in since.items() if name in self._settings]
        return min(spans, default=None)

    def look(self, now: float) -> None:
        """Starts the service if it is due and does not run."""
        if self._run is not None:
            if self._run.poll() is None:
                return
            self._run, self._ended = None, now
        due = self._due()
        if due is not None and due <= now:
            self._began = now
            self._run = subprocess.Popen(["/usr/bin/python3", REPLACEMENT, "start", self._unit])


def main() -> None:
    """Runs until the power is cut."""
    boot = time.monotonic()
    for timer in {one.name for wanted in WANTED for one in wanted.glob("*.timer")}:
        activate(timer)
    running: dict[str, _Timer] = {}
    while True:
        now = time.monotonic() - boot
        active = {one.name for one in ACTIVE.glob("*.timer")}
        running = {name: running.get(name) or _Timer(name, now) for name in active}
        for one in running.values():
            one.look(now)
        time.sleep(0.5)


if __name__ == "__main__":
    main()
