# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Enrollments as the service has them, and as a cloud's command line prints them, as records of a manifest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..dps.enrollment import normal
from ..outside.visible import visible
from .reader import Reasons

# The property that says a field; where it is not there, or null, the field is not mentioned.
_PROPERTIES = {
    "endorsement_key": "attestation",
    "device_id": "deviceId",
    "provisioning_status": "provisioningStatus",
    "iot_edge": "capabilities",
    "initial_twin": "initialTwin",
    "reprovision_policy": "reprovisionPolicy",
    "allocation_policy": "allocationPolicy",
    "iot_hubs": "iotHubs",
    "custom_allocation": "customAllocationDefinition",
    "optional_device_information": "optionalDeviceInformation",
}
_OBJECTS = (
    "attestation",
    "capabilities",
    "initialTwin",
    "reprovisionPolicy",
    "customAllocationDefinition",
    "optionalDeviceInformation",
)
# How the command line's library prints a free object: the members in one of these, beside what it made up.
_MEMBERS = ("additionalProperties", "additional_properties")
_BESIDE = {*_MEMBERS, "count", "metadata", "version"}


def record_of(value: Any) -> tuple[Any, Reasons]:
    """(*value* as a record, what is wrong with it). What is no enrollment of the service's is given back as it is."""
    if not isinstance(value, dict) or "registrationId" not in value or "registration_id" in value:
        return value, []
    wrong = [(name, "is not an object") for name in _OBJECTS if not isinstance(value.get(name) or {}, dict)]
    attestation = value.get("attestation") or {}
    if wrong:
        return None, wrong
    kind = attestation.get("type")
    if kind not in (None, "tpm"):
        only = "leave others out, as with --query \"[?attestation.type=='tpm']\""
        return None, [("attestation", f"is {visible(kind, most=40)} and no TPM: {only}")]
    twin = value.get("initialTwin") or {}
    properties = twin.get("properties") or {}
    inner = [(twin, "tags"), (twin, "properties"), (properties, "desired"), (attestation, "tpm")]
    if not all(isinstance(one, dict) and isinstance(one.get(name) or {}, dict) for one, name in inner):
        return None, [("initialTwin" if attestation else "attestation", "is not as the service has it")]
    hubs = value.get("iotHubs") or []
    if not isinstance(hubs, list):
        return None, [("iotHubs", "is not a list")]
    plain = {
        **value,
        "initialTwin": {"tags": _free(twin.get("tags")), "properties": {"desired": _free(properties.get("desired"))}},
        "optionalDeviceInformation": _free(value.get("optionalDeviceInformation")),
    }
    fields = normal(plain)
    said = {name: fields[name] for name, property_ in _PROPERTIES.items() if value.get(property_) is not None}
    if value.get("iotHubHostName"):
        said["iot_hubs"] = fields["iot_hubs"]
    return {"registration_id": value["registrationId"], **said}, []


def _free(value: Any) -> Any:
    """A free object without what the command line's library puts around it."""
    if isinstance(value, Mapping) and set(value) <= _BESIDE:
        for name in _MEMBERS:
            if name in value:
                return value[name] or {}
    return value
