# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An HTTPS connection on which everything together has one deadline and one limit in bytes.

A timeout of a socket begins anew with each byte, so that who sends one byte a second holds a client for as long as
they like. Here names, connecting, a proxy's answer to CONNECT, the TLS handshake, the request and the answer to its
last byte share what :meth:`Limits.begin` gave.
"""

from __future__ import annotations

import http.client
import io
import queue
import socket
import ssl
import threading
import time
from typing import Any


class LimitError(Exception):
    """The other side took too long, or sent too much; the message says which, as the end of a sentence about it."""


class Limits:
    """What is left of the time and of the bytes for one call."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._end = 0.0
        self._bytes = 0

    def begin(self, *, seconds: float, most: int) -> None:
        """A call that may take *seconds*, and whose answers may have *most* bytes with all that is around them."""
        self._seconds = seconds
        self._end = time.monotonic() + seconds
        self._bytes = most

    def left(self) -> float:
        """Seconds. :class:`LimitError` where there are none."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise LimitError(f"did not answer to the end within {self._seconds:.3g} s")
        return left

    def room(self, wanted: int) -> int:
        """How many of *wanted* bytes may be read. :class:`LimitError` where there is no room for one."""
        if self._bytes <= 0:
            raise LimitError("answered more than any answer of it has")
        return min(wanted, self._bytes)

    def take(self, count: int) -> None:
        """Notes that *count* bytes were read."""
        self._bytes -= count


class Connection(http.client.HTTPSConnection):
    """To *host* and *port*, within *limits*, which begin anew with each call."""

    def __init__(self, host: str, port: int, *, context: ssl.SSLContext, limits: Limits) -> None:
        super().__init__(host, port, context=context)
        self._tls = context
        self._limits = limits
        self.certificate: dict[str, Any] = {}

    def connect(self) -> None:
        """Opens it, through the tunnel that was set; the other side's :attr:`certificate` was verified then."""
        raw = _connect(self.host, self.port, self._limits)
        try:
            server = self._tunnel_host or self.host
            if self._tunnel_host:
                # What it says of itself is over before TLS begins, so that nothing of that is read too early.
                self.sock = _Stream(raw, self._limits)
                self._tunnel()
            raw.settimeout(self._limits.left())
            try:
                # Its own timeout is for the handshake as a whole.
                secured = self._tls.wrap_socket(raw, server_hostname=server)
            except socket.timeout:
                self._limits.left()
                raise
        except BaseException:
            raw.close()
            raise
        self.certificate = secured.getpeercert() or {}
        self.sock = _Stream(secured, self._limits)


class _Stream:
    """What http.client wants of a socket, within *limits*."""

    def __init__(self, inner: socket.socket, limits: Limits) -> None:
        self._inner = inner
        self._limits = limits

    def makefile(self, _mode: str) -> io.BufferedReader:
        """For one answer, which may outlive the connection."""
        return io.BufferedReader(_Reader(self._inner.makefile("rb", buffering=0), self._inner, self._limits))

    def sendall(self, data: bytes) -> None:
        """Sends all of it."""
        rest = memoryview(data)
        while rest:
            self._inner.settimeout(self._limits.left())
            rest = rest[self._inner.send(rest) :]

    def close(self) -> None:
        """Closes the connection, where no answer is being read."""
        self._inner.close()


class _Reader(io.RawIOBase):
    def __init__(self, stream: Any, inner: socket.socket, limits: Limits) -> None:
        self._stream = stream
        self._inner = inner
        self._limits = limits

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        room = self._limits.room(len(buffer))
        self._inner.settimeout(self._limits.left())
        try:
            count = self._inner.recv_into(buffer, room)
        except socket.timeout:
            self._limits.left()
            raise
        self._limits.take(count)
        return count

    def close(self) -> None:
        self._stream.close()
        super().close()


def _connect(host: str, port: int, limits: Limits) -> socket.socket:
    """To the first of the addresses that takes the connection; one that says nothing leaves time for the others."""
    addresses = _resolve(host, port, limits)
    failure: OSError | None = None
    for number, (family, kind, protocol, _name, address) in enumerate(addresses):
        connection = socket.socket(family, kind, protocol)
        try:
            connection.settimeout(limits.left() / (len(addresses) - number))
            connection.connect(address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return connection
        except OSError as error:
            failure = error
            connection.close()
        except BaseException:
            connection.close()
            raise
    raise failure or OSError(f"the name {host} has no address")


def _resolve(host: str, port: int, limits: Limits) -> list[Any]:
    """The addresses of *host*. The C library cannot be told how long it may take, so it is left behind in a thread."""
    answer: queue.Queue[tuple[list[Any], BaseException | None]] = queue.Queue()

    def resolve() -> None:
        try:
            answer.put((socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM), None))
        except UnicodeError:
            answer.put(([], OSError(f"{host} can be no name")))
        except BaseException as error:
            answer.put(([], error))

    threading.Thread(target=resolve, name="names", daemon=True).start()
    try:
        addresses, error = answer.get(timeout=limits.left())
    except queue.Empty:
        limits.left()
        raise
    if error is not None:
        raise error
    return addresses
