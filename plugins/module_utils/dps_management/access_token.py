# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A time-limited token of an access policy, in a file that only its owner reads.

Whoever is given it can do what the policy may, until it ends or the key that signed it is replaced, and never has the
key. It is the same token that the service's clients make for themselves (dps/credentials.py).
"""

from __future__ import annotations

import base64
import binascii
import os
import time
from datetime import datetime, timezone
from typing import Any

from ..client import placement
from ..dps.credentials import sign, token_fields
from ..dps.errors import DpsError
from .access_policy import KEYS, find_policy, rights_of
from .resource_manager import ResourceManager

MODE = 0o600
LONGEST_SECONDS = 366 * 24 * 3600


def ensure_token(
    manager: ResourceManager, instance: str, wanted: dict[str, Any], *, check_mode: bool
) -> dict[str, Any]:
    """Writes a token unless the file has one that is good enough; the module's result.

    *wanted* has policy, key (primary or secondary), path, valid_seconds and renew_seconds: a token with less time left
    is replaced.
    """
    _check(wanted)
    document = manager.settled(instance)
    if document is None:
        raise manager.missing(instance)
    host = document["properties"].get("serviceOperationsHostName")
    policy = find_policy(manager.access_policies(instance), wanted["policy"])
    if policy is None:
        raise DpsError(
            f"There is no access policy {wanted['policy']} in the DPS instance {instance}.",
            hint="Check its name, or make it with tpmfleet.azure_dps.dps_access_policy.",
        )
    if not host:
        raise DpsError(f"Azure does not tell the host of the DPS instance {instance} yet.", hint="Run again later.")
    try:
        key = base64.b64decode(policy[KEYS[wanted["key"]]], validate=True)
    except (binascii.Error, ValueError):
        raise DpsError(f"The {wanted['key']} key of the access policy {wanted['policy']} is not base64.") from None
    name, now = policy["keyName"], int(time.time())
    expiry = _expiry_in(wanted["path"], host, name, key)
    if expiry is None or expiry - now < wanted["renew_seconds"]:
        expiry = now + wanted["valid_seconds"]
    content = sign(host, name, key, expiry).encode() + b"\n"
    file = placement.WantedFile(
        "the token", wanted["path"], content, mode=MODE, owner=(os.geteuid(), os.getegid()), secret=True
    )
    try:
        placements = placement.plan([file])
        if not check_mode:
            placement.apply(placements)
    except placement.PlacementError as error:
        raise DpsError(f"The token could not be written: {error}.") from None
    return {
        "changed": bool(placements),
        "path": wanted["path"],
        "host": host,
        "policy": name,
        "rights": rights_of(policy),
        "expires": datetime.fromtimestamp(expiry, timezone.utc).isoformat(),
        "expires_in": expiry - now,
        "diff": [one.shown() for one in placements],
    }


def _check(wanted: dict[str, Any]) -> None:
    if not 60 <= wanted["valid_seconds"] <= LONGEST_SECONDS:
        raise DpsError(f"valid_seconds is {wanted['valid_seconds']}; it goes from 60 to {LONGEST_SECONDS} (a year).")
    if not 0 <= wanted["renew_seconds"] < wanted["valid_seconds"]:
        raise DpsError("renew_seconds has to be less than valid_seconds, or every run would write a new token.")
    directory = os.path.dirname(os.path.abspath(wanted["path"]))
    if not os.path.isdir(directory):
        raise DpsError(f"The directory {directory} is not there.", hint="Make it, open to nobody else, and run again.")


def _expiry_in(path: str, host: str, policy: str, key: bytes) -> int | None:
    """When the token in the file ends, None where there is none that *key* signed for this host and policy."""
    try:
        with open(path, encoding="ascii") as stream:
            token = stream.read(4096).strip()
        expiry = int(token_fields(token)["se"])
    except (OSError, ValueError, DpsError):
        return None
    return expiry if sign(host, policy, key, expiry) == token else None
