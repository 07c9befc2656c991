# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Entra ID, as far as azure-identity asks for it: OpenID discovery and tokens for client credentials (RFC 6749, 4.4).

Sources: MSAL for Python (which documents it reads), Entra ID's page of AADSTS error codes. Tokens are signed JSON Web
Tokens as the real ones are, but by a key of this state directory, which nobody has to fetch: only the emulator reads
them. An application proves itself by its secret; certificates are not offered.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
import time
import uuid
from collections.abc import Collection, Mapping
from typing import Any

from aiohttp import web

from .errors import utc_now
from .settings import APPLICATION_RIGHTS, Settings
from .store import Store

DPS_AUDIENCE = "https://azure-devices-provisioning.net"
MANAGEMENT_AUDIENCES = ("https://management.azure.com", "https://management.core.windows.net")
DEFAULT = "/.default"


class EntraError(Exception):
    """A refusal of the token endpoint, in the words of RFC 6749 and with Entra ID's own number."""

    def __init__(self, status: int, error: str, number: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self._error = error
        self._number = number
        self._message = message

    def body(self) -> dict:
        """The answer's body."""
        trace, correlation, now = str(uuid.uuid4()), str(uuid.uuid4()), utc_now()
        told = f"AADSTS{self._number}: {self._message} Trace ID: {trace} Correlation ID: {correlation} Timestamp: {now}"
        return {
            "error": self._error,
            "error_description": told,
            "error_codes": [self._number],
            "timestamp": now,
            "trace_id": trace,
            "correlation_id": correlation,
        }


class TokenError(Exception):
    """A bearer token that is not to be believed; the message says why."""


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


class Entra:
    """One tenant, with the owner's application and those of the settings."""

    def __init__(self, store: Store, settings: Settings, *, endpoint: str) -> None:
        self._store = store
        self._settings = settings
        self._endpoint = endpoint
        self._key = bytes.fromhex(store.fact("entra_key", secrets.token_hex(32)))
        self.tenant = store.fact("tenant", str(uuid.uuid4()))
        self.owner = store.fact("client_id", str(uuid.uuid4()))

    def secret(self, client_id: str) -> str:
        """The secret of an application, made at first sight."""
        return self._store.fact(f"application/{client_id}", secrets.token_urlsafe(30))

    def rights_of(self, client_id: str) -> Collection[str]:
        """What an application may do now."""
        return APPLICATION_RIGHTS if client_id == self.owner else self._settings.applications.get(client_id, ())

    def discovery(self, tenant: str) -> dict:
        """The OpenID configuration of the tenant."""
        self._check_tenant(tenant)
        base = f"{self._endpoint}/{self.tenant}"
        return {
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
            "device_authorization_endpoint": f"{base}/oauth2/v2.0/devicecode",
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
            "response_types_supported": ["token"],
        }

    def issue(self, tenant: str, form: Mapping[str, Any]) -> dict:
        """A token for the scope that *form* asks for."""
        self._check_tenant(tenant)
        if form.get("grant_type") != "client_credentials":
            raise EntraError(400, "unsupported_grant_type", 70003, "The app requested an unsupported grant type.")
        client_id = str(form.get("client_id", ""))
        if client_id != self.owner and client_id not in self._settings.applications:
            raise EntraError(
                400, "unauthorized_client", 700016, f"Application with identifier '{client_id}' was not found."
            )
        if not hmac.compare_digest(str(form.get("client_secret", "")).encode(), self.secret(client_id).encode()):
            raise EntraError(401, "invalid_client", 7000215, "Invalid client secret provided.")
        scope = str(form.get("scope", ""))
        if not scope.endswith(DEFAULT) or len(scope.split()) != 1:
            raise EntraError(400, "invalid_scope", 1002012, f"The provided value for scope {scope} is not valid.")
        audience = scope.removesuffix(DEFAULT)
        if audience not in (DPS_AUDIENCE, *self.management_audiences):
            raise EntraError(
                400, "invalid_resource", 500011, f"The resource principal named {audience} was not found in the tenant."
            )
        seconds = self._settings.token_seconds
        token = self._token(client_id, audience, int(time.time()) + seconds)
        return {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": token}

    @property
    def management_audiences(self) -> tuple[str, ...]:
        """What a token for the resource manager may be made out to."""
        return (*MANAGEMENT_AUDIENCES, self._endpoint)

    def client_of(self, token: str, audiences: Collection[str]) -> str:
        """The application that *token* was issued to, if it is for one of *audiences*."""
        head, _dot, signature = token.rpartition(".")
        try:
            claims = json.loads(_decoded(head.partition(".")[2]))
            genuine = hmac.compare_digest(_decoded(signature), self._signature(head))
        except (binascii.Error, ValueError):
            raise TokenError("it cannot be parsed") from None
        if not genuine:
            raise TokenError("its signature does not match")
        if claims["exp"] <= time.time():
            raise TokenError("it has expired")
        if claims["aud"] not in audiences:
            raise TokenError(f"it is for {claims['aud']}")
        return claims["appid"]

    def _check_tenant(self, tenant: str) -> None:
        if tenant.lower() != self.tenant:
            raise EntraError(400, "invalid_tenant", 90002, f"Tenant '{tenant}' not found.")

    def _token(self, client_id: str, audience: str, expiry: int) -> str:
        now = int(time.time())
        claims = {
            "aud": audience,
            "iss": f"{self._endpoint}/{self.tenant}/v2.0",
            "iat": now,
            "nbf": now,
            "exp": expiry,
            "appid": client_id,
            "tid": self.tenant,
            "uti": secrets.token_urlsafe(12),
        }
        head = ".".join(_encoded(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "HS256"}, claims))
        return f"{head}.{_encoded(self._signature(head))}"

    def _signature(self, head: str) -> bytes:
        return hmac.new(self._key, head.encode(), hashlib.sha256).digest()


ENTRA = web.AppKey("entra", Entra)


async def get_discovery(request: web.Request) -> web.StreamResponse:
    """The OpenID configuration."""
    try:
        return web.json_response(request.app[ENTRA].discovery(request.match_info["tenant"]))
    except EntraError as error:
        return web.json_response(error.body(), status=error.status)


async def post_token(request: web.Request) -> web.StreamResponse:
    """A token, or why there is none."""
    try:
        issued = request.app[ENTRA].issue(request.match_info["tenant"], await request.post())
    except EntraError as error:
        return web.json_response(error.body(), status=error.status)
    return web.json_response(issued, headers={"Cache-Control": "no-store"})


def routes() -> list[web.RouteDef]:
    """Both documents, with their names in the statistics."""
    return [
        web.get("/{tenant}/v2.0/.well-known/openid-configuration", get_discovery, name="entra.discovery"),
        web.post("/{tenant}/oauth2/v2.0/token", post_token, name="entra.token"),
    ]
