# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Authorizations as they travel to a device: sealed to its endorsement key, so that no other TPM reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .ownership_wish import HIERARCHIES

AUTHORIZATIONS = tuple(f"{age}{one}_auth" for age in ("", "previous_") for one in HIERARCHIES)
"""The options that hold one."""

ENDORSEMENT_AUTHORIZATIONS = ("endorsement_auth", "previous_endorsement_auth")
"""Those without which a TPM that has one opens nothing."""


CLIENTS = ("endorsement_auth", "owner_auth", "proxy_auth")
"""The options of the client that hold one."""


def as_message(authorizations: Mapping[str, str], for_client: Mapping[str, str] | None = None) -> bytes:
    """What is sealed, for some of AUTHORIZATIONS, and some of CLIENTS."""
    said: dict[str, Any] = dict(authorizations)
    return json.dumps({**said, "client": dict(for_client)} if for_client else said, sort_keys=True).encode("utf-8")


def from_message(message: bytes) -> dict[str, str | None]:
    """The opposite: all of AUTHORIZATIONS, None for those that are not in it."""
    said = json.loads(message) if message else {}
    return {name: said.get(name) for name in AUTHORIZATIONS}


def clients_from_message(message: bytes) -> dict[str, str]:
    """The opposite for the client's: those of CLIENTS that are in it."""
    said = (json.loads(message) if message else {}).get("client") or {}
    return {name: said[name] for name in CLIENTS if name in said}
