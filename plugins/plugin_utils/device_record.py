# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device record of one host: what the inventory says of it, what was read on it, what was done there.

What a new field of the record is made from is said here; that there is one, in module_utils/record/fields.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.enrollment_settings import WHOLE, settings_of

# Where the certificate of the key that is enrolled is in a TPM's NV memory.
KEY_CERTIFICATE = "0x01c00002"

_FIELDS = {
    "registration_id": "tpmfleet_registration_id",
    "device_id": "tpmfleet_device_id",
    "serial_number": "tpmfleet_serial_number",
    "tpm_type": "tpmfleet_tpm_type",
}

_OTHERS = (
    "tpmfleet_dps_id_scope",
    "tpmfleet_key_version",
    "tpmfleet_ownership_profile",
    "tpmfleet_production",
    "tpmfleet_recommission",
    "tpmfleet_replace_tpm",
    "tpmfleet_software_tpm_allowed",
)


def is_of_the_record(variable: str) -> bool:
    """Whether a device record is made from the inventory's *variable*, among others."""
    return variable in _FIELDS.values() or variable in _OTHERS or variable.startswith(WHOLE)


def record_of(host: str, variables: Mapping[str, Any], results: Iterable[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """The record of *host* by its *variables* and what modules returned there, of which a later one says more.

    ValueError where the variables say what no record has.
    """
    record: dict[str, Any] = {"host": host}
    for result in results:
        if result.get("endorsement_key"):
            record.update(_news_of_the_key(record, _endorsement_key_fields(result["endorsement_key"])))
            chain = _certificate_chain(result.get("certificates") or [])
            record["endorsement_key_certificate_chain"] = chain or record.get("endorsement_key_certificate_chain")
            record["endorsement_key_certificate_missing"] = _why_no_certificate(result)
        if result.get("tpm"):
            record.update(_tpm_fields(result["tpm"]))
        if result.get("storage_root_key"):
            record.update(_ownership_fields(result, variables))
        record.update(proof_of(result))
    record.update({field: variables[name] for field, name in _FIELDS.items() if variables.get(name)})
    record.update(settings_of(variables))
    record["exceptions"] = _exceptions(variables) or None
    return {field: value for field, value in record.items() if value is not None}


def _exceptions(variables: Mapping[str, Any]) -> list[str]:
    """What the inventory allows for this very host; one that says nothing is a production inventory."""

    def says(name: str, default: bool) -> bool:
        return boolean(variables.get(name, default))

    allowed = {
        "software_tpm": not says("tpmfleet_production", True) or says("tpmfleet_software_tpm_allowed", False),
        "tpm_replacement": says("tpmfleet_replace_tpm", False),
        "recommission": says("tpmfleet_recommission", False),
    }
    return [name for name, yes in allowed.items() if yes]


def _endorsement_key_fields(key: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "registration_id": key.get("registration_id"),
        "endorsement_key": key.get("public"),
        "endorsement_key_sha256": key.get("sha256"),
        "endorsement_key_name": key.get("name"),
        "endorsement_key_template": key.get("template"),
        "endorsement_key_certificate": key.get("certificate"),
        "endorsement_key_certificate_about": key.get("certificate_about"),
    }


def _why_no_certificate(result: Mapping[str, Any]) -> str | None:
    """Why a result has no certificate of the key, where its TPM has something to say about that."""
    if result["endorsement_key"].get("certificate"):
        return None
    unread = {one["handle"]: one["reason"] for one in result.get("unreadable") or ()}
    if KEY_CERTIFICATE in unread:
        return f"the one at {KEY_CERTIFICATE} in its NV memory could not be read: {unread[KEY_CERTIFICATE]}"
    others = [one for one in result.get("certificates") or () if one["kind"] == "endorsement"]
    if not others:
        return None
    told = ", ".join(f"{one['key']} at {one['nv_index']}" for one in others)
    return f"what is in its NV memory is about keys that cannot be enrolled: {told}"


def _news_of_the_key(record: dict, fields: Mapping[str, Any]) -> dict[str, Any]:
    """What *fields* say beyond *record*: a later task may have known the key, and not looked at it again."""
    same = fields["endorsement_key"] == record.get("endorsement_key")
    return {
        name: value
        for name, value in fields.items()
        if not same or (value is not None and not (name == "endorsement_key_template" and value == "other"))
    }


def _certificate_chain(certificates: list[dict[str, Any]]) -> list[str] | None:
    return [one["certificate"] for one in certificates if one["kind"] == "chain"] or None


def _tpm_fields(tpm: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "tpm_type": tpm.get("tpm_type"),
        "tpm_manufacturer": tpm.get("manufacturer"),
        "tpm_model": tpm.get("model"),
        "tpm_firmware_version": tpm.get("firmware_version"),
    }


def _ownership_fields(result: dict, variables: Mapping[str, Any]) -> dict[str, Any]:
    hierarchies = result.get("hierarchies") or {}
    return {
        "storage_root_key": result["storage_root_key"].get("public"),
        "storage_root_key_name": result["storage_root_key"].get("name"),
        "ownership": {
            "profile": variables.get("tpmfleet_ownership_profile", "fleet"),
            # A play may say it for its role alone, which the variables of the host do not tell.
            "key_version": result.get("key_version") or int(variables.get("tpmfleet_key_version", 1)),
            **{
                flag: bool(hierarchies.get(flag))
                for flag in ("owner_auth_set", "lockout_auth_set", "endorsement_auth_set")
            },
        },
    }


def proof_of(result: Mapping[str, Any]) -> dict[str, Any]:
    """What an action of ours has found proven in its task; no device says it."""
    if not result.get("proven"):
        return {}
    return {"proven": result.get("endorsement_key_sha256") or result["endorsement_key"]["sha256"]}
