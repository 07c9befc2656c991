# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The two primary keys of a device, the handles where every client looks for them, and what they are called.

Endorsement key: TCG EK Credential Profile 2.x, B.3.3 (template L-1); storage root key: TCG TPM v2.0 Provisioning
Guidance, 7.5.1. Public areas here are the bytes of a TPM2B_PUBLIC, as everywhere outside the TPM.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from typing import Any

EK_HANDLE = 0x81010001
SRK_HANDLE = 0x81000001
IDENTITY_KEY_HANDLE = 0x81000100

RH_OWNER = 0x40000001
RH_ENDORSEMENT = 0x4000000B

# PolicySecret of the endorsement hierarchy.
EK_POLICY = bytes.fromhex("837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa")

# Which template makes which key: a different `unique` is a different key. The TCG's is the one that the endorsement key
# certificate certifies; the SDKs' is the one that Azure's device SDKs make where no key is persisted.
EK_UNIQUE = {"tcg": bytes(256), "sdk": b""}

_ALG_RSA = 0x0001
_ALG_ECC = 0x0023
_ALG_SHA256 = 0x000B
_RSA_2048_AES_128_CFB = struct.pack(">HHHHHI", 0x0006, 128, 0x0043, 0x0010, 2048, 0)
_FIXED_TPM = 1 << 1
_FIXED_PARENT = 1 << 4
_SENSITIVE_DATA_ORIGIN = 1 << 5
_USER_WITH_AUTH = 1 << 6
_ADMIN_WITH_POLICY = 1 << 7
_NO_DA = 1 << 10
_RESTRICTED = 1 << 16
_DECRYPT = 1 << 17
_STORAGE_KEY = _FIXED_TPM | _FIXED_PARENT | _SENSITIVE_DATA_ORIGIN | _RESTRICTED | _DECRYPT
_MODULUS = 256


def _sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


def _public(attributes: int, policy: bytes, unique: bytes) -> bytes:
    return _sized(
        struct.pack(">HHI", _ALG_RSA, _ALG_SHA256, attributes) + _sized(policy) + _RSA_2048_AES_128_CFB + _sized(unique)
    )


def ek_public_template(template: str = "tcg") -> bytes:
    """The TPM2B_PUBLIC from which TPM2_CreatePrimary makes the endorsement key of *template* (a key of EK_UNIQUE)."""
    return _public(_STORAGE_KEY | _ADMIN_WITH_POLICY, EK_POLICY, EK_UNIQUE[template])


def srk_public_template() -> bytes:
    """The TPM2B_PUBLIC from which TPM2_CreatePrimary makes the storage root key."""
    return _public(_STORAGE_KEY | _USER_WITH_AUTH | _NO_DA, b"", b"")


def ek_template(template: str = "tcg") -> Any:
    """:func:`ek_public_template` as tpm2-pytss takes it."""
    return as_pytss(ek_public_template(template))


def srk_template() -> Any:
    """:func:`srk_public_template` as tpm2-pytss takes it."""
    return as_pytss(srk_public_template())


def as_pytss(public: bytes) -> Any:
    """The TPM2B_PUBLIC *public* as tpm2-pytss takes it."""
    # Here, so that names and templates can be computed where there is no TPM software.
    from tpm2_pytss.types import TPM2B_PUBLIC

    return TPM2B_PUBLIC.unmarshal(public)[0]


def decode_public(text: object, what: str) -> bytes:
    """The TPM2B_PUBLIC in the base64 *text*; :class:`ValueError` that names *what* where it is none."""
    try:
        data = base64.b64decode("".join(str(text).split()), validate=True)
    except ValueError:
        raise ValueError(f"{what} is not base64") from None
    if len(data) < 2 or int.from_bytes(data[:2], "big") != len(data) - 2:
        raise ValueError(f"{what} is not a whole TPM2B_PUBLIC")
    return data


def with_unique(template: bytes, unique: bytes) -> bytes:
    """*template*, an RSA-2048 TPM2B_PUBLIC, with another ``unique``."""
    return _sized(_without_unique(template) + _sized(unique))


