# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One enrollment: what is wanted of it, what the service has, and the difference, in one normal form.

The normal form is a flat dictionary under the names of the options (FIELDS), the same for what is wanted and for what
is there, so that a record read from the service and written back is no change. What is wanted holds only the fields
that were mentioned; the others are left alone.

What is sent is built from the properties known here and no others: read-only ones and ones that a service or another
client has added (Azure/azure-cli#31673) never go back. The price: replacing an enrollment drops a property that this
file does not know. With a pinned api-version there is none.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Callable

from ..outside.visible import visible
from ..record.fields import RECORD_FIELDS
from .endorsement_key import EndorsementKeyError, decode_endorsement_key, default_registration_id
from .errors import DpsError

REGISTRATION_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9\-._:]{0,126}[A-Za-z0-9\-])?")
DEVICE_ID = re.compile(r"[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}")
_LONGEST_WORDS = 1000
PROVISIONING_STATUSES = ("enabled", "disabled")
ALLOCATION_POLICIES = ("hashed", "geoLatency", "static", "custom")

FIELDS = (
    "endorsement_key",
    "device_id",
    "provisioning_status",
    "iot_edge",
    "initial_twin",
    "reprovision_policy",
    "allocation_policy",
    "iot_hubs",
    "custom_allocation",
    "optional_device_information",
)
# What a device record says beside its enrollment; the last four travel with it for one call.
OTHER_RECORD_FIELDS = frozenset(RECORD_FIELDS).difference(FIELDS, ["registration_id"]) | {
    "endorsement_key_certificate_about",
    "endorsement_key_certificate_missing",
    "outcome",
    "station",
}


@dataclass(frozen=True)
class Wanted:
    """What a record asks for: *fields* in normal form, only those that it mentions."""

    registration_id: str
    fields: Mapping[str, Any]


class _Wrong(ValueError):
    """Why a value is refused, as the end of a sentence about its field."""


def wanted_of(record: Any) -> tuple[Wanted | None, list[tuple[str, str]]]:
    """(What *record* asks for, or None where it cannot be told; its problems as pairs of field and reason).

    A field that is None is one that is not mentioned. An empty value empties the field.
    """
    if not isinstance(record, Mapping):
        return None, [("", "is not an object")]
    problems: list[tuple[str, str]] = []
    fields: dict[str, Any] = {}
    for name in record:
        if name not in _READERS and name not in OTHER_RECORD_FIELDS and name != "registration_id":
            problems.append((str(name), "is not a field of an enrollment or of a device record"))
    for name, read in _READERS.items():
        value = record.get(name)
        if value is None:
            continue
        try:
            fields[name] = read(value)
        except _Wrong as error:
            problems.append((name, str(error)))
    registration_id = record.get("registration_id")
    if registration_id is None and "endorsement_key" in fields:
        registration_id = default_registration_id(base64.b64decode(fields["endorsement_key"]))
    fault = registration_id_fault(registration_id)
    if fault:
        problems.append(("registration_id", fault))
    problems += _contradictions(record, fields)
    return (None if fault else Wanted(str(registration_id), fields)), problems


def registration_id_fault(value: Any) -> str | None:
    """Why *value* is no registration ID, or None (concept page "Registration ID")."""
    if value is None or value == "":
        return "is missing"
    if not isinstance(value, str):
        return "is not text"
    if not REGISTRATION_ID.fullmatch(value):
        if len(value) > 128:
            return f"has {len(value)} characters; 128 are allowed"
        return "may hold letters, digits and - . _ : only, begins with a letter or digit and ends with one or a dash"
    return None


def checked_ids(registration_ids: Iterable[str]) -> list[str]:
    """The IDs once each, in their order. DpsError names those that are none."""
    wrong = [f"{one!r} {registration_id_fault(one)}" for one in registration_ids if registration_id_fault(one)]
    if wrong:
        raise DpsError(f"Not a registration ID: {'; '.join(wrong)}.", hint="Nothing was sent.")
    return list({one.lower(): one for one in registration_ids}.values())


