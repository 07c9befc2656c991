# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Public keys of a TPM as they come over the wire: base64 of a TPM2B_PUBLIC (TPM 2.0 Part 2, 12.2.4 and 12.2.5).

Read by hand and not by a TPM library: fleets of 100,000 are written, and a library that accepts more than the service
would hide a client's mistake.
"""

from __future__ import annotations

import base64
import binascii
import struct

from .errors import MALFORMED_KEY, ServiceError

ALG_RSA, ALG_AES, ALG_SHA256, ALG_NULL, ALG_CFB = 0x0001, 0x0006, 0x000B, 0x0010, 0x0043
RESTRICTED, DECRYPT, SIGN = 0x10000, 0x20000, 0x40000


def _read(data: bytes, at: int, layout: str) -> tuple:
    return struct.unpack_from(layout, data, at)


def check_storage_key(data: bytes) -> str | None:
    """Why *data* is not the TPM2B_PUBLIC of an RSA-2048 restricted decryption key (what an EK and an SRK are), or None.

    UNVERIFIED which of these the real service looks at; a key that fails here cannot take part in its challenge.
    """
    try:
        (size,) = _read(data, 0, ">H")
        if size != len(data) - 2:
            return f"its size prefix says {size} bytes, {len(data) - 2} follow"
        kind, name_algorithm, attributes, policy_size = _read(data, 2, ">HHIH")
        if kind != ALG_RSA:
            return f"its type is 0x{kind:04x}, not RSA"
        if name_algorithm != ALG_SHA256:
            return f"its name algorithm is 0x{name_algorithm:04x}, not SHA-256"
        if not attributes & RESTRICTED or not attributes & DECRYPT or attributes & SIGN:
            return "it is not a restricted decryption key"
        at = 12 + policy_size
        if policy_size not in (0, 32):
            return "its policy is neither empty nor a SHA-256 digest"
        if _read(data, at, ">HHH") != (ALG_AES, 128, ALG_CFB):
            return "its symmetric algorithm is not AES-128-CFB"
        scheme, bits, _exponent, modulus_size = _read(data, at + 6, ">HHIH")
        if scheme != ALG_NULL:
            return "a restricted decryption key has no scheme"
        if bits != 2048 or modulus_size != 256:
            return "it is not RSA-2048"
        if at + 16 + modulus_size != len(data):
            return "bytes are missing or left over"
    except struct.error:
        return "it is cut short"
    return None


def decode_key(value: object, what: str) -> bytes:
    """The TPM2B_PUBLIC in *value*, refused with 400004 where it is none; *what* is its name on the wire."""
    if not isinstance(value, str) or not value:
        raise ServiceError(MALFORMED_KEY, f"Invalid {what}: missing or not a string")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise ServiceError(MALFORMED_KEY, f"Invalid {what}: not base64") from None
    fault = check_storage_key(data)
    if fault is not None:
        raise ServiceError(MALFORMED_KEY, f"Invalid {what}: {fault}")
    return data
