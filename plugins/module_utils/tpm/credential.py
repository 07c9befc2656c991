# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device's half of attestation: take a secret that only this TPM can read, and sign with it inside the TPM.

TPM 2.0 part 1, 24 (credential protection) and 23.3 (duplication); part 3, TPM2_ActivateCredential and TPM2_Import.
Handles are those of ESYS (``ESYS_TR``). Nothing stays in the TPM after a call, also when it fails.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from .library import load

try:
    load()
    from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_SE, TPMA_OBJECT
    from tpm2_pytss.TSS2_Exception import TSS2_Exception
    from tpm2_pytss.types import (
        TPM2B_ENCRYPTED_SECRET,
        TPM2B_ID_OBJECT,
        TPM2B_PRIVATE,
        TPM2B_PUBLIC,
        TPMT_SYM_DEF,
        TPMT_SYM_DEF_OBJECT,
        TPMU_SYM_KEY_BITS,
        TPMU_SYM_MODE,
    )
except Exception:  # told by connection.connect, which every use of this file goes through
    pass

from .connection import RC_INTEGRITY, RC_SIZE, RC_VALUE, TpmError

# TPM_PT_INPUT_BUFFER is 1024 on every TPM of the PC client profile (section 4.5.1): longer data needs a sequence.
INPUT_BUFFER = 1024
# Part 3, 12.5: the padding, the size of what came out of it, and the HMAC of the rest.
_NOT_FOR_THE_KEY = (RC_VALUE, RC_SIZE, RC_INTEGRITY)
_PARTS = ("credential", "its secret", "duplicate", "its seed", "public area")


class MalformedError(TpmError):
    """What a service sent, or a disk kept, is not the TPM structure that it should be."""


class NotForThisKeyError(TpmError):
    """The TPM says of a credential that it was made for another key, or changed on the way."""


class WrappedKey(NamedTuple):
    """A key as it may lie on a disk: only the TPM whose storage root key wrapped it can use it.

    Both are marshalled TPM structures: TPM2B_PUBLIC and TPM2B_PRIVATE.
    """

    public: bytes
    private: bytes


def split_blob(blob: bytes) -> list[bytes]:
    """The five structures of a challenge *blob*, each with its size in front: :class:`TpmError` where one is cut short.

    TPM2B_ID_OBJECT, TPM2B_ENCRYPTED_SECRET, TPM2B_PRIVATE, TPM2B_ENCRYPTED_SECRET, TPM2B_PUBLIC. What follows them is
    opaque to a device and left alone.
    """
    parts: list[bytes] = []
    at = 0
    for name in _PARTS:
        end = at + 2 + int.from_bytes(blob[at : at + 2], "big")
        if end > len(blob) or end - at <= 2:
            raise MalformedError(
                "The service's challenge is malformed: its {} is {} at byte {} of {}. Register again.".format(
                    name, "cut short" if end > len(blob) else "empty", at, len(blob)
                )
            )
        parts.append(blob[at:end])
        at = end
    return parts


def _read(kind: Any, data: bytes) -> Any:
    try:
        value, length = kind.unmarshal(data)
    except TSS2_Exception as error:
        raise MalformedError(f"What should be a {kind.__name__} is none (code 0x{int(error.rc):x}).") from error
    if length != len(data):
        raise MalformedError(f"What should be a {kind.__name__} is one with {len(data) - length} bytes too many.")
    return value


@contextlib.contextmanager
def authorized_policy(esys: Any, hierarchy: Any, authorized_by: Any = None) -> Iterator[Any]:
    """A session with PolicySecret of *hierarchy*, for which its authorization has to be right.

    Of the endorsement hierarchy it is the policy of the endorsement key (TCG EK Credential Profile 2.x, B.3.3). The
    authorization is set by the caller and reaches the TPM in the session *authorized_by*, without one in the clear.
    """
    session = esys.start_auth_session(
        tpm_key=ESYS_TR.NONE,
        bind=ESYS_TR.NONE,
        session_type=TPM2_SE.POLICY,
        symmetric=TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL),
        auth_hash=TPM2_ALG.SHA256,
    )
    try:
        esys.policy_secret(
            hierarchy,
            session,
            nonce_tpm=b"",
            cp_hash_a=b"",
            policy_ref=b"",
            expiration=0,
            session1=ESYS_TR.PASSWORD if authorized_by is None else authorized_by,
        )
        yield session
    finally:
        # A command that uses the session and succeeds leaves it, as continueSession is set by ESYS.
        esys.flush_context(session)


