# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Keys in a TPM2B_PUBLIC, against what the TPM's own library writes and what a TPM's maker knows."""

from __future__ import annotations

import base64
import json

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.certificate import read_certificate
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.keys import EccKey, RsaKey
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.public_area import (
    PublicAreaError,
    endorsement_key_for,
    key_of,
)
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tpm2_pytss.types import TPM2B_PUBLIC


def in_a_tpm(key):
    """The TPM2B_PUBLIC of a key, marshalled by the TPM's library."""
    return bytes(TPM2B_PUBLIC.from_pem(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).marshal())


def test_an_endorsement_key_is_rebuilt_from_its_certificate_alone(manufactured_state):
    made = json.loads((manufactured_state / "maker.json").read_text())
    certificate = read_certificate(bytes.fromhex(made["endorsement_key_certificate"]))
    assert endorsement_key_for(certificate.key).hex() == made["endorsement_key"]
    assert key_of(bytes.fromhex(made["endorsement_key"])) == certificate.key


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_an_ecc_key_is_read(curve):
    key = ec.generate_private_key(curve).public_key()
    numbers = key.public_numbers()
    assert key_of(in_a_tpm(key)) == EccKey(curve.name, numbers.x, numbers.y)


def test_an_rsa_key_is_read(rsa_keys):
    assert key_of(in_a_tpm(rsa_keys[0])) == RsaKey(rsa_keys[0].public_numbers().n, 65537)


def test_what_is_cut_or_lengthened_is_refused(rsa_keys):
    public = in_a_tpm(rsa_keys[0])
    for size in range(len(public)):
        with pytest.raises(PublicAreaError):
            key_of(public[:size])
    with pytest.raises(PublicAreaError, match="its size is another one"):
        key_of(public + b"\0")
    longer = len(public).to_bytes(2, "big") + public[2:] + bytes(2)
    with pytest.raises(PublicAreaError, match="something follows it"):
        key_of(longer)


def test_a_keyed_hash_is_no_key(rsa_keys):
    public = in_a_tpm(rsa_keys[0])
    with pytest.raises(PublicAreaError, match="neither an RSA nor an ECC key"):
        key_of(public[:2] + b"\x00\x08" + public[4:])


@pytest.mark.parametrize(
    "key",
    [
        EccKey("secp256r1", 1, 2),
        RsaKey(rsa.generate_private_key(65537, 3072).public_key().public_numbers().n, 65537),
        RsaKey(rsa.generate_private_key(3, 2048).public_key().public_numbers().n, 3),
    ],
)
def test_a_key_of_another_template_cannot_be_rebuilt(key):
    with pytest.raises(PublicAreaError, match=f"an {key.kind} key of {key.bits} bits.*takes endorsement keys of RSA"):
        endorsement_key_for(key)


def test_the_rebuilt_key_is_the_one_that_an_enrollment_takes(rsa_keys, ek_public):
    numbers = rsa_keys[0].public_numbers()
    assert base64.b64encode(endorsement_key_for(RsaKey(numbers.n, numbers.e))).decode() == ek_public(rsa_keys[0])
