# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A certificate as it was written, byte for byte, whether or not a strict parser would take it.

Makers write certificates that strict parsers refuse, and once they are written anew their signature is broken. So they
are read here from their own bytes, and what the strict parser of the package cryptography thinks of them is told.
RFC 5280, 4.1 and 4.2.
"""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from functools import cached_property, lru_cache
from typing import NamedTuple

from ..tpm import der
from .keys import PublicKey, read_public_key, signature_algorithm
from .limits import (
    MAXIMAL_CERTIFICATE_BYTES,
    MAXIMAL_KEY_IDENTIFIER_BYTES,
    MAXIMAL_KEY_USAGE_BYTES,
    MAXIMAL_NUMBER_BYTES,
    MAXIMAL_SERIAL_BYTES,
    MAXIMAL_TOLD,
    shortened,
)
from .names import Name, object_identifier, read_name

BASIC_CONSTRAINTS = "2.5.29.19"
KEY_USAGE = "2.5.29.15"
EXTENDED_KEY_USAGE = "2.5.29.37"
SUBJECT_ALTERNATIVE_NAME = "2.5.29.17"
SUBJECT_DIRECTORY_ATTRIBUTES = "2.5.29.9"
SUBJECT_KEY_IDENTIFIER = "2.5.29.14"
AUTHORITY_KEY_IDENTIFIER = "2.5.29.35"
AUTHORITY_INFORMATION_ACCESS = "1.3.6.1.5.5.7.1.1"
CERTIFICATE_POLICIES = "2.5.29.32"
CRL_DISTRIBUTION_POINTS = "2.5.29.31"

# Bits of keyUsage, counted from the first.
DIGITAL_SIGNATURE, KEY_ENCIPHERMENT, KEY_AGREEMENT, KEY_CERT_SIGN, CRL_SIGN = 0, 2, 4, 5, 6

_CA_ISSUERS = "1.3.6.1.5.5.7.48.2"
_BOOLEAN, _OCTET_STRING, _UTC_TIME, _GENERALIZED_TIME = 0x01, 0x04, 0x17, 0x18
# Tags of a uniformResourceIdentifier and of the keyIdentifier in an authorityKeyIdentifier.
_URI, _KEY_IDENTIFIER = 0x86, 0x80


class CertificateError(ValueError):
    """Why something is no certificate, as the end of a sentence about it."""


class Extension(NamedTuple):
    """One extension; *value* is the DER in it."""

    critical: bool
    value: bytes


@dataclass(frozen=True)
class Certificate:
    """What a certificate says, read whole at once: what cannot be read makes it no certificate.

    *data* is its DER, *tbs* the part of it that was signed, *signature_algorithm* an object identifier. *key_usage* has
    the bits that are set, counted from the first, and is None where the extension is missing; *extended_key_usage* has
    object identifiers. *issuer_urls* is where the maker publishes the issuer's certificate. *repeated* names extensions
    that stand in it twice.
    """

    data: bytes
    tbs: bytes
    version: int
    serial_number: int
    signature_algorithm: str
    signature: bytes
    issuer: Name
    subject: Name
    not_before: datetime
    not_after: datetime
    key: PublicKey
    extensions: dict[str, Extension]
    repeated: tuple[str, ...]
    is_ca: bool
    path_length: int | None
    key_usage: frozenset[int] | None
    extended_key_usage: tuple[str, ...]
    key_identifier: bytes | None
    authority_key_identifier: bytes | None
    issuer_urls: tuple[str, ...]

    @cached_property
    def sha256(self) -> str:
        """The fingerprint, in hexadecimal."""
        return hashlib.sha256(self.data).hexdigest()

    @property
    def is_self_issued(self) -> bool:
        """Whether subject and issuer have one name, as in a root."""
        return self.subject.key == self.issuer.key

    def has_key_usage(self, bit: int) -> bool:
        """Whether the key may be used so; it may where the certificate does not restrict it."""
        return self.key_usage is None or bit in self.key_usage


@lru_cache(maxsize=128)
def read_certificate(data: bytes) -> Certificate:
    """The certificate in *data*, which may be padded as an NV index is. CertificateError where it is none."""
    try:
        written = der.trimmed(data)
        if len(written) > MAXIMAL_CERTIFICATE_BYTES:
            raise der.DerError(f"it has {len(written)} bytes, and {MAXIMAL_CERTIFICATE_BYTES} are looked at")
        return _read(written)
    except der.DerError as error:
        raise CertificateError(f"is no X.509 certificate ({shortened(error)})") from None
    except (IndexError, ValueError, OverflowError):
        raise CertificateError("is no X.509 certificate (a part of it is missing or damaged)") from None


def strict_complaint(data: bytes) -> str | None:
    """Why a strict parser refuses the DER *data*, in its own words; None where it does not."""
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm

    complaints = (
        ValueError,
        TypeError,
        OverflowError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.InvalidVersion,
        x509.UnsupportedGeneralNameType,
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            strict = x509.load_der_x509_certificate(data)
            # These are parsed when they are asked for.
            _parts = strict.subject, strict.issuer, strict.extensions, strict.not_valid_after_utc
        except complaints as error:
            return shortened(" ".join(str(error).split())) or type(error).__name__
    return shortened(caught[0].message) if caught else None


def _read(data: bytes) -> Certificate:
    whole = der.element(data)
    tbs, algorithm, bits = der.elements(whole.content)
    if {whole.tag, tbs.tag, algorithm.tag} != {der.SEQUENCE} or bits.tag != der.BIT_STRING or bits.content[:1] != b"\0":
        raise der.DerError("it is not built as one")
    fields = der.elements(tbs.content)
    version = 1
    if fields[0].tag == der.EXPLICIT_0:
        version = small_number(der.element(fields.pop(0).content)) + 1
    serial, inner_algorithm, issuer, validity, subject, key, *others = fields
    if len(serial.content) > MAXIMAL_SERIAL_BYTES:
        raise der.DerError(f"its serial number has {len(serial.content)} bytes")
    # What is outside of the signed part could be exchanged.
    if inner_algorithm.content != algorithm.content:
        raise der.DerError("it names two signature algorithms")
    not_before, not_after = (read_time(one) for one in der.elements(validity.content))
    listed = [one for field in others if field.tag == 0xA3 for one in der.elements(der.element(field.content).content)]
    extensions, repeated = read_extensions(listed)
    constraints = _parts(extensions, BASIC_CONSTRAINTS)
    limits = [small_number(one) for one in constraints if one.tag == der.INTEGER]
    authority = [one.content for one in _parts(extensions, AUTHORITY_KEY_IDENTIFIER) if one.tag == _KEY_IDENTIFIER]
    return Certificate(
        data=data,
        tbs=tbs.raw,
        version=version,
        serial_number=int.from_bytes(serial.content, "big", signed=True),
        signature_algorithm=signature_algorithm(algorithm),
        signature=bits.content[1:],
        issuer=read_name(issuer.content),
        subject=read_name(subject.content),
        not_before=not_before,
        not_after=not_after,
        key=read_public_key(key),
        extensions=extensions,
        repeated=repeated,
        is_ca=bool(constraints) and constraints[0].tag == _BOOLEAN and any(constraints[0].content),
        path_length=limits[0] if limits else None,
        key_usage=_key_usage(extensions),
        extended_key_usage=tuple(object_identifier(one) for one in _parts(extensions, EXTENDED_KEY_USAGE)),
        key_identifier=_key_identifier(extensions),
        authority_key_identifier=_identifier(authority[0]) if authority else None,
        issuer_urls=_issuer_urls(extensions),
    )


def _parts(extensions: dict[str, Extension], kind: str) -> list[der.Element]:
    return der.elements(der.element(extensions[kind].value).content) if kind in extensions else []


def _key_usage(extensions: dict[str, Extension]) -> frozenset[int] | None:
    if KEY_USAGE not in extensions:
        return None
    bits = der.element(extensions[KEY_USAGE].value)
    if bits.tag != der.BIT_STRING:
        raise der.DerError("its keyUsage is no bit string")
    octets = bits.content[1:]
    if len(octets) > MAXIMAL_KEY_USAGE_BYTES:
        raise der.DerError(f"its keyUsage has {len(octets)} bytes, for nine bits")
    return frozenset(at for at in range(8 * len(octets)) if octets[at // 8] & 0x80 >> at % 8)


def _key_identifier(extensions: dict[str, Extension]) -> bytes | None:
    extension = extensions.get(SUBJECT_KEY_IDENTIFIER)
    return _identifier(der.element(extension.value).content) if extension else None


def _identifier(octets: bytes) -> bytes:
    if len(octets) > MAXIMAL_KEY_IDENTIFIER_BYTES:
        raise der.DerError(f"a key identifier in it has {len(octets)} bytes")
    return octets


def small_number(one: der.Element) -> int:
    """An INTEGER that counts something."""
    if len(one.content) > MAXIMAL_NUMBER_BYTES:
        raise der.DerError(f"a number in it has {len(one.content)} bytes")
    return int.from_bytes(one.content, "big")


def _issuer_urls(extensions: dict[str, Extension]) -> tuple[str, ...]:
    urls = []
    for access in _parts(extensions, AUTHORITY_INFORMATION_ACCESS):
        method, location = der.elements(access.content)
        if object_identifier(method) == _CA_ISSUERS and location.tag == _URI:
            urls.append(shortened(location.content.decode("latin-1")))
    return tuple(urls[:MAXIMAL_TOLD])


def read_extensions(listed: list[der.Element]) -> tuple[dict[str, Extension], tuple[str, ...]]:
    """Extensions by their object identifier, and which of these stand twice among the *listed* ones."""
    found: dict[str, Extension] = {}
    repeated = []
    for one in listed:
        name, *critical, value = der.elements(one.content)
        if value.tag != _OCTET_STRING:
            raise der.DerError("an extension has no value")
        kind = object_identifier(name)
        if kind in found:
            repeated.append(kind)
        found[kind] = Extension(bool(critical) and any(critical[0].content), value.content)
    return found, tuple(repeated)


def read_time(one: der.Element) -> datetime:
    """A UTCTime or GeneralizedTime in UTC; also in the forms of BER: without seconds, with fractions or an offset."""
    text = one.content.decode("ascii")
    if one.tag == _UTC_TIME:
        text = ("19" if text[:2] >= "50" else "20") + text
    elif one.tag != _GENERALIZED_TIME:
        raise der.DerError("a time is none")
    if text.endswith("Z"):
        moment, offset = text[:-1], timedelta()
    elif text[-5:-4] in ("+", "-"):
        moment, sign, far = text[:-5], -1 if text[-5] == "-" else 1, text[-4:]
        offset = sign * timedelta(hours=int(far[:2]), minutes=int(far[2:]))
    else:
        moment, offset = text, timedelta()
    moment = moment.partition(".")[0]
    parsed = datetime.strptime(moment, "%Y%m%d%H%M%S" if len(moment) == 14 else "%Y%m%d%H%M")
    return parsed.replace(tzinfo=timezone.utc) - offset
