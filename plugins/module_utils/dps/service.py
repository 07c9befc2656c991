# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The provisioning service's REST API: one method a call, retried where that is safe, refusals told in words.

Source: REST reference "Device Provisioning Service", api-version 2021-10-01. Documents go in and out as the service
has them, once they are known to be what was asked for (answers.py); what they mean is in enrollment.py. A call ends
within its budget whatever the other side does (transport.py).
"""

from __future__ import annotations

import json
import math
import random
import re
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from ..outside.visible import visible
from . import answers
from .answers import Unfit
from .credentials import Access
from .enrollment import normal, same_document
from .errors import DpsError, innermost, is_address_fault, is_certificate_fault, is_name_fault
from .pacing import Pacer

try:
    from azure.core.exceptions import AzureError, ServiceRequestError
    from azure.core.pipeline import Pipeline
    from azure.core.pipeline.policies import HeadersPolicy, UserAgentPolicy
    from azure.core.rest import HttpRequest

    from .transport import MOST_BYTES, BoundedTransport, OutOfTime, RefusedAnswer

    AZURE_CORE_IMPORT_ERROR = None
except ImportError:
    AZURE_CORE_IMPORT_ERROR = traceback.format_exc()

API_VERSION = "2021-10-01"
BULK_MOST = 10
# A message may hold 96 KB (limits page); some is left for what surrounds the enrollments.
BULK_BYTES = 90_000
DEFAULT_TIMEOUT = 30
DEFAULT_RETRY_BUDGET = 300
# Documented as the most that one service holds; some more for what is deleted and made again while it is read.
MOST_ENROLLMENTS = 1_000_000
_MOST_LISTED = MOST_ENROLLMENTS * 11 // 10
# Pages in a row without anything new. An empty one with a continuation may come, but not for ever.
_MOST_FRUITLESS_PAGES = 20
_RETRIED = (408, 429, 500, 502, 503, 504)
_LONGEST_BACKOFF = 30.0
_LONGEST_WAIT = 1e9
# A name server that is started anew knows nothing for some seconds. After that a name that nobody knows is a slip.
_NAME_WITHIN = 20.0
_LONGEST_REASON = 400
_QUOTA_LEFT = re.compile(r"(^|-)ratelimit-remaining(-|$)", re.IGNORECASE)
_MOST_QUOTAS = 4
_JSON_TYPE = re.compile(r"application/([a-z.\-]+\+)?json", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What the service answered; *uncertain* where an earlier try of the call got no answer and may have been done.

    *what* is what was called for, as the end of "Could not …".
    """

    headers: Any
    body: Any
    what: str
    uncertain: bool = False


