# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The provisioning service's REST API: one method a call, retried where that is safe, refusals told in words.

Source: REST reference "Device Provisioning Service", api-version 2021-10-01. Documents go in and out as the service
has them; what they mean is in enrollment.py.
"""

from __future__ import annotations

import json
import random
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import quote

from .credentials import Access
from .enrollment import same_document
from .errors import DpsError, innermost, is_certificate_fault, is_name_fault
from .pacing import Pacer

try:
    import requests
    from azure.core.exceptions import AzureError, ServiceRequestError
    from azure.core.pipeline import Pipeline
    from azure.core.pipeline.policies import HeadersPolicy, UserAgentPolicy
    from azure.core.pipeline.transport import RequestsTransport
    from azure.core.rest import HttpRequest
    from requests.adapters import HTTPAdapter

    AZURE_CORE_IMPORT_ERROR = None
except ImportError:
    AZURE_CORE_IMPORT_ERROR = traceback.format_exc()

API_VERSION = "2021-10-01"
BULK_MOST = 10
# A message may hold 96 KB (limits page); some is left for what surrounds the enrollments.
BULK_BYTES = 90_000
DEFAULT_TIMEOUT = 30
DEFAULT_RETRY_BUDGET = 300
_RETRIED = (408, 429, 500, 502, 503, 504)
_LONGEST_BACKOFF = 30.0


@dataclass(frozen=True)
class Answer:
    """What the service answered; *uncertain* where an earlier try of the call got no answer and may have been done."""

    status: int
    headers: Any
    body: Any
    uncertain: bool = False


class Service:
    """One provisioning service. Safe for use by *connections* threads.

    *timeout* is for one try in seconds, *retry_budget* for all tries of one call together with the waits that the
    service asks for.
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
        session = requests.Session()
        session.mount("https://", HTTPAdapter(pool_connections=1, pool_maxsize=connections, max_retries=0))
        self._pipeline: Any = Pipeline(
            transport=RequestsTransport(
                session=session, connection_verify=ca_file or True, connection_timeout=timeout, read_timeout=timeout
            ),
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
        return self._found("GET", _enrollment_path(registration_id), f"read enrollment {registration_id}")

    def put_enrollment(self, document: dict[str, Any], *, etag: str | None) -> dict[str, Any]:
        """Creates where *etag* is None (409 where there is one), else replaces the one with that ETag (else 412).

        A call that may have been done although its answer was lost is settled by reading again.
        """
        registration_id = document["registrationId"]
        what = f"{'create' if etag is None else 'update'} enrollment {registration_id}"
        headers = {} if etag is None else {"If-Match": etag}
        try:
            return self._call("PUT", _enrollment_path(registration_id), what, body=document, headers=headers).body
        except DpsError as error:
            if not error.uncertain or error.status not in (409, 412):
                raise
            found = self.enrollment(registration_id)
            if found is None or not same_document(found, document):
                raise
            return found

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
        return (answer.body or {}).get("errors") or [], answer.uncertain

    def pages(self, *, page_size: int = 1000) -> Iterator[list[dict[str, Any]]]:
        """All enrollments, page by page, without their registration states (the service leaves those out)."""
        continuation = None
        while True:
            headers = {"x-ms-max-item-count": str(page_size)}
            if continuation:
                headers["x-ms-continuation"] = continuation
            body = {"query": "SELECT * FROM enrollments"}
            answer = self._call("POST", "/enrollments/query", "list enrollments", body=body, headers=headers)
            yield answer.body or []
            continuation = answer.headers.get("x-ms-continuation")
            if not continuation:
                return

    # Registrations

    def registration(self, registration_id: str) -> dict[str, Any] | None:
        """One registration state, None where the service knows none."""
        return self._found("GET", _registration_path(registration_id), f"read registration {registration_id}")

    def delete_registration(self, registration_id: str, *, etag: str | None = None) -> bool:
        """Removes a registration, False where there was none."""
        return self._deleted(_registration_path(registration_id), f"delete registration {registration_id}", etag)

    # Calls

    def _found(self, method: str, path: str, what: str) -> dict[str, Any] | None:
        try:
            return self._call(method, path, what).body
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
        until = time.monotonic() + self._retry_budget
        attempt = 0
        while True:
            attempt += 1
            self.pacer.wait(held)
            status, retry_after = None, None
            try:
                try:
                    response = self._send(method, url, content, headers or {})
                    status = response.status_code
                finally:
                    if status != 429:
                        self.pacer.answered(held)
                if status < 300:
                    return Answer(status, response.headers, _json(response), uncertain)
                retry_after = _retry_after(response.headers.get("Retry-After"))
                failure = _refusal(what, self.host, response, uncertain)
            except ServiceRequestError as error:
                # Nothing was sent, so nothing was done.
                failure = self._unreachable(what, error, uncertain)
                if is_certificate_fault(error):
                    raise failure from None
            except AzureError as error:
                uncertain = True
                failure = self._unreachable(what, error, uncertain)
            backoff = random.uniform(0, min(_LONGEST_BACKOFF, 0.5 * 2**attempt))
            wait = backoff if retry_after is None else retry_after
            if status == 429:
                self.pacer.refused(wait, held)
            elif status is not None and status >= 500:
                uncertain = True
            if status is not None and status not in _RETRIED:
                raise failure
            if time.monotonic() + wait > until:
                failure.uncertain = uncertain
                raise _given_up(failure, attempt, self._retry_budget) from None
            if status != 429:
                time.sleep(wait)

    def _send(self, method: str, url: str, content: str | None, headers: dict[str, str]) -> Any:
        sent = {"Authorization": self._access.authorization(), **headers}
        if content is not None:
            sent["Content-Type"] = "application/json; charset=utf-8"
        request = HttpRequest(method, url, headers=sent, content=content)
        return self._pipeline.run(request).http_response

    def _unreachable(self, what: str, error: Exception, uncertain: bool) -> DpsError:
        if is_certificate_fault(error):
            return DpsError(
                f"Could not {what}: the certificate of {self.host} was not accepted ({innermost(error)}).",
                hint="If a private authority issued it, name its bundle in ca_file.",
                option="ca_file",
            )
        return DpsError(
            f"Could not {what}: no answer from {self.host} within {self._timeout:g} s ({innermost(error)}).",
            hint="Check the host name, the network and the proxy; what was done so far stands, so run again.",
            uncertain=uncertain,
            passing=not is_name_fault(error),
        )


def _enrollment_path(registration_id: str) -> str:
    return f"/enrollments/{quote(registration_id, safe='')}"


def _registration_path(registration_id: str) -> str:
    return f"/registrations/{quote(registration_id, safe='')}"


def _json(response: Any) -> Any:
    """The body, None where there is none. DpsError where it is not JSON: that is not the service."""
    text = response.text()
    if not text.strip():
        return None
    try:
        return json.loads(text)
    except ValueError:
        raise DpsError(
            f"{response.request.url.split('?')[0]} answered {response.status_code} with something that is not JSON.",
            status=response.status_code,
            hint="Is the host that of the Device Provisioning Service, and no proxy in between?",
        ) from None


def _refusal(what: str, host: str, response: Any, uncertain: bool) -> DpsError:
    try:
        body = json.loads(response.text())
    except ValueError:
        body = None
    body = body if isinstance(body, dict) else {}
    said = str(body.get("message") or body.get("Message") or response.reason or "no reason given").strip().rstrip(".")
    return DpsError(
        f"Could not {what}: {host} answered {response.status_code}: {said}",
        status=response.status_code,
        error_code=body.get("errorCode"),
        tracking_id=body.get("trackingId"),
        uncertain=uncertain,
    )


def _given_up(failure: DpsError, attempts: int, budget: float) -> DpsError:
    return DpsError(
        f"{failure.message}, after {attempts} tries within retry_budget {budget:g} s",
        status=failure.status,
        error_code=failure.error_code,
        tracking_id=failure.tracking_id,
        hint=failure.hint,
        uncertain=failure.uncertain,
        option=failure.option,
        passing=failure.passing,
    )


def _retry_after(header: str | None) -> float | None:
    """Seconds to wait as the header says, which may be a number or a date (RFC 9110, 10.2.3)."""
    if not header:
        return None
    try:
        return max(0.0, float(header))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(header) - datetime.now(timezone.utc)).total_seconds())
    except (TypeError, ValueError):
        return None