def ek_template_of(stored: bytes) -> bytes:
    """The TPM2B_PUBLIC of a template as makers store it; :class:`ValueError` in words for what clients cannot use.

    Clients open challenges with RSA-2048 storage keys that the TCG's policy authorizes, so that its attributes may be
    others and these may not.
    """
    public = stored_public(stored)
    expected = ek_public_template()
    fixed = 2 + len(_without_unique(expected))
    attributes = int.from_bytes(public[6:10], "big")
    if public[2:6] != expected[2:6] or public[10:fixed] != expected[10:fixed]:
        raise ValueError("it is no template of an RSA-2048 endorsement key with the TCG's policy and AES-128-CFB")
    if attributes & _STORAGE_KEY != _STORAGE_KEY or not attributes & _ADMIN_WITH_POLICY:
        raise ValueError(f"its attributes 0x{attributes:08x} are not those of an endorsement key")
    unique = public[fixed + 2 : fixed + 2 + int.from_bytes(public[fixed : fixed + 2], "big")]
    if len(unique) not in (0, _MODULUS):
        raise ValueError(f"its unique has {len(unique)} bytes")
    return with_unique(public, unique)


def stored_public(stored: bytes) -> bytes:
    """*stored*, which is a TPMT_PUBLIC by the profile and a TPM2B_PUBLIC on some chips, as a TPM2B_PUBLIC."""
    size = int.from_bytes(stored[:2], "big")
    whole = size > 2 and stored[2:4] in (struct.pack(">H", _ALG_RSA), struct.pack(">H", _ALG_ECC))
    return stored[: size + 2] if whole else _sized(stored)


def serves_clients(public: bytes) -> bool:
    """Whether clients can open challenges with the key *public*, a TPM2B_PUBLIC."""
    try:
        ek_template_of(public)
    except ValueError:
        return False
    return True


def is_made_from(public: bytes, template: bytes) -> bool:
    """Whether *public* is a key with all the properties that *template* asks for, whatever its ``unique`` was."""
    return (
        public[2 : -_MODULUS - 2] == _without_unique(template)
        and len(public) >= _MODULUS + 4
        and public[-_MODULUS - 2 : -_MODULUS] == struct.pack(">H", _MODULUS)
    )


def _without_unique(template: bytes) -> bytes:
    # The fixed part ends with the RSA exponent, which follows the policy.
    policy_size = struct.unpack(">H", template[10:12])[0]
    return template[2 : 12 + policy_size + len(_RSA_2048_AES_128_CFB)]


def rsa_modulus(public: bytes) -> int | None:
    """The modulus of an RSA-2048 *public*, None where it is another kind of key."""
    if public[2:4] != struct.pack(">H", _ALG_RSA) or public[-_MODULUS - 2 : -_MODULUS] != struct.pack(">H", _MODULUS):
        return None
    return int.from_bytes(public[-_MODULUS:], "big")


def has_rsa_modulus(public: bytes) -> bool:
    """Whether the modulus of an RSA-2048 *public* can be one: the product of two odd primes, all of its bits long.

    FIPS 186-5, A.1.1. What is shorter or even, nobody can have made and no TPM decrypts with.
    """
    modulus = rsa_modulus(public)
    return modulus is not None and modulus.bit_length() == 8 * _MODULUS and modulus % 2 == 1


def name_of(public: bytes) -> bytes:
    """The name of a key with nameAlg SHA-256: algorithm and digest of its TPMT_PUBLIC (part 1, 16)."""
    return struct.pack(">H", _ALG_SHA256) + hashlib.sha256(public[2:]).digest()


def qualified_name(hierarchy: int, name: bytes) -> bytes:
    """The qualified name of a primary key of *hierarchy* with *name* (part 1, 26.5)."""
    return struct.pack(">H", _ALG_SHA256) + hashlib.sha256(struct.pack(">I", hierarchy) + name).digest()


def registration_id(endorsement_key: bytes) -> str:
    """What the stock SDKs make of an endorsement key: base32 of its SHA-256, lower case, unpadded."""
    return base64.b32encode(hashlib.sha256(endorsement_key).digest()).decode("ascii").lower().rstrip("=")
