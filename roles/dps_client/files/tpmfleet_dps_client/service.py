# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""HTTPS to the Device Provisioning Service and to the hub: one connection, its certificate, its failures in words."""

from __future__ import annotations

import base64
import http.client
import json
import math
import os
import socket
import ssl
import time
import urllib.parse
import urllib.request
from typing import Any, NamedTuple

from . import VERSION
from .clock import Clock, parse_date
from .configuration import Configuration
from .errors import ClientError
from .https import Connection, LimitError, Limits
from .outside import strict_json
from .outside.files import FileError, read_file
from .outside.visible import visible

_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
# The service's own limit for a message is 96 KiB; a captive portal's page can be anything.
_LONGEST_ANSWER = 262144
# With its head, and with what a proxy says before it.
_MOST_BYTES = 2 * _LONGEST_ANSWER
_DEEPEST_ANSWER = 16
# Seconds; for one where the time of all calls is over.
_SHORTEST_CALL = 1.0
_LONGEST_PASSWORD = 4096
# What asks for more than a day is a mistake, and would strand the device.
_LONGEST_WAIT = 86400.0
# Characters that are shown of what the service says: of its sentence, and of each other part.
LONGEST_MESSAGE = 300
SHOWN = 100


class Answer(NamedTuple):
    """What the service answered: HTTP status, the JSON object (empty where it is none), the seconds of Retry-After."""

    status: int
    body: dict[str, Any]
    retry_after: float | None


class Service:
    """One connection to *host*; opened with the first call, opened anew when it was closed.

    Each call has the configuration's ``network_timeout``, from the name to the last byte, and all calls together have
    *patience* seconds.
    """

    def __init__(
        self,
        configuration: Configuration,
        clock: Clock,
        *,
        host: str,
        port: int,
        api_version: str,
        patience: float = math.inf,
    ) -> None:
        self._configuration = configuration
        self._clock = clock
        self._host, self._port = host, port
        self._api_version = api_version
        self._end = time.monotonic() + patience
        self._limits = Limits()
        self._connection: Connection | None = None
        self._dates_unchecked = False

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def check(self) -> None:
        """Whether a connection could be tried: proxy and certificates are usable. No network."""
        self._proxy()
        self._context(dated=True)

    def call(
        self, method: str, path: str, *, body: dict[str, Any] | None = None, authorization: str | None = None
    ) -> Answer:
        """One call. Every answer below 500 but 429 comes back; no answer, 429 and 5xx are a :class:`ClientError`."""
        headers = {"Accept": "application/json", "User-Agent": "tpmfleet-dps-client/" + VERSION}
        if body is not None:
            headers["Content-Type"] = "application/json; charset=utf-8"
        if authorization:
            headers["Authorization"] = authorization
        content = None if body is None else json.dumps(body).encode()
        seconds = min(self._configuration.network_timeout, self._end - time.monotonic())
        self._limits.begin(seconds=max(seconds, _SHORTEST_CALL), most=_MOST_BYTES)
        try:
            connection = self._connected()
            connection.request(method, f"{path}?api-version={self._api_version}", content, headers)
            response = connection.getresponse()
            raw = response.read(_LONGEST_ANSWER + 1)
            self._take_time(response.getheader("Date"))
            if response.will_close or not response.isclosed():
                self.close()
        except ClientError:
            self.close()
            raise
        except LimitError as error:
            self.close()
            raise ClientError(f"what is at {self._where()} {error}") from error
        # http.client takes some of what is no HTTP for a number, and stumbles over it.
        except (OSError, http.client.HTTPException, ValueError) as error:
            self.close()
            raise ClientError(self._why(error)) from error
        return self._judge(response, raw)

    def _connected(self) -> Connection:
        if self._connection is None:
            dated = not self._clock.evidently_wrong
            try:
                connection = self._connect(dated=dated)
            except ssl.SSLCertVerificationError as error:
                # Nobody issues a certificate before its time, so one that is trusted and not yet valid is from after
                # the time that the clock shows: the clock is behind.
                if not dated or error.verify_code != _NOT_YET_VALID:
                    raise
                dated = False
                connection = self._connect(dated=dated)
            self._dates_unchecked = not dated
            self._connection = connection
        return self._connection

    def _connect(self, *, dated: bool) -> Connection:
        proxy = self._proxy()
        host, port, credentials = proxy or (self._host, self._port, None)
        connection = Connection(host, port, context=self._context(dated=dated), limits=self._limits)
        if proxy:
            headers = {"Proxy-Authorization": "Basic " + base64.b64encode(credentials).decode()} if credentials else {}
            connection.set_tunnel(self._host, self._port, headers)
        connection.connect()
        return connection

    def _context(self, *, dated: bool) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._configuration.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ClientError(f"cannot use the certificates of {self._configuration.ca_file}: {error}") from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # With a clock that is wrong no certificate would be valid. Chain and name are verified as ever, the dates then
        # against the best time that is known (Clock.require_valid).
        if not dated:
            context.verify_flags |= _NO_CHECK_TIME  # type: ignore[assignment]
        return context

    def _take_time(self, date: str | None) -> None:
        certificate = self._connection.certificate if self._connection else {}
        if self._dates_unchecked:
            self._clock.require_valid(certificate, date)
            self._dates_unchecked = False
        self._clock.learn(date, certificate)

    def _proxy(self) -> tuple[str, int, bytes | None] | None:
        """Host, port and ``user:password`` of the proxy, None where there is no proxy."""
        chosen = self._configuration.proxy
        if not chosen and not urllib.request.proxy_bypass_environment(self._host):
            chosen = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
        if not chosen:
            return None
        try:
            parts = urllib.parse.urlsplit(chosen if "//" in chosen else "http://" + chosen)
            host, port = parts.hostname, parts.port or 3128
        except ValueError:
            host = None
        if not host or parts.scheme != "http":
            # Without what stands before the host, which may be a password.
            raise ClientError("the proxy must be http://HOST:PORT, it is {!r}".format(chosen.rpartition("@")[2]))
        return host, port, self._proxy_credentials(parts)

    def _proxy_credentials(self, parts: urllib.parse.SplitResult) -> bytes | None:
        path = self._configuration.proxy_auth_file
        if path:
            try:
                return read_file(path, most=_LONGEST_PASSWORD).strip()
            except FileError as error:
                raise ClientError(f"the file with the proxy's user and password, {path}, {error}") from error
        named = (parts.username or "", parts.password or "")
        return ":".join(urllib.parse.unquote(part) for part in named).encode() if parts.username else None

    def _where(self) -> str:
        proxy = self._proxy()
        return f"{self._host}:{self._port}" + (f" through the proxy {proxy[0]}:{proxy[1]}" if proxy else "")

    def _why(self, error: Exception) -> str:
        proxy, where = self._proxy(), self._where()
        if isinstance(error, ssl.SSLCertVerificationError):
            if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
                return (
                    "the certificate of {} is not valid at {}, the time of this device's clock: {}. Is the clock wrong?"
                ).format(where, time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), error.verify_message)
            return (
                f"what answers at {where} is not trusted: {error.verify_message}. A captive portal, a proxy that reads"
                " along, or the wrong ca_file"
            )
        if isinstance(error, ssl.SSLError):
            reason = error.reason or str(error)
            return f"no TLS with {where}: {reason}. A captive portal, or a server that knows no TLS 1.2"
        if isinstance(error, socket.gaierror):
            return f"the name {proxy[0] if proxy else self._host} cannot be resolved: {error.strerror}"
        if isinstance(error, (OSError, http.client.HTTPException)):
            return f"cannot talk to {where}: {_shown(error) or type(error).__name__}"
        return f"what answers at {where} does not speak HTTP: {_shown(error) or type(error).__name__}"

    def _judge(self, response: http.client.HTTPResponse, raw: bytes) -> Answer:
        status, retry_after = response.status, _seconds(response, self._clock)
        try:
            body = strict_json.parse(raw or b"{}", most=_LONGEST_ANSWER, depth=_DEEPEST_ANSWER)
            fault = ""
        except strict_json.JsonError as error:
            body, fault = None, f": its answer {error}"
        if status >= 429:
            # The stock clients take all of these as "try again" (azure-iot-provisioning-device).
            words = "is throttled" if status == 429 else "has a problem of its own"
            raise ClientError(f"the service {words} ({_told(status, body)})", retry_after=retry_after)
        # Where to would be another's word.
        if 300 <= status < 400:
            fault = ", which would lead to {}, and is not followed".format(_shown(response.getheader("Location")))
        if body is None or 300 <= status < 400:
            raise ClientError(
                f"what answers at {self._host} does not speak the protocol (HTTP {status}{fault}); a captive portal"
                " does that"
            )
        return Answer(status, body if isinstance(body, dict) else {}, retry_after)


