# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be told of an endorsement key from its bytes alone, without a TPM library.

TPM 2.0 Library, Part 2: 12.2.4 TPMT_PUBLIC, 12.2.5 TPM2B_PUBLIC, 8.3 TPMA_OBJECT, 6.3 TPM_ALG_ID.
"""

from __future__ import annotations

import base64
import hashlib
import struct

from .key_forms import KeyFormError, public_area_in

_RSA, _KEYEDHASH, _ECC, _SYMCIPHER = 0x0001, 0x0008, 0x0023, 0x0025
_NULL, _AES, _CFB = 0x0010, 0x0006, 0x0043
_TYPES = {_RSA: "RSA", _KEYEDHASH: "a keyed hash", _ECC: "ECC", _SYMCIPHER: "a symmetric cipher"}
_NAME_DIGEST_BYTES = {0x0004: 20, 0x000B: 32, 0x000C: 48, 0x000D: 64}
_RESTRICTED, _DECRYPT, _SIGN = 1 << 16, 1 << 17, 1 << 18


class EndorsementKeyError(ValueError):
    """Why something is not an endorsement key that the service takes, as the end of a sentence about it."""


def decode_endorsement_key(text: object, template: str | None = None) -> bytes:
    """The TPM2B_PUBLIC that *text* says in one of the forms of :mod:`.key_forms`, checked to be an endorsement key."""
    try:
        data = public_area_in(text, template)
    except KeyFormError as error:
        raise EndorsementKeyError(str(error)) from None
    check_endorsement_key(data)
    return data


def default_registration_id(data: bytes) -> str:
    """Base32 of the SHA-256 of the TPM2B_PUBLIC, lower case and unpadded, as the stock clients name themselves."""
    return base64.b32encode(hashlib.sha256(data).digest()).decode().rstrip("=").lower()


def check_endorsement_key(data: bytes) -> None:
    """Raises EndorsementKeyError unless *data* is the TPM2B_PUBLIC of an RSA restricted decryption key."""
    try:
        _check(data)
    except struct.error:
        raise EndorsementKeyError("is a TPM2B_PUBLIC that was cut short") from None


def _check(data: bytes) -> None:
    (size,) = struct.unpack_from(">H", data, 0)
    if size != len(data) - 2:
        raise EndorsementKeyError(
            f"is not a whole TPM2B_PUBLIC: its size field says {size} bytes and {len(data) - 2} follow"
        )
    kind, name_algorithm, attributes, policy_size = struct.unpack_from(">HHIH", data, 2)
    if kind != _RSA:
        raise EndorsementKeyError(f"is {_TYPES.get(kind, f'of type 0x{kind:04x}')}; the service takes RSA only")
    if name_algorithm not in _NAME_DIGEST_BYTES:
        raise EndorsementKeyError(f"has the unknown name algorithm 0x{name_algorithm:04x}")
    if not attributes & _RESTRICTED or not attributes & _DECRYPT or attributes & _SIGN:
        raise EndorsementKeyError("is not a restricted decryption key, so it cannot be an endorsement key")
    if policy_size not in (0, _NAME_DIGEST_BYTES[name_algorithm]):
        raise EndorsementKeyError(f"has a policy of {policy_size} bytes, which is no digest of its name algorithm")
    at = 12 + policy_size
    symmetric, _bits, mode, scheme, key_bits, exponent, modulus_size = struct.unpack_from(">HHHHHIH", data, at)
    if (symmetric, mode) != (_AES, _CFB):
        raise EndorsementKeyError("does not protect with AES in CFB mode, as an endorsement key does")
    if scheme != _NULL:
        raise EndorsementKeyError("has a scheme, which a restricted decryption key has not")
    if key_bits < 2048 or modulus_size * 8 != key_bits:
        raise EndorsementKeyError(f"is RSA of {key_bits} bits with a modulus of {modulus_size} bytes")
    # A TPM says 0 for 65537 (12.2.3.5), unless the template that it was given spelled it out.
    if exponent not in (0, 65537):
        raise EndorsementKeyError(f"has the exponent {exponent}; that of endorsement keys is 65537")
    if at + 16 + modulus_size != len(data):
        raise EndorsementKeyError("is a TPM2B_PUBLIC with bytes missing or left over")
    if not any(data[-modulus_size:]):
        raise EndorsementKeyError("is a template: its modulus is all zero")
    if not data[-modulus_size] & 0x80 or not data[-1] & 1:
        raise EndorsementKeyError(f"has a modulus that none is: it is even, or shorter than its {key_bits} bits")
