# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Device Provisioning Service instances in Azure Resource Manager: one method a call, refusals told in words.

Retries, tokens and the waiting for long-running operations are the SDK's (azure-mgmt-iothubprovisioningservices 2.x),
over a transport of ours, so that each has an end and nothing is asked of a host that an answer points to.
An instance goes in and out as the document that Azure has of it; what it means is in the other modules of this room.
Its keys are in no GET and are read apart; a PUT replaces everything that a document can say, so it always carries them.
"""

from __future__ import annotations

import contextlib
import re
import time
import traceback
from collections.abc import Iterator
from typing import Any

from ..dps.credentials import in_one_line
from ..dps.errors import DpsError, innermost, is_certificate_fault
from ..dps.shape import Unfit
from ..outside.visible import visible
from .documents import MOST_INSTANCES, availability, instance_document, policy_documents, refusal_of

try:
    from azure.core import AzureClouds
    from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
    from azure.mgmt.core.tools import get_arm_endpoints
    from azure.mgmt.iothubprovisioningservices import IotDpsClient

    from ..dps.transport import BoundedTransport, OutOfTime, RefusedAnswer, host_of

    AZURE_MGMT_IMPORT_ERROR = None
except ImportError:
    AZURE_MGMT_IMPORT_ERROR = traceback.format_exc()

PUBLIC_ENDPOINT = "https://management.azure.com"
# Between two looks at an operation or at an instance that is changing.
POLL_SECONDS = 3
# How often a change is made anew because somebody else's came in between.
TRIES = 5
_LONGEST_REASON = 400
# The SDK has any resource provider registered in the subscription that a refusal (409) names. Ours is one of them.
_FOREIGN_REGISTRATION = re.compile(r"/providers/(?!Microsoft\.Devices/register\?).*/register\?")
_AT_REST = ("Active", "Suspended", "ActivationFailed", "DeletionFailed", "FailoverFailed")
# What Azure alone decides and an update must not send back.
_OWN = ("id", "name", "type", "systemData", "resourcegroup", "subscriptionid")
_OWN_PROPERTIES = (
    "state",
    "provisioningState",
    "idScope",
    "serviceOperationsHostName",
    "deviceProvisioningHostName",
    "deviceRegistryNamespaces",
)
_HINTS = {
    400: "Correct what Azure names, or report it with the tracking ID.",
    401: "Check tenant, client_id and secret, and that resource_manager belongs to the same cloud as the tenant.",
    403: "Give the identity a role that may do this, such as Contributor, on the resource group or the instance.",
    404: "Check subscription_id, resource_group and the instance's name.",
    409: "The instance is in a state that does not allow it: see what Azure names, and run again.",
    412: "It was changed by someone else in between: run again.",
    429: "Azure's limit for calls to the resource manager is used up: run again later.",
}
_CODE_HINTS = {
    "ResourceGroupNotFound": "Check the name; resource groups are not made here.",
    "SubscriptionNotFound": "Check subscription_id, and that the identity's tenant is the subscription's.",
    "ScopeLocked": "Remove the lock from the instance or its resource group if this is really meant.",
    "InvalidResourceLocation": "An instance cannot be moved: leave location out, or take another name.",
}


def open_client(
    credential: Any, subscription_id: str, endpoint: str, *, ca_file: str | None, timeout: float
) -> tuple[Any, Any]:
    """(The SDK's client for the subscription at *endpoint*, its transport). *timeout* is for one try, in seconds."""
    transport = BoundedTransport(
        ca_file=ca_file, timeout=timeout, hosts=[host_of(endpoint)], never=_FOREIGN_REGISTRATION
    )
    client = IotDpsClient(
        credential,
        subscription_id,
        endpoint,
        credential_scopes=scopes_of(endpoint),
        transport=transport,
        permit_redirects=False,
        polling_interval=POLL_SECONDS,
        user_agent="tpmfleet.azure_dps",
    )
    return client, transport


def scopes_of(endpoint: str) -> list[str]:
    """What a token for the resource manager at *endpoint* has to be made out to."""
    for cloud in AzureClouds:
        known = get_arm_endpoints(cloud)
        if known["resource_manager"].rstrip("/") == endpoint:
            return list(known["credential_scopes"])
    return [f"{endpoint}/.default"]


class ResourceManager:
    """The instances of one subscription, those of *resource_group* by name.

    *operation_timeout* bounds each change and each reading, with all tries and waits, in seconds.
    """

    def __init__(
        self, client: Any, transport: Any, resource_group: str | None, *, endpoint: str, operation_timeout: float
    ) -> None:
        self._client = client
        self._transport = transport
        self._resources = client.iot_dps_resource
        self._group = resource_group
        self._endpoint = endpoint
        self._operation_timeout = operation_timeout

    def close(self) -> None:
        """Ends the connections."""
        self._client.close()

    def instance(self, name: str) -> dict[str, Any] | None:
        """One instance without its keys, None where the group has none of that name."""
        try:
            with self._telling(f"read the DPS instance {name}"):
                return instance_document(self._resources.get(name, self._group).as_dict(), name)
        except DpsError as error:
            if error.error_code == "ResourceNotFound":
                return None
            raise

    def instances(self) -> list[dict[str, Any]]:
        """All instances of the group, of the subscription without one."""
        with self._telling("list the DPS instances"):
            if self._group is None:
                found = self._resources.list_by_subscription()
            else:
                found = self._resources.list_by_resource_group(self._group)
            return [instance_document(one.as_dict()) for one in _listed(found)]

    def missing(self, name: str) -> DpsError:
        """What to say where there is no such instance and has to be one."""
        return DpsError(
            f"There is no DPS instance {name} in the resource group {self._group}.",
            status=404,
            hint="Check both names, or make it with tpmfleet.azure_dps.dps_instance.",
        )

    def access_policies(self, name: str) -> list[dict[str, Any]]:
        """The shared access policies of an instance with their keys: keyName, rights, primaryKey, secondaryKey."""
        with self._telling(f"read the access policies of the DPS instance {name}"):
            return policy_documents([one.as_dict() for one in _listed(self._resources.list_keys(name, self._group))])

    def require_available(self, name: str) -> None:
        """DpsError where no instance can be made under *name*, with Azure's reason."""
        with self._telling(f"ask whether the name {name} can be had"):
            found = availability(self._resources.check_provisioning_service_name_availability({"name": name}).as_dict())
        if not found["nameAvailable"]:
            said = found.get("message") or found.get("reason") or "Azure says that the name cannot be had"
            raise DpsError(
                f"The DPS instance {name} cannot be made: {visible(said, most=_LONGEST_REASON).rstrip('.')}.",
                hint="Names are 3 to 64 letters, digits and hyphens, and there is only one of a name in all of Azure.",
            )

    def create(self, name: str, document: dict[str, Any]) -> dict[str, Any]:
        """Makes an instance, but no other one of that name into it; as it is then."""
        # Azure documents If-None-Match for the instance's certificates only. Where it is not looked at, a second
        # maker of the same moment is not noticed.
        return self._put(name, document, f"make the DPS instance {name}", {"If-None-Match": "*"})

    def replace(self, name: str, document: dict[str, Any], *, etag: str) -> dict[str, Any]:
        """Writes a document back over the one with that ETag (else 412); as it is then. Keys that are left out stay."""
        written = _writable(document)
        if written["properties"].get("authorizationPolicies") is None:
            # After the document: whoever changes a policy in between changes the ETag.
            written["properties"]["authorizationPolicies"] = self.access_policies(name)
        return self._put(name, written, f"change the DPS instance {name}", {"If-Match": f'"{etag}"'})

    def delete(self, name: str) -> None:
        """Removes an instance with everything that it holds."""
        with self._telling(f"remove the DPS instance {name}"):
            self._awaited(self._resources.begin_delete(name, self._group), name)

    def settled(self, name: str) -> dict[str, Any] | None:
        """One instance once no other change to it is under way, None where there is none."""
        until = time.monotonic() + self._operation_timeout
        while True:
            found = self.instance(name)
            if found is None or is_at_rest(found):
                return found
            if time.monotonic() > until:
                state = found["properties"]["state"]
                raise DpsError(
                    f"The DPS instance {name} was still {state} after {self._operation_timeout:g} s.",
                    hint="Another change is under way. Run again later, or raise operation_timeout.",
                )
            time.sleep(POLL_SECONDS)

    def _put(self, name: str, document: dict[str, Any], what: str, headers: dict[str, str]) -> dict[str, Any]:
        with self._telling(what):
            poller = self._resources.begin_create_or_update(self._group, name, document, headers=headers)
            return instance_document(self._awaited(poller, name).as_dict(), name)

    def _awaited(self, poller: Any, name: str) -> Any:
        why = ""
        try:
            poller.wait(timeout=self._operation_timeout)
            if poller.done():
                return poller.result()
        except OutOfTime as error:
            why = f" ({error})"
        raise DpsError(
            f"The change of the DPS instance {name} was not done after {self._operation_timeout:g} s{why}.",
            hint="It goes on in Azure. Run again later, or raise operation_timeout.",
        )

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        """The SDK's exceptions as DpsError, within operation_timeout."""
        self._transport.until = time.monotonic() + self._operation_timeout
        try:
            yield
        except (DpsError, NotImplementedError):
            raise
        except (Unfit, RefusedAnswer) as error:
            raise self._senseless(what, str(error)) from None
        except OutOfTime as error:
            raise DpsError(
                f"Could not {what} within {self._operation_timeout:g} s: {error}.",
                hint="Run again later, or raise operation_timeout.",
                passing=True,
            ) from None
        except ClientAuthenticationError as error:
            asked: Any = getattr(error.response, "request", None)
            if asked is not None and asked.url.startswith(f"{self._endpoint}/subscriptions/"):
                raise self._refusal(what, error) from None
            raise DpsError(
                f"Could not {what}: Entra ID gave no token: {in_one_line(error)}.",
                hint="Check tenant, client_id and secret, or log in with 'az login'.",
            ) from None
        except HttpResponseError as error:
            raise self._refusal(what, error) from None
        except AzureError as error:
            if is_certificate_fault(error):
                raise DpsError(
                    f"Could not {what}: the certificate of {self._endpoint} was not accepted ({innermost(error)}).",
                    hint="If a private authority issued it, name its bundle in ca_file.",
                ) from None
            raise DpsError(
                f"Could not {what}: no answer from {self._endpoint} ({innermost(error)}).",
                hint="Check resource_manager, the network and the proxy, and run again: what was done so far stands.",
            ) from None
        except Exception as error:
            # What the SDKs make of a document of another form than they know is an exception of any kind.
            raise self._senseless(what, f"is no document that Azure gives ({type(error).__name__})") from None

    def _senseless(self, what: str, why: str) -> DpsError:
        return DpsError(
            f"Could not {what}: the answer of {self._endpoint} makes no sense, it {why}.",
            hint="Is resource_manager the address of Azure Resource Manager, and no proxy in between? Nothing of the "
            "answer was used; what was done so far stands.",
        )

    def _refusal(self, what: str, error: Any) -> DpsError:
        response = error.response
        status = getattr(response, "status_code", None)
        code, said = refusal_of(response)
        headers = getattr(response, "headers", {})
        how = "it was accepted and then failed" if status is not None and status < 300 else f"Azure answered {status}"
        return DpsError(
            f"Could not {what}: {how}: {visible((said or error.message).strip().rstrip('.'), most=_LONGEST_REASON)}",
            status=status,
            error_code=code,
            tracking_id=visible(headers.get("x-ms-correlation-request-id") or "", most=128) or None,
            hint=_CODE_HINTS.get(str(code)) or _HINTS.get(status or 0, "Run again later."),
        )


def is_at_rest(document: dict[str, Any]) -> bool:
    """Whether no change of an instance is under way."""
    return document["properties"].get("state") in (None, *_AT_REST)


def _writable(document: dict[str, Any]) -> dict[str, Any]:
    """What of a document may be sent: all but what Azure alone decides, since a PUT replaces all."""
    written = {name: value for name, value in document.items() if name not in _OWN}
    properties = {name: value for name, value in document["properties"].items() if name not in _OWN_PROPERTIES}
    properties["iotHubs"] = [
        # The service tells a hub's host name as its name, which is not to be sent.
        {"hostName": hub.get("name"), **{name: value for name, value in hub.items() if name != "name"}}
        for hub in properties.get("iotHubs") or []
    ]
    return {**written, "properties": properties}


def _listed(found: Any) -> Iterator[Any]:
    """What a list of the SDK's holds, which is no list without an end."""
    for number, one in enumerate(found):
        if number >= MOST_INSTANCES:
            raise Unfit(f"has more than {MOST_INSTANCES} entries")
        yield one