def normal(document: Mapping[str, Any]) -> dict[str, Any]:
    """The normal form of an enrollment as the service has it: every field of FIELDS, defaults filled in."""
    tpm = (document.get("attestation") or {}).get("tpm") or {}
    twin = document.get("initialTwin") or {}
    policy = document.get("reprovisionPolicy") or {}
    custom = document.get("customAllocationDefinition") or {}
    return {
        "endorsement_key": _canonical_key(tpm.get("endorsementKey")),
        "device_id": document.get("deviceId") or None,
        "provisioning_status": document.get("provisioningStatus") or "enabled",
        "iot_edge": bool((document.get("capabilities") or {}).get("iotEdge")),
        "initial_twin": {
            "tags": _plain(twin.get("tags")),
            "properties": {"desired": _plain((twin.get("properties") or {}).get("desired"))},
        },
        "reprovision_policy": {
            "update_hub_assignment": policy.get("updateHubAssignment", True) is not False,
            "migrate_device_data": policy.get("migrateDeviceData", True) is not False,
        },
        "allocation_policy": document.get("allocationPolicy") or None,
        "iot_hubs": _hubs(document),
        "custom_allocation": {
            "webhook_url": custom.get("webhookUrl"),
            "api_version": custom.get("apiVersion"),
        }
        if custom.get("webhookUrl")
        else None,
        "optional_device_information": _plain(document.get("optionalDeviceInformation")),
    }


def merged(wanted: Wanted, actual: Mapping[str, Any] | None) -> dict[str, Any]:
    """The normal form that the enrollment has once *wanted* is done; *actual* is the normal form it has now."""
    after = dict(normal({}) if actual is None else actual)
    for name, value in wanted.fields.items():
        if name == "initial_twin":
            value = {
                "tags": value.get("tags", after[name]["tags"]),
                "properties": value.get("properties", after[name]["properties"]),
            }
        elif name == "reprovision_policy":
            value = {**after[name], **value}
        after[name] = value
    return after


