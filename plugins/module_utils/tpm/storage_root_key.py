# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The storage root key: the one that is persisted at 0x81000001, or the one that a claim would persist there."""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

from . import templates
from .properties import Properties, read_handles


class StorageRootKey(NamedTuple):
    """A storage root key; *persisted* is whether it is at 0x81000001. *esys_handle* is valid for the connection."""

    public: bytes
    persisted: bool
    esys_handle: Any

    def as_result(self) -> dict[str, Any]:
        """The shape in which modules return it."""
        return {
            "public": base64.b64encode(self.public).decode("ascii"),
            "name": templates.name_of(self.public).hex(),
            "handle": f"0x{templates.SRK_HANDLE:08x}" if self.persisted else None,
            "persisted": self.persisted,
        }


def persisted_storage_root_key(esys: Any) -> StorageRootKey | None:
    """What is at the handle, whatever it is; None for nothing."""
    if not read_handles(esys, templates.SRK_HANDLE, templates.SRK_HANDLE):
        return None
    esys_handle = esys.tr_from_tpmpublic(templates.SRK_HANDLE)
    area, _name, _qualified_name = esys.read_public(esys_handle)
    return StorageRootKey(bytes(area.marshal()), True, esys_handle)


def made_storage_root_key(esys: Any, owner: Any = None, **sessions: Any) -> StorageRootKey:
    """The one that the TPM makes from the template, the same each time; it stays loaded.

    *owner* is the owner hierarchy with its authorization, by default one without.
    """
    from tpm2_pytss.constants import ESYS_TR
    from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

    esys_handle, area, _data, _digest, _ticket = esys.create_primary(
        TPM2B_SENSITIVE_CREATE(), templates.srk_template(), ESYS_TR.OWNER if owner is None else owner, **sessions
    )
    return StorageRootKey(bytes(area.marshal()), False, esys_handle)


def told_storage_root_key(esys: Any, properties: Properties) -> StorageRootKey | None:
    """The persisted one, else the one that would be made; None where making it takes an authorization."""
    persisted = persisted_storage_root_key(esys)
    if persisted is not None or properties.owner_auth_set:
        return persisted
    return made_storage_root_key(esys)
