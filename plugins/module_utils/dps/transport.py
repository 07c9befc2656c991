# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTPS to a side that may be broken or hostile: every answer has an end, in time and in size, and stays where it was.

A read timeout of the libraries is for one read, so a side that sends a byte now and then holds a call for ever. Here
the sockets themselves know until when they may be used and how much they may still read: TLS, a proxy's CONNECT,
headers and body come out of one allowance. No redirect is followed, no compressed body is opened.
"""

from __future__ import annotations

import math
import re
import socket
import ssl
import threading
import time
from collections.abc import Collection
from typing import Any
from urllib.parse import urlsplit

try:
    from azure.core.exceptions import ServiceRequestError, ServiceResponseError
    from azure.core.pipeline.transport import RequestsTransport
    from requests import RequestException, Session
    from requests.adapters import HTTPAdapter
    from requests.utils import DEFAULT_CA_BUNDLE_PATH
    from urllib3.connection import HTTPSConnection
    from urllib3.connectionpool import HTTPSConnectionPool
    from urllib3.exceptions import HTTPError, LocationValueError
    from urllib3.util.ssl_ import create_urllib3_context
except ImportError:
    # Said by who imports this: see AZURE_CORE_IMPORT_ERROR in service.py. Here it only has to be a module.
    HTTPAdapter = HTTPSConnection = HTTPSConnectionPool = RequestsTransport = Session = object  # type: ignore[assignment,misc]

from ..outside.visible import visible

# A page of 1,000 enrollments has 1 to 2 MB.
MOST_BYTES = 32_000_000
# What an answer may have beside its body.
_HEAD_BYTES = 1_000_000
_CHUNK = 65_536


class RefusedAnswer(Exception):
    """An answer that is not read, since no service of this kind gives it. Says why, as the end of a sentence.

    None of azure-core's own, which are tried again.
    """


class OutOfTime(Exception):
    """Everything has to be over by now, or would be before the other side has us go on. Not tried again either."""


class _Allowance(threading.local):
    """What the sockets of this thread may still do; without an end outside of a call."""

    until = math.inf
    room: float = math.inf


_allowance = _Allowance()


class _Limited:
    """A socket within the allowance of the thread that uses it."""

    def _begin(self) -> None:
        if _allowance.until == math.inf:
            return
        left = _allowance.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the time for this call is over")
        self.settimeout(left)  # type: ignore[attr-defined]

    def recv_into(self, *arguments: Any, **keywords: Any) -> int:
        self._begin_reading()
        count = super().recv_into(*arguments, **keywords)  # type: ignore[misc]
        _allowance.room -= count
        return count

    def recv(self, *arguments: Any, **keywords: Any) -> bytes:
        # Of TLS within the TLS of a proxy.
        self._begin_reading()
        data = super().recv(*arguments, **keywords)  # type: ignore[misc]
        _allowance.room -= len(data)
        return data

    def _begin_reading(self) -> None:
        self._begin()
        if _allowance.room <= 0:
            raise ConnectionAbortedError("the answer has no end")

    def send(self, *arguments: Any, **keywords: Any) -> int:
        self._begin()
        return super().send(*arguments, **keywords)  # type: ignore[misc]


class _Socket(_Limited, socket.socket):
    """The way to a proxy, before TLS."""


class _TlsSocket(_Limited, ssl.SSLSocket):
    """The way to the service."""

    def do_handshake(self, block: bool = False) -> None:
        self._begin()
        super().do_handshake(block)


class _Connection(HTTPSConnection):
    def _new_conn(self) -> socket.socket:
        opened = super()._new_conn()
        seconds = opened.gettimeout()
        limited = _Socket(fileno=opened.detach())
        limited.settimeout(seconds)
        return limited


class _ConnectionPool(HTTPSConnectionPool):
    ConnectionCls = _Connection  # type: ignore[assignment]


class _Adapter(HTTPAdapter):
    def __init__(self, *, ca_file: str | None, **options: Any) -> None:
        self._ca_file = ca_file
        super().__init__(**options)

    def init_poolmanager(self, *arguments: Any, **keywords: Any) -> None:
        super().init_poolmanager(*arguments, ssl_context=_tls_context(), **keywords)
        _limit(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **keywords: Any) -> Any:
        known = proxy in self.proxy_manager
        if not known:
            to_proxy = _tls_context()
            to_proxy.load_verify_locations(self._ca_file or DEFAULT_CA_BUNDLE_PATH)
            keywords.update(ssl_context=_tls_context(), proxy_ssl_context=to_proxy)
        manager = super().proxy_manager_for(proxy, **keywords)
        if not known:
            _limit(manager)
        return manager


def _tls_context() -> ssl.SSLContext:
    context = create_urllib3_context()
    context.sslsocket_class = _TlsSocket
    return context


def _limit(manager: Any) -> None:
    manager.pool_classes_by_scheme = {**manager.pool_classes_by_scheme, "https": _ConnectionPool}


class _Session(Session):
    def __init__(self) -> None:
        super().__init__()
        # Without one requests takes what .netrc has for the host, in the place of the credential that is meant.
        self.auth = _as_it_is

    def get_redirect_target(self, resp: Any) -> None:
        """None: requests would read a redirect's body and its target even where it is told not to follow."""
        return None


