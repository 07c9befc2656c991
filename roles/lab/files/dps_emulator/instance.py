# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the resource manager says about the service that runs here: access policies, linked hubs, allocation.

The service and device APIs go by it and by nothing else, so that a policy made there lets in, and one removed there
locks out.
"""

from __future__ import annotations

import base64
from collections.abc import Collection
from dataclasses import dataclass

from .settings import OWNER, RIGHTS

# The service tells all rights in short like this (Azure CLI, recording of "iot dps policy list").
ALL_RIGHTS = "ServiceConfig, DeviceConnect, EnrollmentWrite"


@dataclass(frozen=True)
class AccessPolicy:
    """A shared access policy: its rights and both its keys."""

    rights: Collection[str]
    keys: tuple[bytes, bytes]


def rights_in(text: str) -> list[str]:
    """The rights that the resource manager's text lists."""
    return [right.strip() for right in text.split(",") if right.strip()]


class Instance:
    """The running service, as its resource describes it."""

    def __init__(self) -> None:
        self._policies: dict[str, AccessPolicy] = {}
        self.linked_hubs: list[str] = []
        """Every linked hub: what an enrollment may name."""
        self.allocation: dict[str, int] = {}
        """The hubs that take part where an enrollment names none, with their weights."""
        self.allocation_policy = "hashed"

    def become(self, document: dict) -> None:
        """Goes by *document* from now on."""
        properties = document["properties"]
        self._policies = {
            policy["keyName"].lower(): AccessPolicy(
                RIGHTS if policy["rights"] == ALL_RIGHTS else frozenset(rights_in(policy["rights"])),
                (base64.b64decode(policy["primaryKey"]), base64.b64decode(policy["secondaryKey"])),
            )
            for policy in properties["authorizationPolicies"]
        }
        self.linked_hubs = [hub["name"] for hub in properties["iotHubs"]]
        self.allocation = {
            hub["name"]: hub.get("allocationWeight") or 1
            for hub in properties["iotHubs"]
            if hub.get("applyAllocationPolicy") is not False
        }
        name = properties["allocationPolicy"]
        self.allocation_policy = name[0].lower() + name[1:]

    def policy(self, name: str) -> AccessPolicy | None:
        """The access policy of that name. UNVERIFIED that letters count the same in both cases in a token, too."""
        return self._policies.get(name.lower())

    def connection_string(self, where: str, name: str = OWNER) -> str:
        """That of a policy, with its primary key, empty where there is no such policy."""
        policy = self.policy(name)
        if policy is None:
            return ""
        key = base64.b64encode(policy.keys[0]).decode()
        return f"HostName={where};SharedAccessKeyName={name};SharedAccessKey={key}"
