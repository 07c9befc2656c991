# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A Device Provisioning Service instance: what can be wanted of it, and its form in results.

Source: the models of azure-mgmt-iothubprovisioningservices 2.1. Names of allocation policies are those of the
service's own API, so that an instance and an enrollment say the same.
"""

from __future__ import annotations

import copy
from typing import Any

from ..dps.errors import DpsError
from .amendment import Document, amend_instance
from .linked_hub import shown_hub
from .resource_manager import ResourceManager

SKUS = ("S1",)
ALLOCATION_POLICIES = ("hashed", "geoLatency", "static")
# What is told of an instance that changes by itself with every write.
_VOLATILE = ("etag", "state")


def as_result(document: Document) -> dict[str, Any]:
    """An instance as modules return it. What only Azure knows is None before it was made."""
    properties, sku = document["properties"], document.get("sku") or {}
    return {
        "name": document.get("name"),
        "id": document.get("id"),
        "resource_group": document.get("resourcegroup"),
        "location": document.get("location"),
        "state": properties.get("state"),
        "id_scope": properties.get("idScope"),
        "service_host": properties.get("serviceOperationsHostName"),
        "device_host": properties.get("deviceProvisioningHostName"),
        "sku": sku.get("name"),
        "units": sku.get("capacity"),
        "allocation_policy": _own_name(properties.get("allocationPolicy")),
        "tags": document.get("tags") or {},
        "linked_hubs": [shown_hub(hub) for hub in properties.get("iotHubs") or []],
        "etag": document.get("etag"),
    }


def ensure_present(manager: ResourceManager, name: str, wanted: dict[str, Any], *, check_mode: bool) -> dict[str, Any]:
    """Makes or changes the instance; the module's result.

    *wanted* has location, sku, units, allocation_policy, tags (None: as it is) and append_tags.
    """
    if wanted["units"] is not None and wanted["units"] < 1:
        raise DpsError(f"units is {wanted['units']}; it has to be 1 or more.")
    amended = amend_instance(manager, name, lambda document: _amended(document, name, wanted), check_mode=check_mode)
    if amended is not None:
        return _result("updated" if amended.changed else "unchanged", amended.before, amended.after)
    if not wanted["location"]:
        raise DpsError(f"There is no DPS instance {name}, and to make it location is needed.", hint="Say where.")
    manager.require_available(name)
    blank = {
        "location": _place(wanted["location"]),
        "tags": {},
        "sku": {"name": SKUS[0], "capacity": 1},
        "properties": {"allocationPolicy": "Hashed"},
    }
    document = _amended(blank, name, wanted)
    if check_mode:
        return _result("created", None, {**document, "name": name})
    try:
        return _result("created", None, manager.create(name, document))
    except DpsError as error:
        if error.status not in (409, 412):
            raise
        # It is there, from an earlier try whose answer was lost or from somebody else in the same moment.
        found = amend_instance(manager, name, lambda there: _amended(there, name, wanted), check_mode=False)
        if found is None:
            raise
        return _result("created", None, found.after)


def ensure_absent(manager: ResourceManager, name: str, *, check_mode: bool) -> dict[str, Any]:
    """Removes the instance; the module's result."""
    before = manager.settled(name)
    if before is None:
        return _result("unchanged", None, None)
    if not check_mode:
        try:
            manager.delete(name)
        except DpsError as error:
            # An earlier try whose answer was lost may have removed it, or be about to.
            if error.status not in (404, 409) or manager.settled(name) is not None:
                raise
    return _result("deleted", before, None)


def _amended(document: Document, name: str, wanted: dict[str, Any]) -> Document:
    document = copy.deepcopy(document)
    location = wanted["location"]
    if location and _place(location) != _place(document["location"]):
        raise DpsError(
            f"The DPS instance {name} is in {document['location']}, not in {_place(location)}.",
            hint="An instance cannot be moved: leave location out, or take another name.",
        )
    if wanted["sku"]:
        document["sku"]["name"] = wanted["sku"]
    if wanted["units"]:
        document["sku"]["capacity"] = wanted["units"]
    if wanted["allocation_policy"]:
        document["properties"]["allocationPolicy"] = _azure_name(wanted["allocation_policy"])
    if wanted["tags"] is not None:
        kept = (document.get("tags") or {}) if wanted["append_tags"] else {}
        document["tags"] = {**kept, **{key: str(value) for key, value in wanted["tags"].items()}}
    return document


def _result(action: str, before: Document | None, after: Document | None) -> dict[str, Any]:
    shown_before, shown_after = _shown(before), _shown(after)
    return {
        "changed": action != "unchanged",
        "action": action,
        "instance": None if after is None else as_result(after),
        "diff": {"before": shown_before, "after": shown_after},
    }


def _shown(document: Document | None) -> dict[str, Any]:
    if document is None:
        return {}
    return {name: value for name, value in as_result(document).items() if name not in _VOLATILE}


def _place(location: str) -> str:
    """A location's name as Azure compares it."""
    return location.replace(" ", "").lower()


def _own_name(policy: str | None) -> str | None:
    return policy and policy[0].lower() + policy[1:]


def _azure_name(policy: str) -> str:
    return policy[0].upper() + policy[1:]
