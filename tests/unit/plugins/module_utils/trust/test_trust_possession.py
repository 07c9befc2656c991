# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of the proof of possession: which answer it takes, and for which keys it asks at all."""

from __future__ import annotations

import base64
import struct

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.possession import PossessionError, Proof

# TPMA_OBJECT, TPM 2.0 part 2, 8.3.
FIXED_TPM, ADMIN_WITH_POLICY, RESTRICTED, SIGN = 1 << 1, 1 << 7, 1 << 16, 1 << 18


@pytest.fixture
def keys(make_ek):
    """Public keys that no TPM has."""
    endorsement_key = base64.b64decode(make_ek(1))
    template = templates.srk_public_template()
    area = template[2:-2] + struct.pack(">H", 256) + base64.b64decode(make_ek(2))[-256:]
    return {"endorsement_key": endorsement_key, "storage_root_key": struct.pack(">H", len(area)) + area}


def test_only_the_answer_of_the_tpm_with_both_keys_is_taken(primaries, activated):
    _esys, (_handle, endorsement_key), (_other, storage_root_key) = primaries
    keys = {"endorsement_key": endorsement_key, "storage_root_key": storage_root_key}
    names = {
        "endorsement_key_name": templates.name_of(endorsement_key),
        "bound_to_name": templates.name_of(storage_root_key),
    }
    proof, earlier = Proof(**keys), Proof(**keys)
    secret = activated(*proof.challenge[:2])
    proof.check_answer(proof.challenge.answer(secret, **names).hex())
    proof.check_answer(proof.challenge.answer(secret, **names).hex().upper())
    swapped = dict(zip(names, reversed(names.values())))
    wrong = [
        earlier.challenge.answer(activated(*earlier.challenge[:2]), **names),
        proof.challenge.answer(activated(*earlier.challenge[:2]), **names),
        proof.challenge._replace(nonce=bytes(32)).answer(secret, **names),
        proof.challenge.answer(secret, **swapped),
        secret,
        b"",
    ]
    for answer in [one.hex() for one in wrong] + [None, 7, "\u00e9" * 64, ["a"]]:
        with pytest.raises(PossessionError, match="Another TPM answers in its place, or an old answer was repeated"):
            proof.check_answer(answer)


def test_the_secret_is_nowhere_but_in_the_challenge_sealed(primaries, activated):
    _esys, (_handle, endorsement_key), (_other, storage_root_key) = primaries
    proof = Proof(endorsement_key=endorsement_key, storage_root_key=storage_root_key)
    secret = activated(*proof.challenge[:2])
    assert len(secret) == 32
    assert secret not in b"".join(proof.challenge)
    assert secret.hex() not in repr(proof) + str(proof.challenge.as_option())


def changed(public, clear=0, set_=0):
    """*public* with other attributes."""
    (attributes,) = struct.unpack(">I", public[6:10])
    return public[:6] + struct.pack(">I", attributes & ~clear | set_) + public[10:]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        # Whoever can take a key out of the TPM, or made it outside, proves nothing with it.
        ("storage_root_key", {"clear": FIXED_TPM}),
        ("storage_root_key", {"clear": RESTRICTED}),
        ("storage_root_key", {"set_": SIGN}),
        ("endorsement_key", {"clear": FIXED_TPM}),
        ("endorsement_key", {"clear": RESTRICTED}),
        ("endorsement_key", {"clear": ADMIN_WITH_POLICY}),
    ],
)
def test_a_key_of_other_attributes_is_refused_before_it_is_asked(keys, name, options):
    Proof(**keys)
    with pytest.raises(PossessionError, match="what it reports is not an RSA-2048 {}".format(name.replace("_", " "))):
        Proof(**{**keys, name: changed(keys[name], **options)})


def test_each_keys_place_is_its_own(keys):
    with pytest.raises(PossessionError, match="not an RSA-2048 storage root key"):
        Proof(**{**keys, "storage_root_key": keys["endorsement_key"]})
    with pytest.raises(PossessionError, match="not an RSA-2048 endorsement key"):
        Proof(**{**keys, "endorsement_key": keys["storage_root_key"]})


def test_a_modulus_that_is_none_is_told(keys):
    """Even, short of its bits, 0 or 1: of an endorsement key and of a storage root key."""
    for name, public in keys.items():
        for modulus in (public[-256:-1] + b"\0", b"\x7f" + public[-255:], bytes(256), bytes(255) + b"\1"):
            with pytest.raises(PossessionError, match="its modulus is even, or shorter than 2048 bits"):
                Proof(**{**keys, name: public[:-256] + modulus})


def test_another_storage_root_key_than_the_recorded_one_is_refused(keys):
    proof = Proof(**keys)
    name = templates.name_of(keys["storage_root_key"]).hex()
    assert proof.storage_root_key_name == name
    proof.check_recorded(name.upper())
    with pytest.raises(PossessionError, match=f"{name}, on record is 000bff: its TPM was cleared since"):
        proof.check_recorded("000bff")
