# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands before a software TPM and takes as long to make a key as a slow chip does: minutes, where swtpm takes 20 ms.

``python -m tpm_rack.slow_chip PORT BEHIND SECONDS STATE_DIR``: what is sent to PORT (commands) and PORT+1 (control)
goes on to BEHIND and BEHIND+1; a command that makes a key waits first. STATE_DIR only says whose it is.
"""

from __future__ import annotations

import asyncio
import struct
import sys

# TPM2_CreatePrimary, TPM2_Create (TPM 2.0 Part 2, 6.5.2); header: tag, size, code (Part 1, 18).
MAKES_A_KEY = (0x131, 0x153)
HEADER = struct.Struct(">HII")


async def _forward_commands(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seconds: float) -> None:
    while True:
        header = await reader.readexactly(HEADER.size)
        _tag, size, code = HEADER.unpack(header)
        command = header + await reader.readexactly(size - HEADER.size)
        if code in MAKES_A_KEY:
            await asyncio.sleep(seconds)
        writer.write(command)
        await writer.drain()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()


async def _serve(port: int, behind: int, seconds: float | None) -> asyncio.Server:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        chip_reader, chip_writer = await asyncio.open_connection("127.0.0.1", behind)
        there = _forward(reader, chip_writer) if seconds is None else _forward_commands(reader, chip_writer, seconds)
        ways = [asyncio.create_task(there), asyncio.create_task(_forward(chip_reader, writer))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        # The end of either side is the end of the connection, whatever the other one was in the middle of.
        await asyncio.gather(*ways, return_exceptions=True)
        chip_writer.close()
        writer.close()

    return await asyncio.start_server(connected, "127.0.0.1", port)


async def serve(port: int, behind: int, seconds: float) -> None:
    """Serves for ever."""
    commands = await _serve(port, behind, seconds)
    control = await _serve(port + 1, behind + 1, None)
    await asyncio.gather(commands.serve_forever(), control.serve_forever())


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
