# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m hub_front --state-dir DIR --port PORT`` runs in the foreground; DIR is the emulated DPS's."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from dps_emulator.certificates import issue_server_certificate

from .broker import DATABASE_FILE, make_broker
from .https import start_https


async def _serve(state_dir: Path, certificate: Path, *, port: int, https_port: int) -> None:
    broker = make_broker(state_dir, certificate, port=port)
    await broker.start()
    https = await start_https(state_dir / DATABASE_FILE, certificate, port=https_port)
    try:
        await asyncio.Event().wait()
    finally:
        await https.cleanup()
        await broker.shutdown()


parser = argparse.ArgumentParser(prog="hub_front", description=__doc__)
parser.add_argument("--state-dir", type=Path, required=True)
parser.add_argument("--port", type=int, default=8883, help="for MQTT, default 8883")
parser.add_argument("--https-port", type=int, default=8444, help="default 8444")
parser.add_argument("--hub", action="append", help="host name of the hubs, default *.azure-devices.example")
arguments = parser.parse_args()
logging.basicConfig(level=logging.WARNING)
names = arguments.hub or ["*.azure-devices.example"]
issued = issue_server_certificate(arguments.state_dir, "localhost", file="hub.pem", more=names)
asyncio.run(_serve(arguments.state_dir, issued, port=arguments.port, https_port=arguments.https_port))
