# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Public keys and signatures, from the numbers in a certificate and not from how these were written down.

So a key that a strict parser refuses for its algorithm's name, as makers write id-RSAES-OAEP, is a key all the same.
RFC 8017, A.1; RFC 5480, 2; RFC 4055, 4; RFC 5758, 3.2.
"""

from __future__ import annotations

from typing import Any, NamedTuple, Union

from ..tpm import der
from .limits import MAXIMAL_EXPONENT_BITS, MAXIMAL_RSA_BITS
from .names import object_identifier

_RSA_ENCRYPTION, _RSAES_OAEP, _EC_PUBLIC_KEY = "1.2.840.113549.1.1.1", "1.2.840.113549.1.1.7", "1.2.840.10045.2.1"
_CURVES = {"1.2.840.10045.3.1.7": "secp256r1", "1.3.132.0.34": "secp384r1", "1.3.132.0.35": "secp521r1"}
_CURVE_BITS = {"secp256r1": 256, "secp384r1": 384, "secp521r1": 521}
_MINIMAL_RSA_BITS = 2048
_SIGNATURES = {
    "1.2.840.113549.1.1.11": ("RSA", "SHA256"),
    "1.2.840.113549.1.1.12": ("RSA", "SHA384"),
    "1.2.840.113549.1.1.13": ("RSA", "SHA512"),
    "1.2.840.10045.4.3.2": ("ECC", "SHA256"),
    "1.2.840.10045.4.3.3": ("ECC", "SHA384"),
    "1.2.840.10045.4.3.4": ("ECC", "SHA512"),
}
_WEAK_SIGNATURES = {
    "1.2.840.113549.1.1.4": "MD5",
    "1.2.840.113549.1.1.5": "SHA-1",
    "1.2.840.10045.4.1": "SHA-1",
}


class RsaKey(NamedTuple):
    """An RSA public key."""

    modulus: int
    exponent: int
    kind: str = "RSA"

    @property
    def bits(self) -> int:
        """The length of the modulus."""
        return self.modulus.bit_length()

    @property
    def is_short(self) -> bool:
        """Whether it protects nothing."""
        return self.bits < _MINIMAL_RSA_BITS


class EccKey(NamedTuple):
    """A point on a curve; *curve* is the curve's name."""

    curve: str
    x: int
    y: int
    kind: str = "ECC"

    @property
    def bits(self) -> int:
        """The size of the curve's field."""
        return _CURVE_BITS[self.curve]


class UnknownKey(NamedTuple):
    """A key of an algorithm or on a curve that is not known here."""

    algorithm: str
    kind: str = "unknown"
    bits: int = 0


PublicKey = Union[RsaKey, EccKey, UnknownKey]


class SignatureUnknownError(Exception):
    """A signature that cannot be checked; *code* and the text are those of a finding."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


def read_public_key(info: der.Element) -> PublicKey:
    """The key in a SubjectPublicKeyInfo."""
    algorithm, bits = der.elements(info.content)
    if bits.tag != der.BIT_STRING or bits.content[:1] != b"\0":
        raise der.DerError("has no public key")
    names = der.elements(algorithm.content)
    kind = object_identifier(names[0])
    if kind in (_RSA_ENCRYPTION, _RSAES_OAEP):
        numbers = der.rsa_key(bits.content[1:])
        if numbers is None:
            raise der.DerError("has no RSA key where it says so")
        key = RsaKey(*numbers)
        if key.bits > MAXIMAL_RSA_BITS or key.exponent.bit_length() > MAXIMAL_EXPONENT_BITS:
            raise der.DerError(
                f"has an RSA key of {key.bits} bits with an exponent of {key.exponent.bit_length()} bits: keys of up "
                f"to {MAXIMAL_RSA_BITS} and {MAXIMAL_EXPONENT_BITS} bits are looked at"
            )
        return key
    if kind != _EC_PUBLIC_KEY:
        return UnknownKey(kind)
    from cryptography.hazmat.primitives.asymmetric import ec

    # Parameters may also be given in full, which the profiles forbid.
    curve = object_identifier(names[1]) if len(names) > 1 and names[1].tag == 0x06 else "given in full"
    if curve not in _CURVES:
        return UnknownKey(f"a curve ({curve})")
    try:
        point = ec.EllipticCurvePublicKey.from_encoded_point(_curve(_CURVES[curve]), bits.content[1:]).public_numbers()
    except ValueError:
        raise der.DerError("has a public key that is no point of its curve") from None
    return EccKey(_CURVES[curve], point.x, point.y)


def signature_algorithm(identifier: der.Element) -> str:
    """The object identifier in an AlgorithmIdentifier. DerError, or IndexError, where it has none."""
    return object_identifier(der.elements(identifier.content)[0])


def weakness(algorithm: str) -> str | None:
    """Why a signature of *algorithm*, an object identifier, proves nothing, whoever made it; None where it may."""
    digest = _WEAK_SIGNATURES.get(algorithm)
    return f"is signed with {digest}, which anybody with means can forge" if digest else None


def is_signed_by(key: PublicKey, algorithm: str, signature: bytes, data: bytes) -> bool:
    """Whether *signature* over *data* was made with *key*. SignatureUnknownError where that cannot be told."""
    weak = weakness(algorithm)
    if weak:
        raise SignatureUnknownError("weak_signature", weak)
    if algorithm not in _SIGNATURES:
        told = f"is signed with an algorithm that is not known here ({algorithm})"
        raise SignatureUnknownError("unknown_algorithm", told)
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa

    kind, digest_name = _SIGNATURES[algorithm]
    digest = getattr(hashes, digest_name)()
    try:
        if isinstance(key, RsaKey) and kind == key.kind:
            public = rsa.RSAPublicNumbers(key.exponent, key.modulus).public_key()
            public.verify(signature, data, padding.PKCS1v15(), digest)
        elif isinstance(key, EccKey) and kind == key.kind:
            point = ec.EllipticCurvePublicNumbers(key.x, key.y, _curve(key.curve)).public_key()
            point.verify(signature, data, ec.ECDSA(digest))
        else:
            return False
    except (InvalidSignature, ValueError):
        return False
    return True


def _curve(name: str) -> Any:
    from cryptography.hazmat.primitives.asymmetric import ec

    return getattr(ec, name.upper())()
