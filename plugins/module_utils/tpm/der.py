# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""As much of DER as a device needs: where a certificate ends, and which RSA key it certifies.

Endorsement key certificates break strict parsers, and a device need not judge them: the controller does. X.690;
RFC 5280, 4.1; RFC 8017, A.1.1.
"""

from __future__ import annotations

_INTEGER = 0x02
_BIT_STRING = 0x03
_SEQUENCE = 0x30
_VERSION = 0xA0


class DerError(ValueError):
    """The bytes are no DER of the shape that was looked for."""


def _element(data: bytes, at: int = 0) -> tuple[int, bytes, int]:
    """Tag, content and end of the element at *at*."""
    if at + 2 > len(data):
        raise DerError("cut short")
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        if not 0 < octets <= 4:
            raise DerError("length is of no definite form")
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
    if start + length > len(data):
        raise DerError("cut short")
    return tag, data[start : start + length], start + length


def _inside(content: bytes) -> list[tuple[int, bytes]]:
    at = 0
    elements = []
    while at < len(content):
        tag, inner, at = _element(content, at)
        elements.append((tag, inner))
    return elements


def trimmed(data: bytes) -> bytes:
    """*data* without what follows its first element, as NV indices are larger than their certificate."""
    return data[: _element(data)[2]]


def split(data: bytes) -> list[bytes]:
    """The SEQUENCEs that lie one after another in *data*; what follows them is padding."""
    found = []
    at = 0
    while at < len(data) and data[at] == _SEQUENCE:
        try:
            end = _element(data, at)[2]
        except DerError:
            break
        found.append(data[at:end])
        at = end
    return found


def certified_rsa_key(certificate: bytes) -> tuple[int, int] | None:
    """Modulus and exponent of the RSA key in a DER *certificate*; None where there is none to be found.

    The algorithm is not looked at: some makers write rsaEncryption and some id-RSAES-OAEP over the same structure.
    """
    try:
        fields = _inside(_inside(_element(certificate)[1])[0][1])
        if fields[0][0] == _VERSION:
            fields = fields[1:]
        # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
        _algorithm, (tag, bits) = _inside(fields[5][1])
        if tag != _BIT_STRING:
            return None
        key_tag, key, _end = _element(bits, 1)
        if key_tag != _SEQUENCE:
            return None
        (modulus_tag, modulus), (exponent_tag, exponent) = _inside(key)
    except (DerError, IndexError, ValueError):
        return None
    if (modulus_tag, exponent_tag) != (_INTEGER, _INTEGER):
        return None
    return int.from_bytes(modulus, "big"), int.from_bytes(exponent, "big")
