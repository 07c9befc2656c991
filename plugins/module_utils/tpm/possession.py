# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device's half of a proof of possession: the answer that only the TPM with the endorsement key can give."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Callable, NamedTuple

from . import known_object, templates
from .certificates import makers_templates
from .challenge import Challenge
from .connection import RC_AUTH_FAIL, RC_BAD_AUTH, RC_FAILURE, TpmError
from .endorsement_key import EndorsementKey, endorsement_authorized, read_endorsement_key
from .kept_keys import taken_up
from .nv import NvReader
from .properties import Properties, read_properties
from .sealed_authorizations import ENDORSEMENT_AUTHORIZATIONS, from_message
from .session import start_salted_session
from .storage_root_key import StorageRootKey, persisted_storage_root_key, told_storage_root_key

# What a TPM has to open that might be in failure mode.
_OWN_SECRET = b"of its own making"

LOCKOUT = "The TPM is in dictionary attack lockout; that is not in the way of this proof, but of most else."


class Opened(NamedTuple):
    """What a TPM that holds the endorsement key has made of a challenge.

    *answer* is for the controller, *message* what came sealed, empty for none. The keys stay loaded, so that they need
    not be made twice; *storage_root_key* is None where the challenge is not bound to it.
    """

    answer: bytes
    message: bytes
    endorsement_key: EndorsementKey
    storage_root_key: StorageRootKey | None


def answer_challenge(
    esys: Any,
    challenge: Challenge,
    *,
    endorsement_key: bytes,
    storage_root_key: bytes | None = None,
    endorsement_auths: Sequence[bytes] = (),
    sealed_auths: Challenge | None = None,
    replacing: bool = False,
    check_mode: bool = False,
) -> dict[str, Any]:
    """What the module returns: the answer to *challenge*, which was made for the two keys, each a TPM2B_PUBLIC.

    Keys: changed (false), answer (hexadecimal, or None), in_lockout, which is in the way of no answer. The endorsement
    key is the persistent one, else it is made for this from its template. Without a *storage_root_key* the challenge is
    bound to the known object. The storage root key has to be persistent; in *check_mode* it is made too, as the claim
    that was only planned would have done, and None is the answer where that would take the owner's authorization.
    *endorsement_auths*, *sealed_auths* and *replacing* are as of :func:`open_sealed`.
    :class:`TpmError` where this TPM is not the one that the challenge is for.
    """
    properties = read_properties(esys)
    answer = None
    with _bound_to(esys, properties, storage_root_key, makes=check_mode) as bound:
        if bound is not None:
            auths = _authorizations(esys, properties, endorsement_auths, sealed_auths)
            key = _endorsement_key(esys, properties, endorsement_key, auths, replacing=replacing)
            opened = _open(esys, properties, challenge, key, bound, auths)
            answer = opened.answer.hex()
    return {"changed": False, "answer": answer, "in_lockout": properties.in_lockout}


def open_sealed(
    esys: Any,
    challenge: Challenge,
    *,
    endorsement_key: bytes,
    storage_root_key: bytes | None = None,
    endorsement_auths: Sequence[bytes] = (),
    sealed_auths: Challenge | None = None,
    template: str = "auto",
    replacing: bool = False,
    kept: Mapping[str, str] | None = None,
) -> Opened:
    """*challenge*, as the TPM opens it that holds *endorsement_key* and *storage_root_key*, each a TPM2B_PUBLIC.

    Without a *storage_root_key* the challenge is bound to the known object; one that is not persisted is made, as the
    claim that follows would do. *endorsement_auths* are those that the endorsement hierarchy may have; *sealed_auths*
    has them for the holder of the storage root key alone, and is opened where the TPM has use for one. *template* and
    *replacing* are about the endorsement key as a claim that follows has them, see :func:`read_endorsement_key`.
    *kept* is what :func:`.kept_keys.keep` returned in an earlier call. :class:`TpmError` where this TPM does not hold
    the keys; then nothing was opened.
    """
    properties = read_properties(esys)
    auths = _authorizations(esys, properties, endorsement_auths, sealed_auths)
    held = taken_up(esys, kept, endorsement_key=endorsement_key, storage_root_key=storage_root_key)
    key = _endorsement_key(esys, properties, endorsement_key, auths, template, replacing, held.endorsement_key)
    with _bound_to(esys, properties, storage_root_key, makes=True, held=held.storage_root_key) as bound:
        if bound is None:
            raise _no_storage_root_key()
        return _open(esys, properties, challenge, key, bound, auths)


