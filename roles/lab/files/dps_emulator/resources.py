# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Provisioning services as resources (resource provider Microsoft.Devices).

Sources: the models of azure-mgmt-iothubprovisioningservices 2.1 (shapes), the recordings of the Azure CLI's DPS tests
(a change is accepted with 201 and its result seen once an operation has ended; keys are in no GET; the key in a hub's
connection string is masked, and the masked one written back keeps it; a PUT without authorizationPolicies, as the CLI
sends it, takes no policy away). What a refusal's code is, is UNVERIFIED where management_errors.py does not say so.

One of the resources is the service that runs here: ATTACHED, in the group GROUP. It is there from the first start, and
a lock keeps it from being deleted, since the lab would go with it. Every other is a resource with an ID scope and keys
of its own and nothing that answers at its host names, which therefore end in ``.example``.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import copy
import re
import secrets
import time
import uuid
from typing import Any

from .instance import ALL_RIGHTS, Instance, rights_in
from .management_errors import (
    DUPLICATE_HUBS,
    INVALID,
    INVALID_ETAG,
    NAME_TAKEN,
    NO_SUCH_KEY,
    WRONG_STATE,
    ManagementError,
    by_manager,
    by_provider,
)
from .settings import OWNER, RIGHTS, Settings
from .store import Store

ATTACHED = "lab-dps"
GROUP = "lab"
LOCATION = "westeurope"
TYPE = "Microsoft.Devices/provisioningServices"
SKUS = {"S1": "Standard"}
POLICIES = ("Hashed", "GeoLatency", "Static")
DEVICE_CONNECT = "DeviceConnect"
_KEY_PARTS = ("HostName", "SharedAccessKeyName", "SharedAccessKey")
_MASK = "****"
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9-]{1,62})[A-Za-z0-9]")
_POLICY_NAME = re.compile(r"[A-Za-z0-9!._-]{1,64}")
# What the service alone decides; whatever a body says of it is ignored.
_OWN = (
    "state",
    "provisioningState",
    "idScope",
    "serviceOperationsHostName",
    "deviceProvisioningHostName",
    "deviceRegistryNamespaces",
)


def new_key() -> str:
    """A key of an access policy."""
    return base64.b64encode(secrets.token_bytes(32)).decode()


def _new_etag() -> str:
    return base64.b64encode(secrets.token_bytes(8)).decode()


def _policy(name: str, rights: str) -> dict:
    return {"keyName": name, "primaryKey": new_key(), "secondaryKey": new_key(), "rights": rights}


def _parts(connection_string: str) -> dict[str, str]:
    return dict(part.partition("=")[::2] for part in connection_string.split(";") if part)


def _masked(hub: dict) -> dict:
    if not hub.get("connectionString"):
        return hub
    parts = {**_parts(hub["connectionString"]), "SharedAccessKey": _MASK}
    return {**hub, "connectionString": ";".join(f"{name}={value}" for name, value in parts.items())}


def _invalid(message: str) -> ManagementError:
    return by_provider(INVALID, message)


def _objects(properties: dict, name: str) -> list[dict]:
    """The objects of a list in *properties*, none where it is missing."""
    found = properties.get(name) or []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise by_manager(
            400, "InvalidRequestContent", f"The request content was invalid: {name} is no list of objects."
        )
    return found


