# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A device registers: challenged, believed, assigned (facts: "Attestation over HTTPS")."""

from __future__ import annotations

import asyncio
import base64
import json
import time
import uuid
from typing import Any

from .allocation import choose_hub, reprovision
from .attestation import new_key, wrap_key
from .auth import Token, parse_token
from .enrollments import check_registration_id
from .errors import (
    MALFORMED,
    NO_SUCH_ENROLLMENT,
    NO_SUCH_REGISTRATION,
    NO_SUCH_SERVICE,
    PRECONDITION_FAILED,
    UNAUTHENTICATED,
    UNAUTHORIZED,
    ServiceError,
    utc_now,
)
from .instance import Instance
from .settings import Settings
from .store import Challenge, HubKey, Store
from .tpm_keys import decode_key

SKN = "registration"


class ChallengeError(ServiceError):
    """The 401 that is no refusal: its body carries the challenge."""

    def __init__(self, blob: bytes) -> None:
        super().__init__(UNAUTHORIZED, "Authorization required, resource needs a key that only this TPM can read")
        self._blob = blob

    def body(self) -> dict:
        """The error body with the challenge in it."""
        return {**super().body(), "authenticationKey": base64.b64encode(self._blob).decode(), "keyName": SKN}


class Registrations:
    """The registration states of the service and the way a device comes by one."""

    def __init__(self, store: Store, settings: Settings, instance: Instance) -> None:
        self._store = store
        self._settings = settings
        self._instance = instance
        self._running: dict[str, asyncio.Task] = {}

    # The service API's side.

    def get(self, registration_id: str) -> dict:
        """The registration state of a device that registered."""
        found = self._store.registration(registration_id)
        if found is None:
            raise ServiceError(NO_SUCH_REGISTRATION, f"Registration {registration_id} not found")
        etag, state, _hubs = found
        return {**state, "etag": etag}

    def delete(self, registration_id: str, if_match: str | None) -> None:
        """Forgets a registration; the enrollment stays, and the next registration is the first again."""
        state = self.get(registration_id)
        if if_match not in (None, "*", state["etag"]):
            raise ServiceError(PRECONDITION_FAILED, f"The ETag of registration {registration_id} does not match")
        self._store.delete_registration(registration_id)

    # The device API's side.

    def check_scope(self, id_scope: str) -> None:
        """Refuses another service's ID scope."""
        if id_scope != self._store.id_scope():
            raise ServiceError(NO_SUCH_SERVICE, f"There is no service with the ID scope {id_scope}")

    def challenge(self, registration_id: str, body: Any) -> ChallengeError:
        """The challenge for a device that shows the enrolled endorsement key; refuses any other."""
        enrollment, tpm = self._enrolled(registration_id), self._body(registration_id, body).get("tpm")
        if tpm is None:
            raise ServiceError(UNAUTHENTICATED, "Unauthorized: neither a token nor TPM keys")
        endorsement_key, storage_root_key = self._shown_keys(tpm, enrollment)
        key = new_key()
        blob = wrap_key(key, endorsement_key=endorsement_key, storage_root_key=storage_root_key)
        self._store.put_challenge(
            registration_id, Challenge(key, endorsement_key, storage_root_key, time.time(), operation=None)
        )
        return ChallengeError(blob)

    def register(self, registration_id: str, body: Any, authorization: str) -> dict:
        """Begins the assignment of a device that answered its challenge: ``{operationId, status}``."""
        request = self._body(registration_id, body)
        enrollment = self._enrolled(registration_id)
        challenge = self._answered(registration_id, authorization)
        if request.get("tpm") is not None:
            shown = self._shown_keys(request["tpm"], enrollment)
            if shown != (challenge.endorsement_key, challenge.storage_root_key):
                raise ServiceError(UNAUTHORIZED, "Unauthorized: other TPM keys than the challenge was made for")
        elif base64.b64encode(challenge.endorsement_key).decode() != _enrolled_key(enrollment, "endorsementKey"):
            raise ServiceError(UNAUTHORIZED, "Unauthorized: the enrollment has another endorsement key by now")
        if time.time() > challenge.issued + self._settings.challenge_seconds:
            raise ServiceError(UNAUTHENTICATED, "Unauthorized: the challenge has expired")
        if challenge.operation is not None:
            # The answer to the same request may have been lost: as long as the operation goes on, it is given again.
            found = self._store.operation(challenge.operation)
            if found is not None and found[1] is None:
                return {"operationId": challenge.operation, "status": "assigning"}
            raise ServiceError(UNAUTHENTICATED, "Unauthorized: the token was used before")
        return self._begin(registration_id, enrollment, request)

    def operation(self, registration_id: str, operation: str, authorization: str | None) -> dict:
        """How an operation goes: ``{operationId, status, registrationState}``, without the last while it goes on."""
        self._answered(registration_id, authorization)
        found = self._store.operation(operation)
        if found is None or found[0] != registration_id.lower():
            raise ServiceError(NO_SUCH_REGISTRATION, f"Operation {operation} not found")
        state = found[1]
        if state is None:
            return {"operationId": operation, "status": "assigning"}
        return {"operationId": operation, "status": state["status"], "registrationState": state}

    def lookup(self, registration_id: str, body: Any, authorization: str | None) -> dict:
        """The device asks for its own registration state, proving itself as for registering."""
        if not authorization:
            raise self.challenge(registration_id, body)
        self._body(registration_id, body)
        self._answered(registration_id, authorization)
        return self.get(registration_id)

    def _body(self, registration_id: str, body: Any) -> dict:
        check_registration_id(registration_id)
        if not isinstance(body, dict) or not set(body) <= {"registrationId", "tpm", "payload"}:
            raise ServiceError(MALFORMED, "A registration is registrationId, tpm and payload, and nothing else")
        named = body.get("registrationId")
        if not isinstance(named, str) or named.lower() != registration_id.lower():
            raise ServiceError(MALFORMED, "The registrationId of the body is not the one of the path")
        tpm = body.get("tpm")
        if tpm is not None and (not isinstance(tpm, dict) or not set(tpm) <= {"endorsementKey", "storageRootKey"}):
            raise ServiceError(MALFORMED, "tpm is endorsementKey and storageRootKey, and nothing else")
        return body

    def _enrolled(self, registration_id: str) -> dict:
        found = self._store.enrollment(registration_id)
        if found is None:
            raise ServiceError(NO_SUCH_ENROLLMENT, f"Enrollment {registration_id} not found")
        # UNVERIFIED whether the service refuses at once, as here, or answers with the status "disabled".
        if found[1]["provisioningStatus"] == "disabled":
            raise ServiceError(UNAUTHORIZED, "Unauthorized: the enrollment is disabled")
        return found[1]

    def _shown_keys(self, tpm: dict, enrollment: dict) -> tuple[bytes, bytes]:
        shown = decode_key(tpm.get("endorsementKey"), "endorsementKey")
        storage = decode_key(tpm.get("storageRootKey"), "storageRootKey")
        if tpm["endorsementKey"] != _enrolled_key(enrollment, "endorsementKey"):
            raise ServiceError(UNAUTHORIZED, "Unauthorized: the endorsement key is not the enrolled one")
        enrolled_storage = _enrolled_key(enrollment, "storageRootKey")
        if enrolled_storage is not None and tpm["storageRootKey"] != enrolled_storage:
            raise ServiceError(UNAUTHORIZED, "Unauthorized: the storage root key is not the enrolled one")
        return shown, storage

    def _answered(self, registration_id: str, authorization: str | None) -> Challenge:
        """The challenge that the token answers; refuses every other token."""
        token: Token = parse_token(authorization or "")
        if token.resource.lower() != f"{self._store.id_scope()}/registrations/{registration_id}".lower():
            raise ServiceError(UNAUTHORIZED, "Unauthorized: the token is for another resource")
        if token.policy != SKN:
            raise ServiceError(UNAUTHORIZED, f"Unauthorized: skn is not {SKN}")
        token.require_current()
        challenge = self._store.challenge(registration_id)
        if challenge is None:
            raise ServiceError(UNAUTHORIZED, "Unauthorized: this device was not challenged")
        token.require_signed_by([challenge.key])
        return challenge

    # The assignment itself.

    def _begin(self, registration_id: str, enrollment: dict, request: dict) -> dict:
        operation = f"4.{uuid.uuid4().hex[:16]}.{uuid.uuid4()}"
        payload = json.dumps(request)
        self._note(registration_id, enrollment, {"status": "assigning"})
        self._store.put_operation(operation, registration_id, time.time() + self._settings.assignment_seconds, payload)
        self._start(operation, registration_id, self._settings.assignment_seconds, payload)
        return {"operationId": operation, "status": "assigning"}

    def resume(self) -> None:
        """Goes on with what a stop interrupted."""
        for operation, registration_id, ready, payload in self._store.unfinished_operations():
            self._start(operation, registration_id, max(0.0, ready - time.time()), payload)

    async def stop(self) -> None:
        """Leaves what is going on for the next start."""
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)

    def _start(self, operation: str, registration_id: str, delay: float, payload: str) -> None:
        task = asyncio.create_task(self._assign(operation, registration_id, delay, json.loads(payload)))
        self._running[operation] = task
        task.add_done_callback(lambda _task: self._running.pop(operation, None))

    async def _assign(self, operation: str, registration_id: str, delay: float, request: dict) -> None:
        await asyncio.sleep(delay)
        found, challenge = self._store.enrollment(registration_id), self._store.challenge(registration_id)
        if found is None or challenge is None or found[1]["provisioningStatus"] == "disabled":
            # The enrollment went away or was disabled while the operation went on.
            document = found[1] if found else {"registrationId": registration_id, "reprovisionPolicy": {}}
            failure = ServiceError(NO_SUCH_ENROLLMENT, f"Enrollment {registration_id} is gone or disabled")
            self._fail(operation, registration_id, document, failure)
            return
        enrollment = found[1]
        try:
            chosen, payload = await choose_hub(enrollment, request, self._instance, self._settings.hub_latency_ms)
        except ServiceError as error:
            self._fail(operation, registration_id, enrollment, error)
            return
        self._finish(operation, enrollment, challenge, chosen=chosen, payload=payload)

    def _finish(self, operation: str, enrollment: dict, challenge: Challenge, *, chosen: str, payload: Any) -> None:
        registration_id = enrollment["registrationId"]
        _etag, before, hubs = self._store.registration(registration_id) or ("", {}, [])
        hub, substatus = reprovision(
            enrollment["reprovisionPolicy"], chosen=chosen, before=hubs, substatus=before.get("substatus")
        )
        # A new key at each registration, readable by the TPM that was challenged.
        key = new_key()
        blob = wrap_key(key, endorsement_key=challenge.endorsement_key, storage_root_key=challenge.storage_root_key)
        device_id = enrollment.get("deviceId", registration_id)
        state = {"status": "assigned", "substatus": substatus, "assignedHub": hub, "deviceId": device_id}
        if payload is not None:
            state["payload"] = payload
        if hubs[-1:] != [hub]:
            hubs = [*hubs, hub]
        with self._store.together():
            noted = self._note(registration_id, enrollment, state, hubs=hubs)
            self._store.put_hub_key(device_id, HubKey(hub, key))
            result = {**noted, "tpm": {"authenticationKey": base64.b64encode(blob).decode()}}
            self._store.finish_operation(operation, result)

    def _fail(self, operation: str, registration_id: str, enrollment: dict, error: ServiceError) -> None:
        state = {"status": "failed", "errorCode": error.code, "errorMessage": error.message}
        with self._store.together():
            exists = self._store.enrollment(registration_id) is not None
            noted = self._note(registration_id, enrollment, state) if exists else state
            self._store.finish_operation(operation, {"registrationId": registration_id, **noted})

    def _note(self, registration_id: str, enrollment: dict, state: dict, hubs: list[str] | None = None) -> dict:
        """Writes the registration state. A device on its way keeps, in ``hubs``, where it was."""
        _etag, before, hubs_before = self._store.registration(registration_id) or ("", {}, [])
        now, etag = utc_now(), f'"{uuid.uuid4()}"'
        noted = {
            "registrationId": enrollment["registrationId"],
            "createdDateTimeUtc": before.get("createdDateTimeUtc", now),
            "lastUpdatedDateTimeUtc": now,
            **({"substatus": before["substatus"]} if before.get("substatus") else {}),
            **state,
        }
        self._store.put_registration(registration_id, etag, noted, hubs_before if hubs is None else hubs)
        return {**noted, "etag": etag}


def _enrolled_key(enrollment: dict, name: str) -> str | None:
    return enrollment["attestation"]["tpm"].get(name)
