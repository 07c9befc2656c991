# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who we are to the service: a shared access policy's key, a token made from one, or Entra ID.

Sources: service documentation "Control access to DPS" (token format, scope of Entra ID tokens). A key or token appears
in no message and no ``repr``.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import ipaddress
import math
import os
import re
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any
from urllib.parse import quote, quote_plus, unquote

from ..outside.visible import visible
from .errors import DpsError

CONNECTION_STRING_VARIABLE = "TPMFLEET_DPS_CONNECTION_STRING"
ENTRA_SCOPE = "https://azure-devices-provisioning.net/.default"
TOKEN_SECONDS = 3600
# For a token from Entra ID, where the options do not say.
_TOKEN_TIMEOUT, _TOKEN_BUDGET = 30, 300
# A token that ends within this time is not used for another call.
RENEW_SECONDS = 300
# Later than any true expiry in seconds: one stock SDK writes milliseconds.
_MILLISECONDS_FROM = 10**11

# Names as a name server takes them (RFC 1035, 2.3.4), since what is no label ends in an error of the libraries.
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"({_LABEL}(?:\.{_LABEL})*|\[[0-9A-Fa-f:.]+\])(?::([0-9]{{1,5}}))?")
_LONGEST_NAME, _PORTS = 253, range(1, 65536)
_PARTS = ("HostName", "SharedAccessKeyName", "SharedAccessKey", "SharedAccessSignature")
_FOREIGN_PARTS = ("DeviceId", "ModuleId", "GatewayHostName")


class Access:
    """A host and how to show that we may use it. Safe for use by several threads.

    *option* is the module's option that it came from, where that is one alone, *host_option* the one that has the host.
    """

    host: str
    option: str | None = None
    host_option: str = "host"

    def authorization(self, *, within: float = math.inf) -> str:
        """The value of the Authorization header for a call made now. DpsError where there is none to be had.

        *within* is how many seconds it may take to get one.
        """
        raise NotImplementedError


class SharedAccessKey(Access):
    """The key of a shared access policy; signs tokens of an hour and renews them in time."""

    option = host_option = "connection_string"

    def __init__(self, host: str, policy: str, key: bytes) -> None:
        self.host = host
        self._policy = policy
        self._key = key
        self._lock = threading.Lock()
        self._token = ""
        self._expiry = 0.0

    def authorization(self, *, within: float = math.inf) -> str:
        """A token with at least RENEW_SECONDS left."""
        with self._lock:
            if time.time() > self._expiry - RENEW_SECONDS:
                self._expiry = int(time.time()) + TOKEN_SECONDS
                self._token = sign(self.host, self._policy, self._key, int(self._expiry))
            return self._token


class SharedAccessToken(Access):
    """A token that someone else signed, such as the one that a TPM maker is given.

    *host* is that of the option *host_option*; without one it is the token's own.
    """

    option = "sas_token"

    def __init__(self, token: str, host: str | None = None, *, host_option: str = "host") -> None:
        fields = token_fields(token)
        self.host_option = host_option if host else self.option
        self.host = host or _checked_host(
            unquote(fields["sr"]).split("/", 1)[0], "sr (the host) of sas_token", "sas_token"
        )
        expiry = int(fields["se"][:18])
        self._expiry = expiry / 1000 if expiry >= _MILLISECONDS_FROM else float(expiry)
        self._token = token.strip()
        if not _is_header_text(self._token):
            raise DpsError(
                "The SAS token is wrong: it has characters that no token has.",
                hint="Ask for a new one, and copy the whole of it.",
                option=self.option,
            )

    def authorization(self, *, within: float = math.inf) -> str:
        """The token. DpsError once it has expired, with the time when it did."""
        if time.time() >= self._expiry:
            ended = datetime.fromtimestamp(self._expiry, timezone.utc).isoformat()
            raise DpsError(
                f"The SAS token for {self.host} expired at {ended}.",
                hint="Ask for a new one, or check this machine's clock.",
                option=self.option,
            )
        return self._token


class EntraId(Access):
    """A credential of azure-identity, or anything with its ``get_token``."""

    def __init__(self, host: str, credential: Any) -> None:
        self.host = host
        self._credential = credential
        self._lock = threading.Lock()
        self._token: Any = None

    def authorization(self, *, within: float = math.inf) -> str:
        """A bearer token for the scope of the provisioning service."""
        with self._lock:
            if self._token is None or time.time() > self._token.expires_on - RENEW_SECONDS:
                self._token = self._ask(within)
            return f"Bearer {self._token.token}"

    def _ask(self, within: float) -> Any:
        try:
            if isinstance(self._credential, BoundedCredential):
                return self._credential.get_token(ENTRA_SCOPE, within=within)
            return self._credential.get_token(ENTRA_SCOPE)
        except Exception as error:
            raise DpsError(
                f"Entra ID gave no token for {self.host}: {in_one_line(error)}",
                hint="Check tenant, client_id and secret, or log in with 'az login', or use connection_string.",
            ) from None


