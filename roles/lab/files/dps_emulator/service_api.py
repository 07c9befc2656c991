# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The service API: enrollments and registration states over HTTP (facts "Service API").

Order of the checks: version, token, right, quota, body. UNVERIFIED in which order the service makes them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web

from .bulk import parse_bulk, run_bulk
from .enrollments import check_registration_id
from .errors import MALFORMED, NO_SUCH_REGISTRATION, ServiceError
from .query import check_query, page_size, query_enrollments
from .requests import SERVICE_VERSIONS, read_json, require_version
from .service import SERVICE, Service

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Operation = Callable[[Service, web.Request], Awaitable[web.StreamResponse]]


def _guarded(right: str, operation: Operation, *, counts_itself: bool = False) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        service = request.app[SERVICE]
        require_version(request, SERVICE_VERSIONS)
        service.authorization.require(request.headers.get("Authorization"), right)
        if not counts_itself:
            service.throttle.operation()
        return await operation(service, request)

    return handle


def _registration_id(request: web.Request) -> str:
    return check_registration_id(request.match_info["registration_id"])


async def _body(service: Service, request: web.Request) -> Any:
    return await read_json(request, service.settings.message_max_bytes)


async def get_enrollment(service: Service, request: web.Request) -> web.StreamResponse:
    """One enrollment, with its registration state."""
    return web.json_response(service.enrollments.get(_registration_id(request)))


async def put_enrollment(service: Service, request: web.Request) -> web.StreamResponse:
    """Creates without If-Match, replaces with it."""
    registration_id = _registration_id(request)
    enrollment = service.enrollments.checked(await _body(service, request))
    if enrollment["registrationId"].lower() != registration_id.lower():
        raise ServiceError(MALFORMED, "The registrationId of the body is not the one of the path")
    if_match = request.headers.get("If-Match")
    if if_match is None:
        return web.json_response(service.enrollments.create(enrollment))
    return web.json_response(service.enrollments.replace(enrollment, if_match))


async def delete_enrollment(service: Service, request: web.Request) -> web.StreamResponse:
    """Removes one enrollment."""
    service.enrollments.delete(_registration_id(request), request.headers.get("If-Match"))
    return web.Response(status=204)


async def bulk_enrollments(service: Service, request: web.Request) -> web.StreamResponse:
    """Up to ten enrollments at once."""
    mode, items = parse_bulk(await _body(service, request), service.settings.bulk_max)
    service.throttle.operation(len(items) if service.settings.bulk_counts_each else 1)
    return web.json_response(run_bulk(service.store, service.enrollments, mode, items))


async def query(service: Service, request: web.Request) -> web.StreamResponse:
    """One page of all enrollments; what the query asks for beyond that is ignored, as the service does."""
    check_query(await _body(service, request))
    page, following = query_enrollments(
        service.store,
        count=page_size(request.headers.get("x-ms-max-item-count"), service.settings),
        continuation=request.headers.get("x-ms-continuation"),
    )
    headers = {"x-ms-item-type": "Enrollment"}
    if following:
        headers["x-ms-continuation"] = following
    return web.Response(text=page, content_type="application/json", headers=headers)


async def query_groups(service: Service, request: web.Request) -> web.StreamResponse:
    """No groups: they are for X.509 and symmetric keys (limits page), not for TPMs."""
    check_query(await _body(service, request))
    return web.json_response([], headers={"x-ms-item-type": "EnrollmentGroup"})


async def attestation_mechanism(service: Service, request: web.Request) -> web.StreamResponse:
    """The keys of one enrollment."""
    return web.json_response(service.enrollments.get(_registration_id(request))["attestation"])


async def get_registration(service: Service, request: web.Request) -> web.StreamResponse:
    """One registration state."""
    return web.json_response(service.registrations.get(_registration_id(request)))


async def delete_registration(service: Service, request: web.Request) -> web.StreamResponse:
    """Forgets one registration."""
    service.registrations.delete(_registration_id(request), request.headers.get("If-Match"))
    return web.Response(status=204)


async def query_registrations(service: Service, request: web.Request) -> web.StreamResponse:
    """The registration states of an enrollment group, of which there is none (a TPM has none)."""
    await request.read()
    raise ServiceError(NO_SUCH_REGISTRATION, f"Enrollment group {_registration_id(request)} not found")


def routes() -> list[web.RouteDef]:
    """Every operation with its right and its name in the statistics."""
    one, state = "/enrollments/{registration_id}", "/registrations/{registration_id}"
    read, write = "EnrollmentRead", "EnrollmentWrite"
    bulk = _guarded(write, bulk_enrollments, counts_itself=True)
    return [
        web.post("/enrollments", bulk, name="enrollments.bulk"),
        # The stock Node service SDK posts its bulk operations there.
        web.post("/enrollments/", bulk, name="enrollments.bulk.slash"),
        web.post("/enrollments/query", _guarded(read, query), name="enrollments.query"),
        web.post("/enrollmentGroups/query", _guarded(read, query_groups), name="enrollment_groups.query"),
        web.get(one, _guarded(read, get_enrollment), name="enrollment.get", allow_head=False),
        web.put(one, _guarded(write, put_enrollment), name="enrollment.put"),
        web.delete(one, _guarded(write, delete_enrollment), name="enrollment.delete"),
        # UNVERIFIED which right the keys ask for.
        web.post(f"{one}/attestationmechanism", _guarded(read, attestation_mechanism), name="enrollment.attestation"),
        web.get(state, _guarded("RegistrationStatusRead", get_registration), name="registration.get", allow_head=False),
        web.delete(state, _guarded("RegistrationStatusWrite", delete_registration), name="registration.delete"),
        web.post(f"{state}/query", _guarded("RegistrationStatusRead", query_registrations), name="registrations.query"),
    ]
