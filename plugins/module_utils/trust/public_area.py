# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The key inside a TPM2B_PUBLIC, and the TPM2B_PUBLIC that belongs to a certified key.

TPM 2.0 Library, Part 2: 12.2.4 TPMT_PUBLIC, 12.2.3.5 TPMS_RSA_PARMS, 12.2.3.6 TPMS_ECC_PARMS. TCG EK Credential
Profile, B.3.3 (template L-1).
"""

from __future__ import annotations

import base64
import binascii
import struct

from ..tpm import templates
from .keys import EccKey, PublicKey, RsaKey

_RSA, _ECC, _NULL = 0x0001, 0x0023, 0x0010
_DEFAULT_EXPONENT = 65537
# TPM_ECC_CURVE to the names of the curves here.
_CURVES = {0x0003: "secp256r1", 0x0004: "secp384r1", 0x0005: "secp521r1"}


class PublicAreaError(ValueError):
    """Why something is no TPM2B_PUBLIC of a key, as the end of a sentence about it."""


def decode_public(text: object) -> bytes:
    """The TPM2B_PUBLIC in base64 *text*; PublicAreaError where it is no base64."""
    if not isinstance(text, str):
        raise PublicAreaError("is not text")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise PublicAreaError("is not base64") from None


def key_of(public: bytes) -> PublicKey:
    """The RSA or ECC key in a TPM2B_PUBLIC."""
    try:
        return _key_of(_Reader(public))
    except struct.error:
        raise PublicAreaError("is no TPM2B_PUBLIC: it was cut short") from None


def endorsement_key_for(key: PublicKey) -> bytes:
    """The TPM2B_PUBLIC of the endorsement key *key*, which a certificate certifies.

    A certificate has the key only; all else comes from the TCG's template for RSA-2048, which is the one that the
    certificate in NV index 0x01c00002 certifies. PublicAreaError where *key* cannot have been made from it.
    """
    if not isinstance(key, RsaKey) or key.bits != 2048 or key.exponent != _DEFAULT_EXPONENT:
        raise PublicAreaError(
            f"is about an {key.kind} key of {key.bits} bits; the service takes endorsement keys of RSA, and the TCG's "
            "template for these makes 2048 bits with the exponent 65537"
        )
    template = templates.ek_public_template("tcg")
    return template[: -key.bits // 8] + key.modulus.to_bytes(key.bits // 8, "big")


class _Reader:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, form: str = ">H") -> int:
        (value,) = struct.unpack_from(form, self._data, self._at)
        self._at += struct.calcsize(form)
        return value

    def sized(self) -> bytes:
        size = self.number()
        if self._at + size > len(self._data):
            raise struct.error
        self._at += size
        return self._data[self._at - size : self._at]

    @property
    def left(self) -> int:
        return len(self._data) - self._at


def _key_of(read: _Reader) -> PublicKey:
    if read.number() != read.left:
        raise PublicAreaError("is no TPM2B_PUBLIC: its size is another one than it says")
    kind = read.number()
    read.number()  # nameAlg
    read.number(">I")  # objectAttributes
    read.sized()  # authPolicy
    if kind not in (_RSA, _ECC):
        raise PublicAreaError("is the TPM2B_PUBLIC of neither an RSA nor an ECC key")
    if read.number() != _NULL:  # symmetric
        read.number()
        read.number()
    if read.number() != _NULL:  # scheme
        read.number()
    if kind == _RSA:
        read.number()  # keyBits
        exponent = read.number(">I") or _DEFAULT_EXPONENT
        key: PublicKey = RsaKey(int.from_bytes(read.sized(), "big"), exponent)
    else:
        curve = read.number()
        if read.number() != _NULL:  # kdf
            read.number()
        x, y = (int.from_bytes(read.sized(), "big") for _coordinate in "xy")
        if curve not in _CURVES:
            raise PublicAreaError(f"is about a key on a curve that is not known here (0x{curve:04x})")
        key = EccKey(_CURVES[curve], x, y)
    if read.left:
        raise PublicAreaError("is no TPM2B_PUBLIC: something follows it")
    return key
