# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device's half of a proof of possession: the answer that only the TPM with both keys can give."""

from __future__ import annotations

import hashlib
from typing import Any

from . import templates
from .challenge import Challenge
from .connection import TpmError
from .credential import activate_credential
from .endorsement_key import EndorsementKey, endorsement_authorized, read_endorsement_key
from .properties import Properties, read_handles, read_properties
from .session import start_salted_session

# TPM_RC_INTEGRITY, TPM_RC_VALUE, TPM_RC_SIZE; libtpms says TPM_RC_FAILURE where the RSA padding is not right.
_NOT_FOR_THIS_TPM = (0x09F, 0x084, 0x095, 0x101)


def answer_challenge(
    esys: Any,
    challenge: Challenge,
    *,
    endorsement_key: bytes,
    storage_root_key: bytes,
    endorsement_auth: bytes = b"",
    check_mode: bool = False,
) -> dict[str, Any]:
    """What the module returns: the answer to *challenge*, which was made for the two keys, each a TPM2B_PUBLIC.

    Keys: changed (false), answer (hexadecimal, or None), in_lockout, which is in the way of no answer. The endorsement
    key is the persistent one, else it is made for this from its template. The storage root key has to be persistent; in
    *check_mode* it is made too, as the claim that was only planned would have done, and None is the answer where that
    would take the owner's authorization. :class:`TpmError` where this TPM is not the one that the challenge is for.
    """
    properties = read_properties(esys)
    bound_to = _storage_root_key(esys, properties, storage_root_key, check_mode)
    answer = None
    if bound_to is not None:
        key = _endorsement_key(esys, properties, endorsement_key, endorsement_auth)
        secret = _activate(esys, properties, challenge, key.esys_handle, bound_to, endorsement_auth)
        names = {"endorsement_key_name": key.name, "storage_root_key_name": templates.name_of(storage_root_key)}
        answer = challenge.answer(secret, **names).hex()
    return {"changed": False, "answer": answer, "in_lockout": properties.in_lockout}


def _activate(
    esys: Any, properties: Properties, challenge: Challenge, endorsement_key: Any, bound_to: Any, auth: bytes
) -> bytes:
    """The secret of *challenge*."""
    session = start_salted_session(esys, endorsement_key) if properties.endorsement_auth_set else None
    try:
        with endorsement_authorized(esys, properties, auth):
            return activate_credential(
                esys,
                endorsement_key=endorsement_key,
                bound_to=bound_to,
                credential=challenge.credential,
                secret=challenge.encrypted_secret,
                authorized_by=session,
            )
    except TpmError as error:
        if error.code in _NOT_FOR_THIS_TPM:
            raise TpmError(
                f"The TPM could not open the challenge (code 0x{error.rc:x}): it was changed on the way, or made for "
                "another TPM.",
                error.rc,
            ) from error
        raise
    finally:
        if session is not None:
            esys.flush_context(session)


def _storage_root_key(esys: Any, properties: Properties, expected: bytes, check_mode: bool) -> Any:
    """The handle of the storage root key, which has to be *expected*; None where it is only planned."""
    from tpm2_pytss.constants import ESYS_TR
    from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

    if read_handles(esys, templates.SRK_HANDLE, templates.SRK_HANDLE):
        handle = esys.tr_from_tpmpublic(templates.SRK_HANDLE)
        area, _name, _qualified_name = esys.read_public(handle)
    elif not check_mode:
        raise TpmError(
            f"There is no storage root key at 0x{templates.SRK_HANDLE:08x} to which possession could be bound.",
            hint="Claim the TPM first: tpm_ownership persists it.",
        )
    elif properties.owner_auth_set:
        return None
    else:
        handle, area, _data, _digest, _ticket = esys.create_primary(
            TPM2B_SENSITIVE_CREATE(), templates.srk_template(), ESYS_TR.OWNER
        )
    name, expected_name = (templates.name_of(one).hex() for one in (bytes(area.marshal()), expected))
    if name != expected_name:
        raise TpmError(
            f"The storage root key of this TPM has the name {name}, to be proven was {expected_name}.",
            hint="Another TPM answers, or this one was cleared in between.",
        )
    return handle


def _endorsement_key(esys: Any, properties: Properties, expected: bytes, auth: bytes) -> EndorsementKey:
    """The endorsement key, which has to be *expected*; where none is persistent, whichever template makes that one."""
    key = read_endorsement_key(
        esys,
        properties=properties,
        endorsement_auth=auth,
        identify=False,
        certificate=False,
        expected=hashlib.sha256(expected).hexdigest(),
    )
    if key.public == expected:
        return key
    raise TpmError(
        f"The endorsement key of this TPM has the name {key.name.hex()}, to be proven was "
        f"{templates.name_of(expected).hex()}.",
        hint="Another TPM answers, or the key that was reported is another TPM's.",
    )
