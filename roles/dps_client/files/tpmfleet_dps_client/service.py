# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device API of the Device Provisioning Service, over HTTPS."""

from __future__ import annotations

import email.utils
import http.client
import json
import os
import socket
import ssl
import time
import urllib.parse
import urllib.request
from typing import Any, NamedTuple

from . import VERSION
from .clock import Clock
from .configuration import Configuration
from .errors import ClientError

API_VERSION = "2019-03-31"
_NOT_YET_VALID, _EXPIRED = 9, 10  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME
# The service's own limit for a message is 96 KiB; a captive portal's page can be anything.
_LONGEST_ANSWER = 262144


class Answer(NamedTuple):
    """What the service answered: HTTP status, the JSON object, and the seconds of Retry-After."""

    status: int
    body: dict[str, Any]
    retry_after: float | None


class Service:
    """One connection to the service; opened with the first call, opened anew when it was closed."""

    def __init__(self, configuration: Configuration, clock: Clock) -> None:
        self._configuration = configuration
        self._clock = clock
        self._host, self._port = configuration.endpoint
        self._connection: http.client.HTTPSConnection | None = None
        self._undated_certificate: dict | None = None

    def close(self) -> None:
        """Ends the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def check(self) -> None:
        """Whether a connection could be tried: proxy and certificates are usable. No network."""
        self._proxy()
        self._context()

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
        try:
            connection = self._connected()
            connection.request(method, f"{path}?api-version={API_VERSION}", content, headers)
            response = connection.getresponse()
            raw = response.read(_LONGEST_ANSWER)
            self._take_time(response.getheader("Date"))
            if response.will_close or not response.isclosed():
                self.close()
        except ClientError:
            self.close()
            raise
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise ClientError(self._why(error)) from error
        return self._judge(response.status, raw, _seconds(response.getheader("Retry-After")))

    def _connected(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            proxy = self._proxy()
            host, port = proxy or (self._host, self._port)
            connection = http.client.HTTPSConnection(
                host, port, timeout=self._configuration.network_timeout, context=self._context()
            )
            if proxy:
                connection.set_tunnel(self._host, self._port)
            connection.connect()
            if self._clock.evidently_wrong:
                self._undated_certificate = connection.sock.getpeercert()
            self._connection = connection
        return self._connection

    def _context(self) -> ssl.SSLContext:
        try:
            context = ssl.create_default_context(cafile=self._configuration.ca_file)
        except (OSError, ssl.SSLError) as error:
            raise ClientError(
                f"cannot use the certificates of {self._configuration.ca_file}: {error}"
            ) from error
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        # With a clock that is evidently wrong no certificate would be valid. Chain and name are verified as ever, the
        # dates then against the best time that is known (Clock.require_valid).
        if self._clock.evidently_wrong:
            context.verify_flags |= _NO_CHECK_TIME  # type: ignore[assignment]
        return context

    def _take_time(self, date: str | None) -> None:
        if self._undated_certificate is not None:
            self._clock.require_valid(self._undated_certificate, date)
            self._undated_certificate = None
        self._clock.learn(date)

    def _proxy(self) -> tuple | None:
        chosen = self._configuration.proxy
        if not chosen and not urllib.request.proxy_bypass_environment(self._host):
            chosen = os.environ.get("HTTPS_PROXY") or os.environ.get("https_proxy")
        if not chosen:
            return None
        parts = urllib.parse.urlsplit(chosen if "//" in chosen else "http://" + chosen)
        if parts.scheme != "http" or not parts.hostname:
            raise ClientError(f"the proxy must be http://HOST:PORT, it is {chosen!r}")
        return parts.hostname, parts.port or 3128

    def _why(self, error: Exception) -> str:
        where = f"{self._host}:{self._port}"
        if isinstance(error, ssl.SSLCertVerificationError):
            if error.verify_code in (_NOT_YET_VALID, _EXPIRED):
                return (
                    "the certificate of {} is not valid at {}, the time of this device's clock: {}. Is the clock wrong?"
                ).format(where, time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()), error.verify_message)
            return (
                f"what answers at {where} is not trusted: {error.verify_message}. A captive portal, a proxy that reads"
                " along, or the wrong ca_file"
            )
        if isinstance(error, socket.gaierror):
            return f"the name {self._host} cannot be resolved: {error.strerror}"
        return f"cannot talk to {where}: {error or type(error).__name__}"

    def _judge(self, status: int, raw: bytes, retry_after: float | None) -> Answer:
        try:
            body = json.loads(raw) if raw else {}
        except ValueError:
            body = None
        if status >= 429:
            # The stock clients take all of these as "try again" (azure-iot-provisioning-device).
            words = "is throttled" if status == 429 else "has a problem of its own"
            raise ClientError(f"the service {words} ({_told(status, body)})", retry_after=retry_after)
        if not isinstance(body, dict):
            raise ClientError(f"what answers at {self._host} does not speak the protocol (HTTP {status})")
        return Answer(status, body, retry_after)


def refusal(answer: Answer) -> ClientError:
    """The service said no; in words."""
    hints = {
        401: "the enrollment is disabled, or has another endorsement key than this TPM's",
        403: "this device is not allowed to register",
        404: "this device is not enrolled, or the ID scope is another service's",
    }
    hint = hints.get(answer.status, "the service did not accept the request")
    return ClientError(f"{hint} ({_told(answer.status, answer.body)})", refused=True)


def _told(status: int, body: Any) -> str:
    told = body if isinstance(body, dict) else {}
    words = f"HTTP {status}"
    if told.get("errorCode"):
        words += ", error {}".format(told["errorCode"])
    if told.get("message"):
        words += ": {}".format(str(told["message"])[:300])
    if told.get("trackingId"):
        words += ", tracking ID {}".format(told["trackingId"])
    return words


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After is seconds or a date (RFC 9110, 10.2.3)."""
    if not retry_after:
        return None
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (TypeError, ValueError):
            return None
    # What asks for more than a day is a mistake, and would strand the device.
    return min(max(seconds, 0.0), 86400.0)
