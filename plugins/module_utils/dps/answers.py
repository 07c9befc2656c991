# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the service answers, held to what was asked before anything else here sees it.

Only the properties that are read here are looked at; each may be missing or null. An answer about something else than
what was asked for is no answer.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterable
from typing import Any

from ..outside.strict_json import JsonError, parse
from ..outside.visible import visible
from .shape import HOST, LONGEST_REFUSAL, Unfit, code, fields, flag, kind, list_of, mapping, text

# A page, an enrollment, its twin and the ten levels that a twin may have (hub documentation) are less than half of it.
_DEEPEST = 32
LONGEST_CONTINUATION = 8192

_REGISTRATION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-._:]{0,127}")
_DEVICE_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")
_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_MOMENT = re.compile(r"[0-9TtZz:.+\- ]{1,40}")
# One entity tag, with or without its quotes: several at once, or *, would be a condition that is always met.
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{1,256}"|(?!\*$)[\x21\x23-\x2b\x2d-\x7e]{1,256}')
_CODE = re.compile(r"[A-Za-z0-9_.\-]{1,64}")
_KEY = re.compile(r"[A-Za-z0-9+/\s]{1,4096}={0,2}\s*")


def decoded(content: bytes, *, most: int) -> Any:
    """The JSON in an answer's body of at most *most* bytes, None for an empty one. Unfit where it is none."""
    content = content.removeprefix(codecs.BOM_UTF8)
    if not content.strip():
        return None
    try:
        return parse(content, most=most, depth=_DEEPEST)
    except JsonError as error:
        raise Unfit(str(error)) from None


def enrollment(value: Any, asked: str | None = None) -> dict[str, Any]:
    """An enrollment, that of *asked* where an ID is given."""
    _ENROLLMENT(value, "the enrollment")
    _about(value, asked, "the enrollment")
    if value.get("registrationState") is not None:
        _about(value["registrationState"], value["registrationId"], "registrationState", optional=True)
    return value


def registration(value: Any, asked: str) -> dict[str, Any]:
    """The registration state of *asked*."""
    _REGISTRATION(value, "the registration")
    _about(value, asked, "the registration", optional=True)
    return value


def page(value: Any) -> list[dict[str, Any]]:
    """One page of enrollments, none of them twice."""
    if not isinstance(value, list):
        raise Unfit(f"is {kind(value)} and not a list")
    seen = set()
    for number, one in enumerate(value):
        _ENROLLMENT(one, f"its entry {number + 1}")
        registration_id = one.get("registrationId")
        if registration_id is None:
            raise Unfit(f"has an entry {number + 1} without a registrationId")
        if registration_id.lower() in seen:
            raise Unfit(f"lists {registration_id} twice")
        seen.add(registration_id.lower())
    return value


def bulk_errors(value: Any, asked: Iterable[str]) -> list[dict[str, Any]]:
    """The errors of a bulk operation on *asked*: each with the registrationId of one of them, none twice."""
    _BULK(value, "the result")
    errors = value.get("errors") or []
    left = {one.lower() for one in asked}
    for one in errors:
        registration_id = one.get("registrationId")
        if registration_id is None:
            raise Unfit("refuses an enrollment without saying which one")
        if registration_id.lower() not in left:
            raise Unfit(f"refuses {registration_id}, which was not asked for or was told before")
        left.discard(registration_id.lower())
    if value.get("isSuccessful") is not (not errors):
        raise Unfit(f"says isSuccessful {json.dumps(value.get('isSuccessful'))} and tells {len(errors)} errors")
    return errors


def continuation(header: str | None) -> str | None:
    """What to ask the next page with, None where there is none."""
    if not header:
        return None
    if len(header) > LONGEST_CONTINUATION or not header.isascii() or not header.isprintable():
        raise Unfit(f"has a continuation that is none ({len(header)} characters)")
    return header


def error_body(content: bytes) -> dict[str, Any]:
    """What a refusal says: message, errorCode and trackingId, each None where it is not there or makes no sense."""
    try:
        body = decoded(content, most=LONGEST_REFUSAL)
    except Unfit:
        body = None
    body = body if isinstance(body, dict) else {}
    message = body.get("message") or body.get("Message")
    number, tracking = body.get("errorCode"), body.get("trackingId")
    sensible = isinstance(number, int) and not isinstance(number, bool) and 0 < number < 10**9
    if isinstance(number, str) and _CODE.fullmatch(number):
        sensible = True
    return {
        "message": message if isinstance(message, str) else None,
        "errorCode": number if sensible else None,
        "trackingId": visible(tracking, most=128) if isinstance(tracking, str) and tracking else None,
    }


def _about(value: dict[str, Any], asked: str | None, what: str, *, optional: bool = False) -> None:
    found = value.get("registrationId")
    if found is None and not optional:
        raise Unfit(f"has no registrationId in {what}")
    if asked is not None and found is not None and found.lower() != asked.lower():
        raise Unfit(f"is about {found} and not about {asked}")


_REGISTRATION = fields(
    registrationId=text(_REGISTRATION_ID, empty=False),
    status=text(_WORD),
    substatus=text(_WORD),
    assignedHub=text(HOST),
    deviceId=text(_DEVICE_ID),
    errorCode=code,
    errorMessage=text(),
    createdDateTimeUtc=text(_MOMENT),
    lastUpdatedDateTimeUtc=text(_MOMENT),
    etag=text(_ETAG),
)
_ENROLLMENT = fields(
    registrationId=text(_REGISTRATION_ID, empty=False),
    deviceId=text(_DEVICE_ID),
    attestation=fields(type=text(_WORD), tpm=fields(endorsementKey=text(_KEY), storageRootKey=text(_KEY))),
    capabilities=fields(iotEdge=flag),
    initialTwin=fields(tags=mapping, properties=fields(desired=mapping)),
    provisioningStatus=text(_WORD),
    reprovisionPolicy=fields(updateHubAssignment=flag, migrateDeviceData=flag),
    allocationPolicy=text(_WORD),
    iotHubs=list_of(text(HOST, empty=False), 1000),
    iotHubHostName=text(HOST),
    customAllocationDefinition=fields(webhookUrl=text(), apiVersion=text()),
    optionalDeviceInformation=mapping,
    etag=text(_ETAG),
    registrationState=_REGISTRATION,
    createdDateTimeUtc=text(_MOMENT),
    lastUpdatedDateTimeUtc=text(_MOMENT),
)
_BULK = fields(
    isSuccessful=flag,
    errors=list_of(fields(registrationId=text(), errorCode=code, errorStatus=text()), 1000),
)
