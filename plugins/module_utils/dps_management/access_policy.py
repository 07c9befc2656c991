# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The shared access policies of an instance: their rights, their two keys, and how a key is replaced without a gap.

A policy's keys are never shown. What is shown of a key is its SHA-256: a key is 32 random bytes, so that tells one from
another and gives nothing away.

A key is made here and not by Azure, which has no call for it, as the Azure CLI does for hubs. So a change whose answer
was lost can be told from one that was not done.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import secrets
from collections.abc import Collection
from typing import Any

from ..dps.errors import DpsError
from .amendment import Document, amend_instance
from .resource_manager import ResourceManager

RIGHTS = ("EnrollmentRead", "EnrollmentWrite", "RegistrationStatusRead", "RegistrationStatusWrite", "ServiceConfig")
# Azure grants a right only together with those that it needs (Azure portal; the azurerm provider of Terraform).
_NEEDS = {
    "EnrollmentRead": ("RegistrationStatusRead",),
    "RegistrationStatusWrite": ("RegistrationStatusRead",),
    "EnrollmentWrite": ("EnrollmentRead", "RegistrationStatusRead", "RegistrationStatusWrite"),
}
KEYS = {"primary": "primaryKey", "secondary": "secondaryKey"}
KEY_BYTES = 32


def with_needed(rights: list[str]) -> list[str]:
    """*rights* and those that they need, in the order of RIGHTS; one that is not known here comes last."""
    found = set(rights)
    for right in rights:
        found.update(_NEEDS.get(right, ()))
    return [right for right in RIGHTS if right in found] + sorted(found - set(RIGHTS))


def rights_of(policy: Document) -> list[str]:
    """The rights of a policy. Azure tells them in short: one that needs others stands for all of them."""
    return with_needed([right.strip() for right in policy["rights"].split(",") if right.strip()])


def shown_policy(policy: Document) -> dict[str, Any]:
    """A policy as modules return it, without its keys."""
    return {
        "name": policy["keyName"],
        "rights": rights_of(policy),
        **{f"{which}_key_sha256": key_sha256(policy.get(field)) for which, field in KEYS.items()},
    }


def connection_strings(policy: Document, host: str) -> dict[str, str]:
    """A policy's keys and connection strings: secrets."""
    found = {}
    for which, field in KEYS.items():
        found[f"{which}_key"] = policy[field]
        found[f"{which}_connection_string"] = (
            f"HostName={host};SharedAccessKeyName={policy['keyName']};SharedAccessKey={policy[field]}"
        )
    return found


def key_sha256(key: str | None) -> str | None:
    """What is shown of a key, None where it is not known yet."""
    return None if key is None else hashlib.sha256(key.encode()).hexdigest()


def find_policy(policies: list[Document], name: str) -> Document | None:
    """A policy by its name, whose letters count the same in both cases."""
    for policy in policies:
        if policy["keyName"].lower() == name.lower():
            return policy
    return None


def ensure_present(
    manager: ResourceManager, instance: str, wanted: dict[str, Any], *, check_mode: bool
) -> dict[str, Any]:
    """Makes or changes the policy; the module's result.

    *wanted* has name, rights (None: as they are), primary_key and secondary_key (None: as they are), regenerate (which
    keys are to be new) and regenerate_only_sha256 (the first of these is only replaced while it is this one).
    """
    name = wanted["name"]
    _check(wanted)
    # Made once, so that a second try wishes for the same ones.
    new_keys = {which: base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode() for which in KEYS}
    amended = amend_instance(
        manager,
        instance,
        lambda document: _with_policy(document, wanted, new_keys),
        check_mode=check_mode,
        with_policies=True,
    )
    if amended is None:
        raise manager.missing(instance)
    before = find_policy(amended.before["properties"]["authorizationPolicies"], name)
    after = find_policy(amended.after["properties"]["authorizationPolicies"], name)
    action = "unchanged" if not amended.changed else "updated" if before else "created"
    return _result(action, before, after, hidden=new_keys.values() if check_mode else ())


def ensure_absent(manager: ResourceManager, instance: str, name: str, *, check_mode: bool) -> dict[str, Any]:
    """Removes the policy, and with it everything that its keys or tokens let in; the module's result."""
    amended = amend_instance(
        manager, instance, lambda document: _without_policy(document, name), check_mode=check_mode, with_policies=True
    )
    if amended is None or not amended.changed:
        return _result("unchanged", None, None)
    return _result("deleted", find_policy(amended.before["properties"]["authorizationPolicies"], name), None)


def _check(wanted: dict[str, Any]) -> None:
    replaced = [f"{which}_key" for which in KEYS if wanted[f"{which}_key"] and which in wanted["regenerate"]]
    if replaced:
        raise DpsError(f"{replaced[0]} is given and is to be made anew.", hint="Leave out one of the two.")
    for which in KEYS:
        key = wanted[f"{which}_key"]
        try:
            size = KEY_BYTES if key is None else len(base64.b64decode(key, validate=True))
        except (binascii.Error, ValueError):
            size = 0
        if not 16 <= size <= 64:
            raise DpsError(f"{which}_key is not base64 of 16 to 64 bytes.", hint="openssl rand -base64 32 makes one.")


def _with_policy(document: Document, wanted: dict[str, Any], new_keys: dict[str, str]) -> Document:
    policies = document["properties"]["authorizationPolicies"]
    policy = find_policy(policies, wanted["name"])
    if policy is None:
        if not wanted["rights"]:
            raise DpsError(f"There is no access policy {wanted['name']}, and to make it rights are needed.")
        policy = {"keyName": wanted["name"], "rights": "", **{KEYS[which]: key for which, key in new_keys.items()}}
        policies.append(policy)
    else:
        for which in _to_regenerate(policy, wanted):
            policy[KEYS[which]] = new_keys[which]
    if wanted["rights"]:
        # An access right of old that is on the owner's policy and means nothing to this one.
        old = [right for right in rights_of(policy) if right not in RIGHTS]
        rights = with_needed([*wanted["rights"], *old])
        if rights != rights_of(policy):
            policy["rights"] = ", ".join(rights)
    for which, field in KEYS.items():
        if wanted[f"{which}_key"]:
            policy[field] = wanted[f"{which}_key"]
    return document


def _to_regenerate(policy: Document, wanted: dict[str, Any]) -> list[str]:
    which = wanted["regenerate"]
    only = wanted["regenerate_only_sha256"]
    if not which or (only and key_sha256(policy[KEYS[which[0]]]) != only.lower()):
        return []
    return which


def _without_policy(document: Document, name: str) -> Document:
    policies = document["properties"]["authorizationPolicies"]
    policy = find_policy(policies, name)
    if policy is not None:
        policies.remove(policy)
    return document


def _result(
    action: str, before: Document | None, after: Document | None, *, hidden: Collection[str] = ()
) -> dict[str, Any]:
    """*hidden* are keys that were only thought of."""
    shown = {}
    if after is not None:
        shown = shown_policy({name: value for name, value in after.items() if value not in hidden})
    return {
        "changed": action != "unchanged",
        "action": action,
        "access_policy": shown or None,
        "diff": {"before": {} if before is None else shown_policy(before), "after": shown},
    }