def changed_fields(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Names of the fields that differ, in the order of FIELDS."""
    return [name for name in FIELDS if not _same_field(name, before, after)]


def to_document(registration_id: str, fields: Mapping[str, Any], actual: Mapping[str, Any] | None) -> dict[str, Any]:
    """The body to send for *fields*, a whole normal form. *actual* is the document that it replaces, if any."""
    before = actual or {}
    tpm: dict[str, Any] = {"endorsementKey": fields["endorsement_key"]}
    old_tpm = (before.get("attestation") or {}).get("tpm") or {}
    if old_tpm.get("storageRootKey") and _canonical_key(old_tpm.get("endorsementKey")) == fields["endorsement_key"]:
        # Set by someone else and still of this TPM.
        tpm["storageRootKey"] = old_tpm["storageRootKey"]
    document: dict[str, Any] = {
        "registrationId": registration_id,
        "attestation": {"type": "tpm", "tpm": tpm},
        "provisioningStatus": fields["provisioning_status"],
        "capabilities": {"iotEdge": fields["iot_edge"]},
        "reprovisionPolicy": {
            "updateHubAssignment": fields["reprovision_policy"]["update_hub_assignment"],
            "migrateDeviceData": fields["reprovision_policy"]["migrate_device_data"],
        },
    }
    twin = fields["initial_twin"]
    optional = {
        "deviceId": fields["device_id"],
        "allocationPolicy": fields["allocation_policy"],
        "optionalDeviceInformation": fields["optional_device_information"],
    }
    document.update({name: value for name, value in optional.items() if value})
    if twin["tags"] or twin["properties"]["desired"]:
        document["initialTwin"] = twin
    if fields["custom_allocation"]:
        document["customAllocationDefinition"] = {
            "webhookUrl": fields["custom_allocation"]["webhook_url"],
            "apiVersion": fields["custom_allocation"]["api_version"],
        }
    if before and sorted(_hubs(before)) == sorted(fields["iot_hubs"]) and fields["allocation_policy"] != "static":
        # As they stand, in whichever of the two properties; with the static policy the order counts.
        document.update({name: before[name] for name in ("iotHubs", "iotHubHostName") if before.get(name)})
    elif fields["iot_hubs"]:
        document["iotHubs"] = fields["iot_hubs"]
    return document


def same_document(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two documents say the same of what can be written."""
    return not changed_fields(normal(one), normal(other))


def as_result(document: Mapping[str, Any]) -> dict[str, Any]:
    """An enrollment as the modules return it."""
    state = document.get("registrationState")
    return {
        "registration_id": document.get("registrationId"),
        **normal(document),
        "endorsement_key_sha256": key_digest(normal(document)["endorsement_key"]),
        "etag": document.get("etag"),
        "created": document.get("createdDateTimeUtc"),
        "last_updated": document.get("lastUpdatedDateTimeUtc"),
        "registration": registration_result(state, document.get("registrationId")) if state else None,
    }


def registration_result(state: Mapping[str, Any] | None, registration_id: Any) -> dict[str, Any]:
    """A registration state as the modules return it; where there is none its status is ``not_found``."""
    if state is None:
        words: str | None = "the service knows no registration: not enrolled, or never registered since it was enrolled"
        state = {"status": "not_found"}
    else:
        words = visible(state["errorMessage"], most=_LONGEST_WORDS) if state.get("errorMessage") else None
    return {
        "registration_id": state.get("registrationId") or registration_id,
        "status": state.get("status"),
        "substatus": state.get("substatus"),
        "assigned_hub": state.get("assignedHub") or None,
        "device_id": state.get("deviceId") or None,
        "error_code": state.get("errorCode") or None,
        "error_message": words,
        "created": state.get("createdDateTimeUtc"),
        "last_updated": state.get("lastUpdatedDateTimeUtc"),
        "etag": state.get("etag"),
    }


def key_digest(endorsement_key: str | None) -> str | None:
    """SHA-256 over the TPM2B_PUBLIC in hexadecimal, for people and lists; None without a key."""
    if not endorsement_key:
        return None
    try:
        return hashlib.sha256(base64.b64decode(endorsement_key)).hexdigest()
    except (binascii.Error, ValueError):
        return None


# Reading what is wanted, field by field


def _key(value: Any) -> str:
    try:
        return base64.b64encode(decode_endorsement_key(value)).decode()
    except EndorsementKeyError as error:
        raise _Wrong(str(error)) from None


def _device_id(value: Any) -> str | None:
    if value == "":
        return None
    if not isinstance(value, str) or not DEVICE_ID.fullmatch(value):
        raise _Wrong("may hold up to 128 ASCII letters, digits and -:.+%_#*?!(),=@;$' only")
    return value


def _one_of(*allowed: str, empty: bool = False) -> Callable[[Any], Any]:
    def read(value: Any) -> Any:
        if empty and value == "":
            return None
        if value not in allowed:
            raise _Wrong(f"is not one of {', '.join(allowed)}")
        return value

    return read


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Wrong("is not true or false")
    return value


def _object(value: Any, known: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise _Wrong("is not an object")
    strange = [str(name) for name in value if name not in known]
    if strange:
        raise _Wrong(f"has the unknown key {strange[0]}; {', '.join(known)} are known")
    return value


def _free(value: Any, where: str) -> dict[str, Any]:
    """A free object of a twin, whose keys the hub restricts (hub documentation "Tags and properties format")."""
    if not isinstance(value, Mapping):
        raise _Wrong(f"{where}is not an object")
    for name, inner in value.items():
        if not isinstance(name, str) or not name or re.search(r"[.$\s\x00-\x1f]", name):
            raise _Wrong(f"{where}has the key {name!r}; a key may not be empty nor hold . $ or spaces")
        if isinstance(inner, Mapping):
            _free(inner, where)
    return _plain(value)


def _twin(value: Any) -> dict[str, Any]:
    given = _object(value, ("tags", "properties"))
    if not given:
        return {"tags": {}, "properties": {"desired": {}}}
    twin: dict[str, Any] = {}
    if given.get("tags") is not None:
        twin["tags"] = _free(given["tags"], "tags ")
    if given.get("properties") is not None:
        properties = _object(given["properties"], ("desired",))
        twin["properties"] = {"desired": _free(properties.get("desired") or {}, "properties.desired ")}
    return twin


def _reprovision_policy(value: Any) -> dict[str, bool]:
    given = _object(value, ("update_hub_assignment", "migrate_device_data"))
    return {name: _boolean(inner) for name, inner in given.items() if inner is not None}


def _hub_list(value: Any) -> list[str]:
    if not isinstance(value, (list, tuple)) or not all(isinstance(hub, str) and hub.strip() for hub in value):
        raise _Wrong("is not a list of host names")
    return list(dict.fromkeys(hub.strip() for hub in value))


def _custom(value: Any) -> dict[str, str] | None:
    given = _object(value, ("webhook_url", "api_version"))
    if not any(given.values()):
        return None
    if not given.get("webhook_url") or not given.get("api_version"):
        raise _Wrong("needs webhook_url and api_version")
    return {name: str(given[name]) for name in ("webhook_url", "api_version")}


_READERS: dict[str, Callable[[Any], Any]] = {
    "endorsement_key": _key,
    "device_id": _device_id,
    "provisioning_status": _one_of(*PROVISIONING_STATUSES),
    "iot_edge": _boolean,
    "initial_twin": _twin,
    "reprovision_policy": _reprovision_policy,
    "allocation_policy": _one_of(*ALLOCATION_POLICIES, empty=True),
    "iot_hubs": _hub_list,
    "custom_allocation": _custom,
    "optional_device_information": lambda value: _free(value, ""),
}


def _contradictions(record: Mapping[str, Any], fields: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What is wrong although every field by itself is right."""
    found = []
    digest = record.get("endorsement_key_sha256")
    if digest and "endorsement_key" in fields and str(digest).lower() != key_digest(fields["endorsement_key"]):
        found.append(("endorsement_key_sha256", "is not the SHA-256 of endorsement_key"))
    if fields.get("allocation_policy") == "custom" and fields.get("custom_allocation", True) is None:
        found.append(("custom_allocation", "is empty, and allocation_policy custom needs it"))
    return found


# The normal form of single values


def _canonical_key(text: Any) -> str | None:
    if not text:
        return None
    try:
        return base64.b64encode(base64.b64decode("".join(text.split()), validate=True)).decode()
    except (binascii.Error, ValueError, AttributeError):
        return str(text)


def _hubs(document: Mapping[str, Any]) -> list[str]:
    hubs = list(document.get("iotHubs") or [])
    if not hubs and document.get("iotHubHostName"):
        hubs = [document["iotHubHostName"]]
    return hubs


def _plain(value: Any) -> dict[str, Any]:
    """A free object without what only a service adds ($metadata, $version) and without nulls, which mean absent."""
    if not isinstance(value, Mapping):
        return {}
    return {
        name: _plain(inner) if isinstance(inner, Mapping) else inner
        for name, inner in value.items()
        if inner is not None and not str(name).startswith("$")
    }


def _same_field(name: str, one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    if name == "iot_hubs" and "static" not in (one["allocation_policy"], other["allocation_policy"]):
        # The order says nothing, and nobody promises that the service keeps it.
        return sorted(map(str.lower, one[name])) == sorted(map(str.lower, other[name]))
    return _same(one[name], other[name])


def _same(one: Any, other: Any) -> bool:
    """Equality as JSON has it: true is not 1, but 1.0 is."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_same(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return len(one) == len(other) and all(_same(*pair) for pair in zip(one, other))
    return one == other
