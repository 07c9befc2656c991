# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the resource manager answers, held to what was asked before anything else here sees it."""

from __future__ import annotations

import re
from typing import Any

from ..dps.answers import decoded
from ..dps.shape import HOST, LONGEST_REFUSAL, Unfit, code, fields, flag, kind, list_of, mapping, number, text

MOST_INSTANCES = 10_000
_MOST_POLICIES = 1000
_PRINTABLE = re.compile(r"[^\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069]{0,4096}")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,62}[A-Za-z0-9])?")
# It goes back in quotes.
_ETAG = re.compile(r"[\x21\x23-\x7e]{1,256}")
# It becomes a part of a connection string.
_POLICY = re.compile(r"[A-Za-z0-9 !#$%&'()*+,\-./:<>?@\[\]^_`{|}~]{1,128}")
_RIGHTS = re.compile(r"[A-Za-z, ]{0,512}")
_KEY = re.compile(r"[A-Za-z0-9+/]{1,512}={0,2}")

_INSTANCE = fields(
    id=text(_PRINTABLE),
    name=text(_NAME, empty=False),
    location=text(_PRINTABLE),
    resourcegroup=text(_PRINTABLE),
    etag=text(_ETAG),
    tags=mapping,
    sku=fields(name=text(_PRINTABLE), capacity=number),
    properties=fields(
        state=text(_PRINTABLE),
        idScope=text(_PRINTABLE),
        serviceOperationsHostName=text(HOST),
        deviceProvisioningHostName=text(HOST),
        allocationPolicy=text(_PRINTABLE),
        iotHubs=list_of(
            fields(
                name=text(HOST),
                hostName=text(HOST),
                connectionString=text(_PRINTABLE),
                location=text(_PRINTABLE),
                authenticationType=text(_PRINTABLE),
                selectedUserAssignedIdentityResourceId=text(_PRINTABLE),
                allocationWeight=number,
                applyAllocationPolicy=flag,
            ),
            1000,
        ),
    ),
)
_POLICIES = list_of(
    fields(
        keyName=text(_POLICY, empty=False),
        rights=text(_RIGHTS),
        primaryKey=text(_KEY, empty=False),
        secondaryKey=text(_KEY, empty=False),
    ),
    _MOST_POLICIES,
)
_AVAILABILITY = fields(nameAvailable=flag, reason=text(_PRINTABLE), message=text())
_REFUSAL = fields(code=code, errorCode=code, message=text())


def instance_document(value: Any, asked: str | None = None) -> dict[str, Any]:
    """An instance as Azure has it, that of the name *asked* where one is given."""
    _INSTANCE(value, "the instance")
    for name in ("name", "location", "properties"):
        if value.get(name) is None:
            raise Unfit(f"has no {name} in the instance")
    if value.get("sku") is None:
        raise Unfit("has no sku in the instance")
    for tag, content in (value.get("tags") or {}).items():
        if not isinstance(content, str):
            raise Unfit(f"has {kind(content)} as tag {tag}, which has to be text")
    if asked is not None and value["name"].lower() != asked.lower():
        raise Unfit(f"is about {value['name']} and not about {asked}")
    return value


def policy_documents(value: list[Any]) -> list[dict[str, Any]]:
    """The shared access policies of an instance, each whole, with its keys, and under a name of its own."""
    _POLICIES(value, "the access policies")
    seen = set()
    for policy in value:
        for name in ("keyName", "rights", "primaryKey", "secondaryKey"):
            if policy.get(name) is None:
                raise Unfit(f"has an access policy without {name}")
        if policy["keyName"].lower() in seen:
            raise Unfit(f"has the access policy {policy['keyName']} twice")
        seen.add(policy["keyName"].lower())
    return value


def availability(value: Any) -> dict[str, Any]:
    """Whether a name can be had (nameAvailable), and why not (reason, message)."""
    _AVAILABILITY(value, "the answer")
    if value.get("nameAvailable") is None:
        raise Unfit("does not say whether the name can be had")
    return value


def refusal_of(response: Any) -> tuple[Any, str]:
    """(code, message) of a refusal. The resource manager and the provider behind it have a form each."""
    try:
        body = decoded(response.content, most=LONGEST_REFUSAL)
        said = body["error"] if isinstance(body, dict) and isinstance(body.get("error"), dict) else body
        _REFUSAL(said, "the refusal")
    except (AttributeError, Unfit):
        return None, ""
    return said.get("code") or said.get("errorCode"), said.get("message") or ""
