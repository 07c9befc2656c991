# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The resource manager over HTTP, as azure-mgmt-iothubprovisioningservices 2.1 calls it.

Writes are long-running operations: they answer at once with ``Azure-AsyncOperation``, and a deletion with ``Location``
too, and what they did is seen once the operation has ended (recordings of the Azure CLI's tests).
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from .entra import ENTRA, TokenError
from .errors import ServiceError
from .management_errors import ManagementError, by_manager
from .requests import read_json
from .resources import SKUS
from .service import SERVICE, Service
from .settings import MANAGE

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Operation = Callable[[Service, web.Request], Awaitable[web.StreamResponse]]
# The versions of a resource provider are dates; which ones it still takes is left open.
_VERSION = re.compile(r"20\d\d-\d\d-\d\d(-preview)?")
# What the resource manager takes at most.
BODY_LIMIT = 4 * 1024 * 1024


def _authorize(request: web.Request, action: str) -> None:
    entra = request.app[ENTRA]
    scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
    challenge = {"WWW-Authenticate": f'Bearer authorization_uri="{request.url.origin()}/{entra.tenant}"'}
    if scheme != "Bearer":
        told = "Authentication failed. The 'Authorization' header is missing."
        raise by_manager(401, "AuthenticationFailed", told, challenge)
    try:
        client = entra.client_of(token, entra.management_audiences)
    except TokenError as error:
        challenge["WWW-Authenticate"] += ', error="invalid_token"'
        told = f"The access token is invalid: {error}."
        raise by_manager(401, "InvalidAuthenticationToken", told, challenge) from None
    if MANAGE not in entra.rights_of(client):
        raise by_manager(
            403,
            "AuthorizationFailed",
            f"The client '{client}' with object id '{client}' does not have authorization to perform action "
            f"'Microsoft.Devices/{action}' over scope '{request.path}' or the scope is invalid. If access was recently "
            "granted, please refresh your credentials.",
        )


def _managed(action: str, operation: Operation) -> Handler:
    """*operation* behind the checks that all have in common, its refusals as answers."""

    async def handle(request: web.Request) -> web.StreamResponse:
        service = request.app[SERVICE]
        try:
            version = request.query.get("api-version")
            if not version:
                told = "The api-version query parameter (?api-version=) is required for all requests."
                raise by_manager(400, "MissingApiVersionParameter", told)
            if not _VERSION.fullmatch(version):
                raise by_manager(400, "InvalidApiVersionParameter", f"The api-version '{version}' is invalid.")
            _authorize(request, action)
            subscription = request.match_info["subscription"]
            if subscription.lower() != service.resources.subscription:
                told = f"The subscription '{subscription}' could not be found."
                raise by_manager(404, "SubscriptionNotFound", told)
            answer = await operation(service, request)
        except ManagementError as error:
            answer = web.json_response(error.body, status=error.status, headers=error.headers)
        answer.headers["x-ms-correlation-request-id"] = str(uuid.uuid4())
        return answer

    return handle


async def _body(request: web.Request) -> Any:
    try:
        return await read_json(request, BODY_LIMIT)
    except ServiceError as error:
        raise by_manager(error.status, "InvalidRequestContent", error.message) from None


def _names(request: web.Request) -> tuple[str, str]:
    return request.match_info["group"], request.match_info["name"]


def _operation_url(request: web.Request, operation: str) -> str:
    """Where an operation is asked for; with ``asyncinfo`` it answers how it goes, without it just whether it ended."""
    subscription, version = request.match_info["subscription"], request.query["api-version"]
    path = f"/subscriptions/{subscription}/providers/Microsoft.Devices/locations/emulated"
    return f"{request.url.origin()}{path}/provisioningServiceOperationResults/{operation}?api-version={version}"


async def get_one(service: Service, request: web.Request) -> web.StreamResponse:
    """One resource."""
    return web.json_response(service.resources.get(*_names(request)))


async def list_group(service: Service, request: web.Request) -> web.StreamResponse:
    """Those of a group."""
    return web.json_response({"value": service.resources.listed(request.match_info["group"])})


async def list_subscription(service: Service, request: web.Request) -> web.StreamResponse:
    """All."""
    return web.json_response({"value": service.resources.listed(None)})


async def put_one(service: Service, request: web.Request) -> web.StreamResponse:
    """Creates or replaces."""
    answer, operation = service.resources.put(
        *_names(request),
        await _body(request),
        if_match=request.headers.get("If-Match"),
        if_none_match=request.headers.get("If-None-Match"),
    )
    headers = {"Azure-AsyncOperation": f"{_operation_url(request, operation)}&asyncinfo"}
    return web.json_response(answer, status=201, headers=headers)


async def patch_one(service: Service, request: web.Request) -> web.StreamResponse:
    """Replaces the tags."""
    if_match = request.headers.get("If-Match")
    return web.json_response(service.resources.patch(*_names(request), await _body(request), if_match=if_match))


async def delete_one(service: Service, request: web.Request) -> web.StreamResponse:
    """Removes."""
    url = _operation_url(request, service.resources.delete(*_names(request)))
    headers = {"Azure-AsyncOperation": f"{url}&asyncinfo", "Location": url}
    return web.json_response(None, status=202, headers=headers)


async def list_keys(service: Service, request: web.Request) -> web.StreamResponse:
    """The access policies with their keys."""
    return web.json_response({"value": service.resources.keys(*_names(request))})


async def get_key(service: Service, request: web.Request) -> web.StreamResponse:
    """One of them."""
    return web.json_response(service.resources.key(*_names(request), request.match_info["policy"]))


async def list_skus(service: Service, request: web.Request) -> web.StreamResponse:
    """What a resource can be had as."""
    service.resources.get(*_names(request))
    return web.json_response({"value": [{"name": name} for name in SKUS]})


async def check_name(service: Service, request: web.Request) -> web.StreamResponse:
    """Whether a name can be had."""
    body = await _body(request)
    return web.json_response(service.resources.availability(body.get("name") if isinstance(body, dict) else None))


async def get_operation(service: Service, request: web.Request) -> web.StreamResponse:
    """How an operation goes."""
    ended = service.resources.operation(request.match_info["operation"])
    if "asyncinfo" in request.query:
        return web.json_response({"status": "Succeeded" if ended else "Running"})
    return web.Response(status=204 if ended else 202)


def routes() -> list[web.RouteDef]:
    """Every operation with its action (as roles name it) and its name in the statistics. Paths know no case."""
    subscription = "/{_s:(?i:subscriptions)}/{subscription}"
    devices = "{_p:(?i:providers)}/{_d:(?i:microsoft.devices)}"
    provider = f"{subscription}/{devices}"
    group = f"{subscription}/{{_g:(?i:resourcegroups)}}/{{group}}/{devices}/{{_t:(?i:provisioningservices)}}"
    one = f"{group}/{{name}}"
    read, write = "provisioningServices/read", "provisioningServices/write"
    keys = "provisioningServices/listkeys/Action"
    return [
        web.get(f"{provider}/{{_t:(?i:provisioningservices)}}", _managed(read, list_subscription), name="arm.list_all"),
        web.get(group, _managed(read, list_group), name="arm.list"),
        web.get(one, _managed(read, get_one), name="arm.get", allow_head=False),
        web.put(one, _managed(write, put_one), name="arm.put"),
        web.patch(one, _managed(write, patch_one), name="arm.patch"),
        web.delete(one, _managed("provisioningServices/delete", delete_one), name="arm.delete"),
        web.post(f"{one}/{{_k:(?i:listkeys)}}", _managed(keys, list_keys), name="arm.keys"),
        web.post(f"{one}/{{_k:(?i:keys)}}/{{policy}}/{{_l:(?i:listkeys)}}", _managed(keys, get_key), name="arm.key"),
        web.get(f"{one}/skus", _managed("provisioningServices/skus/read", list_skus), name="arm.skus"),
        web.post(
            f"{provider}/{{_c:(?i:checkprovisioningservicenameavailability)}}",
            _managed("checkProvisioningServiceNameAvailability/Action", check_name),
            name="arm.check_name",
        ),
        web.get(
            f"{provider}/locations/{{location}}/provisioningServiceOperationResults/{{operation}}",
            _managed("operationresults/read", get_operation),
            name="arm.operation",
        ),
    ]
