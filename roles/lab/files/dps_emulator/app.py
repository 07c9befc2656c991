# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The web application: all APIs and the control API, with what holds for all requests."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable

from aiohttp import web

from . import control, device_api, entra, management_api, service_api
from .errors import ServiceError
from .service import SERVICE, Service

LOG = logging.getLogger(__name__)
# Above the message limit, which the handlers check themselves and answer in the service's own words.
HARD_LIMIT = 16 * 1024 * 1024

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def _refusal(error: ServiceError) -> web.Response:
    """*error* as an answer."""
    headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
    return web.json_response(error.body(), status=error.status, headers=headers)


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    """What *handler* answers, every refusal and failure in the service's error body."""
    try:
        return await handler(request)
    except ServiceError as error:
        return _refusal(error)
    except web.HTTPException as error:
        # The router's own: no such path, no such method.
        refusal = _refusal(ServiceError(error.status * 1000, error.reason))
        if "Allow" in error.headers:
            refusal.headers["Allow"] = error.headers["Allow"]
        return refusal
    except (asyncio.CancelledError, ConnectionError):
        raise
    except Exception:
        LOG.exception("%s %s", request.method, request.path)
        return _refusal(ServiceError(500000, "Internal error"))


async def _with_faults(request: web.Request, handler: Handler) -> web.StreamResponse:
    fault = request.app[SERVICE].faults.take(request.method, request.path)
    if fault is None:
        return await _answer(request, handler)
    if fault.delay:
        await asyncio.sleep(fault.delay)
    if fault.status:
        code = fault.error_code or fault.status * 1000 + 1
        return _refusal(ServiceError(code, "A fault that was ordered", retry_after=fault.retry_after))
    if fault.drop == "before":
        return _hang_up(request)
    answer = await _answer(request, handler)
    return _hang_up(request) if fault.drop == "after" else answer


def _hang_up(request: web.Request) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


@web.middleware
async def every_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Faults, refusals and statistics of all APIs; the control API only has refusals."""
    if request.path.startswith(control.PREFIX):

        async def guarded(inner: web.Request) -> web.StreamResponse:
            control.require_loopback(inner)
            return await handler(inner)

        return await _answer(request, guarded)
    answer = await _with_faults(request, handler)
    name = (request.match_info.route.name or "unknown").removesuffix(".slash")
    request.app[SERVICE].calls[name, answer.status] += 1
    answer.headers["x-ms-request-id"] = str(uuid.uuid4())
    return answer


async def _life(app: web.Application):
    service = app[SERVICE]
    service.registrations.resume()
    service.resources.resume()
    yield
    service.resources.stop()
    await service.registrations.stop()
    service.store.close()


def make_app(service: Service) -> web.Application:
    """The application over one service."""
    app = web.Application(middlewares=[every_request], client_max_size=HARD_LIMIT)
    app[SERVICE] = service
    app[entra.ENTRA] = service.entra
    apis = (control, service_api, device_api, entra, management_api)
    app.add_routes([route for api in apis for route in api.routes()])
    app.cleanup_ctx.append(_life)
    return app
