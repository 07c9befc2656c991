# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Individual enrollments: what is a valid one, and one at a time.

Sources: reference "Individual Enrollment"; facts "Service API".
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

from .errors import (
    CONFLICT,
    MALFORMED,
    NO_SUCH_ENROLLMENT,
    PRECONDITION_FAILED,
    ServiceError,
    utc_now,
)
from .instance import Instance
from .settings import Settings
from .store import Store
from .tpm_keys import decode_key

# Case-insensitive, alphanumerics and - . _ : ; "no special characters at start or end" says the reference, "last must
# be alphanumeric or dash" says the concept page: the stricter for the start, the concept page for the end.
REGISTRATION_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-._:]{0,126}[A-Za-z0-9\-])?")
# The identity registry of the hub: ASCII alphanumerics and these.
DEVICE_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")
READ_ONLY = ("registrationState", "createdDateTimeUtc", "lastUpdatedDateTimeUtc")
POLICIES = ("hashed", "geoLatency", "static", "custom")

Check = Callable[[Any, str], Any]


def _bad(message: str) -> ServiceError:
    return ServiceError(MALFORMED, message)


def check_registration_id(value: Any) -> str:
    """*value* if it is a legal registration ID."""
    if not isinstance(value, str) or not REGISTRATION_ID.fullmatch(value):
        raise _bad(
            "Invalid registrationId: up to 128 alphanumerics and -._: of which the last is alphanumeric or a dash"
        )
    return value


def _typed(kind: type, word: str) -> Check:
    def check(value: Any, where: str) -> Any:
        if not isinstance(value, kind):
            raise _bad(f"Invalid {where}: not {word}")
        return value

    return check


_string = _typed(str, "a string")
_boolean = _typed(bool, "a boolean")
_mapping = _typed(dict, "an object")


def _one_of(*allowed: str) -> Check:
    def check(value: Any, where: str) -> str:
        if value not in allowed:
            raise _bad(f"Invalid {where}: one of {', '.join(allowed)}")
        return value

    return check


def _fields(**checks: Check) -> Check:
    """An object with no other fields than these; null stands for absent."""

    def check(value: Any, where: str) -> dict:
        _mapping(value, where)
        for name in value:
            if name not in checks:
                raise _bad(f"Invalid {where}: unknown property {name!r}")
        present = {name: inner for name, inner in value.items() if inner is not None}
        return {name: checks[name](inner, f"{where}.{name}") for name, inner in present.items()}

    return check


def _key(value: Any, where: str) -> str:
    decode_key(value, where.rsplit(".", 1)[-1])
    return value


def _device_id(value: Any, where: str) -> str:
    if not isinstance(value, str) or not DEVICE_ID.fullmatch(value):
        raise _bad(f"Invalid {where}: up to 128 ASCII alphanumerics and -:.+%_#*?!(),=@;$'")
    return value


def _hubs(value: Any, where: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(hub, str) for hub in value):
        raise _bad(f"Invalid {where}: not a list of host names")
    return value


def _attestation(value: Any, where: str) -> dict:
    checked = _fields(type=_one_of("tpm"), tpm=_fields(endorsementKey=_key, storageRootKey=_key))(value, where)
    if "type" not in checked or "tpm" not in checked:
        raise _bad(f"Invalid {where}: type and tpm are needed")
    if "endorsementKey" not in checked["tpm"]:
        decode_key(None, "endorsementKey")
    return checked


_CHECKS: dict[str, Check] = {
    "registrationId": lambda value, where: check_registration_id(value),
    "deviceId": _device_id,
    # Other attestation types are for other devices: this service is one for a TPM fleet.
    "attestation": _attestation,
    "capabilities": _fields(iotEdge=_boolean),
    "initialTwin": _fields(tags=_mapping, properties=_fields(desired=_mapping)),
    "provisioningStatus": _one_of("enabled", "disabled"),
    "reprovisionPolicy": _fields(updateHubAssignment=_boolean, migrateDeviceData=_boolean),
    "allocationPolicy": _one_of(*POLICIES),
    "iotHubs": _hubs,
    "iotHubHostName": _string,
    "customAllocationDefinition": _fields(webhookUrl=_string, apiVersion=_string),
    "optionalDeviceInformation": _mapping,
    "etag": _string,
}


