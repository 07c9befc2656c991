# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""From nothing to an assignment: one attempt, every step of which may be the last before a power cut.

The order is what makes it safe. The service rolls the hub key when it assigns; so before it can, the client notes
that the key it holds may be void (:meth:`State.begin_registering`), and the note goes only with the new key in its
place, proven.
"""

from __future__ import annotations

import base64
import binascii
import math
import time
import urllib.parse
from typing import Any, NamedTuple

from .assignment import is_device_id, is_host, is_operation, text
from .chip import Chip
from .clock import Clock
from .configuration import Configuration
from .errors import ClientError
from .hub import Hub
from .outside.visible import visible
from .sas import make_token
from .service import LONGEST_MESSAGE, SHOWN, Answer, Service, refusal
from .state import State
from .tpm.credential import WrappedKey

API_VERSION = "2019-03-31"
TOKEN_SECONDS = 3600
HUB_TOKEN_SECONDS = 300
# The service allows five polls in ten seconds and device.
SHORTEST_POLL = 2.0
POLLING_SECONDS = 600.0
KEY_NAME = "registration"


class Identity(NamedTuple):
    """Who registers where: the keys as base64 of TPM2B_PUBLIC."""

    id_scope: str
    global_endpoint: str
    registration_id: str
    endorsement_key: str
    storage_root_key: str

    @property
    def resource(self) -> str:
        """What a registration token is for."""
        return f"{self.id_scope}/registrations/{self.registration_id}"

    @property
    def path(self) -> str:
        """Of the registration, on the service."""
        return "/{}/registrations/{}".format(
            urllib.parse.quote(self.id_scope, safe=""), urllib.parse.quote(self.registration_id, safe="")
        )

    def fits(self, assignment: dict[str, Any]) -> bool:
        """Whether *assignment* was made for this TPM and this service."""
        return all(assignment.get(name) == value for name, value in self._asdict().items())


def identify(configuration: Configuration, chip: Chip) -> Identity:
    """Who this device is, by its configuration and its TPM."""
    return Identity(
        id_scope=configuration.id_scope,
        global_endpoint=configuration.global_endpoint,
        registration_id=configuration.registration_id or chip.default_registration_id,
        endorsement_key=base64.b64encode(chip.endorsement_key).decode(),
        storage_root_key=base64.b64encode(chip.storage_root_key).decode(),
    )


def connection(configuration: Configuration, clock: Clock, patience: float = math.inf) -> Service:
    """To the Device Provisioning Service, which gets *patience* seconds for all calls together."""
    host, port = configuration.endpoint
    return Service(configuration, clock, host=host, port=port, api_version=API_VERSION, patience=patience)


def hub_key(assignment: dict[str, Any]) -> WrappedKey:
    """The key of a kept assignment."""
    kept = assignment["key"]
    return WrappedKey(public=base64.b64decode(kept["public"]), private=base64.b64decode(kept["private"]))


class Registration:
    """Registers this device."""

    def __init__(self, configuration: Configuration, *, state: State, clock: Clock) -> None:
        self._configuration = configuration
        self._state = state
        self._clock = clock
        self._chip = Chip(configuration)

    def held(self) -> dict[str, Any] | None:
        """The kept assignment if nothing is to be done: it is this TPM's, this service's, and its key still signs."""
        assignment = self._state.assignment()
        if assignment is None or self._state.registering:
            return None
        with self._chip.opened():
            if not identify(self._configuration, self._chip).fits(assignment):
                return None
            return assignment if self._chip.signs(hub_key(assignment)) else None

    def persist(self, assignment: dict[str, Any]) -> None:
        """Has the TPM hold the hub key of *assignment* too, where the configuration wants that.

        What is kept on disk comes first and this is made of it, so a power cut between them is made up for at the next
        boot.
        """
        handle = self._configuration.hub_key_handle
        if handle is not None:
            self._chip.persist(hub_key(assignment), handle)

    def ask_hub(self, assignment: dict[str, Any]) -> str | None:
        """The words with which the hub refuses this device, None where it lets it in.

        :class:`ClientError` where the hub cannot be asked.
        """
        hub = Hub(self._configuration, self._clock, assignment)
        return hub.refusal(lambda audience: self.token(assignment, audience, seconds=HUB_TOKEN_SECONDS))

    def token(self, assignment: dict[str, Any], audience: str, *, seconds: int) -> tuple[str, int]:
        """A token by the hub key of *assignment* for *audience*, and its expiry, *seconds* from when it is signed."""
        return self._token(hub_key(assignment), audience, seconds=seconds)

    def _token(self, key: WrappedKey, audience: str, *, seconds: int, key_name: str | None = None) -> tuple[str, int]:
        def make(expiry: int) -> str:
            return make_token(audience, expiry=expiry, sign=lambda data: self._chip.sign(key, data), key_name=key_name)

        with self._chip.ready_to_sign():
            return self._clock.signed(make, seconds=seconds)

    def register(self, *, patience: float) -> dict[str, Any]:
        """Registers, keeps the assignment and returns it. :class:`ClientError` says why not; nothing is lost then.

        The service may take *patience* seconds, and no longer than is reasonable, to assign.
        """
        identity = identify(self._configuration, self._chip)
        service = connection(self._configuration, self._clock, patience)
        try:
            return self._register(identity, service, min(patience, POLLING_SECONDS))
        finally:
            service.close()

    def _register(self, identity: Identity, service: Service, patience: float) -> dict[str, Any]:
        challenge = self._challenge(identity, service)
        with self._chip.opened():
            key = self._chip.import_key(challenge)
            token, _expiry = self._token(key, identity.resource, seconds=TOKEN_SECONDS, key_name=KEY_NAME)
        self._clock.keep()
        self._state.begin_registering()
        answer = service.call("PUT", identity.path + "/register", body=_body(identity), authorization=token)
        if answer.status not in (200, 202):
            raise refusal(answer)
        result = self._wait(identity, service, token, answer, patience)
        assignment = self._assignment(identity, result)
        self._state.keep_assignment(assignment)
        return assignment

    def _challenge(self, identity: Identity, service: Service) -> bytes:
        answer = service.call("PUT", identity.path + "/register", body=_body(identity))
        challenge = answer.body.get("authenticationKey")
        if answer.status != 401 or not challenge:
            raise refusal(answer)
        return _decoded(challenge)

    def _wait(
        self, identity: Identity, service: Service, token: str, answer: Answer, patience: float
    ) -> dict[str, Any]:
        """Polls the operation until it is over: the registrationState of the device that was assigned."""
        operation = answer.body.get("operationId")
        path = "{}/operations/{}".format(identity.path, urllib.parse.quote(visible(operation), safe=""))
        deadline = time.monotonic() + patience
        while answer.body.get("status") == "assigning":
            if not is_operation(operation):
                raise ClientError("the service began the assignment and named no operation that can be asked for")
            if time.monotonic() > deadline:
                raise ClientError(f"the service did not end the assignment in {patience:.0f} s")
            pause = SHORTEST_POLL if answer.retry_after is None else answer.retry_after
            time.sleep(min(max(pause, 0.5), 60.0))
            try:
                answer = service.call("GET", path, authorization=token)
            except ClientError as error:
                # The assignment goes on whether it is watched or not, so a lost poll is no reason to begin again.
                answer = answer._replace(retry_after=max(error.retry_after or 0.0, 2 * SHORTEST_POLL))
                continue
            if answer.status not in (200, 202):
                raise refusal(answer)
        result = answer.body.get("registrationState")
        result = result if isinstance(result, dict) else {}
        if answer.body.get("status") != "assigned":
            raise ClientError(
                "the service did not assign this device: status {}, error {}: {}".format(
                    visible(answer.body.get("status"), most=SHOWN),
                    visible(result.get("errorCode"), most=SHOWN),
                    visible(result.get("errorMessage"), most=LONGEST_MESSAGE),
                ),
                refused=True,
            )
        return result

    def _assignment(self, identity: Identity, result: dict[str, Any]) -> dict[str, Any]:
        """What is kept: the assignment, with its key in this TPM's wrapping and proven to sign, and the one before."""
        tpm = result.get("tpm")
        blob = tpm.get("authenticationKey") if isinstance(tpm, dict) else None
        hub, device_id = result.get("assignedHub"), result.get("deviceId")
        if not blob or not hub or not device_id:
            raise ClientError("the service assigned this device without a hub, a device ID or a key for it")
        if not is_host(hub):
            raise ClientError(f"the service assigned this device to what is no hub's name: {visible(hub, most=SHOWN)}")
        if not is_device_id(device_id):
            raise ClientError(
                f"the service assigned this device under what is no device ID: {visible(device_id, most=SHOWN)}"
            )
        with self._chip.opened():
            key = self._chip.import_key(_decoded(blob))
            if not self._chip.signs(key):
                raise ClientError("the key for the hub does not sign in this TPM")
        before = self._state.assignment()
        if before is not None:
            before.pop("previous", None)
        return {
            "version": 1,
            **identity._asdict(),
            "assigned_hub": hub,
            "device_id": device_id,
            "substatus": text(result.get("substatus")),
            "etag": text(result.get("etag")),
            "created": text(result.get("createdDateTimeUtc")),
            "last_updated": text(result.get("lastUpdatedDateTimeUtc")),
            "assigned_at": int(self._clock.now()),
            "key": {name: base64.b64encode(value).decode() for name, value in key._asdict().items()},
            "previous": before,
        }


def _body(identity: Identity) -> dict[str, Any]:
    keys = {"endorsementKey": identity.endorsement_key, "storageRootKey": identity.storage_root_key}
    return {"registrationId": identity.registration_id, "tpm": keys}


def _decoded(challenge: Any) -> bytes:
    try:
        return base64.b64decode(challenge, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise ClientError(f"the service's challenge is not base64: {error}") from error
