# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Every form in which a certificate comes is read, and what is something else is called by its name."""

from __future__ import annotations

import base64
import gzip
import json
from urllib.parse import quote

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.certificate_files import CertificateFiles
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.certificate import CertificateError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.encodings import (
    certificates_of,
    decode_certificates,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.listing import CertificateReader
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.policy import CertificatePolicy
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.verification import (
    Rules,
    Verifier,
    read_candidate,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    pkcs7,
    pkcs12,
)


@pytest.fixture(scope="module")
def certificate(tpm_maker, rsa_keys):
    return tpm_maker.certify(rsa_keys[0])


@pytest.fixture(scope="module")
def data(certificate):
    return certificate.public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def pem(certificate):
    return certificate.public_bytes(Encoding.PEM)


def full(data):
    return b"\x10\x02" + data


def stored(data, kind=b"\x00"):
    return b"\x10\x01" + kind + len(data).to_bytes(2, "big") + data


BYTES = {
    "DER": lambda data, _pem: data,
    "with zeros": lambda data, _pem: data + bytes(300),
    "with ones": lambda data, _pem: data + b"\xff" * 300,
    "with anything": lambda data, _pem: data + b"0 noise \x17",
    "header of a TPM 1.2": lambda data, _pem: stored(full(data)),
    "header of a TPM 1.2, without the inner one": lambda data, _pem: stored(data),
    "header of a TPM 1.2 and padding": lambda data, _pem: stored(full(data)) + b"\xff" * 40,
    "inner header only": lambda data, _pem: full(data),
    "with its size": lambda data, _pem: len(data).to_bytes(2, "big") + data,
    "PEM": lambda _data, pem: pem,
    "PEM of Windows": lambda _data, pem: pem.replace(b"\n", b"\r\n"),
    "PEM with text around": lambda _data, pem: "Gerät: 1\n".encode() + pem + b"\xff\xff and so on",
    "PEM with a mark": lambda _data, pem: b"\xef\xbb\xbf" + pem,
    "PEM in UTF-16": lambda _data, pem: pem.decode().encode("utf-16"),
    "PEM with written line breaks": lambda _data, pem: pem.replace(b"\n", rb"\n"),
    "PEM with its key": lambda _data, pem: b"-----BEGIN EC PARAMETERS-----\nBg==\n-----END EC PARAMETERS-----\n" + pem,
    "trusted by OpenSSL": lambda data, _pem: (
        b"-----BEGIN TRUSTED CERTIFICATE-----\n"
        + base64.encodebytes(data + b"\x30\x02\x0c\x00")
        + b"-----END TRUSTED CERTIFICATE-----\n"
    ),
    "base64": lambda data, _pem: base64.encodebytes(data),
    "base64url": lambda data, _pem: base64.urlsafe_b64encode(data + bytes(-len(data) % 3 + 2)),
    "base64url without padding": lambda data, _pem: base64.urlsafe_b64encode(data + bytes(-len(data) % 3 + 2)).rstrip(
        b"="
    ),
    "base64url for addresses": lambda data, _pem: quote(
        base64.urlsafe_b64encode(data + bytes(-len(data) % 3 + 2))
    ).encode(),
    "base64 of PEM": lambda _data, pem: base64.b64encode(pem),
    "hexadecimal": lambda data, _pem: data.hex().encode(),
    "hexadecimal with colons": lambda data, _pem: data.hex(":").upper().encode(),
    "Intel's answer": lambda data, _pem: json.dumps(
        {"pubhash": "abc", "certificate": quote(base64.urlsafe_b64encode(data).decode())}
    ).encode(),
    "JSON with PEM": lambda _data, pem: json.dumps({"certificate": pem.decode()}).encode(),
    "JSON string": lambda data, _pem: json.dumps(base64.b64encode(data).decode()).encode(),
}


@pytest.mark.parametrize("form", BYTES.values(), ids=BYTES)
def test_a_certificate_is_read_in_every_form(tpm_maker, write_roots, data, pem, form):
    content = form(data, pem)
    assert [one[: len(data)] for one in certificates_of(content)] == [data]
    verifier = Verifier(Rules(roots=(write_roots(tpm_maker.root, tpm_maker.issuer),)))
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = base64.b64encode(content).decode()
    verdict = verifier.verify(text)
    assert verdict.trusted and verdict.certificate.data == data, verdict.problems


def test_only_padding_that_is_none_is_remarked_on(tpm_maker, write_roots, data):
    verifier = Verifier(Rules(roots=(write_roots(tpm_maker.root, tpm_maker.issuer),)))
    for content, codes in (
        (stored(full(data)) + b"\xff" * 40, []),
        (data + b"\xff\x00\xff", []),
        (data + b"noise", ["trailing_data"]),
    ):
        assert [one.code for one in verifier.verify(base64.b64encode(content).decode()).remarks] == codes


def test_a_bundle_brings_its_chain_in_any_order(tpm_maker, write_roots, certificate, tmp_path):
    """PKCS #7 is a set, PEM bundles begin with either end, and services answer with lists."""
    verifier = Verifier(Rules(roots=(write_roots(tpm_maker.root),)))
    both = [tpm_maker.issuer, certificate]
    bundles = [pkcs7.serialize_certificates(both, form) for form in (Encoding.DER, Encoding.PEM)]
    bundles += [b"".join(one.public_bytes(Encoding.PEM) for one in order) for order in (both, both[::-1])]
    bundles.append(b"".join(one.public_bytes(Encoding.DER) for one in both))
    bundles.append(json.dumps([base64.b64encode(one.public_bytes(Encoding.DER)).decode() for one in both]).encode())
    for number, bundle in enumerate(bundles):
        assert len(certificates_of(bundle)) == 2
        file = tmp_path / f"bundle-{number}"
        file.write_bytes(bundle)
        first, chain = read_candidate(str(file))
        verdict = verifier.verify(first, chain=chain)
        assert verdict.trusted, (number, verdict.problems)
        text = bundle.decode() if bundle.isascii() else base64.b64encode(bundle).decode()
        assert verifier.verify(text).trusted


def test_a_chain_comes_with_each_record_of_a_list(tpm_maker, write_roots, certificate, as_text, ek_public, rsa_keys):
    """As for TPMs whose authorities are made for each of them, on the die."""
    verifier = Verifier(Rules(roots=(write_roots(tpm_maker.root),)))
    record = {"endorsement_key_certificate": as_text(certificate)}
    (problem,) = CertificateReader(verifier).read(record).problems
    assert "as it names no address for it" in problem[1] and "endorsement_key_certificate_chain" in problem[1]
    record["endorsement_key_certificate_chain"] = [as_text(tpm_maker.issuer)]
    listed = CertificateReader(verifier).read(record)
    assert (listed.problems, listed.remarks) == ([], [])
    # As a table has it in one cell.
    cell = {**record, "endorsement_key_certificate_chain": tpm_maker.issuer.public_bytes(Encoding.PEM).decode()}
    assert CertificateReader(verifier).read(cell).problems == []
    said = {"endorsement_key": ek_public(rsa_keys[0]), "endorsement_key_certificate": as_text(certificate)}
    assert CertificatePolicy("required", verifier).judge(said, None).reasons != []
    assert CertificatePolicy("required", verifier).judge(said, dict(listed.record)).reasons == []


def test_a_directory_of_bundles_is_a_list_with_chains(tpm_maker, write_roots, certificate, tmp_path):
    place = tmp_path / "list"
    place.mkdir()
    (place / "unit-1.p7b").write_bytes(pkcs7.serialize_certificates([tpm_maker.issuer, certificate], Encoding.DER))
    (read,) = CertificateFiles(str(place)).scan()
    record = read.record
    assert read.reasons == [] and len(record["endorsement_key_certificate_chain"]) == 1
    verifier = Verifier(Rules(roots=(write_roots(tpm_maker.root),)))
    assert CertificateReader(verifier).read(record).problems == []


def private_key(form=PrivateFormat.PKCS8):
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(Encoding.DER, form, NoEncryption())


def request():
    key = ec.generate_private_key(ec.SECP256R1())
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


def key_store(certificate):
    return pkcs12.serialize_key_and_certificates(b"x", None, certificate, None, BestAvailableEncryption(b"x"))


def public_key():
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def attribute_certificate():
    """Its version, its holder and its issuer, the latter with a tag of their own (RFC 5755, 4.1)."""
    info = b"\x30\x07\x02\x01\x01\x30\x00\xa0\x00"
    return b"\x30\x0f" + info + b"\x30\x00" + b"\x03\x02\x00\x00"


OTHERS = {
    "a platform certificate": (
        lambda *_given: attribute_certificate(),
        "is an attribute certificate, as platform certificates are, and no certificate",
    ),
    "a private key": (lambda *_given: private_key(), "is a private key, and no certificate"),
    "a private key of OpenSSL": (
        lambda *_given: private_key(PrivateFormat.TraditionalOpenSSL),
        "is a private key, and no certificate",
    ),
    "a request": (lambda *_given: request(), "is a request for a certificate, and no certificate"),
    "a key store": (lambda _maker, one, _data: key_store(one), "is a key store (PKCS #12), and no certificate"),
    "a revocation list": (lambda maker, _one, _data: maker.revoke(), "is a certificate revocation list"),
    "a public key": (lambda *_given: public_key(), "is a public key (SubjectPublicKeyInfo)"),
    "a public key in PEM": (
        lambda *_given: b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "is PEM of something else than a certificate (PUBLIC KEY)",
    ),
    "a public key of SSH": (lambda *_given: b"ssh-rsa AAAA me", "is a public key as SSH writes it"),
    "a TPM2B_PUBLIC": (lambda *_given: b"\x00\x04\x00\x01\x00\x0b", "is a TPM2B_PUBLIC"),
    "a web page": (lambda *_given: b"<!DOCTYPE html><title>404</title>", "is a web page"),
    "JSON without": (lambda *_given: b'{"error": "not found"}', "is JSON without a certificate"),
    "JSON that is cut": (lambda *_given: b'{"certificate": "MII', "looks like JSON and is not JSON"),
    "JSON in JSON": (lambda *_given: b'{"certificate": "{\\"certificate\\": 1}"}', "is neither base64"),
    "parts of a certificate": (lambda _maker, _one, data: stored(data, b"\x01"), "holds only parts of a certificate"),
    "a header that is cut": (lambda _maker, _one, data: stored(data)[:-1], "has the header of a TPM 1.2 and was cut"),
    "empty memory": (lambda *_given: b"\xff" * 1600, "empty memory: 1600 bytes of 0xff"),
    "a cabinet": (lambda *_given: b"MSCF\0\0\0\0\xff", "is a cabinet file: expand it"),
    "an archive": (lambda *_given: b"PK\x03\x04\xff", "is a ZIP archive"),
    "compressed": (lambda _maker, _one, data: gzip.compress(data), "is compressed with gzip"),
    "a store of Windows": (lambda *_given: b"\0\0\0\0CERT\xff", "is a serialized certificate store of Windows"),
    "a bundle in BER": (lambda *_given: b"\x30\x80\x06\x09\x2a\xff", "is written with indefinite lengths (BER)"),
    "an empty bundle": (
        lambda *_given: bytes.fromhex("302106092a864886f70d010702a01430120201013100300b06092a864886f70d010701"),
        "is a PKCS #7 bundle without a certificate",
    ),
    "PEM that is damaged": (
        lambda *_given: b"-----BEGIN CERTIFICATE-----\nA?A\n-----END CERTIFICATE-----\n",
        "is PEM that is damaged",
    ),
    "hexadecimal that is cut": (lambda _maker, _one, data: data.hex()[:-1].encode(), "a digit is missing"),
    "nothing": (lambda *_given: b" \r\n", "is empty"),
}


@pytest.mark.parametrize(("made", "words"), OTHERS.values(), ids=OTHERS)
def test_what_is_something_else_is_called_by_its_name(tpm_maker, certificate, data, made, words):
    content = made(tpm_maker, certificate, data)
    with pytest.raises(CertificateError) as refused:
        certificates_of(content)
    assert words in str(refused.value)
    # The same, as a device would send it.
    with pytest.raises(CertificateError) as refused:
        decode_certificates(content.decode() if content.isascii() else base64.b64encode(content).decode())
    assert words in str(refused.value)