def refusal(answer: Answer) -> ClientError:
    """The service said no; in words."""
    if answer.status < 400:
        return ClientError(f"the service answered out of turn ({told(answer)})")
    hints = {
        401: "the enrollment is disabled, or has another endorsement key than this TPM's",
        403: "this device is not allowed to register",
        404: "this device is not enrolled, or the ID scope is another service's",
    }
    hint = hints.get(answer.status, "the service did not accept the request")
    return ClientError(f"{hint} ({told(answer)})", refused=True)


def told(answer: Answer) -> str:
    """What the service said, in one line."""
    return _told(answer.status, answer.body)


def _told(status: int, body: Any) -> str:
    told = body if isinstance(body, dict) else {}
    words = f"HTTP {status}"
    if told.get("errorCode"):
        words += f", error {_shown(told['errorCode'])}"
    # The hub writes it with a capital.
    message = told.get("message") or told.get("Message")
    if message:
        words += f": {visible(message, most=LONGEST_MESSAGE)}"
    if told.get("trackingId"):
        words += f", tracking ID {_shown(told['trackingId'])}"
    return words


def _shown(value: Any) -> str:
    return visible(value, most=SHOWN)


def _seconds(response: http.client.HTTPResponse, clock: Clock) -> float | None:
    """What Retry-After asks for: seconds, or a date (RFC 9110, 10.2.3), which is one of the clock that sent it."""
    retry_after = response.getheader("Retry-After")
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        moment = parse_date(retry_after)
        if moment is None:
            return None
        seconds = moment - (parse_date(response.getheader("Date")) or clock.now())
    return min(max(seconds, 0.0), _LONGEST_WAIT) if math.isfinite(seconds) else None
