# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m dps_emulator serve|start|stop``. ``start`` and ``stop`` say in JSON whether they changed anything."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from .daemon import Access, DaemonError, serve, start, stop
from .settings import SettingsError


def main() -> int:
    """Runs the command line; 1 with a sentence where it did not work."""
    parser = argparse.ArgumentParser(prog="dps_emulator", description="An emulated Device Provisioning Service.")
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("serve", "start", "stop"):
        command = commands.add_parser(name)
        command.add_argument("--state-dir", type=Path, required=True)
        if name != "stop":
            command.add_argument("--host", default="localhost", help="the name in the certificate and in addresses")
            command.add_argument("--port", type=int, default=0, help="0: one that is free, chosen once and kept")
            command.add_argument("--address", default="", help="where it listens, by default the host's addresses")
            command.add_argument("--device-host", default="", help="the name by which devices reach it, where another")
            command.add_argument("--settings", type=Path, help="a JSON file; its names are in settings.py")
    arguments = parser.parse_args()
    try:
        if arguments.command == "stop":
            result = stop(arguments.state_dir)
        else:
            access = Access(arguments.host, arguments.port, arguments.address, arguments.device_host)
            if arguments.command == "serve":
                serve(arguments.state_dir, access, arguments.settings)
                return 0
            result = start(arguments.state_dir, access, arguments.settings)
    except (DaemonError, SettingsError, OSError, ValueError) as error:
        sys.stderr.write(f"dps_emulator: {error}\n")
        return 1
    sys.stdout.write(json.dumps(result) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
