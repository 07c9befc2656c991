# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys that one call had the TPM make, for the next call: a chip can take a minute for each.

A saved context is good for the TPM that saved it until it is reset, and is encrypted and authenticated by it (TPM 2.0
part 1, 30.3), so that it may pass through any hands. What cannot be loaded again is made again.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

from . import templates
from .connection import TpmError
from .endorsement_key import EndorsementKey
from .storage_root_key import StorageRootKey


class KeptKeys(NamedTuple):
    """Each None where it is persisted, was not made, or cannot be loaded."""

    endorsement_key: EndorsementKey | None = None
    storage_root_key: StorageRootKey | None = None


def keep(esys: Any, endorsement_key: EndorsementKey, storage_root_key: StorageRootKey | None) -> dict[str, str]:
    """What :func:`taken_up` is to be given: contexts in base64, and the endorsement key's template."""
    kept = {}
    if not endorsement_key.persisted:
        kept["endorsement_key"] = _saved(esys, endorsement_key.esys_handle)
        kept["template"] = endorsement_key.template
    if storage_root_key is not None and not storage_root_key.persisted:
        kept["storage_root_key"] = _saved(esys, storage_root_key.esys_handle)
    return kept


def taken_up(
    esys: Any, kept: Mapping[str, str] | None, *, endorsement_key: bytes, storage_root_key: bytes | None
) -> KeptKeys:
    """The keys of *kept* that are the *endorsement_key* and the *storage_root_key*, each a TPM2B_PUBLIC."""
    kept = kept or {}
    endorsement = _loaded(esys, kept.get("endorsement_key"), endorsement_key)
    storage = _loaded(esys, kept.get("storage_root_key"), storage_root_key)
    template = kept.get("template", "other")
    return KeptKeys(
        None
        if endorsement is None
        else EndorsementKey(endorsement_key, templates.name_of(endorsement_key), template, False, None, endorsement),
        None if storage is None or storage_root_key is None else StorageRootKey(storage_root_key, False, storage),
    )


def _saved(esys: Any, handle: Any) -> str:
    return base64.b64encode(bytes(esys.context_save(handle).marshal())).decode("ascii")


def _loaded(esys: Any, context: str | None, expected: bytes | None) -> Any:
    """The handle; None where there is no context, or not the one of the key that is *expected*."""
    from tpm2_pytss.types import TPMS_CONTEXT

    if not context or expected is None:
        return None
    try:
        handle = esys.context_load(TPMS_CONTEXT.unmarshal(base64.b64decode(context, validate=True))[0])
    except (TpmError, RuntimeError, ValueError, binascii.Error):
        return None
    area, _name, _qualified_name = esys.read_public(handle)
    if bytes(area.marshal()) == expected:
        return handle
    esys.flush_context(handle)
    return None
