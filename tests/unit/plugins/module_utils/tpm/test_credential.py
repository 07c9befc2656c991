# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device's half of attestation against the emulated service's half, which shares no code with it."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import secrets
import struct

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import credential, templates
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError, connect
from tpm2_pytss.constants import ESYS_TR, TPM2_CAP
from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

KEY = secrets.token_bytes(32)


@pytest.fixture
def keys(software_tpm):
    """An open TPM with its two primary keys: (esys, endorsement key, storage root key, blob that holds KEY)."""
    from dps_emulator.attestation import wrap_key

    with connect(software_tpm.tcti, 60) as esys, contextlib.ExitStack() as stack:
        made = []
        for template, hierarchy in (
            (templates.ek_template(), ESYS_TR.ENDORSEMENT),
            (templates.srk_template(), ESYS_TR.OWNER),
        ):
            handle, public, *_rest = esys.create_primary(TPM2B_SENSITIVE_CREATE(), template, hierarchy)
            stack.callback(flush, esys, handle)
            made.append((handle, bytes(public.marshal())))
        (endorsement, endorsement_public), (storage, storage_public) = made
        blob = wrap_key(KEY, endorsement_key=endorsement_public, storage_root_key=storage_public)
        yield esys, endorsement, storage, blob


def flush(esys, handle):
    """Takes *handle* out of the TPM, where the test has not done so."""
    with contextlib.suppress(TpmError):
        esys.flush_context(handle)


def loaded(esys):
    """How many transient objects and sessions the TPM holds."""
    count = 0
    for first in (0x80000000, 0x02000000):
        _more, answer = esys.get_capability(TPM2_CAP.HANDLES, first, 100)
        count += len(list(answer.data.handles))
    return count


@pytest.mark.parametrize("length", [0, 1, 1024, 1025, 5000])
def test_the_imported_key_signs_as_the_service_expects(keys, length):
    esys, endorsement, storage, blob = keys
    key = credential.import_key(esys, endorsement_key=endorsement, storage_root_key=storage, blob=blob)
    # A TPM has room for three objects, and long data take the storage root key, the key and a sequence.
    esys.flush_context(endorsement)
    before = loaded(esys)
    data = secrets.token_bytes(length)
    signed = credential.sign(esys, storage_root_key=storage, key=key, data=data)
    assert signed == hmac.digest(KEY, data, hashlib.sha256)
    assert KEY not in key.private
    assert loaded(esys) == before


def test_what_follows_the_five_parts_is_tolerated(keys):
    esys, endorsement, storage, blob = keys
    key = credential.import_key(esys, endorsement_key=endorsement, storage_root_key=storage, blob=blob + b"opaque")
    assert credential.sign(esys, storage_root_key=storage, key=key, data=b"x") == hmac.digest(KEY, b"x", hashlib.sha256)


@pytest.mark.parametrize("length", [0, 1, 40, 200, 400])
def test_a_blob_that_is_cut_short_is_named_malformed(keys, length):
    esys, endorsement, storage, blob = keys
    with pytest.raises(TpmError, match="malformed"):
        credential.import_key(esys, endorsement_key=endorsement, storage_root_key=storage, blob=blob[:length])


def test_a_forged_blob_is_refused_and_leaves_nothing_in_the_tpm(keys):
    esys, endorsement, storage, blob = keys
    before = loaded(esys)
    forged = blob[:10] + bytes([blob[10] ^ 1]) + blob[11:]
    with pytest.raises(TpmError):
        credential.import_key(esys, endorsement_key=endorsement, storage_root_key=storage, blob=forged)
    assert loaded(esys) == before


def test_only_a_signing_key_is_imported(keys):
    """A service that hands out a decryption key is no service of ours."""
    esys, endorsement, storage, blob = keys
    parts = credential.split_blob(blob)
    # TPM2B_PUBLIC: size, type, nameAlg, objectAttributes (TPM 2.0 part 2, 12.2.4).
    attributes = struct.pack(">I", struct.unpack(">I", parts[4][6:10])[0] & ~0x00040000 | 0x00020000)
    other = b"".join(parts[:4]) + parts[4][:6] + attributes + parts[4][10:]
    with pytest.raises(TpmError, match="no signing"):
        credential.import_key(esys, endorsement_key=endorsement, storage_root_key=storage, blob=other)
