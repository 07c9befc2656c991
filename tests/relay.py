# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands before servers on this machine, counts the bytes that pass, and can be as far away as a network makes it."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

# A server: its port, or the path of its socket.
Server = int | str
# setns(2): a network namespace.
CLONE_NEWNET = 0x40000000


class Relay:
    """A port for each of *servers*, served by a thread until :meth:`end`.

    ``standing_for`` is the port by server, ``bytes`` what passed, both ways together, and ``turns`` how often something
    was asked after something was answered, which is when a program has waited for the way there and back. With
    *network*, a file such as ``/proc/PID/ns/net``, the ports are in that network namespace, and the same as here;
    *ports* says others.
    """

    def __init__(
        self,
        servers: Iterable[Server],
        *,
        one_way_seconds: float = 0.0,
        network: str | None = None,
        ports: dict[Server, int] | None = None,
    ) -> None:
        self.bytes: dict[Server, int] = dict.fromkeys(servers, 0)
        self.turns = dict.fromkeys(self.bytes, 0)
        self.standing_for: dict[Server, int] = {}
        self._one_way_seconds = one_way_seconds
        listening = [_listening((ports or {}).get(server, server if network else 0), network) for server in self.bytes]
        self._servers: list[asyncio.Server] = []
        self._open: set[asyncio.StreamWriter] = set()
        self._is_silent, self._ended = False, asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._serve(listening), self._loop).result(60)

    def fall_silent(self) -> None:
        """Nothing passes any more, and neither end is told, as where the other one lost its power."""
        self._is_silent = True

    def end(self) -> None:
        """The connections are ended."""
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(60)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _close(self) -> None:
        self._ended.set()
        for server in self._servers:
            server.close()
        while self._open:
            for one in self._open:
                one.transport.abort()
            await asyncio.sleep(0.01)

    async def _serve(self, listening: list[socket.socket]) -> None:
        for server, sock in zip(self.bytes, listening):
            self._servers.append(await asyncio.start_server(self._between(server), sock=sock))
            self.standing_for[server] = sock.getsockname()[1]

    def _between(self, server: Server):
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            answered = True

            async def pass_on(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, asks: bool) -> None:
                nonlocal answered
                # The other end may be gone, which asyncio does not always call by that name.
                with contextlib.suppress(OSError):
                    while data := await source.read(65536):
                        self.bytes[server] += len(data)
                        self.turns[server] += asks and answered
                        answered = not asks
                        if self._is_silent:
                            await self._ended.wait()
                            return
                        if self._one_way_seconds:
                            await asyncio.sleep(self._one_way_seconds)
                        sink.write(data)
                        await sink.drain()
                    sink.write_eof()

            if isinstance(server, str):
                there = await asyncio.open_unix_connection(server)
            else:
                there = await asyncio.open_connection("127.0.0.1", server)
            ends = {writer, there[1]}
            self._open |= ends
            await asyncio.gather(pass_on(reader, there[1], asks=True), pass_on(there[0], writer, asks=False))
            for one in ends:
                one.close()
            self._open -= ends

        return connected


def _listening(port: int, network: str | None) -> socket.socket:
    """A listening socket, made by a thread that is in *network* for it and ends then: a thread cannot be moved back."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_listen, port, network).result(60)


def _listen(port: int, network: str | None) -> socket.socket:
    if network:
        with open(network) as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), f"{network} cannot be entered")
    return socket.create_server(("127.0.0.1", port))
