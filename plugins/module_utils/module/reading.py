# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules share that read a TPM's keys: their options, and what is read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from ..tpm.certificates import read_all_certificates
from ..tpm.endorsement_key import EndorsementKey, read_endorsement_key, read_persistent_keys, with_handles
from ..tpm.kept_keys import keep
from ..tpm.nv import NvReader
from ..tpm.properties import Properties, read_properties
from ..tpm.storage_root_key import StorageRootKey, told_storage_root_key


class Reading(NamedTuple):
    """What was read: the *result* of a module, and the keys in it, which stay loaded as long as the TPM is open."""

    result: dict[str, Any]
    properties: Properties
    endorsement_key: EndorsementKey
    storage_root_key: StorageRootKey | None


def reading_options() -> dict[str, dict[str, Any]]:
    """The argument specification of ``tpm_endorsement_key_info``, without the connection's."""
    return {
        "template": {"type": "str", "choices": ["auto", "tcg", "sdk", "nv"], "default": "auto"},
        "identify_template": {"type": "bool", "default": True},
        "endorsement_auth": {"type": "str", "no_log": True},
        "endorsement_auth_before_proof": {"type": "bool", "default": False, "no_log": False},
        "replace_persistent_keys": {"type": "bool", "default": False},
        "read_certificate": {"type": "bool", "default": True},
        "all_certificates": {"type": "bool", "default": False},
        "storage_root_key": {"type": "bool", "default": False},
    }


def read(esys: Any, params: Mapping[str, Any]) -> Reading:
    """What the open TPM says of its keys, for the options *params*."""
    properties = read_properties(esys)
    nv = NvReader(esys, properties)
    key = read_endorsement_key(
        esys,
        properties=properties,
        nv=nv,
        template=params["template"],
        endorsement_auth=(params["endorsement_auth"] or "").encode("utf-8"),
        identify=params["identify_template"],
        replace_persistent=params["replace_persistent_keys"],
        certificate=params["read_certificate"],
    )
    result: dict[str, Any] = {"changed": False, "endorsement_key": key.as_result(), "tpm": properties.chip()}
    storage_root_key = None
    if params["storage_root_key"]:
        storage_root_key = told_storage_root_key(esys, properties)
        result["storage_root_key"] = storage_root_key.as_result() if storage_root_key else None
        result["kept_keys"] = keep(esys, key, storage_root_key)
    if params["all_certificates"]:
        result["persistent_keys"] = read_persistent_keys(esys)
        result["certificates"] = with_handles(read_all_certificates(nv), result["persistent_keys"])
    return Reading({**result, "unreadable": nv.unreadable_results()}, properties, key, storage_root_key)
