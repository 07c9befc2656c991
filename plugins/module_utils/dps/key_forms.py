# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An endorsement key in each of the forms in which people and tools write one, as the TPM2B_PUBLIC that it is.

Some forms have the whole public area, in other words (hexadecimal, base64url, a TPMT_PUBLIC without its size). Others
have its modulus only (SubjectPublicKeyInfo, PKCS#1, the modulus itself): all else has to come from the template that
the TPM made the key from, and which one that was nobody can tell from a modulus. So it is named by the user.

TPM 2.0 Library, Part 2: 12.2.4 TPMT_PUBLIC. RFC 8017, A.1.1; RFC 8410, 4. TCG EK Credential Profile, B.3.3.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct

# What an endorsement key takes in its longest form, with room to spare.
MOST_CHARACTERS = 16_384
# The TPMT_PUBLIC of a key by the name of its template, up to the modulus: template L-1 (RSA-2048) of the TCG. The stock
# SDKs' template differs from it in nothing that is left in the key.
_L1 = bytes.fromhex(
    "0001000b000300b20020837197674484b3f81a90cc8d46a5d724fd52d76e06520b64f2a1da1b331469aa"
    "00060080004300100800000000000100"
)
TEMPLATES = {"tcg": (_L1, 256)}

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]{1,40})-----([^-]*)-----END \1-----")
_HEXADECIMAL = re.compile(r"(?:0[xX])?(?:[0-9a-fA-F]{2}:?)+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]+={0,2}")
_RSA, _SHA256, _SHA384, _SHA512 = b"\x00\x01", b"\x00\x0b", b"\x00\x0c", b"\x00\x0d"
_EXPONENT = bytes.fromhex("0203010001")
_MODULUS_BYTES = (256, 384, 512)
_OID_ECC = bytes.fromhex("06072a8648ce3d0201")


class KeyFormError(ValueError):
    """Why something is no endorsement key in a form that is known, as the end of a sentence about it."""


def public_area_in(text: object, template: str | None = None) -> bytes:
    """What *text* says by way of a TPM2B_PUBLIC, not yet checked to be one.

    *template* (a key of TEMPLATES) is what forms that have a modulus only are completed with.
    """
    if not isinstance(text, str) or not text.strip():
        raise KeyFormError("is empty or not text")
    if len(text) > MOST_CHARACTERS:
        raise KeyFormError(f"has {len(text):,} characters, more than an endorsement key has in any form")
    if "-----BEGIN" in text:
        return public_area_of(_pem(text), template)
    compact = "".join(text.split())
    if compact[:8].lower() == "modulus=":
        compact = compact[8:]
    return public_area_of(_bytes(compact), template)


def public_area_of(data: bytes, template: str | None = None) -> bytes:
    """The same for bytes: a TPM2B_PUBLIC as it is, one that is made of a TPMT_PUBLIC, DER or a modulus."""
    if data[:1] == b"\x30":
        return _completed(_modulus_in_der(data), "has the modulus of a key only", template)
    if data[:2] == _RSA and data[2:4] in (_SHA256, _SHA384, _SHA512):
        return struct.pack(">H", len(data)) + data
    bare = data[1:] if len(data) % 2 and data[:1] == b"\x00" else data
    if len(bare) in _MODULUS_BYTES and bare[0] & 0x80 and bare[-1] & 1:
        return _completed(bare, "is the modulus of a key only", template)
    return data


def _pem(text: str) -> bytes:
    found = _PEM.findall(text)
    if len(found) != 1:
        raise KeyFormError("is PEM that was cut short" if not found else "is PEM of more than one thing")
    label, body = found[0]
    if label == "CERTIFICATE":
        raise KeyFormError("is a certificate; that belongs into endorsement_key_certificate")
    if label not in ("PUBLIC KEY", "RSA PUBLIC KEY"):
        raise KeyFormError(f"is PEM of something else ({label}) than a public key")
    try:
        return base64.b64decode("".join(body.split()), validate=True)
    except (binascii.Error, ValueError):
        raise KeyFormError("is PEM that is no base64 inside") from None


def _bytes(compact: str) -> bytes:
    # Hexadecimal digits are those of base64 too, and a key in base64 has others among its first: 00 01 is AAE.
    if _HEXADECIMAL.fullmatch(compact):
        digits = (compact[2:] if compact[:2].lower() == "0x" else compact).replace(":", "")
        return bytes.fromhex(digits)
    standard = compact.replace("-", "+").replace("_", "/").replace("%3D", "=").replace("%3d", "=")
    bare = standard.rstrip("=")
    if not _BASE64.fullmatch(standard) or len(bare) % 4 == 1 or (bare != standard and len(standard) % 4):
        raise KeyFormError("is in no form that is known: neither base64 nor base64url, hexadecimal or PEM")
    return base64.b64decode(bare + "=" * (-len(bare) % 4))


def _modulus_in_der(data: bytes) -> bytes:
    """The modulus in a SubjectPublicKeyInfo or RSAPublicKey. The DER of such a key has one form for each size."""
    for size in _MODULUS_BYTES:
        number = b"\x02\x82" + struct.pack(">H", size + 1) + b"\x00"
        key = b"\x30\x82" + struct.pack(">H", len(number) + size + len(_EXPONENT)) + number
        bits = b"\x03\x82" + struct.pack(">H", len(key) + size + len(_EXPONENT) + 1) + b"\x00"
        algorithm = bytes.fromhex("300d06092a864886f70d0101010500")
        info = algorithm + bits + key
        info = b"\x30\x82" + struct.pack(">H", len(info) + size + len(_EXPONENT)) + info
        for head in (key, info):
            if len(data) == len(head) + size + len(_EXPONENT) and data.startswith(head) and data.endswith(_EXPONENT):
                return data[len(head) : -len(_EXPONENT)]
    if _OID_ECC in data[:32]:
        raise KeyFormError("is a public key of ECC; the service takes RSA only")
    raise KeyFormError("is DER of no RSA public key of 2048, 3072 or 4096 bits with the exponent 65537")


def _completed(modulus: bytes, what: str, template: str | None) -> bytes:
    if template is None:
        raise KeyFormError(
            f"{what}: name the template from which the TPM made the key, in the module's option "
            "endorsement_key_template, or for the line in tpmfleet_ek_list_endorsement_key_template"
        )
    head, size = TEMPLATES[template]
    if len(modulus) != size:
        raise KeyFormError(f"is a key of {len(modulus) * 8} bits, and the template {template} makes {size * 8}")
    return struct.pack(">H", len(head) + size) + head + modulus