class BoundedCredential:
    """A credential of azure-identity over *transport*, which gives a token within *seconds* or none.

    What azure-identity itself makes of an answer that is none of Entra ID's is an exception of any kind.
    """

    def __init__(self, make: Callable[[Any], Any], transport: Any, seconds: float) -> None:
        self._transport = transport
        self._credential = make(transport)
        self._seconds = seconds
        self._lock = threading.Lock()

    def get_token(self, *scopes: str, within: float = math.inf, **options: Any) -> Any:
        """A token that is one."""
        with self._lock:
            self._transport.until = time.monotonic() + min(self._seconds, within)
            token = self._credential.get_token(*scopes, **options)
        if not isinstance(token.token, str) or not token.token or not _is_header_text(token.token):
            raise DpsError("The answer of Entra ID makes no sense: its token has characters that no token has.")
        if isinstance(token.expires_on, bool) or not isinstance(token.expires_on, (int, float)):
            raise DpsError("The answer of Entra ID makes no sense: its token does not say when it ends.")
        return token


def in_one_line(error: BaseException) -> str:
    """azure-identity's words, which can be pages long: the first line says which credential failed and how."""
    first = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return visible(first, most=500).rstrip(".")


def _is_header_text(text: str) -> bool:
    # More than any header of a server's own limit, and nothing that ends a header.
    return len(text) <= 65536 and text.isascii() and text.isprintable()


def sign(host: str, policy: str, key: bytes, expiry: int) -> str:
    """A shared access signature for *host* until *expiry* (seconds since the epoch)."""
    resource = quote(host, safe="")
    digest = hmac.new(key, f"{resource}\n{expiry}".encode(), hashlib.sha256).digest()
    signature = quote_plus(base64.b64encode(digest))
    return f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={quote(policy, safe='')}"


def parse_connection_string(text: str) -> Access:
    """The access that a connection string gives. DpsError says which part is wrong, and shows none of it."""
    parts: dict[str, str] = {}
    for number, part in enumerate((piece for piece in text.strip().strip("'\"").split(";") if piece.strip()), start=1):
        name, equals, value = part.strip().partition("=")
        if not equals:
            raise _wrong(f"its part {number} is not of the form NAME=VALUE")
        known = {one.lower(): one for one in _PARTS + _FOREIGN_PARTS}.get(name.strip().lower())
        if known is None:
            raise _wrong(f"its part {number} has a name that does not belong there")
        if known in parts:
            raise _wrong(f"{known} is there twice")
        parts[known] = value.strip()
    for name in _FOREIGN_PARTS:
        if name in parts:
            raise _wrong(f"it has a {name}, so it is a device's and not a provisioning service's")
    if not parts.get("HostName"):
        raise _wrong("HostName is missing")
    host = _checked_host(parts["HostName"], "HostName of the connection string", "connection_string")
    if parts.get("SharedAccessSignature"):
        return SharedAccessToken(parts["SharedAccessSignature"], host, host_option="connection_string")
    for name in ("SharedAccessKeyName", "SharedAccessKey"):
        if not parts.get(name):
            raise _wrong(f"{name} is missing")
    try:
        key = base64.b64decode(parts["SharedAccessKey"], validate=True)
    except (binascii.Error, ValueError):
        raise _wrong("SharedAccessKey is not base64; was it cut off or pasted with something else?") from None
    return SharedAccessKey(host, parts["SharedAccessKeyName"], key)


def access_from(options: Mapping[str, Any]) -> Access:
    """The access that a module's connection options ask for. DpsError where they do not say one way.

    A connection string that comes from the environment gives way to an option that was written in the play.
    """
    connection_string, sas_token, host = (options.get(name) for name in ("connection_string", "sas_token", "host"))
    if (host or sas_token) and connection_string and connection_string == os.environ.get(CONNECTION_STRING_VARIABLE):
        connection_string = None
    if connection_string:
        if host or sas_token:
            raise DpsError(
                "connection_string excludes host and sas_token.", hint="Leave out the ones that are not meant."
            )
        return parse_connection_string(connection_string)
    checked = _checked_host(re.sub(r"^https://", "", host.strip()).rstrip("/"), "host", "host") if host else None
    if sas_token:
        return SharedAccessToken(sas_token, checked)
    if checked:
        return EntraId(checked, entra_credential(options))
    raise DpsError(
        "Nothing says which provisioning service is meant.",
        hint=f"Set connection_string (or {CONNECTION_STRING_VARIABLE}), or sas_token, or host for Entra ID.",
        option="connection_string",
    )


def identity_library() -> Any:
    """azure-identity, which takes longer to load than most of what a service is asked; ImportError without it."""
    import azure.identity

    return azure.identity


