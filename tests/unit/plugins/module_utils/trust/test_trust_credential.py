# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Our TPM2_MakeCredential beside that of tpm2-pytss: a TPM opens both, and neither for another key's name."""

from __future__ import annotations

import secrets

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.credential import Credential, make_credential
from tpm2_pytss import utils
from tpm2_pytss.types import TPM2B_NAME, TPM2B_PUBLIC


def by_tpm2_pytss(secret, *, key, name):
    """The same as ours, by the library."""
    public = TPM2B_PUBLIC.unmarshal(key)[0]
    made = utils.make_credential(public, secret, TPM2B_NAME(name))
    return Credential(*(bytes(part.marshal()) for part in made))


@pytest.mark.parametrize("make", [make_credential, by_tpm2_pytss])
@pytest.mark.parametrize("length", [1, 13, 14, 16, 30, 32])
def test_a_tpm_opens_it(primaries, activated, make, length):
    _esys, (_handle, endorsement_key), (_other, storage_root_key) = primaries
    secret = secrets.token_bytes(length)
    made = make(secret, key=endorsement_key, name=templates.name_of(storage_root_key))
    assert activated(*made) == secret


@pytest.mark.parametrize("make", [make_credential, by_tpm2_pytss])
def test_it_is_bound_to_the_name(primaries, activated, make):
    _esys, (_handle, endorsement_key), _storage = primaries
    made = make(b"secret", key=endorsement_key, name=templates.name_of(endorsement_key))
    with pytest.raises(TpmError, match="made for another key, or changed on the way"):
        activated(*made)


def test_it_is_as_long_as_the_librarys_and_never_twice_the_same(primaries):
    _esys, (_handle, endorsement_key), _storage = primaries
    asked = {"key": endorsement_key, "name": templates.name_of(endorsement_key)}
    made = [make(bytes(32), **asked) for make in (make_credential, make_credential, by_tpm2_pytss)]
    assert len({tuple(map(len, one)) for one in made}) == 1
    for parts in zip(*made):
        assert len(set(parts)) == len(parts)


@pytest.mark.parametrize("length", [0, 33])
def test_a_secret_that_no_tpm_takes_is_refused(primaries, length):
    with pytest.raises(ValueError, match=f"a secret of {length} bytes"):
        make_credential(bytes(length), key=primaries[1][1], name=b"")


def test_a_key_to_which_nothing_can_be_encrypted_is_refused(primaries):
    endorsement_key = primaries[1][1]
    with pytest.raises(ValueError, match="no RSA-2048 key"):
        make_credential(b"secret", key=endorsement_key[:2] + b"\0\x23" + endorsement_key[4:], name=b"")
    # An even modulus is no product of two odd primes.
    with pytest.raises(ValueError):
        make_credential(b"secret", key=endorsement_key[:-1] + b"\0", name=b"")
