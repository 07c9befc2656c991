# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Taking a device out of a service: its enrollment is disabled, its registration removed, its enrollment removed.

Service documentation "How to disenroll a device": disabled first, so that the device cannot register again while it is
taken out. Each point at which this is cut off leaves an enrollment that lets nobody in, and the next run goes on there.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .apply import NO_ETAG, in_threads
from .enrollment import Wanted, key_digest, normal, to_document, wanted_of
from .errors import DpsError
from .service import Service

DISABLED = "enrollment disabled"
UNREGISTERED = "registration removed"
REMOVED = "enrollment removed"
# How often an enrollment that others change under us is read anew.
ROUNDS = 5


@dataclass
class Disenrollment:
    """What became of one record: *done*, in order, is what was changed, also where it broke off.

    *before* is what there was, for people. *settled* is whether it came to an end, be it a refusal (*failed*).
    """

    record: Mapping[str, Any]
    done: list[str] = field(default_factory=list)
    before: dict[str, Any] = field(default_factory=dict)
    note: str | None = None
    failed: bool = False
    settled: bool = False

    @property
    def action(self) -> str:
        """``disenrolled``, ``absent`` where there was nothing to do, or ``failed``."""
        return "failed" if self.failed or not self.settled else "disenrolled" if self.done else "absent"


def disenroll(service: Service, devices: list[Disenrollment], *, check_mode: bool, concurrency: int) -> None:
    """Takes all *devices* out, and notes in each what became of it; one that is refused does not hold up the others.

    A record has ``registration_id``, and ``endorsement_key`` where only the enrollment with that key is meant. What is
    no record's fault (no answer, no right) ends it with DpsError, after what is under way has ended.
    """
    for _device in in_threads(lambda one: _one(service, one, check_mode=check_mode), iter(devices), concurrency):
        pass


def _one(service: Service, device: Disenrollment, *, check_mode: bool) -> None:
    wanted, problems = wanted_of(device.record)
    if wanted is None or problems:
        device.failed = device.settled = True
        device.note = "; ".join(f"{name} {reason}" for name, reason in problems)
        return
    try:
        _Run(service, device, wanted, check_mode=check_mode).complete()
    except DpsError as error:
        device.note = str(error)
        if not error.of_record:
            raise
        device.failed = True
    device.settled = True


class _Run:
    """One device on its way out."""

    def __init__(self, service: Service, device: Disenrollment, wanted: Wanted, *, check_mode: bool) -> None:
        self._service = service
        self._device = device
        self._registration_id = wanted.registration_id
        self._key = wanted.fields.get("endorsement_key")
        self._check_mode = check_mode

    def complete(self) -> None:
        """Begins again where others changed the enrollment meanwhile."""
        for left in reversed(range(ROUNDS)):
            try:
                return self._attempt()
            except DpsError as error:
                if error.status not in (404, 412) or not error.of_record or not left:
                    raise

    def _attempt(self) -> None:
        registration_id = self._registration_id
        actual = self._service.enrollment(registration_id)
        if actual is None:
            # The registration could be all that is left.
            self._unregister(self._service.registration(registration_id))
            return
        kind = (actual.get("attestation") or {}).get("type")
        held = normal(actual)["endorsement_key"]
        if kind not in (None, "tpm"):
            self._device.failed = True
            self._device.note = f"what is there attests by {kind} and not by TPM; it was left alone"
        elif self._key and held != self._key:
            self._device.note = f"what is there is of another TPM (EK {key_digest(held)}) and was left alone"
        elif not actual.get("etag"):
            self._device.failed = True
            self._device.note = NO_ETAG
        else:
            self._note(actual)
            etag = self._disable(actual)
            self._unregister(actual.get("registrationState"))
            if not self._check_mode:
                self._service.delete_enrollment(registration_id, etag=etag)
            self._did(REMOVED)

    def _note(self, actual: Mapping[str, Any]) -> None:
        status = (actual.get("registrationState") or {}).get("status")
        found = {"provisioning_status": normal(actual)["provisioning_status"], "registration": status}
        self._device.before = self._device.before or found

    def _disable(self, actual: Mapping[str, Any]) -> str | None:
        """The ETag of the enrollment once it is disabled."""
        fields = normal(actual)
        if fields["provisioning_status"] == "disabled":
            return actual.get("etag")
        etag = None
        if not self._check_mode:
            document = to_document(actual["registrationId"], {**fields, "provisioning_status": "disabled"}, actual)
            etag = self._service.put_enrollment(document, etag=actual["etag"]).get("etag")
            if not etag:
                raise DpsError(f"Enrollment {self._registration_id} is disabled, and was not removed: {NO_ETAG}.")
        self._did(DISABLED)
        return etag

    def _unregister(self, seen: Mapping[str, Any] | None) -> None:
        """Removes the registration, also one that the device made since nothing or another one was *seen*."""
        if bool(seen) if self._check_mode else self._service.delete_registration(self._registration_id):
            self._did(UNREGISTERED)

    def _did(self, what: str) -> None:
        if what not in self._device.done:
            self._device.done.append(what)