def open_held(
    esys: Any,
    challenge: Challenge,
    *,
    properties: Properties,
    endorsement_key: EndorsementKey,
    storage_root_key: StorageRootKey | None = None,
    endorsement_auths: Sequence[bytes] = (),
    sealed_auths: Challenge | None = None,
) -> Opened:
    """The same with keys that were read on this connection, and are loaded still."""
    auths = _authorizations(esys, properties, endorsement_auths, sealed_auths)
    if storage_root_key is not None:
        name = templates.name_of(storage_root_key.public)
        bound = _Bound(storage_root_key.esys_handle, name, storage_root_key)
        return _open(esys, properties, challenge, endorsement_key, bound, auths)
    with known_object.loaded(esys) as handle:
        return _open(esys, properties, challenge, endorsement_key, _Bound(handle, known_object.NAME), auths)


class _Bound(NamedTuple):
    """What a challenge is bound to besides the endorsement key."""

    handle: Any
    name: bytes
    storage_root_key: StorageRootKey | None = None


@contextlib.contextmanager
def _bound_to(
    esys: Any,
    properties: Properties,
    storage_root_key: bytes | None,
    *,
    makes: bool,
    held: StorageRootKey | None = None,
) -> Iterator[_Bound | None]:
    """What the challenge is bound to; None where that is a storage root key that is only planned."""
    if storage_root_key is None:
        with known_object.loaded(esys) as handle:
            yield _Bound(handle, known_object.NAME)
        return
    found = _storage_root_key(esys, properties, storage_root_key, makes, held)
    yield None if found is None else _Bound(found.esys_handle, templates.name_of(storage_root_key), found)


def _open(
    esys: Any, properties: Properties, challenge: Challenge, key: EndorsementKey, bound: _Bound, auths: Sequence[bytes]
) -> Opened:
    secret = _with_any(auths, lambda auth: _activate(esys, properties, challenge, key.esys_handle, bound, auth))
    answer = challenge.answer(secret, endorsement_key_name=key.name, bound_to_name=bound.name)
    try:
        message = challenge.unsealed(secret) if challenge.sealed else b""
        return Opened(answer, message, key, bound.storage_root_key)
    except ValueError as error:
        raise TpmError(f"{error}. Nothing was changed.") from error


def _authorizations(
    esys: Any, properties: Properties, given: Sequence[bytes], sealed: Challenge | None
) -> Sequence[bytes]:
    """What the endorsement hierarchy may have as its authorization, one at least."""
    may_be_set = properties.endorsement_auth_set or not properties.tells_authorizations
    if sealed is None or not may_be_set:
        return list(given) or [b""]
    from .credential import NotForThisKeyError, activate_with_storage_root_key

    key = persisted_storage_root_key(esys)
    if key is None:
        raise _not_unsealed(f"nothing is at 0x{templates.SRK_HANDLE:08x}")
    try:
        with known_object.loaded(esys) as bound_to:

            def activate(credential: bytes, secret: bytes) -> bytes:
                return activate_with_storage_root_key(
                    esys, storage_root_key=key.esys_handle, bound_to=bound_to, credential=credential, secret=secret
                )

            opened = _opened(esys, sealed, key.esys_handle, known_object.NAME, activate)
        auths = from_message(sealed.unsealed(opened))
    except ValueError as error:
        raise TpmError(f"{error}. Nothing was changed.") from error
    except NotForThisKeyError as error:
        raise _not_unsealed(f"what is at 0x{templates.SRK_HANDLE:08x} could not open it", error.rc) from error
    return [auth.encode() for name in ENDORSEMENT_AUTHORIZATIONS if (auth := auths[name])] or [b""]


def _not_unsealed(why: str, rc: int | None = None) -> TpmError:
    return TpmError(
        "The endorsement hierarchy of this TPM has an authorization, which came sealed to the storage root key that is "
        f"on record, and {why}.",
        rc,
        "Its storage root key was removed, or it is another TPM: take it off the line and look at it. If it is known "
        "to be the right one, set tpmfleet_endorsement_auth_before_proof for it.",
    )


def _with_any(auths: Sequence[bytes], function: Any) -> Any:
    """What *function* returns for the first of *auths* that the TPM takes; trying them costs nothing."""
    for auth in auths:
        try:
            return function(auth)
        except TpmError as error:
            if auth is auths[-1] or error.code not in (RC_AUTH_FAIL, RC_BAD_AUTH):
                raise
    raise ValueError("there is always one to try, if only the empty one")


