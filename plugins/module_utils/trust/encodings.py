# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every form in which a certificate comes, down to its DER; what is something else is called by its name.

Chips write DER into NV memory, some behind the header of the TPM 1.2 (TCG PC Client Specific Implementation
Specification for Conventional BIOS 1.21, 7.4.5) and all with padding. Makers' services answer in JSON, with base64 for
addresses (RFC 4648, 5). Downloads are PEM (RFC 7468), with text around it, or bundles (PKCS #7, RFC 2315, 9.1).
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from ..outside import strict_json
from ..outside.visible import visible
from ..tpm import der
from .certificate import CertificateError
from .limits import MAXIMAL_FILE_BYTES, MAXIMAL_FILE_CERTIFICATES, MAXIMAL_TEXT
from .names import object_identifier

_BEGIN, _END = b"-----BEGIN ", b"-----END "
_PEM_CERTIFICATES = ("CERTIFICATE", "X509 CERTIFICATE", "TRUSTED CERTIFICATE")
_PEM_BUNDLES = ("PKCS7", "PKCS #7 SIGNED DATA", "CMS")
_SIGNED_DATA, _PKCS7_DATA = "1.2.840.113549.1.7.2", "1.2.840.113549.1.7.1"
# TCG_PCCLIENT_STORED_CERT with its type, 0 for a whole certificate and 1 for parts of one; TCG_FULL_CERT.
_STORED_CERT, _FULL_CERT = b"\x10\x01", b"\x10\x02"
_TIMES = (0x17, 0x18)
_HEXADECIMAL = frozenset("0123456789abcdef")
# The beginnings of files that are taken for certificates.
_OTHER_FILES = (
    (b"MSCF", "is a cabinet file: expand it with cabextract, or give it to the role ek_roots"),
    (b"PK\x03\x04", "is a ZIP archive: expand it first"),
    (b"\x1f\x8b", "is compressed with gzip: expand it first"),
    (b"\xfd7zXZ", "is compressed with xz: expand it first"),
    (b"BZh", "is compressed with bzip2: expand it first"),
    (b"\0\0\0\0CERT", "is a serialized certificate store of Windows (SST): export the certificates as PKCS #7 or DER"),
    (b"\xfe\xed\xfe\xed", "is a key store of Java: export the certificates from it"),
)
# Where services put a certificate, and those above it, in an object.
_JSON_FIELDS = (
    "certificate",
    "endorsement_key_certificate",
    "certificates",
    "chain",
    "endorsement_key_certificate_chain",
)


def decode_certificates(text: object) -> list[bytes]:
    """The DER of the certificates in *text*, in any of the forms; it may come from a device, so it may be anything.

    What follows a single one is left at its end. CertificateError says what *text* is, as the end of a sentence.
    """
    if not isinstance(text, str):
        raise CertificateError("is not text")
    if len(text) > MAXIMAL_TEXT:
        raise CertificateError(f"is a text of {len(text)} characters, and {MAXIMAL_TEXT} are looked at")
    return certificates_of(text.encode("utf-8", "surrogatepass"))


def certificates_of(content: bytes, *, most: int = MAXIMAL_FILE_BYTES) -> list[bytes]:
    """As :func:`decode_certificates`, of what a file of up to *most* bytes holds."""
    if len(content) > most:
        raise CertificateError(f"has {len(content)} bytes, and {most} are looked at")
    return _decoded(content, nested=False)


def _decoded(content: bytes, *, nested: bool) -> list[bytes]:
    content = _without_byte_order_mark(content)
    if not content.strip():
        raise CertificateError("is empty")
    if _BEGIN in content:
        return _in_pem(content)
    if content.isascii() and not content.strip(b"\t\r\n\f" + bytes(range(32, 127))):
        return _in_text(content.decode("ascii").strip(), nested=nested)
    return _in_binary(content)


def _without_byte_order_mark(content: bytes) -> bytes:
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") and content[2:4] not in (b"\xff\xff", b"\xfe\xff"):
        try:
            return content.decode("utf-16").encode()
        except UnicodeDecodeError:
            return content
    return content.removeprefix(b"\xef\xbb\xbf")


def _in_pem(content: bytes) -> list[bytes]:
    # A text in a variable or in JSON may have its line breaks written out.
    content = content.replace(b"\\r", b"").replace(b"\\n", b"\n")
    found: list[bytes] = []
    others = []
    for part in content.split(_BEGIN)[1:]:
        label, _dashes, rest = part.partition(b"-----")
        word = visible(label.decode("latin-1"), most=40)
        body, end, _after = rest.partition(_END)
        if not end:
            raise CertificateError("is PEM that was cut short: it has no end")
        if word in _PEM_CERTIFICATES:
            # OpenSSL writes its own notes behind a trusted certificate.
            data = _base64(body.decode("latin-1"), "is PEM that is damaged: what it holds is no base64")
            found.append(_first(data) if word.startswith("TRUSTED") else data)
        elif word in _PEM_BUNDLES:
            found += _in_bundle(_base64(body.decode("latin-1"), "is PEM that is damaged: what it holds is no base64"))
        else:
            others.append(word)
        _check_number(found)
    if not found:
        raise CertificateError(f"is PEM of something else than a certificate ({others[0] if others else 'nothing'})")
    return found


def _in_text(text: str, *, nested: bool) -> list[bytes]:
    if text[0] in '{["' and not nested:
        return _in_json(text)
    if text[0] == "<":
        raise CertificateError("is a web page, as servers send one in the place of a file that they do not have")
    if text.startswith(("ssh-", "ecdsa-")):
        raise CertificateError("is a public key as SSH writes it, which is no certificate")
    digits = "".join(text.lower().removeprefix("0x").replace(":", "").split())
    if digits.startswith(("30", "1001", "1002")) and set(digits) <= _HEXADECIMAL:
        if len(digits) % 2:
            raise CertificateError("is hexadecimal that was cut short: a digit is missing")
        return _in_binary(bytes.fromhex(digits))
    data = _base64(text, "is neither base64 of DER nor PEM")
    if not data:
        raise CertificateError("is empty")
    data = _without_byte_order_mark(data)
    return _in_pem(data) if _BEGIN in data else _in_binary(data)


def _in_json(text: str) -> list[bytes]:
    """As Intel's service answers, in ``certificate``; or in a list, or as a string of its own."""
    try:
        value = strict_json.parse(text, most=MAXIMAL_FILE_BYTES)
    except strict_json.JsonError as error:
        raise CertificateError(f"looks like JSON and {error}") from None
    texts = list(_texts(value))
    if not texts:
        raise CertificateError("is JSON without a certificate: it has no text in a field 'certificate'")
    found: list[bytes] = []
    for one in texts:
        found += _decoded(one.encode("utf-8", "surrogatepass"), nested=True)
        _check_number(found)
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for name in _JSON_FIELDS:
            yield from _texts(value.get(name))


def _base64(text: str, otherwise: str) -> bytes:
    """The bytes of base64 in either alphabet, padded by ``=``, by ``%3D`` or not at all."""
    letters = "".join(unquote(text).split()) if "%" in text else "".join(text.split())
    letters = letters.rstrip("=").replace("-", "+").replace("_", "/")
    if len(letters) % 4 == 1 and letters.replace("+", "").replace("/", "").isalnum():
        raise CertificateError("is base64 that was cut short")
    try:
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise CertificateError(otherwise) from None


def _in_binary(data: bytes) -> list[bytes]:
    if not data.strip(data[:1]) and data[:1] in (b"\x00", b"\xff"):
        # An index of NV memory that nobody wrote.
        raise CertificateError(f"is no X.509 certificate but empty memory: {len(data)} bytes of 0x{data[0]:02x}")
    for beginning, words in _OTHER_FILES:
        if data.startswith(beginning):
            raise CertificateError(words)
    data = _without_header(data)
    if data[:1] != b"\x30":
        return [data]
    if data[1:2] == b"\x80":
        raise CertificateError(
            "is written with indefinite lengths (BER), as some bundles are: convert it with "
            "'openssl pkcs7 -inform DER -print_certs'"
        )
    found = _sequences(data)
    if not found:
        return [data]
    if _is_bundle(found[0]):
        return _in_bundle(found[0])
    other = _other_structure(found[0])
    if other:
        raise CertificateError(f"is {other}, and no certificate")
    return found if len(found) > 1 else [data]


def _without_header(data: bytes) -> bytes:
    if data.startswith(_STORED_CERT):
        if data[2:3] != b"\0":
            raise CertificateError("has the header of a TPM 1.2 and holds only parts of a certificate")
        size = int.from_bytes(data[3:5], "big")
        if len(data) < 5 + size:
            raise CertificateError(f"has the header of a TPM 1.2 and was cut short: {size} bytes should follow it")
        data = data[5 : 5 + size] or data
    if data.startswith(_FULL_CERT + b"\x30"):
        return data[2:]
    if len(data) > 4 and int.from_bytes(data[:2], "big") == len(data) - 2:
        if data[2] == 0x30:
            return data[2:]
        if data[2:4] in (b"\x00\x01", b"\x00\x23"):
            raise CertificateError("is a TPM2B_PUBLIC, the public key alone, and no certificate")
    return data


def _sequences(data: bytes) -> list[bytes]:
    """The elements that lie one after another in *data*; none where the first is cut short."""
    found: list[bytes] = []
    at = 0
    while at < len(data) and data[at] == der.SEQUENCE:
        try:
            one = der.element(data, at)
        except der.DerError:
            # What begins like another one and is cut short may be padding or half of a certificate.
            return found if len(found) < 2 else [*found, data[at:]]
        found.append(one.raw)
        _check_number(found)
        at = one.end
    return found


def _check_number(found: list[bytes]) -> None:
    if len(found) > MAXIMAL_FILE_CERTIFICATES:
        raise CertificateError(f"holds more than {MAXIMAL_FILE_CERTIFICATES} certificates")


def _first(data: bytes) -> bytes:
    try:
        return der.trimmed(data)
    except der.DerError:
        return data


def _is_bundle(data: bytes) -> bool:
    try:
        return object_identifier(der.element(der.element(data).content)) == _SIGNED_DATA
    except (der.DerError, IndexError):
        return False


def _in_bundle(data: bytes) -> list[bytes]:
    try:
        _kind, content = der.elements(der.element(data).content)
        parts = der.elements(der.element(content.content).content)
        held = [one for one in parts if one.tag == der.EXPLICIT_0]
        found = _sequences(held[0].content) if held else []
    except (der.DerError, ValueError):
        raise CertificateError("is a PKCS #7 bundle that is damaged") from None
    if not found:
        raise CertificateError("is a PKCS #7 bundle without a certificate")
    return found


def _other_structure(data: bytes) -> str | None:
    """What the DER *data* is, where its shape is that of something that is taken for a certificate."""
    try:
        parts = der.elements(der.element(data).content)
        tags = tuple(one.tag for one in parts)
        if tags == (der.SEQUENCE, der.BIT_STRING):
            return "a public key (SubjectPublicKeyInfo)"
        if tags == (der.INTEGER, der.INTEGER):
            return "a public key (RSAPublicKey)"
        if tags[:1] == (der.INTEGER,):
            inner = der.elements(parts[1].content) if tags[1:2] == (der.SEQUENCE,) else []
            if inner and inner[0].tag == 0x06 and object_identifier(inner[0]) in (_PKCS7_DATA, _SIGNED_DATA):
                return "a key store (PKCS #12)"
            return "a private key"
        if tags == (der.SEQUENCE, der.SEQUENCE, der.BIT_STRING):
            fields = [one.tag for one in der.elements(parts[0].content)]
            if any(tag in _TIMES for tag in fields):
                return "a certificate revocation list"
            if fields[:3] == [der.INTEGER, der.SEQUENCE, der.EXPLICIT_0]:
                return "an attribute certificate, as platform certificates are"
            if fields[:3] == [der.INTEGER, der.SEQUENCE, der.SEQUENCE] and fields[3:] in ([], [der.EXPLICIT_0]):
                return "a request for a certificate"
    except (der.DerError, IndexError):
        return None
    return None
