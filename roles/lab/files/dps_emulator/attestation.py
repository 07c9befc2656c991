# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The challenge that only the TPM with the enrolled endorsement key can answer (facts: "The challenge blob").

TPM 2.0 Part 1, 24 (credential protection) and 23.3 (duplication).
"""

from __future__ import annotations

import secrets

from tpm2_pytss.constants import TPM2_ALG, TPMA_OBJECT
from tpm2_pytss.types import (
    TPM2B_DATA,
    TPM2B_PUBLIC,
    TPM2B_SENSITIVE,
    TPMT_KEYEDHASH_SCHEME,
    TPMT_SENSITIVE,
    TPMT_SYM_DEF_OBJECT,
    TPMU_SYM_KEY_BITS,
    TPMU_SYM_MODE,
)
from tpm2_pytss.utils import make_credential, wrap

from .errors import MALFORMED_KEY, ServiceError

KEY_NAME = "registration"
KEY_BYTES = 32
INNER_KEY_BYTES = 16
_ATTRIBUTES = TPMA_OBJECT.SIGN_ENCRYPT | TPMA_OBJECT.USERWITHAUTH | TPMA_OBJECT.NODA


def _public(key: bytes) -> TPM2B_PUBLIC:
    public, _rest = TPM2B_PUBLIC.unmarshal(key)
    return public


def wrap_key(key: bytes, *, endorsement_key: bytes, storage_root_key: bytes) -> bytes:
    """The blob that gives *key* to the TPM that holds both private keys, and to nobody else.

    TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET, TPM2B_PRIVATE, TPM2B_ENCRYPTED_SECRET, TPM2B_PUBLIC, TPM2B_DATA.
    """
    scheme = TPMT_KEYEDHASH_SCHEME(scheme=TPM2_ALG.HMAC)
    scheme.details.hmac.hashAlg = TPM2_ALG.SHA256
    sensitive, identity = TPMT_SENSITIVE.keyedhash_from_secret(
        key, nameAlg=TPM2_ALG.SHA256, objectAttributes=_ATTRIBUTES, scheme=scheme
    )
    identity_public = TPM2B_PUBLIC(publicArea=identity)
    inner = TPMT_SYM_DEF_OBJECT(
        algorithm=TPM2_ALG.AES, keyBits=TPMU_SYM_KEY_BITS(aes=128), mode=TPMU_SYM_MODE(aes=TPM2_ALG.CFB)
    )
    inner_key = secrets.token_bytes(INNER_KEY_BYTES)
    try:
        storage, endorsement = _public(storage_root_key), _public(endorsement_key)
        _key, duplicate, seed = wrap(
            storage.publicArea, identity_public, TPM2B_SENSITIVE(sensitiveArea=sensitive), inner_key, inner
        )
        credential, secret = make_credential(endorsement, inner_key, storage.get_name())
    except ValueError as error:
        raise ServiceError(MALFORMED_KEY, f"Invalid endorsement key or storage root key: {error}") from error
    # UNVERIFIED what the real service puts in the last part; clients ignore it.
    parts = (credential, secret, duplicate, seed, identity_public, TPM2B_DATA())
    return b"".join(part.marshal() for part in parts)


def new_key() -> bytes:
    """A new HMAC key for a device."""
    return secrets.token_bytes(KEY_BYTES)
