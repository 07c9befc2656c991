# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""``python -m hub_front --state-dir DIR --port PORT`` runs in the foreground; DIR is the emulated DPS's."""

from __future__ import annotations

import argparse
import asyncio
import logging
from pathlib import Path

from .broker import make_broker


async def _serve(state_dir: Path, port: int) -> None:
    broker = make_broker(state_dir, port=port)
    await broker.start()
    try:
        await asyncio.Event().wait()
    finally:
        await broker.shutdown()


parser = argparse.ArgumentParser(prog="hub_front", description=__doc__)
parser.add_argument("--state-dir", type=Path, required=True)
parser.add_argument("--port", type=int, default=8883)
arguments = parser.parse_args()
logging.basicConfig(level=logging.WARNING)
asyncio.run(_serve(arguments.state_dir, arguments.port))
