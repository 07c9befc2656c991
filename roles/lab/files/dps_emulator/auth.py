# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may do what: shared access signatures and bearer tokens (facts: "Service API", "Attestation over HTTPS").

A token is ``SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={policy}``; the signature is
HMAC-SHA256 over the encoded resource exactly as it stands in the token, a newline and the expiry. One stock SDK
writes milliseconds in ``se``: a date far in the future, and accepted.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import unquote, unquote_plus

from .entra import DPS_AUDIENCE, Entra, TokenError
from .errors import UNAUTHENTICATED, UNAUTHORIZED, ServiceError
from .instance import Instance
from .settings import Settings

SCHEME = "SharedAccessSignature "


@dataclass(frozen=True)
class Token:
    """A shared access signature, taken apart."""

    encoded_resource: str
    signature: bytes
    expiry: str
    policy: str

    @property
    def resource(self) -> str:
        """What it is for, decoded."""
        return unquote(self.encoded_resource)

    def require_current(self) -> None:
        """Refuses an expired token."""
        if int(self.expiry) <= time.time():
            raise ServiceError(UNAUTHENTICATED, "Unauthorized: the token has expired")

    def require_signed_by(self, keys: Collection[bytes]) -> None:
        """Refuses a token that none of *keys* signed."""
        signed = f"{self.encoded_resource}\n{self.expiry}".encode()
        for key in keys:
            if hmac.compare_digest(hmac.new(key, signed, hashlib.sha256).digest(), self.signature):
                return
        raise ServiceError(UNAUTHORIZED, "Unauthorized: the signature does not match")


def parse_token(header: str) -> Token:
    """Takes the Authorization header apart; refuses what is not a whole signature."""
    if not header.startswith(SCHEME):
        raise ServiceError(UNAUTHENTICATED, "Unauthorized: no shared access signature")
    fields: dict[str, str] = {}
    for part in header[len(SCHEME) :].strip().split("&"):
        name, equals, value = part.partition("=")
        if not equals or name in fields:
            raise ServiceError(UNAUTHENTICATED, "Unauthorized: the token cannot be parsed")
        fields[name] = value
    if not {"sr", "sig", "se", "skn"} <= set(fields) or not fields["se"].isascii() or not fields["se"].isdigit():
        raise ServiceError(UNAUTHENTICATED, "Unauthorized: the token needs sr, sig, se and skn")
    try:
        signature = base64.b64decode(unquote(fields["sig"]), validate=True)
    except (binascii.Error, ValueError):
        raise ServiceError(UNAUTHENTICATED, "Unauthorized: sig is not base64") from None
    return Token(fields["sr"], signature, fields["se"], unquote_plus(fields["skn"]))


class ServiceAuthorization:
    """The service API's gate."""

    def __init__(self, instance: Instance, entra: Entra, settings: Settings, *, host: str, port: int) -> None:
        self._instance = instance
        self._entra = entra
        self._settings = settings
        self._names = {host.lower(), f"{host.lower()}:{port}"}

    def require(self, header: str | None, right: str) -> None:
        """Lets a request with this Authorization header through if it carries *right*."""
        if not header:
            raise ServiceError(UNAUTHENTICATED, "Unauthorized: no Authorization header")
        if header.startswith("Bearer "):
            rights = self._bearer_rights(header[len("Bearer ") :].strip())
        else:
            rights = self._shared_access_rights(parse_token(header))
        if right not in rights:
            raise ServiceError(UNAUTHORIZED, f"Unauthorized: the policy lacks the right {right}")

    def _bearer_rights(self, token: str) -> Collection[str]:
        if token in self._settings.bearer_tokens:
            return self._settings.bearer_tokens[token]
        try:
            return self._entra.rights_of(self._entra.client_of(token, (DPS_AUDIENCE,)))
        except TokenError as error:
            raise ServiceError(UNAUTHENTICATED, f"Unauthorized: the bearer token is not valid: {error}") from None

    def _shared_access_rights(self, token: Token) -> Collection[str]:
        # A stock SDK that is given a URL as its endpoint signs that URL. UNVERIFIED that the service takes it.
        resource = token.resource.lower().removeprefix("https://")
        if resource.split("/", 1)[0] not in self._names:
            raise ServiceError(UNAUTHORIZED, "Unauthorized: the token is for another service")
        policy = self._instance.policy(token.policy)
        if policy is None:
            raise ServiceError(UNAUTHORIZED, "Unauthorized: there is no such access policy")
        token.require_current()
        token.require_signed_by(policy.keys)
        return policy.rights