class Enrollments:
    """The enrollment list of the service."""

    def __init__(self, store: Store, settings: Settings, instance: Instance) -> None:
        self._store = store
        self._settings = settings
        self._instance = instance

    def checked(self, body: Any) -> dict:
        """The writable part of *body*, every rule applied, defaults filled in. Refuses with 400."""
        if not isinstance(body, dict):
            raise _bad("Invalid enrollment: not an object")
        if self._settings.refuse_read_only:
            sent = [name for name in READ_ONLY if name in body]
            if sent:
                raise _bad(f"Invalid enrollment: {', '.join(sent)} cannot be written")
        writable = {name: value for name, value in body.items() if name not in READ_ONLY}
        enrollment = _fields(**_CHECKS)(writable, "enrollment")
        for name in ("registrationId", "attestation"):
            if name not in enrollment:
                raise _bad(f"Invalid enrollment: {name} is missing")
        self._check_allocation(enrollment)
        # Defaults of the reference. UNVERIFIED that the service answers with them filled in.
        enrollment.setdefault("capabilities", {}).setdefault("iotEdge", False)
        enrollment.setdefault("provisioningStatus", "enabled")
        policy = enrollment.setdefault("reprovisionPolicy", {})
        policy.setdefault("updateHubAssignment", True)
        policy.setdefault("migrateDeviceData", True)
        enrollment.pop("etag", None)
        return enrollment

    def _check_allocation(self, enrollment: dict) -> None:
        hubs = enrollment.get("iotHubs", []) + [enrollment[name] for name in ("iotHubHostName",) if name in enrollment]
        if not self._settings.unlinked_hubs_allowed:
            for hub in hubs:
                if hub not in self._instance.linked_hubs:
                    raise _bad(f"Invalid iotHubs: {hub} is not linked to this service")
        policy = enrollment.get("allocationPolicy")
        if policy == "static" and not hubs:
            raise _bad("Invalid allocationPolicy: static needs a hub")
        custom = enrollment.get("customAllocationDefinition")
        if policy == "custom" and not {"webhookUrl", "apiVersion"} <= set(custom or {}):
            raise _bad("Invalid customAllocationDefinition: custom needs webhookUrl and apiVersion")

    def create(self, enrollment: dict) -> dict:
        """Adds a checked enrollment, refuses with 409 where there is one."""
        registration_id = enrollment["registrationId"]
        if self._store.enrollment(registration_id) is not None:
            raise ServiceError(CONFLICT, f"Enrollment {registration_id} already exists")
        return self._write(enrollment, None)

    def replace(self, enrollment: dict, if_match: str | None) -> dict:
        """Replaces an enrollment that has this ETag (None and ``*``: whichever it has).

        UNVERIFIED that ``*`` on one that does not exist is refused, as it is here.
        """
        return self._write(enrollment, self._existing(enrollment["registrationId"], if_match))

    def delete(self, registration_id: str, if_match: str | None) -> None:
        """Removes an enrollment that has this ETag (None and ``*``: whichever it has)."""
        self._existing(registration_id, if_match)
        self._store.delete_enrollment(registration_id)

    def get(self, registration_id: str) -> dict:
        """The enrollment with its registration state, which no query result has (facts)."""
        document = self._existing(registration_id, None)
        registration = self._store.registration(registration_id)
        if registration is not None:
            etag, state, _hubs_before = registration
            document["registrationState"] = {**state, "etag": etag}
        return document

    def _existing(self, registration_id: str, if_match: str | None) -> dict:
        found = self._store.enrollment(registration_id)
        if found is None:
            raise ServiceError(NO_SUCH_ENROLLMENT, f"Enrollment {registration_id} not found")
        etag, document = found
        if if_match not in (None, "*", etag):
            raise ServiceError(PRECONDITION_FAILED, f"The ETag of enrollment {registration_id} does not match")
        return document

    def _write(self, enrollment: dict, before: dict | None) -> dict:
        registration_id = enrollment["registrationId"]
        if self._settings.unique_endorsement_keys:
            holders = self._store.enrollments_with_key(enrollment["attestation"]["tpm"]["endorsementKey"])
            if set(holders) - {registration_id.lower()}:
                raise ServiceError(CONFLICT, "Another enrollment has this endorsement key")
        now = utc_now()
        etag = f'"{uuid.uuid4()}"'
        document = {
            **enrollment,
            "registrationId": before["registrationId"] if before else registration_id,
            "etag": etag,
            "createdDateTimeUtc": before["createdDateTimeUtc"] if before else now,
            "lastUpdatedDateTimeUtc": now,
        }
        self._store.put_enrollment(registration_id, etag, document)
        return document
