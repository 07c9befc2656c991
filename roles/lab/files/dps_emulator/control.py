# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The control API under ``/_emulator/``: for tests and the lab, from the loopback only.

``GET stats`` (calls by operation and status, counts), ``DELETE stats`` (from zero), ``GET|PUT settings`` (PUT changes
those named), ``GET|POST|DELETE faults``, ``DELETE quotas`` (whole again), ``GET hub_keys/{device_id}``, ``GET
policies``, ``GET applications``.
"""

from __future__ import annotations

import base64
import ipaddress
import json

from aiohttp import web

from .errors import MALFORMED, NO_SUCH_REGISTRATION, UNAUTHORIZED, ServiceError
from .faults import FaultError
from .service import SERVICE
from .settings import SettingsError

PREFIX = "/_emulator/"


def require_loopback(request: web.Request) -> None:
    """Refuses everybody who is not on this machine."""
    if not ipaddress.ip_address((request.remote or "").split("%")[0] or "0.0.0.0").is_loopback:
        raise ServiceError(UNAUTHORIZED, "The control API is for this machine alone")


async def get_stats(request: web.Request) -> web.Response:
    """Calls by operation and status, and how much there is."""
    service = request.app[SERVICE]
    calls: dict[str, dict[str, int]] = {}
    for (name, status), count in sorted(service.calls.items()):
        calls.setdefault(name, {})[str(status)] = count
    return web.json_response({"calls": calls, "enrollments": service.store.enrollment_count()})


async def reset_stats(request: web.Request) -> web.Response:
    """Counts from zero."""
    request.app[SERVICE].calls.clear()
    return web.Response(status=204)


async def get_settings(request: web.Request) -> web.Response:
    """All settings."""
    return web.json_response(request.app[SERVICE].settings.as_dict())


async def put_settings(request: web.Request) -> web.Response:
    """Changes the settings that the body names, until the next start."""
    service = request.app[SERVICE]
    try:
        service.settings.update(json.loads(await request.read()))
    except (SettingsError, ValueError) as error:
        raise ServiceError(MALFORMED, str(error)) from error
    service.resources.declare()
    return web.json_response(service.settings.as_dict())


async def get_faults(request: web.Request) -> web.Response:
    """The faults that are still to come."""
    return web.json_response(request.app[SERVICE].faults.as_list())


async def post_fault(request: web.Request) -> web.Response:
    """Orders one."""
    try:
        request.app[SERVICE].faults.order(json.loads(await request.read()))
    except (FaultError, ValueError) as error:
        raise ServiceError(MALFORMED, str(error)) from error
    return await get_faults(request)


async def delete_faults(request: web.Request) -> web.Response:
    """Forgets all."""
    request.app[SERVICE].faults.clear()
    return web.Response(status=204)


async def restore_quotas(request: web.Request) -> web.Response:
    """Forgets what was spent."""
    request.app[SERVICE].throttle.forget()
    return web.Response(status=204)


async def get_hub_key(request: web.Request) -> web.Response:
    """What a hub would check a device's tokens with."""
    found = request.app[SERVICE].hub_key_for(request.match_info["device_id"])
    if found is None:
        raise ServiceError(NO_SUCH_REGISTRATION, "no such device")
    return web.json_response({"hub": found.hub, "key": base64.b64encode(found.key).decode()})


async def get_policies(request: web.Request) -> web.Response:
    """The primary keys of the access policies of the settings, by name."""
    service = request.app[SERVICE]
    keys = {}
    for name in service.settings.policies:
        policy = service.instance.policy(name)
        if policy is not None:
            keys[name] = base64.b64encode(policy.keys[0]).decode()
    return web.json_response(keys)


async def get_applications(request: web.Request) -> web.Response:
    """The secrets of the Entra ID applications of the settings, by name."""
    service = request.app[SERVICE]
    return web.json_response({name: service.entra.secret(name) for name in service.settings.applications})


def routes() -> list[web.RouteDef]:
    """Every control operation."""
    return [
        web.get(f"{PREFIX}stats", get_stats),
        web.delete(f"{PREFIX}stats", reset_stats),
        web.get(f"{PREFIX}settings", get_settings),
        web.put(f"{PREFIX}settings", put_settings),
        web.get(f"{PREFIX}faults", get_faults),
        web.post(f"{PREFIX}faults", post_fault),
        web.delete(f"{PREFIX}faults", delete_faults),
        web.delete(f"{PREFIX}quotas", restore_quotas),
        web.get(f"{PREFIX}hub_keys/{{device_id}}", get_hub_key),
        web.get(f"{PREFIX}policies", get_policies),
        web.get(f"{PREFIX}applications", get_applications),
    ]