def _activate(
    esys: Any, properties: Properties, challenge: Challenge, endorsement_key: Any, bound: _Bound, auth: bytes
) -> bytes:
    """The secret of *challenge*."""
    # The field client's, which takes the whole TPM library when it is loaded; the controller loads this file too.
    from .credential import NotForThisKeyError, activate_credential

    session = start_salted_session(esys, endorsement_key) if properties.endorsement_auth_set else None

    def activate(credential: bytes, secret: bytes) -> bytes:
        with endorsement_authorized(esys, properties, auth):
            return activate_credential(
                esys,
                endorsement_key=endorsement_key,
                bound_to=bound.handle,
                credential=credential,
                secret=secret,
                authorized_by=session,
            )

    try:
        return _opened(esys, challenge, endorsement_key, bound.name, activate)
    except NotForThisKeyError as error:
        raise TpmError(
            f"The TPM could not open the challenge (code 0x{error.rc:x}): it was changed on the way, or made for "
            "another TPM.",
            error.rc,
            "Or the TPM in this device does not hold the endorsement key that it reports. Nothing was changed.",
        ) from error
    finally:
        if session is not None:
            esys.flush_context(session)


def _opened(
    esys: Any, challenge: Challenge, key: Any, bound_to_name: bytes, activate: Callable[[bytes, bytes], bytes]
) -> bytes:
    """What *activate* makes of *challenge*; NotForThisKeyError only where the TPM says so.

    That is its word against the unit. All else, such as that the TPM is busy or defective, says nothing of its keys.
    """
    from .credential import NotForThisKeyError

    try:
        return activate(challenge.credential, challenge.encrypted_secret)
    except TpmError as error:
        if error.code != RC_FAILURE:
            raise
    # libtpms says TPM_RC_FAILURE where the RSA padding is not right. A TPM that is in failure mode does not open what
    # it has encrypted itself to the very key either.
    own = esys.make_credential(key, _OWN_SECRET, bound_to_name)
    activate(*(bytes(part.marshal()) for part in own))
    try:
        return activate(challenge.credential, challenge.encrypted_secret)
    except TpmError as error:
        if error.code == RC_FAILURE:
            raise NotForThisKeyError(error.message, error.rc) from error
        raise


def _storage_root_key(
    esys: Any, properties: Properties, expected: bytes, makes: bool, held: StorageRootKey | None
) -> StorageRootKey | None:
    """The storage root key, which has to be *expected*; None where it is only planned.

    One that is not persisted is the one that is *held*, or is made, if *makes*.
    """
    key = persisted_storage_root_key(esys)
    if key is None and makes:
        key = held or told_storage_root_key(esys, properties)
    if key is None and makes:
        return None
    if key is None:
        raise _no_storage_root_key()
    name, expected_name = (templates.name_of(one).hex() for one in (key.public, expected))
    if name != expected_name:
        raise TpmError(
            f"The storage root key of this TPM has the name {name}, to be proven was {expected_name}.",
            hint="Another TPM answers, or this one was cleared in between.",
        )
    return key


def _no_storage_root_key() -> TpmError:
    return TpmError(
        f"There is no storage root key at 0x{templates.SRK_HANDLE:08x} to which possession could be bound.",
        hint="Claim the TPM first: tpm_ownership persists it.",
    )


def _endorsement_key(
    esys: Any,
    properties: Properties,
    expected: bytes,
    auths: Sequence[bytes],
    template: str = "auto",
    replacing: bool = False,
    held: EndorsementKey | None = None,
) -> EndorsementKey:
    """The endorsement key, which has to be *expected*; where none is persistent, whichever template makes that one."""
    nv = NvReader(esys, properties)

    def read(auth: bytes) -> EndorsementKey:
        return read_endorsement_key(
            esys,
            properties=properties,
            nv=nv,
            template=template,
            endorsement_auth=auth,
            identify=False,
            replace_persistent=replacing,
            certificate=False,
            expected=hashlib.sha256(expected).hexdigest(),
            held=held,
        )

    key: EndorsementKey = _with_any(auths, read)
    if key.public == expected:
        return key
    if not key.persisted and makers_templates(nv).unread:
        # It may be of that.
        unread = "; ".join(f"0x{one.nv_index:08x}: {one.reason}" for one in nv.unreadable)
        raise TpmError(
            "The TPM could not make its endorsement key again, which is not persisted: what its maker left for it in "
            f"NV memory could not be read ({unread}).",
            hint="Power-cycle the device, and run again.",
        )
    raise TpmError(
        f"The endorsement key of this TPM has the name {key.name.hex()}, to be proven was "
        f"{templates.name_of(expected).hex()}.",
        hint="Another TPM answers, or the TPM in this device does not hold the endorsement key that it reports.",
    )