def entra_credential(options: Mapping[str, Any]) -> Any:
    """The azure-identity credential that the options describe. DpsError where they describe none.

    An authority that is named is taken at the caller's word: no public host is asked whether it is one of Microsoft's.
    """
    try:
        library = identity_library()
        from .transport import BoundedTransport, host_of
    except ImportError:
        raise DpsError(
            "The Python package azure-identity, which Entra ID needs, is not installed.",
            hint="Install it where the task runs (python -m pip install azure-identity), or use connection_string.",
        ) from None
    secret, certificate = options.get("secret"), options.get("x509_certificate_path")
    reached: dict[str, Any] = {}
    hosts = None
    authority = options.get("authority_host")
    if authority:
        reached.update(authority=authority, disable_instance_discovery=True)
        if secret or certificate:
            # The secret goes to the authority that was named, whoever it says is to have it.
            hosts = [host_of(authority if "://" in authority else f"https://{authority}")]
    transport = BoundedTransport(
        ca_file=options.get("ca_file"), timeout=options.get("timeout") or _TOKEN_TIMEOUT, hosts=hosts
    )
    return BoundedCredential(
        lambda transport: _credential(library, options, {**reached, "transport": transport}),
        transport,
        options.get("retry_budget") or options.get("operation_timeout") or _TOKEN_BUDGET,
    )


def _credential(library: Any, options: Mapping[str, Any], reached: dict[str, Any]) -> Any:
    tenant, client_id, secret = (options.get(name) for name in ("tenant", "client_id", "secret"))
    certificate = options.get("x509_certificate_path")
    source = options.get("auth_source") or "auto"
    try:
        if source == "cli":
            return library.AzureCliCredential()
        if source == "env":
            return library.EnvironmentCredential(**reached)
        if source == "msi":
            return library.ManagedIdentityCredential(client_id=client_id, transport=reached["transport"])
        if secret or certificate:
            if not tenant or not client_id:
                raise DpsError("secret and x509_certificate_path need tenant and client_id.", hint="Add them.")
            if secret:
                return library.ClientSecretCredential(tenant, client_id, secret, **reached)
            return library.CertificateCredential(tenant, client_id, certificate, **reached)
        return library.DefaultAzureCredential(managed_identity_client_id=client_id, **reached)
    except (ValueError, OSError) as error:
        raise DpsError(
            f"The Entra ID credential cannot be made: {error}.", hint="Check tenant, client_id and the certificate."
        ) from None


def _wrong(what: str) -> DpsError:
    return DpsError(
        f"The connection string is wrong: {what}.",
        hint="It has the form HostName=NAME;SharedAccessKeyName=POLICY;SharedAccessKey=KEY, from the service's page "
        "'Shared access policies'.",
        option="connection_string",
    )


def _checked_host(host: str, where: str, option: str) -> str:
    if "://" in host or "/" in host:
        raise DpsError(
            f"{where} is a URL.", hint="Give the host name alone, with :port where it is not 443.", option=option
        )
    if not _is_host(host):
        raise DpsError(
            f"{where} is not a host name.", hint="It looks like NAME.azure-devices-provisioning.net.", option=option
        )
    if re.search(r"\.azure-devices\.(net|us|cn|de)(:\d+)?$", host, re.IGNORECASE) and "provisioning" not in host:
        raise DpsError(
            f"{where} is that of an IoT hub ({host}).",
            hint="Take the connection string of the Device Provisioning Service, NAME.azure-devices-provisioning.net.",
            option=option,
        )
    return host


def _is_host(text: str) -> bool:
    """Whether *text* is a name or address that can be called, with a port or without."""
    found = _HOST.fullmatch(text)
    if found is None or len(found[1]) > _LONGEST_NAME or int(found[2] or 443) not in _PORTS:
        return False
    if found[1].startswith("["):
        try:
            ipaddress.IPv6Address(found[1][1:-1])
        except ValueError:
            return False
    return True


def token_fields(token: str) -> dict[str, str]:
    """The parts of a shared access signature as they stand there. DpsError where it is none."""
    scheme = "SharedAccessSignature "
    text = token.strip()
    wrong = None
    fields: dict[str, str] = {}
    if not text.startswith(scheme):
        wrong = "it does not begin with 'SharedAccessSignature '"
    else:
        for part in text[len(scheme) :].strip().split("&"):
            name, _equals, value = part.partition("=")
            fields[name] = value
        missing = [name for name in ("sr", "sig", "se", "skn") if not fields.get(name)]
        if missing:
            wrong = f"it lacks {', '.join(missing)}"
        elif not (fields["se"].isascii() and fields["se"].isdigit()):
            wrong = "se (the expiry) is not a number"
    if wrong:
        raise DpsError(
            f"The SAS token is wrong: {wrong}.", hint="Ask for a new one, and copy the whole of it.", option="sas_token"
        )
    return fields