class Resources:
    """All provisioning services of the subscription."""

    def __init__(self, store: Store, settings: Settings, instance: Instance, *, where: str) -> None:
        self._store = store
        self._settings = settings
        self._instance = instance
        self._where = where
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.subscription = store.fact("subscription", str(uuid.uuid4()))
        self.declare()

    # The running service.

    def declare(self) -> None:
        """Makes the attached resource follow the settings where these changed since they were last followed.

        What the resource manager made in between stays: it was not the settings' to begin with.
        """
        now = {
            "hubs": list(self._settings.linked_hubs),
            "policies": dict(self._settings.policies),
            "allocation": self._settings.default_allocation_policy,
        }
        before = self._store.json_fact("declared") or {"hubs": [], "policies": {}, "allocation": "hashed"}
        document = self._store.resource(ATTACHED)
        if document is None:
            document = self._fresh(ATTACHED, GROUP, LOCATION, self._store.id_scope())
            document["properties"].update(state="Active", provisioningState="Succeeded")
            document["etag"] = _new_etag()
        was = copy.deepcopy(document)
        properties = document["properties"]
        others = [hub for hub in properties["iotHubs"] if hub["name"] not in (*before["hubs"], *now["hubs"])]
        known = {hub["name"]: hub for hub in properties["iotHubs"]}
        properties["iotHubs"] = [known.get(name) or _declared_hub(name) for name in now["hubs"]] + others
        policies = {
            policy["keyName"]: policy
            for policy in properties["authorizationPolicies"]
            if policy["keyName"] not in before["policies"] or policy["keyName"] in now["policies"]
        }
        for name, rights in now["policies"].items():
            text = ", ".join(rights)
            policies[name] = {**policies[name], "rights": text} if name in policies else _policy(name, text)
        properties["authorizationPolicies"] = list(policies.values())
        if now["allocation"] != before["allocation"]:
            properties["allocationPolicy"] = now["allocation"][0].upper() + now["allocation"][1:]
        if document != was:
            document["etag"] = _new_etag()
        self._store.put_resource(ATTACHED, document)
        self._store.put_json_fact("declared", now)
        self._instance.become(document)

    # Reading.

    def get(self, group: str, name: str) -> dict:
        """A resource as a GET shows it."""
        return self._view(self._existing(group, name))

    def listed(self, group: str | None) -> list[dict]:
        """All of a group, or of the subscription."""
        if group is not None:
            self._check_group(group)
        return [
            self._view(document)
            for document in self._store.resources()
            if group is None or document["resourcegroup"].lower() == group.lower()
        ]

    def keys(self, group: str, name: str) -> list[dict]:
        """The access policies with their keys."""
        return self._existing(group, name)["properties"]["authorizationPolicies"]

    def key(self, group: str, name: str, policy: str) -> dict:
        """One of them."""
        for one in self.keys(group, name):
            if one["keyName"].lower() == policy.lower():
                return one
        raise by_provider(NO_SUCH_KEY, f"Key {policy} not found.")

    def availability(self, name: Any) -> dict:
        """Whether a name can be had."""
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            return {"nameAvailable": False, "reason": "Invalid", "message": f"The name '{name}' is not valid."}
        if self._store.resource(name) is not None:
            told = f"The name '{name}' is already in use."
            return {"nameAvailable": False, "reason": "AlreadyExists", "message": told}
        # With this very reason, as it was recorded.
        return {"nameAvailable": True, "reason": "Invalid", "message": None}

    # Writing.

    def put(
        self, group: str, name: str, body: Any, *, if_match: str | None, if_none_match: str | None
    ) -> tuple[dict, str]:
        """(the answer's body, the operation's ID): creates, or replaces everything that a body may say."""
        self._check_group(group)
        before = self._store.resource(name)
        if not isinstance(body, dict):
            raise by_manager(400, "InvalidRequestContent", "The request content was invalid: it is not an object.")
        if before is None:
            self._check_condition(None, if_match)
            available = self.availability(name)
            if not available["nameAvailable"]:
                raise _invalid(available["message"])
            document = self._fresh(name, group, self._location(body, None), f"0ne{secrets.token_hex(4).upper()}")
        else:
            if before["resourcegroup"].lower() != group.lower():
                raise by_provider(NAME_TAKEN, f"The name '{name}' is already in use.")
            if if_none_match == "*":
                raise by_provider(INVALID_ETAG, "The resource exists already.")
            self._check_state(before)
            for etag in (if_match, body.get("etag")):
                self._check_condition(before, etag)
            document = copy.deepcopy(before)
            self._location(body, before)
        document["tags"] = self._tags(body.get("tags"))
        document["sku"] = self._sku(body.get("sku"))
        self._write_properties(document, body.get("properties"))
        document["properties"].update(
            state="Activating" if before is None else "Transitioning", provisioningState="Accepted"
        )
        document["identity"] = body.get("identity") or {"type": "None"}
        self._store.put_resource(name, document)
        answer = self._view(document)
        answer["properties"]["idScope"] = None
        if body["properties"].get("authorizationPolicies") is not None:
            answer["properties"]["authorizationPolicies"] = document["properties"]["authorizationPolicies"]
        answer.pop("etag", None)
        if "etag" in body:
            answer["etag"] = body["etag"]
        return answer, self._begin(name, "put")

    def patch(self, group: str, name: str, body: Any, *, if_match: str | None) -> dict:
        """Replaces the tags, which is all that a PATCH can do."""
        document = self._existing(group, name)
        self._check_state(document)
        self._check_condition(document, if_match)
        document["tags"] = self._tags(body.get("tags") if isinstance(body, dict) else None)
        document["etag"] = _new_etag()
        self._store.put_resource(name, document)
        return self._view(document)

    def delete(self, group: str, name: str) -> str:
        """The ID of the operation that removes it."""
        document = self._existing(group, name)
        if name.lower() == ATTACHED:
            scope = self._id(document)
            raise by_manager(
                409,
                "ScopeLocked",
                f"The scope '{scope}' cannot perform delete operation because following scope(s) are locked: "
                f"'{scope}'. Please remove the lock and try again.",
            )
        self._check_state(document)
        document["properties"]["state"] = "Deleting"
        self._store.put_resource(name, document)
        return self._begin(name, "delete")

    # Operations.

    def operation(self, operation: str) -> bool:
        """Whether it has ended."""
        found = self._store.management_operation(operation)
        if found is None:
            raise by_manager(404, "NotFound", f"The operation '{operation}' was not found.")
        return found

    def resume(self) -> None:
        """Goes on with what was under way at the last end."""
        for operation, ready in self._store.unfinished_management_operations():
            self._schedule(operation, max(0.0, ready - time.time()))

    def stop(self) -> None:
        """Ends the timers; the next start goes on."""
        for timer in self._timers.values():
            timer.cancel()

    def _begin(self, name: str, kind: str) -> str:
        operation, seconds = uuid.uuid4().hex, self._settings.management_seconds
        self._store.put_management_operation(operation, name, kind, time.time() + seconds)
        if seconds > 0:
            self._schedule(operation, seconds)
        else:
            self._finish(operation)
        return operation

    def _schedule(self, operation: str, seconds: float) -> None:
        self._timers[operation] = asyncio.get_running_loop().call_later(seconds, self._finish, operation)

    def _finish(self, operation: str) -> None:
        self._timers.pop(operation, None)
        name, kind = self._store.finish_management_operation(operation)
        if kind == "delete":
            self._store.delete_resource(name)
            return
        document = self._store.resource(name)
        assert document is not None
        document["properties"].update(state="Active", provisioningState="Succeeded")
        document["etag"] = _new_etag()
        self._store.put_resource(name, document)
        if name.lower() == ATTACHED:
            self._instance.become(document)

    # What a resource is.

    def _fresh(self, name: str, group: str, location: str, id_scope: str) -> dict:
        return {
            "name": name,
            "resourcegroup": group,
            "location": location,
            "tags": {},
            "sku": {"name": "S1", "tier": SKUS["S1"], "capacity": 1},
            "properties": {
                "iotHubs": [],
                "allocationPolicy": "Hashed",
                "authorizationPolicies": [_policy(OWNER, ALL_RIGHTS)],
                "idScope": id_scope,
            },
        }

    def _id(self, document: dict) -> str:
        group, name = document["resourcegroup"], document["name"]
        return f"/subscriptions/{self.subscription}/resourceGroups/{group}/providers/{TYPE}/{name}"

    def _view(self, document: dict) -> dict:
        shown = {**copy.deepcopy(document), "type": TYPE, "id": self._id(document), "subscriptionid": self.subscription}
        properties = shown["properties"]
        del properties["authorizationPolicies"]
        properties["iotHubs"] = [_masked(hub) for hub in properties["iotHubs"]]
        if properties["state"] == "Active":
            if document["name"].lower() == ATTACHED:
                hosts = (self._where, self._where)
            else:
                hosts = (f"{document['name']}.azure-devices-provisioning.example", "global.example")
            properties["serviceOperationsHostName"], properties["deviceProvisioningHostName"] = hosts
        return shown

    def _check_group(self, group: str) -> None:
        if group.lower() not in {one.lower() for one in (GROUP, *self._settings.resource_groups)}:
            raise by_manager(404, "ResourceGroupNotFound", f"Resource group '{group}' could not be found.")

    def _existing(self, group: str, name: str) -> dict:
        self._check_group(group)
        document = self._store.resource(name)
        if document is None or document["resourcegroup"].lower() != group.lower():
            raise by_manager(
                404,
                "ResourceNotFound",
                f"The Resource '{TYPE}/{name}' under resource group '{group}' was not found. For more details please "
                "go to https://aka.ms/ARMResourceNotFoundFix",
            )
        return document

    def _check_state(self, document: dict) -> None:
        state = document["properties"]["state"]
        if state != "Active":
            # The words are those of a user's report.
            raise by_provider(WRONG_STATE, f"Invalid IotDpsState i.e. should be active/suspended, IotDpsState: {state}")

    def _check_condition(self, document: dict | None, etag: Any) -> None:
        """UNVERIFIED that the service checks the ETag of a body as it does the header's."""
        if etag is None or (etag == "*" and document is not None):
            return
        if document is None or str(etag).strip('"') != document["etag"]:
            raise by_provider(INVALID_ETAG, "Invalid ETag supplied.")

    def _location(self, body: dict, before: dict | None) -> str:
        location = body.get("location")
        if not isinstance(location, str) or not location:
            raise by_manager(400, "LocationRequired", "The location property is required for this definition.")
        place = location.replace(" ", "").lower()
        if before is not None and place != before["location"]:
            raise by_manager(
                409,
                "InvalidResourceLocation",
                f"The resource '{before['name']}' already exists in location '{before['location']}' in resource group "
                f"'{before['resourcegroup']}'. A resource with the same name cannot be created in location '{place}'. "
                "Please select a new resource name.",
            )
        return place

    def _tags(self, tags: Any) -> dict:
        if tags is None:
            return {}
        if not isinstance(tags, dict) or not all(isinstance(value, str) for value in tags.values()):
            raise by_manager(400, "InvalidRequestContent", "The request content was invalid: tags are names to texts.")
        if len(tags) > 50:
            raise by_manager(400, "TooManyTags", "The number of tags on a resource cannot exceed 50.")
        return tags

    def _sku(self, sku: Any) -> dict:
        if not isinstance(sku, dict) or sku.get("name") not in SKUS:
            raise _invalid("The sku is missing or unknown.")
        capacity = sku.get("capacity", 1)
        if isinstance(capacity, bool) or not isinstance(capacity, int) or not 1 <= capacity <= 200:
            raise _invalid("The sku's capacity is out of range.")
        return {"name": sku["name"], "tier": SKUS[sku["name"]], "capacity": capacity}

    def _write_properties(self, document: dict, wanted: Any) -> None:
        if not isinstance(wanted, dict):
            raise by_manager(400, "InvalidRequestContent", "The request content was invalid: properties are missing.")
        hubs = self._hubs(_objects(wanted, "iotHubs"), document["properties"]["iotHubs"])
        allocation = wanted.get("allocationPolicy") or "Hashed"
        if allocation not in POLICIES:
            raise _invalid(f"Invalid allocationPolicy {allocation}.")
        policies = document["properties"]["authorizationPolicies"]
        if wanted.get("authorizationPolicies") is not None:
            policies = self._policies(_objects(wanted, "authorizationPolicies"))
        free = {name: value for name, value in wanted.items() if name not in _OWN and value is not None}
        document["properties"] = {
            **free,
            "idScope": document["properties"]["idScope"],
            "iotHubs": hubs,
            "allocationPolicy": allocation,
            "authorizationPolicies": policies,
        }

    def _hubs(self, wanted: list, before: list[dict]) -> list[dict]:
        known = {hub["name"].lower(): hub for hub in before}
        hubs = []
        for hub in wanted:
            if not hub.get("location"):
                raise _invalid("A linked hub has no location.")
            parts = _parts(hub.get("connectionString") or "")
            host = hub.get("hostName") or parts.get("HostName")
            if not host:
                raise _invalid("A linked hub has neither a connectionString nor a hostName.")
            weight = hub.get("allocationWeight")
            if weight is not None and not (isinstance(weight, int) and 1 <= weight <= 1000):
                raise _invalid(f"The allocationWeight of {host} is not from 1 to 1000.")
            written = {**hub, "name": host, "hostName": host}
            written.setdefault("authenticationType", "KeyBased")
            if written["authenticationType"] == "KeyBased":
                if not set(_KEY_PARTS) <= set(parts) or parts["HostName"] != host:
                    raise _invalid(f"The connection string of {host} is not valid.")
                if parts["SharedAccessKey"] == _MASK:
                    if not known.get(host.lower(), {}).get("connectionString"):
                        raise _invalid(f"The connection string of {host} has no key.")
                    written["connectionString"] = known[host.lower()]["connectionString"]
            hubs.append(written)
        if len({hub["name"].lower() for hub in hubs}) < len(hubs):
            raise by_provider(DUPLICATE_HUBS, "Cannot have duplicate iot hubs in description.")
        return hubs

    def _policies(self, wanted: list) -> list[dict]:
        policies = []
        for policy in wanted:
            name, rights = policy.get("keyName"), rights_in(policy.get("rights") or "")
            if not isinstance(name, str) or not _POLICY_NAME.fullmatch(name):
                raise _invalid(f"Invalid key name {name}.")
            if not rights or not set(rights) <= {*RIGHTS, DEVICE_CONNECT}:
                raise _invalid(f"Invalid rights of key {name}.")
            written = _policy(name, policy["rights"])
            for which in ("primaryKey", "secondaryKey"):
                # UNVERIFIED that a key which is not sent is made anew; it is the harsher of two readings.
                if policy.get(which):
                    written[which] = self._key(name, policy[which])
            policies.append(written)
        if len({policy["keyName"].lower() for policy in policies}) < len(policies):
            raise _invalid("Cannot have duplicate keys in description.")
        return policies

    def _key(self, name: str, key: str) -> str:
        try:
            size = len(base64.b64decode(key, validate=True))
        except (binascii.Error, ValueError):
            size = 0
        if not 16 <= size <= 64:
            raise _invalid(f"A key of {name} is not base64 of 16 to 64 bytes.")
        return key


def _declared_hub(name: str) -> dict:
    """A hub that the settings link: with an identity, since it has no key."""
    return {"name": name, "hostName": name, "location": LOCATION, "authenticationType": "SystemAssigned"}