def activate_credential(
    esys: Any,
    *,
    endorsement_key: Any,
    bound_to: Any,
    credential: bytes,
    secret: bytes,
    authorized_by: Any = None,
) -> bytes:
    """The secret that was made for the holder of both keys, by TPM2_ActivateCredential.

    :class:`NotForThisKeyError` where the TPM says that it was not; whatever else it refuses says nothing of its keys.
    *credential* and *secret* are the marshalled TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET. The key *bound_to* has an
    empty authorization. *authorized_by* is a salted session, needed where the endorsement hierarchy has an
    authorization that nobody on the bus to the TPM shall read.
    """
    with authorized_policy(esys, ESYS_TR.ENDORSEMENT, authorized_by) as session:
        return _activated(esys, endorsement_key, session, bound_to, credential, secret)


def activate_with_storage_root_key(
    esys: Any, *, storage_root_key: Any, bound_to: Any, credential: bytes, secret: bytes
) -> bytes:
    """The same of a secret that was made for the holder of *storage_root_key*, whose use takes no authorization."""
    return _activated(esys, storage_root_key, ESYS_TR.PASSWORD, bound_to, credential, secret)


def _activated(esys: Any, key: Any, session: Any, bound_to: Any, credential: bytes, secret: bytes) -> bytes:
    given = _read(TPM2B_ID_OBJECT, credential), _read(TPM2B_ENCRYPTED_SECRET, secret)
    try:
        return bytes(esys.activate_credential(bound_to, key, *given, session1=ESYS_TR.PASSWORD, session2=session))
    except TpmError as error:
        if error.is_of_what_was_given and error.code in _NOT_FOR_THE_KEY:
            raise NotForThisKeyError(error.message, error.rc, error.hint) from error
        raise


def import_key(esys: Any, *, endorsement_key: Any, storage_root_key: Any, blob: bytes) -> WrappedKey:
    """The HMAC key of a challenge *blob*, wrapped under the storage root key."""
    credential, secret, duplicate, seed, public = split_blob(blob)
    key_public = _read(TPM2B_PUBLIC, public)
    # A key of another kind could be used by the service's impersonator to make this TPM decrypt.
    area = key_public.publicArea
    if area.type != TPM2_ALG.KEYEDHASH or not area.objectAttributes & TPMA_OBJECT.SIGN_ENCRYPT:
        raise TpmError("The service's challenge holds a key that is no signing HMAC key; it was not imported")
    inner_key = activate_credential(
        esys, endorsement_key=endorsement_key, bound_to=storage_root_key, credential=credential, secret=secret
    )
    symmetric = TPMT_SYM_DEF_OBJECT(
        algorithm=TPM2_ALG.AES,
        keyBits=TPMU_SYM_KEY_BITS(aes=8 * len(inner_key)),
        mode=TPMU_SYM_MODE(aes=TPM2_ALG.CFB),
    )
    private = esys.import_(
        storage_root_key,
        inner_key,
        key_public,
        _read(TPM2B_PRIVATE, duplicate),
        _read(TPM2B_ENCRYPTED_SECRET, seed),
        symmetric,
    )
    return WrappedKey(public=public, private=bytes(private.marshal()))


@contextlib.contextmanager
def loaded(esys: Any, *, storage_root_key: Any, key: WrappedKey) -> Iterator[Any]:
    """The handle of *key* in the TPM, for as long as the context lasts."""
    handle = esys.load(storage_root_key, _read(TPM2B_PRIVATE, key.private), _read(TPM2B_PUBLIC, key.public))
    try:
        yield handle
    finally:
        esys.flush_context(handle)


def sign(esys: Any, *, storage_root_key: Any, key: WrappedKey, data: bytes) -> bytes:
    """The HMAC of *data* by *key*, with the hash algorithm of the key's scheme."""
    scheme = _read(TPM2B_PUBLIC, key.public).publicArea.parameters.keyedHashDetail.scheme
    algorithm = scheme.details.hmac.hashAlg
    with loaded(esys, storage_root_key=storage_root_key, key=key) as handle:
        if len(data) <= INPUT_BUFFER:
            return bytes(esys.hmac(handle, data, algorithm))
        return _sign_long(esys, handle, data, algorithm)


def _sign_long(esys: Any, handle: Any, data: bytes, algorithm: Any) -> bytes:
    sequence = esys.hmac_start(handle, b"", algorithm)
    try:
        *before, last = [data[at : at + INPUT_BUFFER] for at in range(0, len(data), INPUT_BUFFER)]
        for piece in before:
            esys.sequence_update(sequence, piece)
        digest, _ticket = esys.sequence_complete(sequence, last)
    except BaseException:
        # TPM2_SequenceComplete takes the sequence away; whatever fails before it does not.
        esys.flush_context(sequence)
        raise
    return bytes(digest)
