# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service that answers by a script: any bytes at any pace, over TLS, on a port of its own.

What a well-behaved server library would never send can be sent here. A script is a function of a request that gives a
:class:`Reply`; it may be exchanged at any time.
"""

from __future__ import annotations

import contextlib
import datetime
import ipaddress
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What is answered: *body* is bytes, or is written as JSON. *raw*, pieces sent as they are, replaces everything.

    A piece is bytes to send or seconds to wait before the next one.
    """

    status: int = 200
    body: object = b""
    headers: list[tuple[str, str]] = field(default_factory=list)
    reason: str = "Reason"
    raw: Iterable[bytes | float] | None = None

    def pieces(self) -> Iterable[bytes | float]:
        if self.raw is not None:
            return self.raw
        body = self.body if isinstance(self.body, bytes) else json.dumps(self.body).encode()
        names = {name.lower() for name, _value in self.headers}
        headers = [] if "content-type" in names else [("Content-Type", "application/json")]
        headers += self.headers
        if not {"content-length", "transfer-encoding"} & names:
            headers.append(("Content-Length", str(len(body))))
        head = f"HTTP/1.1 {self.status} {self.reason}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers)
        return [head.encode("utf-8", "surrogateescape") + b"\r\n" + body]


class HostileService:
    """Serves from its making until :meth:`close`; ``asked`` is every request."""

    def __init__(self, directory: Path) -> None:
        self.script: Callable[[Request], Reply] = lambda _request: Reply(500)
        self.asked: list[Request] = []
        self.ca_file = directory / "ca.pem"
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(_certificate(directory, self.ca_file))
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.host = f"localhost:{self._socket.getsockname()[1]}"
        self.url = f"https://{self.host}"
        self._closed = False
        self._open: set[socket.socket] = set()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._closed = True
        # Wakes the thread that accepts, as closing alone does not.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self.hang_up()
        self._thread.join(5)

    def hang_up(self) -> None:
        """Ends every connection, and with it what is still being dripped."""
        for one in list(self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _accept(self) -> None:
        while not self._closed:
            try:
                connection, _peer = self._socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):
            connection.settimeout(30)
            with self._context.wrap_socket(connection, server_side=True) as stream:
                self._open.add(stream)
                try:
                    self._answer_all(stream)
                finally:
                    self._open.discard(stream)

    def _answer_all(self, stream: ssl.SSLSocket) -> None:
        reader = stream.makefile("rb")
        while True:
            request = _read(reader)
            if request is None:
                return
            self.asked.append(request)
            reply = self.script(request)
            for piece in reply.pieces():
                if isinstance(piece, bytes):
                    stream.sendall(piece)
                else:
                    time.sleep(piece)
            if reply.raw is not None:
                return


def _read(reader) -> Request | None:
    line = reader.readline(65536).decode("latin-1").split()
    if len(line) < 2:
        return None
    headers = {}
    while (header := reader.readline(65536).decode("latin-1").strip()) != "":
        name, _colon, value = header.partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", 0)))
    where = urlsplit(line[1])
    return Request(line[0], where.path, where.query, headers, body)


def _certificate(directory: Path, ca_file: Path) -> Path:
    """A certificate for localhost that is its own authority; the file with it and its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.timezone.utc)
    names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - datetime.timedelta(hours=1))
    builder = builder.not_valid_after(now + datetime.timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName(names), False)
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM)
    ca_file.write_bytes(certificate)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    chain = directory / "server.pem"
    chain.write_bytes(certificate + private)
    return chain
