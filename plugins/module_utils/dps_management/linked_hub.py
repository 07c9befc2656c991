# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The IoT hubs that an instance may assign devices to.

Azure shows a link's connection string with its key masked, and keeps the key where the masked one is written back
(recordings of the Azure CLI's tests). So a key cannot be compared: it is written where the link is new, uses another
policy of the hub, or where it is asked for.
"""

from __future__ import annotations

from typing import Any

from ..dps.errors import DpsError
from .amendment import Document, amend_instance
from .resource_manager import ResourceManager

AUTHENTICATION = {"key": "KeyBased", "system_assigned": "SystemAssigned", "user_assigned": "UserAssigned"}
WEIGHTS = range(1, 1001)
_MASK = "****"
_PARTS = ("HostName", "SharedAccessKeyName", "SharedAccessKey")


def shown_hub(hub: Document) -> dict[str, Any]:
    """A link as modules return it, without its key."""
    kinds = {azure: own for own, azure in AUTHENTICATION.items()}
    return {
        "hub": _host(hub),
        "location": hub.get("location"),
        "authentication": kinds.get(hub.get("authenticationType") or "KeyBased"),
        "hub_policy": _parts(hub.get("connectionString") or "").get("SharedAccessKeyName"),
        "user_assigned_identity": hub.get("selectedUserAssignedIdentityResourceId"),
        "allocation_weight": hub.get("allocationWeight"),
        "apply_allocation_policy": hub.get("applyAllocationPolicy"),
    }


def ensure_linked(
    manager: ResourceManager, instance: str, wanted: dict[str, Any], *, check_mode: bool
) -> dict[str, Any]:
    """Links the hub or changes the link; the module's result.

    *wanted* has hub, connection_string, renew_key, location, authentication, user_assigned_identity, allocation_weight
    and apply_allocation_policy; what is None stays as it is.
    """
    host = _wanted_host(wanted)
    _check(wanted, host)
    amended = amend_instance(manager, instance, lambda document: _linked(document, host, wanted), check_mode=check_mode)
    if amended is None:
        raise manager.missing(instance)
    before, after = _find(amended.before, host), _find(amended.after, host)
    action = "unchanged" if not amended.changed else "updated" if before else "linked"
    return _result(action, before, after)


def ensure_unlinked(
    manager: ResourceManager, instance: str, wanted: dict[str, Any], *, check_mode: bool
) -> dict[str, Any]:
    """Ends the link to *wanted*'s hub; the module's result."""
    host = _wanted_host(wanted)
    amended = amend_instance(manager, instance, lambda document: _unlinked(document, host), check_mode=check_mode)
    if amended is None or not amended.changed:
        return _result("unchanged", None, None)
    return _result("unlinked", _find(amended.before, host), None)


def _wanted_host(wanted: dict[str, Any]) -> str:
    parts = _parts(wanted["connection_string"] or "")
    if wanted["connection_string"] and not all(parts.get(part) for part in _PARTS):
        missing = ", ".join(part for part in _PARTS if not parts.get(part))
        raise DpsError(
            f"The connection string of the hub is wrong: it lacks {missing}.",
            hint="It has the form HostName=HUB;SharedAccessKeyName=POLICY;SharedAccessKey=KEY, from the hub's page "
            "'Shared access policies'.",
        )
    hosts = {host.lower(): host for host in (wanted["hub"], parts.get("HostName")) if host}
    if len(hosts) > 1:
        raise DpsError(f"hub is {wanted['hub']}, but the connection string is for {parts['HostName']}.")
    return next(iter(hosts.values()))


def _check(wanted: dict[str, Any], host: str) -> None:
    weight = wanted["allocation_weight"]
    if weight is not None and weight not in WEIGHTS:
        raise DpsError(f"allocation_weight is {weight}; it goes from {WEIGHTS[0]} to {WEIGHTS[-1]}.")
    if wanted["connection_string"] and wanted["authentication"] not in (None, "key"):
        raise DpsError(f"connection_string is for authentication key, not {wanted['authentication']}.")
    if (wanted["authentication"] == "user_assigned") != bool(wanted["user_assigned_identity"]):
        raise DpsError("user_assigned_identity goes with authentication user_assigned, and only with that.")
    if ".service.azure-devices." in host.lower():
        raise DpsError(
            f"{host} is a hub's service host name, which cannot be linked.",
            hint="Take the host name that its page 'Overview' shows.",
        )


def _linked(document: Document, host: str, wanted: dict[str, Any]) -> Document:
    hub = _find(document, host)
    if hub is None:
        if not wanted["location"]:
            raise DpsError(f"{host} is not linked, and to link it location (the hub's) is needed.")
        if not wanted["connection_string"] and wanted["authentication"] in (None, "key"):
            raise DpsError(
                f"{host} is not linked, and to link it connection_string is needed.",
                hint="Or let the instance use its managed identity: authentication system_assigned or user_assigned.",
            )
        hub = {"name": host, "hostName": host, "location": wanted["location"].replace(" ", "").lower()}
        document["properties"]["iotHubs"] = [*(document["properties"].get("iotHubs") or []), hub]
    if wanted["authentication"]:
        hub["authenticationType"] = AUTHENTICATION[wanted["authentication"]]
        hub.pop("selectedUserAssignedIdentityResourceId", None)
        if wanted["user_assigned_identity"]:
            hub["selectedUserAssignedIdentityResourceId"] = wanted["user_assigned_identity"]
        if wanted["authentication"] != "key":
            hub.pop("connectionString", None)
    if wanted["connection_string"] and (wanted["renew_key"] or _is_other_key(hub, wanted["connection_string"])):
        hub.update(connectionString=wanted["connection_string"], authenticationType=AUTHENTICATION["key"])
    for option, name in (
        ("allocation_weight", "allocationWeight"),
        ("apply_allocation_policy", "applyAllocationPolicy"),
    ):
        if wanted[option] is not None:
            hub[name] = wanted[option]
    return document


def _is_other_key(hub: Document, connection_string: str) -> bool:
    there, wanted = _parts(hub.get("connectionString") or ""), _parts(connection_string)
    if there.get("SharedAccessKey") not in (None, _MASK):
        return there != wanted
    return there.get("SharedAccessKeyName") != wanted["SharedAccessKeyName"]


def _unlinked(document: Document, host: str) -> Document:
    hub = _find(document, host)
    if hub is not None:
        document["properties"]["iotHubs"].remove(hub)
    return document


def _find(document: Document, host: str) -> Document | None:
    for hub in document["properties"].get("iotHubs") or []:
        if _host(hub).lower() == host.lower():
            return hub
    return None


def _host(hub: Document) -> str:
    return hub.get("name") or hub.get("hostName") or ""


def _parts(connection_string: str) -> dict[str, str]:
    return dict(part.strip().partition("=")[::2] for part in connection_string.split(";") if part.strip())


def _result(action: str, before: Document | None, after: Document | None) -> dict[str, Any]:
    shown_before = {} if before is None else shown_hub(before)
    shown_after = {} if after is None else shown_hub(after)
    if action == "updated" and shown_before == shown_after:
        shown_before, shown_after = {**shown_before, "key": "(another)"}, {**shown_after, "key": "(that of the task)"}
    return {
        "changed": action != "unchanged",
        "action": action,
        "linked_hub": None if after is None else shown_hub(after),
        "diff": {"before": shown_before, "after": shown_after},
    }
