# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device API: registration by TPM attestation over HTTPS (facts "Attestation over HTTPS")."""

from __future__ import annotations

from aiohttp import web

from .requests import DEVICE_VERSIONS, read_json, require_version
from .service import SERVICE, Service


def _checked(request: web.Request) -> tuple[Service, str]:
    service = request.app[SERVICE]
    require_version(request, DEVICE_VERSIONS)
    service.registrations.check_scope(request.match_info["id_scope"])
    return service, request.match_info["registration_id"]


def _later(service: Service, body: dict) -> web.Response:
    headers = {"Retry-After": str(service.settings.retry_after_seconds)}
    return web.json_response(body, status=202, headers=headers)


async def register(request: web.Request) -> web.StreamResponse:
    """Without a token: the challenge. With the answer to it: the beginning of the assignment."""
    service, registration_id = _checked(request)
    authorization = request.headers.get("Authorization")
    if not authorization:
        service.throttle.registration()
    body = await read_json(request, service.settings.message_max_bytes)
    if not authorization:
        raise service.registrations.challenge(registration_id, body)
    return _later(service, service.registrations.register(registration_id, body, authorization))


async def operation(request: web.Request) -> web.StreamResponse:
    """How the assignment goes."""
    service, registration_id = _checked(request)
    service.throttle.poll(registration_id.lower())
    found = service.registrations.operation(
        registration_id, request.match_info["operation"], request.headers.get("Authorization")
    )
    return _later(service, found) if found["status"] == "assigning" else web.json_response(found)


async def lookup(request: web.Request) -> web.StreamResponse:
    """What a device is told of itself."""
    service, registration_id = _checked(request)
    body = await read_json(request, service.settings.message_max_bytes)
    authorization = request.headers.get("Authorization")
    return web.json_response(service.registrations.lookup(registration_id, body, authorization))


def routes() -> list[web.RouteDef]:
    """Every operation with its name in the statistics."""
    device = "/{id_scope}/registrations/{registration_id}"
    return [
        web.put(f"{device}/register", register, name="device.register"),
        web.get(f"{device}/operations/{{operation}}", operation, name="device.operation", allow_head=False),
        web.post(device, lookup, name="device.lookup"),
    ]