class Service:
    """One provisioning service. Safe for use by *connections* threads.

    *timeout* is for one try in seconds, from its connection to its last byte, *retry_budget* for all tries of one call
    together with the waits that the service asks for.
    """

    def __init__(
        self,
        access: Access,
        *,
        ca_file: str | None = None,
        timeout: float = DEFAULT_TIMEOUT,
        retry_budget: float = DEFAULT_RETRY_BUDGET,
        connections: int = 8,
        pacer: Pacer | None = None,
    ) -> None:
        self._access = access
        self._base = f"https://{access.host}"
        self._timeout = timeout
        self._retry_budget = retry_budget
        self.pacer = pacer or Pacer()
        # The header Date of the last answer, for who wants to know whether the clocks agree.
        self.date: str | None = None
        # Until the service has answered once, its name may be a slip; later it is the name server that has lost it.
        self._is_unknown = True
        # What its headers told of what is left of a quota, by name. None is documented for this service.
        self.quota_left: dict[str, str] = {}
        self._pipeline: Any = Pipeline(
            transport=BoundedTransport(ca_file=ca_file, timeout=timeout, connections=connections),
            policies=[
                HeadersPolicy({"Accept": "application/json"}),
                UserAgentPolicy(base_user_agent="tpmfleet.azure_dps"),
            ],
        )

    @property
    def host(self) -> str:
        """The service's host name, with the port where it is not 443."""
        return self._access.host

    def close(self) -> None:
        """Ends the connections."""
        self._pipeline.__exit__(None, None, None)

    # Enrollments

    def enrollment(self, registration_id: str) -> dict[str, Any] | None:
        """One enrollment with its registration state, None where there is none."""
        answer = self._found(_enrollment_path(registration_id), f"read enrollment {registration_id}")
        return None if answer is None else self._fit(answer, answers.enrollment, registration_id)

    def put_enrollment(self, document: dict[str, Any], *, etag: str | None) -> dict[str, Any]:
        """Creates where *etag* is None (409 where there is one), else replaces the one with that ETag (else 412).

        A call that may have been done although its answer was lost is settled by reading again.
        """
        registration_id = document["registrationId"]
        what = f"{'create' if etag is None else 'update'} enrollment {registration_id}"
        headers = {} if etag is None else {"If-Match": etag}
        try:
            answer = self._call("PUT", _enrollment_path(registration_id), what, body=document, headers=headers)
        except DpsError as error:
            if not error.uncertain or error.status not in (409, 412):
                raise
            found = self.enrollment(registration_id)
            if found is None or not same_document(found, document):
                raise
            return found
        written = self._fit(answer, answers.enrollment, registration_id)
        if normal(written)["endorsement_key"] != normal(document)["endorsement_key"]:
            raise self._senseless(what, "is about another endorsement key than the one that was sent")
        return written

    def delete_enrollment(self, registration_id: str, *, etag: str | None = None) -> bool:
        """Removes an enrollment, False where there was none. *etag* as in :meth:`put_enrollment`."""
        return self._deleted(_enrollment_path(registration_id), f"delete enrollment {registration_id}", etag)

    def bulk(self, mode: str, documents: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], bool]:
        """Runs one bulk operation on at most BULK_MOST enrollments.

        Returns (the errors, each with registrationId, errorCode and errorStatus; whether an earlier try may have been
        done). *mode* is create, update, updateIfMatchETag or delete.
        """
        what = f"{mode} {len(documents)} enrollments from {documents[0]['registrationId']} on"
        body = {"mode": mode, "enrollments": documents}
        answer = self._call("POST", "/enrollments", what, body=body, held=len(documents))
        return self._fit(answer, answers.bulk_errors, [one["registrationId"] for one in documents]), answer.uncertain

    def pages(self, *, page_size: int = 1000) -> Iterator[list[dict[str, Any]]]:
        """All enrollments, page by page, without their registration states (the service leaves those out).

        None comes twice. DpsError where the list does not come to an end.
        """
        continuation: str | None = None
        asked_with: set[int] = set()
        listed: set[int] = set()
        fruitless = 0
        while True:
            headers = {"x-ms-max-item-count": str(page_size)}
            if continuation:
                headers["x-ms-continuation"] = continuation
            body = {"query": "SELECT * FROM enrollments"}
            answer = self._call("POST", "/enrollments/query", "list enrollments", body=body, headers=headers)
            page = []
            for document in self._fit(answer, answers.page):
                # A hash, as a fleet's IDs take much more.
                mark = hash(document["registrationId"].lower())
                if mark not in listed:
                    listed.add(mark)
                    page.append(document)
            yield page
            try:
                continuation = answers.continuation(answer.headers.get("x-ms-continuation"))
            except Unfit as error:
                raise self._senseless(answer.what, str(error)) from None
            if continuation is None:
                return
            fruitless = 0 if page else fruitless + 1
            mark = hash(continuation)
            if mark in asked_with or fruitless > _MOST_FRUITLESS_PAGES or len(listed) > _MOST_LISTED:
                raise self._senseless(answer.what, "has no end: it begins again, or goes on with nothing new")
            asked_with.add(mark)

    # Registrations

    def registration(self, registration_id: str) -> dict[str, Any] | None:
        """One registration state, None where the service knows none."""
        answer = self._found(_registration_path(registration_id), f"read registration {registration_id}")
        return None if answer is None else self._fit(answer, answers.registration, registration_id)

    def delete_registration(self, registration_id: str, *, etag: str | None = None) -> bool:
        """Removes a registration, False where there was none."""
        return self._deleted(_registration_path(registration_id), f"delete registration {registration_id}", etag)

    # Calls

    def _found(self, path: str, what: str) -> Answer | None:
        try:
            return self._call("GET", path, what)
        except DpsError as error:
            # A 404 of something that is not the service's own is a wrong host.
            if error.status == 404 and error.error_code:
                return None
            raise

    def _deleted(self, path: str, what: str, etag: str | None) -> bool:
        try:
            self._call("DELETE", path, what, headers={"If-Match": etag} if etag else {})
        except DpsError as error:
            if error.status == 404 and error.error_code:
                # Gone by our own earlier try, whose answer was lost, is deleted too.
                return error.uncertain
            raise
        return True

    def _fit(self, answer: Answer, check: Callable[..., Any], *asked: Any) -> Any:
        """What *check* makes of an answer's body. DpsError where it is not about what was asked."""
        try:
            return check(answer.body, *asked)
        except Unfit as error:
            raise self._senseless(answer.what, str(error)) from None

    def _senseless(self, what: str, why: str, *, status: int | None = None) -> DpsError:
        return DpsError(
            f"Could not {what}: the answer of {self.host} makes no sense, it {why}.",
            status=status,
            hint="Is the host that of the Device Provisioning Service, and no proxy in between? Nothing of the answer "
            "was used; what was done so far stands.",
        )

    def _call(
        self,
        method: str,
        path: str,
        what: str,
        *,
        body: Any = None,
        headers: dict[str, str] | None = None,
        held: int = 1,
    ) -> Answer:
        """The answer of a call that succeeded; DpsError in every other case. *held*: so many enrollments are in it.

        Every call here may be made twice: the caller settles what an *uncertain* refusal means.
        """
        content = None if body is None else json.dumps(body, separators=(",", ":"))
        url = f"{self._base}{path}?api-version={API_VERSION}"
        uncertain = False
        left: float = self._retry_budget
        # When a name that nobody knows is tried no more.
        named_until: float | None = None
        attempt = 0
        failure: DpsError | None = None
        while True:
            patience = self.pacer.wait(held, left)
            if patience is None:
                raise _given_up(failure or self._closed(what), attempt, self._retry_budget)
            left = patience
            attempt += 1
            status, retry_after, is_unknown = None, None, False
            begun = time.monotonic()
            try:
                try:
                    response = self._send(method, url, content, headers or {}, left)
                    status = response.status_code
                    self._is_unknown = False
                    self.date = response.headers.get("Date")
                    self.quota_left = _quota_left(response.headers)
                finally:
                    if status != 429:
                        self.pacer.answered(held)
                if 200 <= status < 300:
                    return Answer(response.headers, self._json(what, response), what, uncertain)
                retry_after = _retry_after(response.headers.get("Retry-After"))
                failure = _refusal(what, self._access, response, uncertain)
            except RefusedAnswer as error:
                raise self._senseless(what, str(error)) from None
            except OutOfTime as error:
                raise _given_up(
                    failure or self._unreachable(what, error, uncertain), attempt, self._retry_budget
                ) from None
            except ServiceRequestError as error:
                # Nothing was sent, so nothing was done.
                failure = self._unreachable(what, error, uncertain)
                if is_certificate_fault(error) or is_address_fault(error):
                    raise failure from None
                is_unknown = self._is_unknown and is_name_fault(error)
            except AzureError as error:
                uncertain = True
                failure = self._unreachable(what, error, uncertain)
            left -= time.monotonic() - begun
            backoff = random.uniform(0, min(_LONGEST_BACKOFF, 0.5 * 2 ** min(attempt, 10)))
            wait = backoff if retry_after is None else retry_after
            if is_unknown:
                named_until = named_until or begun + _NAME_WITHIN
                wait = min(wait, named_until - time.monotonic())
                if wait <= 0 or wait >= left:
                    raise failure
            if status == 429:
                self.pacer.refused(wait, held)
            elif status is not None and status >= 500:
                uncertain = True
            if status is not None and status not in _RETRIED:
                raise failure
            if wait >= left:
                failure.uncertain = uncertain
                raise _given_up(failure, attempt, self._retry_budget) from None
            if status != 429:
                time.sleep(wait)
                left -= wait

    def _send(self, method: str, url: str, content: str | None, headers: dict[str, str], left: float) -> Any:
        until = time.monotonic() + left
        sent = {"Authorization": self._access.authorization(within=left), **headers}
        if content is not None:
            sent["Content-Type"] = "application/json; charset=utf-8"
        request = HttpRequest(method, url, headers=sent, content=content)
        return self._pipeline.run(request, until=until).http_response

    def _json(self, what: str, response: Any) -> Any:
        """The body, None where there is none. DpsError where it is not JSON: that is not the service."""
        kind = response.headers.get("Content-Type") or "application/json"
        content = response.content
        try:
            if content.strip() and not _JSON_TYPE.fullmatch(kind.partition(";")[0].strip()):
                raise Unfit(f"is of the type {visible(kind, most=60)}, so something that is not JSON")
            return answers.decoded(content, most=MOST_BYTES)
        except Unfit as error:
            raise self._senseless(what, str(error), status=response.status_code) from None

    def _closed(self, what: str) -> DpsError:
        return DpsError(f"Could not {what}: {self.host} asked for no more calls for longer", status=429)

    def _unreachable(self, what: str, error: Exception, uncertain: bool) -> DpsError:
        if is_certificate_fault(error):
            return DpsError(
                f"Could not {what}: the certificate of {self.host} was not accepted ({innermost(error)}).",
                hint="If a private authority issued it, name its bundle in ca_file.",
                option="ca_file",
            )
        if self._is_unknown and is_name_fault(error):
            name, option = self.host.partition(":")[0], self._access.host_option
            return DpsError(
                f"Could not {what}: nobody knows a host of the name '{name}': {innermost(error).rstrip('.')}.",
                hint=f"Look at {option}, which has the name. If it is right, the network or the name server of this "
                "machine is down.",
                uncertain=uncertain,
                option=option,
                passing=False,
            )
        return DpsError(
            f"Could not {what}: no answer from {self.host} within {self._timeout:g} s ({innermost(error)}).",
            hint="Check the host name, the network and the proxy; what was done so far stands, so run again.",
            uncertain=uncertain,
            passing=not is_address_fault(error),
        )


