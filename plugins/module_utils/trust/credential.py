# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""TPM2_MakeCredential without a TPM: a secret that only the TPM which holds both keys gives out.

TPM 2.0 part 1, 24 (credential protection), 11.4.10.2 (KDFa) and B.10.4 (the secret under an RSA key). The keys are
those of the TCG EK Credential Profile's RSA-2048 template, so that hash and cipher are SHA-256 and AES-128-CFB.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
from typing import NamedTuple

try:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
except ImportError:  # ansible-core needs it itself, so only a check that imports each file alone comes by here
    pass

from ..tpm import templates

SECRET_BYTES = 32
_AES_KEY_BITS = 128
_AES_BLOCK = 16
_HASH_BITS = 256
_RSA_DEFAULT_EXPONENT = 65537


class Credential(NamedTuple):
    """What TPM2_ActivateCredential takes: a marshalled TPM2B_ID_OBJECT and TPM2B_ENCRYPTED_SECRET."""

    id_object: bytes
    encrypted_secret: bytes


def make_credential(secret: bytes, *, key: bytes, name: bytes) -> Credential:
    """*secret* for the TPM that holds *key*, a TPM2B_PUBLIC, and has the object called *name* loaded.

    *secret* has SECRET_BYTES bytes at most. :class:`ValueError` where the key is no RSA key to encrypt to.
    """
    if not 0 < len(secret) <= SECRET_BYTES:
        raise ValueError(f"a secret of {len(secret)} bytes; a TPM takes 1 to {SECRET_BYTES}")
    modulus = templates.rsa_modulus(key)
    if modulus is None:
        raise ValueError("the key is no RSA-2048 key")
    public_key = rsa.RSAPublicNumbers(_RSA_DEFAULT_EXPONENT, modulus).public_key()
    # As long as the digest of the endorsement key's nameAlg.
    seed = secrets.token_bytes(_HASH_BITS // 8)
    encrypted_seed = public_key.encrypt(
        seed, padding.OAEP(mgf=padding.MGF1(hashes.SHA256()), algorithm=hashes.SHA256(), label=b"IDENTITY\0")
    )
    return Credential(_protect(secret, seed, name), _sized(encrypted_seed))


def _protect(secret: bytes, seed: bytes, name: bytes) -> bytes:
    """The TPM2B_ID_OBJECT: outer HMAC and encrypted secret, both bound to *name* (part 1, 24.4 and 24.5)."""
    encrypted = _encrypt_cfb(_kdfa(seed, b"STORAGE", name, _AES_KEY_BITS), _sized(secret))
    integrity = hmac.digest(_kdfa(seed, b"INTEGRITY", b"", _HASH_BITS), encrypted + name, "sha256")
    return _sized(_sized(integrity) + encrypted)


def _kdfa(key: bytes, label: bytes, context: bytes, bits: int) -> bytes:
    """KDFa with SHA-256, of which one round gives all that is asked for here; contextV is empty."""
    message = struct.pack(">I", 1) + label + b"\0" + context + struct.pack(">I", bits)
    return hmac.digest(key, message, hashlib.sha256)[: bits // 8]


def _encrypt_cfb(key: bytes, data: bytes) -> bytes:
    """AES in CFB mode with full-block feedback and a zero vector (NIST SP 800-38A, 6.3).

    Made from single blocks, since the mode itself has no home in cryptography that all its releases know.
    """
    block_cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
    encrypted = b""
    feedback = bytes(_AES_BLOCK)
    for at in range(0, len(data), _AES_BLOCK):
        pad = block_cipher.update(feedback)
        feedback = bytes(one ^ other for one, other in zip(data[at : at + _AES_BLOCK], pad))
        encrypted += feedback
    return encrypted


def _sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data
