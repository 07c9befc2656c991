# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The one exception of the DPS side, and what the service's refusals mean for the person who reads them."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from typing import Any

from ..module.failure_kind import AGAIN, SETUP, failure
from ..outside.visible import visible

LONGEST_MESSAGE = 2000
# What a name server says of a name that it knows not, or knows without an address. Not each system has the second.
_UNKNOWN_NAME = {socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)}
# Service documentation "Troubleshoot Device Provisioning Service"; errorCode is the status and three digits.
_HINTS = {
    400: "Correct what the service names, or report it with the tracking ID.",
    401: "Check the policy's name and key, or the token's expiry and host, and that this machine's clock is right.",
    403: "The credential is known but has no right to do this: give its policy or its role the right.",
    404: "Check the host name and the registration ID.",
    405: "The service does not know this call: is the host a Device Provisioning Service's service endpoint?",
    409: "Read it again and decide: it exists already, or another enrollment holds what must be unique.",
    412: "It was changed by someone else since it was read: read it again.",
    413: "The enrollment is too large: make its initial twin or device information smaller.",
    429: "The service's quota is used up: run again later, raise retry_budget, or lower quota_share of parallel runs.",
}
_SERVER_HINT = "The service has a fault of its own: run again later, and report the tracking ID if it stays."
_CODE_HINTS = {
    400004: "The endorsement key has to be the base64 of the whole TPM2B_PUBLIC of an RSA endorsement key.",
    401002: "Check the policy's name and key and that the policy has the right, or that the token is for this host.",
}


class DpsError(Exception):
    """Something between us and the service went wrong.

    *status* is the HTTP status or None where there was no answer, *error_code* and *tracking_id* the service's own,
    *hint* what to do next, *option* the module's option that is to be mended. *passing* says that nothing is to be, and
    the same call may go well later; by itself it follows from the status. Never holds a key or a token.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        error_code: int | str | None = None,
        tracking_id: str | None = None,
        hint: str | None = None,
        uncertain: bool = False,
        option: str | None = None,
        passing: bool | None = None,
    ) -> None:
        self.message = visible(message, most=LONGEST_MESSAGE)
        self.status = status
        self.error_code = error_code
        self.tracking_id = tracking_id
        self.hint = hint if hint is not None else hint_for(status, error_code)
        # Whether an earlier try of the same call ended without an answer, so that it may have been done.
        self.uncertain = uncertain
        self.option = option
        self.passing = (status is not None and (status == 429 or status >= 500)) if passing is None else passing
        told = self._told()
        super().__init__(f"{told if told.endswith(('.', '?')) else f'{told}.'} {self.hint}" if self.hint else told)

    @property
    def of_record(self) -> bool:
        """Whether it is about one enrollment, and no reason to stop with the others."""
        return self.status in (400, 404, 409, 412, 413) and bool(self.error_code)

    def _told(self) -> str:
        ids = [f"error {self.error_code}"] if self.error_code else []
        ids += [f"tracking ID {self.tracking_id}"] if self.tracking_id else []
        return f"{self.message.rstrip('.')} ({', '.join(ids)})." if ids else self.message

    def as_result(self) -> dict[str, Any]:
        """The failure as a module returns it."""
        return {
            "msg": str(self),
            "status": self.status,
            "error_code": self.error_code,
            "tracking_id": self.tracking_id,
            "hint": self.hint,
            **failure(AGAIN if self.passing else SETUP, self.option),
        }


def hint_for(status: int | None, error_code: int | str | None) -> str:
    """What to do next, empty where nothing can be said."""
    if isinstance(error_code, int) and error_code in _CODE_HINTS:
        return _CODE_HINTS[error_code]
    if status is None:
        return ""
    return _SERVER_HINT if status >= 500 else _HINTS.get(status, "")


def is_certificate_fault(error: Exception) -> bool:
    """Whether a connection failed because the other side's certificate was not believed."""
    return "CERTIFICATE_VERIFY_FAILED" in str(error) or "CertificateError" in str(error)


def is_address_fault(error: Exception) -> bool:
    """Whether an address is none, such as that of a proxy, so that nobody was called and no waiting mends it."""
    return any(type(one).__name__ in ("LocationParseError", "LocationValueError") for one in _layers(error))


def is_name_fault(error: Exception) -> bool:
    """Whether a connection failed because nobody knows the host's name, which waiting does not mend.

    Not so where it is a proxy's name, or where the name server could not be asked.
    """
    layers = list(_layers(error))
    return any(isinstance(one, socket.gaierror) and one.errno in _UNKNOWN_NAME for one in layers) and not any(
        type(one).__name__ == "ProxyError" for one in layers
    )


def innermost(error: BaseException) -> str:
    """The reason without the layers of libraries around it."""
    *_around, last = _layers(error)
    return str(last) or type(last).__name__


def _layers(error: BaseException) -> Iterator[BaseException]:
    """*error* and what is within it, from the outside in; each library has its own way to put one into another."""
    seen: set[int] = set()
    inner: BaseException | None = error
    while inner is not None:
        seen.add(id(inner))
        yield inner
        within = [getattr(inner, "inner_exception", None), getattr(inner, "reason", None), inner.__cause__]
        within += inner.args
        # Where a call is made while an earlier one's failure is handled, the context goes on to that.
        if not inner.__suppress_context__ and not isinstance(inner.__context__, DpsError):
            within.append(inner.__context__)
        inner = next((one for one in within if isinstance(one, BaseException) and id(one) not in seen), None)