def _quota_left(headers: Any) -> dict[str, str]:
    """The headers that tell how many calls are left, as Azure's other services and IETF's RateLimit draft name them."""
    told = [(str(name), str(value)) for name, value in headers.items() if _QUOTA_LEFT.search(str(name))]
    return dict(told[:_MOST_QUOTAS])


def _enrollment_path(registration_id: str) -> str:
    return f"/enrollments/{quote(registration_id, safe='')}"


def _registration_path(registration_id: str) -> str:
    return f"/registrations/{quote(registration_id, safe='')}"


def _refusal(what: str, access: Access, response: Any, uncertain: bool) -> DpsError:
    body = answers.error_body(response.content)
    said = (body["message"] or str(response.reason or "") or "no reason given").strip().rstrip(".")
    if 300 <= response.status_code < 400:
        said = "it points elsewhere, where nothing is asked and no credential is shown"
    return DpsError(
        f"Could not {what}: {access.host} answered {response.status_code}: {visible(said, most=_LONGEST_REASON)}",
        status=response.status_code,
        error_code=body["errorCode"],
        tracking_id=body["trackingId"],
        uncertain=uncertain,
        # What lets nobody in, or not to do this, is to be mended where it is set.
        option=access.option if response.status_code in (401, 403) else None,
    )


def _given_up(failure: DpsError, attempts: int, budget: float) -> DpsError:
    return DpsError(
        f"{failure.message.rstrip('.')}, after {attempts} tries within retry_budget {budget:g} s.",
        status=failure.status,
        error_code=failure.error_code,
        tracking_id=failure.tracking_id,
        hint=failure.hint,
        uncertain=failure.uncertain,
        option=failure.option,
        passing=failure.passing,
    )


def _retry_after(header: str | None) -> float | None:
    """Seconds to wait as the header says, which may be a number or a date (RFC 9110, 10.2.3); None where it is neither.

    No time at all is none either: what is refused is not asked again at once, and for ever.
    """
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]+(\.[0-9]+)?", text, re.ASCII):
        seconds = float(text)
    else:
        try:
            seconds = (parsedate_to_datetime(text) - datetime.now(timezone.utc)).total_seconds()
        except (TypeError, ValueError, OverflowError):
            return None
    return min(seconds, _LONGEST_WAIT) if seconds > 0 and not math.isnan(seconds) else None
