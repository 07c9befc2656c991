# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hub a device goes to (service documentation "How to use allocation policies", "Reprovisioning devices")."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import math
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from .errors import ALLOCATION_FAILED, MALFORMED, ServiceError
from .instance import Instance

WEBHOOK_SECONDS = 5


def candidates(enrollment: dict, instance: Instance) -> list[str]:
    """The hubs that an enrollment may go to: its own selection, or all that are linked and take part."""
    if enrollment.get("iotHubHostName"):
        return [enrollment["iotHubHostName"]]
    return enrollment.get("iotHubs") or list(instance.allocation)


def _hashed(registration_id: str, hubs: list[str], weights: dict[str, int]) -> str:
    """Evenly, or in proportion to the hubs' weights."""
    digest = hashlib.sha256(registration_id.lower().encode()).digest()
    place = int.from_bytes(digest[:8], "big") % sum(weights.get(hub, 1) for hub in hubs)
    for hub in sorted(hubs):
        place -= weights.get(hub, 1)
        if place < 0:
            return hub
    raise AssertionError("a place within the sum of all weights belongs to a hub")


async def choose_hub(
    enrollment: dict, request: dict, instance: Instance, latency_ms: dict[str, float]
) -> tuple[str, Any]:
    """(hub, payload for the device or None). *request* is the body that the device registers with."""
    hubs = candidates(enrollment, instance)
    if not hubs:
        raise ServiceError(MALFORMED, "No hub is linked to this service")
    policy = enrollment.get("allocationPolicy") or instance.allocation_policy
    if policy == "custom":
        return await _custom(enrollment, request, hubs)
    if policy == "static":
        return hubs[0], None
    if policy == "geoLatency":
        return min(hubs, key=lambda hub: latency_ms.get(hub, math.inf)), None
    return _hashed(enrollment["registrationId"], hubs, instance.allocation), None


async def _custom(enrollment: dict, request: dict, hubs: list[str]) -> tuple[str, Any]:
    """Asks the customer's webhook, on the loopback only: an emulator calls nobody else."""
    url = enrollment["customAllocationDefinition"]["webhookUrl"]
    host = urlsplit(url).hostname or ""
    if host != "localhost" and not _is_loopback(host):
        raise ServiceError(ALLOCATION_FAILED, "Custom allocation failed: the emulator calls the loopback only")
    question = {"deviceRuntimeContext": request, "individualEnrollment": enrollment, "linkedHubs": hubs}
    try:
        timeout = aiohttp.ClientTimeout(total=WEBHOOK_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.post(url, json=question) as answer:
            if answer.status != 200:
                raise ServiceError(ALLOCATION_FAILED, f"Custom allocation failed with status code: {answer.status}")
            choice = await answer.json()
    except (aiohttp.ClientError, asyncio.TimeoutError, ValueError) as error:
        raise ServiceError(ALLOCATION_FAILED, f"Custom allocation failed: {error or 'no answer'}") from error
    hub = choice.get("iotHubHostName") if isinstance(choice, dict) else None
    if hub not in hubs:
        raise ServiceError(ALLOCATION_FAILED, "Custom allocation failed: the answer names none of the hubs")
    return hub, choice.get("payload")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def reprovision(policy: dict, *, chosen: str, before: list[str], substatus: str | None) -> tuple[str, str]:
    """(hub, substatus) of a device that was assigned to the hubs *before* (oldest first) and registers again.

    Substatus of a move: back to a hub where it was is reprovisionedToInitialAssignment, to a new one says what became
    of its data. No move: as it was. UNVERIFIED beyond the names and their one-line descriptions.
    """
    if not before:
        return chosen, "initialAssignment"
    current = before[-1]
    if not policy["updateHubAssignment"] or chosen == current:
        return current, substatus or "initialAssignment"
    if chosen in before:
        return chosen, "reprovisionedToInitialAssignment"
    return chosen, "deviceDataMigrated" if policy["migrateDeviceData"] else "deviceDataReset"