class BoundedTransport(RequestsTransport):
    """azure-core's transport with an end to everything.

    *timeout* is for one try, from its connection to its last byte, in seconds. *hosts* are the ones that may be asked,
    with their port where it is not 443, and what is below them; None for any. *never* is found in addresses that are
    not asked, though they are on these. ``until`` (of time.monotonic) is when everything has to be over; a single call
    can be given its own.
    """

    def __init__(
        self,
        *,
        ca_file: str | None,
        timeout: float,
        connections: int = 1,
        hosts: Collection[str] | None = None,
        never: re.Pattern[str] | None = None,
    ) -> None:
        session = _Session()
        adapter = _Adapter(ca_file=ca_file, pool_connections=4, pool_maxsize=connections, max_retries=0)
        session.mount("https://", adapter)
        super().__init__(
            session=session, connection_verify=ca_file or True, connection_timeout=timeout, read_timeout=timeout
        )
        self._timeout = timeout
        self._hosts = None if hosts is None else {host.lower() for host in hosts}
        self._never = never
        self.until = math.inf

    def send(self, request: Any, **options: Any) -> Any:  # type: ignore[override]
        """The answer with its whole body. AzureError where there is none, RefusedAnswer where it is not to be read."""
        now = time.monotonic()
        until = min(options.pop("until", math.inf), self.until, now + self._timeout)
        self._check_address(request.url)
        if until <= now:
            raise OutOfTime("the time is over")
        options.pop("stream", None)
        options.update(connection_timeout=until - now, read_timeout=until - now)
        request.headers["Accept-Encoding"] = "identity"
        _allowance.until, _allowance.room = until, MOST_BYTES + _HEAD_BYTES
        try:
            answer = super().send(request, stream=True, **options)
            inner = getattr(answer, "internal_response", None) or answer._internal_response
            # Where requests keeps a body that it has read itself.
            inner._content, inner._content_consumed = _body(inner), True
            if hasattr(answer, "read"):
                answer.read()
            return answer
        except LocationValueError as error:
            # Of an address that is none, such as a proxy's. The layers between let it through as it is.
            raise ServiceRequestError(error, error=error) from None
        finally:
            _allowance.until = _allowance.room = math.inf

    def sleep(self, duration: float) -> None:
        """Waits, unless everything is over by then; for an impossible time a second."""
        # Not a number is neither.
        seconds = duration if duration >= 0 else 1.0
        if time.monotonic() + seconds > self.until:
            raise OutOfTime(f"it asked to wait for {seconds:g} s, which is longer than there is time")
        time.sleep(seconds)

    def _check_address(self, url: str) -> None:
        if self._never is not None and self._never.search(url):
            raise RefusedAnswer(f"has us ask what nobody wanted ({visible(urlsplit(url).path, most=200)})")
        if self._hosts is None:
            return
        try:
            where = urlsplit(url)
            host = (where.hostname or "") + ("" if where.port in (None, 443) else f":{where.port}")
        except ValueError:
            raise RefusedAnswer("points to an address that is none") from None
        if where.scheme != "https" or not any(host == one or host.endswith(f".{one}") for one in self._hosts):
            raise RefusedAnswer(f"points to {where.scheme}://{host}, where nothing is asked and no credential is shown")


def _as_it_is(request: Any) -> Any:
    return request


def host_of(url: str) -> str:
    """The host of an address, with its port where it is not 443, as *hosts* of a transport takes it."""
    return urlsplit(url).netloc.rpartition("@")[2].removesuffix(":443").lower()


def _body(inner: Any) -> bytes:
    coding = (inner.headers.get("Content-Encoding") or "identity").strip().lower()
    if coding != "identity":
        inner.close()
        raise RefusedAnswer(f"is compressed ({visible(coding, most=60)}), which was not asked for")
    chunks, size = [], 0
    try:
        while chunk := inner.raw.read(_CHUNK, decode_content=False):
            chunks.append(chunk)
            size += len(chunk)
            if size > MOST_BYTES:
                raise RefusedAnswer(f"has more than {MOST_BYTES} bytes")
    except RefusedAnswer:
        inner.close()
        raise
    except (HTTPError, RequestException, OSError, ValueError) as error:
        inner.close()
        if _allowance.room <= 0:
            raise RefusedAnswer("has no end") from None
        raise ServiceResponseError(error, error=error) from None
    inner.raw.release_conn()
    return b"".join(chunks)
