# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands before the devices' SSH ports and counts the bytes that pass."""

from __future__ import annotations

import asyncio
import contextlib
import threading


class Relay:
    """One port of its own for each of *ports*, in a thread; ``bytes`` by port of the device, both ways together."""

    def __init__(self, ports: list[int]) -> None:
        self.bytes = dict.fromkeys(ports, 0)
        self.standing_for: dict[int, int] = {}
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        asyncio.run_coroutine_threadsafe(self._serve(ports), self._loop).result(60)

    async def _serve(self, ports: list[int]) -> None:
        for port in ports:
            server = await asyncio.start_server(self._between(port), "127.0.0.1", 0)
            self.standing_for[port] = server.sockets[0].getsockname()[1]

    def _between(self, port: int):
        async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            # The other end may be gone, which asyncio does not always call by that name.
            with contextlib.suppress(OSError):
                while data := await reader.read(65536):
                    self.bytes[port] += len(data)
                    writer.write(data)
                    await writer.drain()
                writer.write_eof()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            there = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.gather(pass_on(reader, there[1]), pass_on(there[0], writer))
            for one in (writer, there[1]):
                one.close()

        return connected
