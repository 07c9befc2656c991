# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""As much of DER as a device needs: where a certificate ends, and which RSA key it certifies.

Endorsement key certificates break strict parsers, and a device need not judge them: the controller does, which reads
them with the same elements. X.690; RFC 5280, 4.1; RFC 8017, A.1.1.
"""

from __future__ import annotations

from typing import NamedTuple

INTEGER = 0x02
BIT_STRING = 0x03
SEQUENCE = 0x30
EXPLICIT_0 = 0xA0


class DerError(ValueError):
    """The bytes are no DER of the shape that was looked for."""


class Element(NamedTuple):
    """A tag with what it holds; *raw* is the whole of it as it was found, *end* where the next one begins."""

    tag: int
    content: bytes
    raw: bytes
    end: int


def element(data: bytes, at: int = 0) -> Element:
    """The element of *data* at *at*. A length that is longer than it need be is taken: makers write them."""
    if at + 2 > len(data):
        raise DerError("cut short")
    tag, length, start = data[at], data[at + 1], at + 2
    if length & 0x80:
        octets = length & 0x7F
        if not 0 < octets <= 4:
            raise DerError("length is of no definite form")
        length = int.from_bytes(data[start : start + octets], "big")
        start += octets
    end = start + length
    if end > len(data):
        raise DerError("cut short")
    return Element(tag, data[start:end], data[at:end], end)


def elements(content: bytes) -> list[Element]:
    """The elements that fill *content*."""
    at = 0
    found = []
    while at < len(content):
        found.append(element(content, at))
        at = found[-1].end
    return found


def trimmed(data: bytes) -> bytes:
    """*data* without what follows its first element, as NV indices are larger than their certificate."""
    return element(without_header(data)).raw


def without_header(data: bytes) -> bytes:
    """*data* without what stands before a whole certificate in the NV memory of some TPMs, as in that of a TPM 1.2.

    That is TCG_PCCLIENT_STORED_CERT, TCG_FULL_CERT or both; TCG PC Client Specific Implementation Specification for
    Conventional BIOS 1.21, 7.4.5.
    """
    if data[:3] == b"\x10\x01\x00":
        data = data[5:]
    return data[2:] if data[:3] == b"\x10\x02\x30" else data


def split(data: bytes) -> tuple[list[bytes], bytes]:
    """The SEQUENCEs that lie one after another in *data*, and the beginning of one that was cut short.

    What follows them is padding and is dropped.
    """
    found: list[bytes] = []
    at = 0
    while at < len(data) and data[at] == SEQUENCE:
        try:
            one = element(data, at)
        except DerError:
            return found, data[at:]
        found.append(one.raw)
        at = one.end
    return found, b""


def certified_rsa_key(certificate: bytes) -> tuple[int, int] | None:
    """Modulus and exponent of the RSA key in a DER *certificate*; None where there is none to be found.

    The algorithm is not looked at: some makers write rsaEncryption and some id-RSAES-OAEP over the same structure.
    """
    try:
        bits = certified_key(certificate)
        return rsa_key(bits) if bits is not None else None
    except (DerError, IndexError, ValueError):
        return None


def certified_key(certificate: bytes) -> bytes | None:
    """The subjectPublicKey of a DER *certificate*: an RSAPublicKey or a point; None where there is none to be found."""
    try:
        fields = elements(elements(element(without_header(certificate)).content)[0].content)
        if fields[0].tag == EXPLICIT_0:
            fields = fields[1:]
        # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo
        _algorithm, bits = elements(fields[5].content)
        return bits.content[1:] if bits.tag == BIT_STRING else None
    except (DerError, IndexError, ValueError):
        return None


def rsa_key(data: bytes) -> tuple[int, int] | None:
    """Modulus and exponent of an RSAPublicKey; None where it is another kind of key."""
    key = element(data)
    if key.tag != SEQUENCE:
        return None
    modulus, exponent = elements(key.content)
    if (modulus.tag, exponent.tag) != (INTEGER, INTEGER):
        return None
    return int.from_bytes(modulus.content, "big"), int.from_bytes(exponent.content, "big")
