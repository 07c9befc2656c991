# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Genuine certificates, and every way found so far in which one can be wrong."""

from __future__ import annotations

import base64
import datetime
import json

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import der
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.findings import TrustError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.verification import (
    Rules,
    Verifier,
    parse_moment,
)
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding

UNKNOWN = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")


def codes(findings):
    return [one.code for one in findings]


@pytest.fixture
def verify(tpm_maker, write_roots, as_text):
    """Verifies a certificate to the maker's root, with its issuer from the bundle."""

    def run(certificate, *, roots=None, chain=(), key=None, **rules):
        roots = (write_roots(tpm_maker.root, tpm_maker.issuer),) if roots is None else roots
        text = certificate if isinstance(certificate, str) else as_text(certificate)
        verifier = Verifier(Rules(roots=tuple(roots), **rules))
        return verifier.verify(text, chain=[as_text(one) for one in chain], endorsement_key=key)

    return run


@pytest.fixture
def refused(verify):
    """The one problem that a certificate has."""

    def run(certificate, **options):
        verdict = verify(certificate, **options)
        assert not verdict.trusted
        assert len(verdict.problems) == 1, verdict.problems
        return verdict.problems[0]

    return run


# Genuine.


@pytest.fixture(scope="module")
def made(manufactured_state):
    """What the lab's maker knows of a TPM that it made: its key, and its certificate with the padding of NV memory."""
    known = json.loads((manufactured_state / "maker.json").read_text())
    return {name: base64.b64encode(bytes.fromhex(value)).decode() for name, value in known.items()}


def test_a_certificate_of_the_labs_maker_is_genuine(lab_ca, made, verify):
    roots = [str(one) for one in lab_ca.ca_certificates]
    verdict = verify(made["endorsement_key_certificate"], roots=roots, key=made["endorsement_key"])
    assert verdict.trusted, verdict.problems
    assert (verdict.remarks, verdict.key_matches) == ((), True)
    result = verdict.as_result()
    assert result["path"] == [result["subject"], "CN=swtpm-localca", "CN=swtpm-localca-rootca"]
    assert {name: result[name] for name in ("maker", "manufacturer", "model", "firmware_version", "software")} == {
        "maker": "IBM",
        "manufacturer": "IBM",
        "model": "swtpm",
        "firmware_version": "8217.4131",
        "software": True,
    }
    assert result["specification"]["family"] == "2.0"


def test_a_hardware_tpm_is_named(tpm_maker, verify, rsa_keys, ek_public):
    verdict = verify(tpm_maker.certify(rsa_keys[0]), key=ek_public(rsa_keys[0]))
    result = verdict.as_result()
    assert verdict.trusted and verdict.key_matches
    assert (result["maker"], result["model"], result["firmware_version"]) == ("Infineon", "SLB9670", "7.85")
    assert (result["manufacturer"], result["software"]) == ("IFX", False)
    assert result["specification"] == {"family": "2.0", "level": 0, "revision": 138}
    assert result["path"] == ["(empty name)", "CN=Test Maker Issuer", "CN=Test Maker Root"]


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()])
def test_an_ecc_key_has_key_agreement(tpm_maker, verify, curve):
    key = ec.generate_private_key(curve).public_key()
    verdict = verify(tpm_maker.certify(key))
    assert verdict.trusted, verdict.problems
    assert verdict.as_result()["key_bits"] == curve.key_size
    wrong = verify(tpm_maker.certify(key, usage=("key_encipherment",)))
    assert codes(wrong.problems) == ["key_usage"]


def test_pem_and_base64_with_line_breaks_are_taken(tpm_maker, verify, rsa_keys, as_text):
    certificate = tpm_maker.certify(rsa_keys[0])
    assert verify(certificate.public_bytes(Encoding.PEM).decode()).trusted
    text = as_text(certificate)
    assert verify("\n".join(text[at : at + 64] for at in range(0, len(text), 64))).trusted


# Rules of the profile.

WRONG = {
    "no purpose": ({"purposes": None}, "extended_key_usage", "lacks 2.23.133.8.1 and has none"),
    "another purpose": ({"purposes": ("1.3.6.1.5.5.7.3.1",)}, "extended_key_usage", "has 1.3.6.1.5.5.7.3.1"),
    "no key usage": ({"usage": ()}, "key_usage", "keyEncipherment is missing"),
    "another key usage": ({"usage": ("digital_signature",)}, "key_usage", "keyEncipherment is missing"),
    "no constraints": ({"constraints": None}, "basic_constraints", "lacks basicConstraints"),
    "constraints not critical": ({"constraints_critical": False}, "basic_constraints", "not critical"),
    "an authority": ({"constraints": (True,)}, "certificate_authority", "is a certificate authority's"),
    "no TPM": ({"tpm": {}}, "tpm_attributes", "the TPM's manufacturer, model, version"),
    "no version": ({"tpm": {"2.23.133.2.1": "id:49465800", "2.23.133.2.2": "x"}}, "tpm_attributes", "TPM's version"),
    "a TPM 1.2": ({"specification": ("1.2", 2, 116)}, "tpm_specification", "of family 1.2"),
    "an unknown critical extension": ({"more": [(UNKNOWN, True)]}, "critical_extension", "1.3.6.1.4.1.99999.1"),
}


@pytest.mark.parametrize(("changes", "code", "words"), WRONG.values(), ids=WRONG)
def test_what_breaks_the_profile_is_refused(tpm_maker, refused, rsa_keys, changes, code, words):
    problem = refused(tpm_maker.certify(rsa_keys[0], **changes))
    assert problem.code == code
    assert words in problem.message


def test_what_is_allowed_by_the_profile_is_taken(tpm_maker, verify, rsa_keys):
    policies = x509.CertificatePolicies([x509.PolicyInformation(x509.ObjectIdentifier("2.5.29.32.0"), None)])
    for changes in ({"more": [(UNKNOWN, False)]}, {"more": [(policies, True)]}, {"subject": "a name"}):
        verdict = verify(tpm_maker.certify(rsa_keys[0], **changes))
        assert verdict.trusted, verdict.problems
    assert verify(tpm_maker.certify(rsa_keys[0], specification=None)).as_result()["specification"] is None


def test_a_line_may_tolerate_what_its_maker_leaves_out_and_is_told(tpm_maker, verify, refused, rsa_keys):
    certificate = tpm_maker.certify(rsa_keys[0], purposes=None, constraints=None)
    verdict = verify(certificate, tolerated=("extended_key_usage", "basic_constraints"))
    assert verdict.trusted
    assert codes(verdict.remarks) == ["basic_constraints", "extended_key_usage"]
    assert all("(tolerated)" in one.message for one in verdict.remarks)
    assert refused(certificate, tolerated=("extended_key_usage",)).code == "basic_constraints"


def test_what_is_no_rule_of_the_profile_cannot_be_tolerated(verify, write_roots, tpm_maker):
    with pytest.raises(TrustError, match="expired, signature cannot be tolerated"):
        Verifier(Rules(roots=(write_roots(tpm_maker.root),), tolerated=("signature", "expired")))


def test_a_short_key_is_refused(tpm_maker, refused):
    key = rsa.generate_private_key(65537, 1024).public_key()
    assert "1024 bits" in refused(tpm_maker.certify(key)).message


# Time.


@pytest.mark.parametrize(("days", "code"), [((-20, -1), "expired"), ((1, 20), "not_yet_valid")])
def test_it_has_to_be_valid_now(tpm_maker, refused, rsa_keys, days, code):
    assert refused(tpm_maker.certify(rsa_keys[0], days=days)).code == code


def test_it_has_to_be_valid_when_the_device_is_shipped(tpm_maker, verify, refused, rsa_keys):
    certificate = tpm_maker.certify(rsa_keys[0], days=(-1, 100))
    now = datetime.datetime.now(datetime.timezone.utc)
    assert verify(certificate, valid_at=now + datetime.timedelta(days=99)).trusted
    problem = refused(certificate, valid_at=now + datetime.timedelta(days=101))
    assert problem.code == "expired" and f"{certificate.not_valid_after_utc:%Y-%m-%dT%H:%M:%SZ}" in problem.message


def test_its_authorities_have_to_be_valid_too(tpm_maker, refused, write_roots, rsa_keys):
    issuer = tpm_maker.authority("Test Maker Issuer", tpm_maker.issuer_key, days=(-20, -1))
    problem = refused(tpm_maker.certify(rsa_keys[0]), roots=[write_roots(tpm_maker.root, issuer)])
    assert (problem.code, "CN=Test Maker Issuer" in problem.message) == ("expired", True)


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2027-03-31", "2027-03-31T23:59:59+00:00"),
        ("2027-03-31T12:00:00Z", "2027-03-31T12:00:00+00:00"),
        ("2027-03-31T12:00:00+02:00", "2027-03-31T12:00:00+02:00"),
        ("2027-03-31 12:00", "2027-03-31T12:00:00+00:00"),
    ],
)
def test_a_date_is_taken_to_its_end(text, moment):
    assert parse_moment(text).isoformat() == moment


@pytest.mark.parametrize("text", ["31.3.2027", "soon", "2027-02-30"])
def test_what_is_no_date_is_told(text):
    with pytest.raises(TrustError, match=f"'{text}' is no date: write it as 2027-03-31"):
        parse_moment(text)


# Keys.


def test_a_certificate_of_another_tpm_is_refused(tpm_maker, refused, rsa_keys, ek_public):
    problem = refused(tpm_maker.certify(rsa_keys[0]), key=ek_public(rsa_keys[1]))
    assert problem.code == "key_mismatch" and "another TPM's" in problem.message


def test_a_key_that_is_none_is_told(tpm_maker, refused, rsa_keys, ek_public):
    cut = base64.b64encode(base64.b64decode(ek_public(rsa_keys[0]))[:-1]).decode()
    for key, words in (("?", "is not base64"), (cut, "its size is another one"), ("AAA=", "is no TPM2B_PUBLIC")):
        problem = refused(tpm_maker.certify(rsa_keys[0]), key=key)
        assert problem.code == "endorsement_key" and words in problem.message


# Paths.


def test_an_issuer_may_come_with_the_tpm(tpm_maker, verify, write_roots, rsa_keys):
    roots = [write_roots(tpm_maker.root)]
    assert verify(tpm_maker.certify(rsa_keys[0]), roots=roots, chain=[tpm_maker.issuer]).trusted


def test_the_missing_issuer_is_named(tpm_maker, verify, write_roots, rsa_keys):
    url = "http://pki.example/issuer.crt"
    verdict = verify(tpm_maker.certify(rsa_keys[0], url=url), roots=[write_roots(tpm_maker.root)])
    identifier = x509.SubjectKeyIdentifier.from_public_key(tpm_maker.issuer_key.public_key()).digest.hex()
    assert codes(verdict.problems) == ["issuer_missing"]
    assert verdict.problems[0].message == (
        f"leads to an issuer that is not there: add the certificate of CN=Test Maker Issuer with key identifier "
        f"{identifier} to the roots; its maker publishes it at {url}"
    )
    assert verdict.as_result()["missing_issuer"] == {
        "name": "CN=Test Maker Issuer",
        "key_identifier": identifier,
        "urls": [url],
    }


def test_the_missing_root_is_named_and_not_what_is_there(tpm_maker, verify, write_roots, rsa_keys):
    from_elsewhere = type(tpm_maker)("Other Maker")
    verdict = verify(tpm_maker.certify(rsa_keys[0]), roots=[write_roots(from_elsewhere.root, tpm_maker.issuer)])
    assert codes(verdict.problems) == ["issuer_missing"]
    assert "by way of CN=Test Maker Issuer" in verdict.problems[0].message
    assert verdict.missing_issuer.name == "CN=Test Maker Root"


def test_a_root_that_comes_with_the_tpm_is_not_trusted(tpm_maker, other_maker, verify, write_roots, rsa_keys):
    """Whoever makes up a whole authority under the maker's names has other keys."""
    forged = other_maker.certify(rsa_keys[0])
    chain = [other_maker.issuer, other_maker.root]
    for roots in ([write_roots(tpm_maker.root)], [write_roots(tpm_maker.root, tpm_maker.issuer)]):
        assert codes(verify(forged, roots=roots, chain=chain).problems) == ["issuer_missing"]


def test_a_forged_signature_under_the_right_identifier_is_refused(tpm_maker, other_maker, refused, rsa_keys):
    """The identifiers name the maker's key, so that the right issuer is found, and it did not sign this."""
    genuine = tpm_maker.certify(rsa_keys[0])
    forged = _resigned(genuine, other_maker.issuer_key, lambda tbs: tbs)
    problem = refused(forged)
    assert problem.code == "signature" and "changed or forged" in problem.message


def test_another_tpms_key_is_no_authority(tpm_maker, refused, write_roots, rsa_keys):
    """An endorsement key cannot sign; a certificate that says it did must not be believed."""
    thief_key = ec.generate_private_key(ec.SECP256R1())
    thief = tpm_maker.certify(thief_key.public_key(), subject="Thief")
    forged = tpm_maker.certify(rsa_keys[0], issuer="Thief", issuer_key=thief_key)
    problem = refused(forged, chain=[thief])
    assert (problem.code, problem.message) == ("issuer", "was issued by CN=Thief, which is no certificate authority")


AUTHORITIES = {
    "no authority": ({"ca": False}, "is no certificate authority"),
    "no right to sign": ({"usage": ("crl_sign",)}, "must not sign certificates"),
    "not this deep": ({"path_length": 0}, "allows 0 authorities below it and has more"),
    "for web servers only": ({"purposes": ("1.3.6.1.5.5.7.3.1",)}, "must not certify endorsement keys"),
    "with a rule of its own": ({"more": [(UNKNOWN, True)]}, "has the critical extension 1.3.6.1.4.1.99999.1"),
}


@pytest.mark.parametrize(("changes", "words"), AUTHORITIES.values(), ids=AUTHORITIES)
def test_an_authority_does_what_it_may(tpm_maker, verify, write_roots, rsa_keys, changes, words):
    middle_key, last_key = (ec.generate_private_key(ec.SECP256R1()) for _key in range(2))
    middle = tpm_maker.authority("Middle", middle_key, **changes)
    last = tpm_maker.authority("Last", last_key, issuer="Middle", issuer_key=middle_key)
    certificate = tpm_maker.certify(rsa_keys[0], issuer="Last", issuer_key=last_key)
    verdict = verify(certificate, roots=[write_roots(tpm_maker.root)], chain=[last, middle])
    assert codes(verdict.problems) == ["issuer"]
    assert f"was issued by CN=Middle, which {words}" in verdict.problems[0].message
    allowed = tpm_maker.authority("Middle", middle_key, path_length=1)
    chain = [last, middle, allowed]
    assert verify(certificate, roots=[write_roots(tpm_maker.root)], chain=chain).trusted


def test_authorities_in_a_ring_come_to_an_end(tpm_maker, refused, rsa_keys):
    keys = [ec.generate_private_key(ec.SECP256R1()) for _key in range(12)]
    ring = [
        tpm_maker.authority(
            f"Ring {at}", keys[at], issuer=f"Ring {(at + step) % 12}", issuer_key=keys[(at + step) % 12]
        )
        for at in range(12)
        for step in (1, 5)
    ]
    certificate = tpm_maker.certify(rsa_keys[0], issuer="Ring 0", issuer_key=keys[0])
    assert refused(certificate, chain=ring).code in ("path", "issuer_missing")


def test_sha1_is_refused_in_the_certificate_and_above(tpm_maker, refused, verify, write_roots, rsa_keys):
    assert "SHA-1" in refused(_with_sha1(tpm_maker.certify(rsa_keys[0]))).message
    weak = x509.load_der_x509_certificate(base64.b64decode(_with_sha1(tpm_maker.issuer)))
    problem = refused(tpm_maker.certify(rsa_keys[0]), roots=[write_roots(tpm_maker.root, weak)])
    assert problem.code == "weak_signature" and "has an authority, CN=Test Maker Issuer, that is" in problem.message


def _with_sha1(certificate):
    """The certificate with an algorithm identifier that says ecdsa-with-SHA1, which is refused before it is checked."""
    tbs, algorithm, bits = der.elements(der.element(certificate.public_bytes(Encoding.DER)).content)
    sha1 = _tlv(0x30, b"\x06\x07\x2a\x86\x48\xce\x3d\x04\x01")
    data = _tlv(0x30, _tlv(0x30, tbs.content.replace(algorithm.raw, sha1, 1)), sha1, bits.raw)
    return base64.b64encode(data).decode()


# Roots.


def test_roots_in_a_makers_directory_vouch_for_that_maker_only(tpm_maker, verify, refused, write_roots, rsa_keys):
    certificate = tpm_maker.certify(rsa_keys[0])
    for directory in ("IFX", "ifx", "Infineon", "Infineon/RootCA", "whatever", "OPTIGA roots"):
        roots = [write_roots(tpm_maker.root, tpm_maker.issuer, below=directory, directory=directory.replace("/", "-"))]
        assert verify(certificate, roots=roots).trusted
    for directory, vendor in (("STM", "STM"), ("STMicro", "STM"), ("nuvoton", "NTC")):
        roots = [write_roots(tpm_maker.root, tpm_maker.issuer, below=directory, directory=f"roots-{directory}")]
        problem = refused(certificate, roots=roots)
        assert problem.code == "maker"
        assert (
            f"a TPM of Infineon SLB9670, and the root CN=Test Maker Root is trusted for {vendor} only"
            in problem.message
        )


def test_a_bundle_is_one_file(tpm_maker, verify, tmp_path, rsa_keys):
    bundle = tmp_path / "bundle.pem"
    parts = [one.public_bytes(Encoding.PEM).decode() for one in (tpm_maker.issuer, tpm_maker.root)]
    bundle.write_text("# two of a kind\n".join(parts))
    assert verify(tpm_maker.certify(rsa_keys[0]), roots=[str(bundle)]).trusted


def test_roots_that_cannot_be_used_are_told(tpm_maker, tmp_path, write_roots):
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "README").write_text("nothing")
    garbled = tmp_path / "garbled.der"
    garbled.write_bytes(b"\x30\x82\x01\x00" + b"\xa5" * 256)
    key = tmp_path / "key.pem"
    key.write_text("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    for roots, words in (
        (tmp_path / "nowhere", "There is no .*nowhere, which should hold trusted certificates"),
        (empty, "has no trusted certificates: no file in it ends with"),
        (garbled, "garbled.der cannot be trusted by: a certificate in it is no X.509 certificate"),
        (key, "key.pem cannot be trusted by: .* is PEM of something else"),
        (write_roots(tpm_maker.issuer), "There is no root certificate in .*roots"),
    ):
        with pytest.raises(TrustError, match=words):
            Verifier(Rules(roots=(str(roots),)))


# Encodings.


def _tlv(tag, *parts):
    content = b"".join(parts)
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([0x82, size >> 8, size & 0xFF])
    return bytes([tag]) + length + content


def _resigned(certificate, key, change):
    """*certificate* with what *change* makes of the fields of its signed part, signed anew; as text."""
    tbs, algorithm, _bits = der.elements(der.element(certificate.public_bytes(Encoding.DER)).content)
    fields = [one.raw for one in change(der.elements(tbs.content))]
    signed = _tlv(0x30, *fields)
    signature = key.sign(signed, ec.ECDSA(hashes.SHA256()))
    return base64.b64encode(_tlv(0x30, signed, algorithm.raw, _tlv(0x03, b"\0", signature))).decode()


def _raw(data):
    return der.element(data)


def _unsorted_issuer(fields):
    """As Nuvoton writes it: a part of several attributes in an order that DER does not allow."""
    parts = [
        _tlv(0x30, b"\x06\x03\x55\x04" + kind, _tlv(0x0C, value))
        for kind, value in ((b"\x0b", b"Unit"), (b"\x03", b"Odd Issuer"), (b"\x06", b"TW"))
    ]
    return [*fields[:3], _raw(_tlv(0x30, _tlv(0x31, *parts))), *fields[4:]]


def _odd_issuer():
    return x509.Name(
        [
            x509.RelativeDistinguishedName(
                [
                    x509.NameAttribute(x509.NameOID.COUNTRY_NAME, "TW"),
                    x509.NameAttribute(x509.NameOID.COMMON_NAME, "odd  issuer"),
                    x509.NameAttribute(x509.NameOID.ORGANIZATIONAL_UNIT_NAME, "Unit"),
                ]
            )
        ]
    )


def _explicit_defaults(fields):
    """critical FALSE, which DER leaves out, in every extension that is not critical."""
    listed = der.elements(der.element(der.element(fields[-1].content).raw).content)
    written = []
    for one in listed:
        parts = der.elements(one.content)
        middle = [parts[1].raw] if len(parts) == 3 else [b"\x01\x01\x00"]
        written.append(_tlv(0x30, parts[0].raw, *middle, parts[-1].raw))
    return [*fields[:-1], _raw(_tlv(0xA3, _tlv(0x30, *written)))]


def _negative_serial(fields):
    return [fields[0], _raw(b"\x02\x01\x85"), *fields[2:]]


def _long_lengths(fields):
    """A length in more octets than it needs."""
    subject = fields[5]
    assert subject.content == b""
    return [*fields[:5], _raw(b"\x30\x81\x00"), *fields[6:]]


def _oaep_key(fields):
    """id-RSAES-OAEP in the place of rsaEncryption, as makers wrote it for TPMs before 2.0."""
    algorithm, bits = der.elements(fields[6].content)
    oaep = _tlv(0x30, b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x07", _tlv(0x30))
    return [*fields[:6], _raw(_tlv(0x30, oaep, bits.raw)), *fields[7:]]


@pytest.mark.parametrize("change", [_explicit_defaults, _negative_serial, _long_lengths])
def test_what_a_strict_parser_refuses_is_read_and_told(tpm_maker, verify, rsa_keys, ek_public, change):
    certificate = _resigned(tpm_maker.certify(rsa_keys[0]), tpm_maker.issuer_key, change)
    verdict = verify(certificate, key=ek_public(rsa_keys[0]))
    assert verdict.trusted, verdict.problems
    assert codes(verdict.remarks) == ["lenient"]
    assert "a strict parser refuses it: " in verdict.remarks[0].message


def test_a_key_of_an_odd_name_is_a_key(tpm_maker, verify, rsa_keys, ek_public):
    certificate = _resigned(tpm_maker.certify(rsa_keys[0]), tpm_maker.issuer_key, _oaep_key)
    assert verify(certificate, key=ek_public(rsa_keys[0])).key_matches


def test_names_are_compared_by_what_they_say(tpm_maker, verify, write_roots, rsa_keys):
    """The issuer's name is in another order, other letters and other string types than in the issuer itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _resigned(tpm_maker.certify(rsa_keys[0], issuer_key=key), key, _unsorted_issuer)
    odd = tpm_maker.authority("x", key)
    builder = x509.CertificateBuilder(
        issuer_name=odd.issuer,
        subject_name=_odd_issuer(),
        public_key=key.public_key(),
        serial_number=7,
        not_valid_before=odd.not_valid_before_utc.replace(tzinfo=None),
        not_valid_after=odd.not_valid_after_utc.replace(tzinfo=None),
        extensions=list(odd.extensions),
    )
    issuer = builder.sign(tpm_maker.root_key, hashes.SHA256())
    verdict = verify(certificate, roots=[write_roots(tpm_maker.root)], chain=[issuer])
    assert verdict.trusted, verdict.problems
    assert codes(verdict.remarks) == ["lenient"]
    assert "InvalidSetOrdering" in verdict.remarks[0].message


def test_an_extension_that_stands_twice_is_refused(tpm_maker, verify, rsa_keys):
    def change(fields):
        listed = der.element(der.element(fields[-1].content).raw).content
        return [*fields[:-1], _raw(_tlv(0xA3, _tlv(0x30, listed, der.elements(listed)[0].raw)))]

    verdict = verify(_resigned(tpm_maker.certify(rsa_keys[0]), tpm_maker.issuer_key, change))
    assert codes(verdict.problems) == ["repeated_extension"]


def test_version_1_is_refused(tpm_maker, verify, rsa_keys):
    certificate = _resigned(tpm_maker.certify(rsa_keys[0]), tpm_maker.issuer_key, lambda fields: fields[1:])
    assert "version" in codes(verify(certificate).problems)


def test_padding_is_passed_over_and_anything_else_is_told(tpm_maker, verify, rsa_keys, as_text):
    data = base64.b64decode(as_text(tpm_maker.certify(rsa_keys[0])))
    for padding, remarks in ((bytes(300), []), (b"\xff" * 300, []), (b"hidden", ["trailing_data"])):
        verdict = verify(base64.b64encode(data + padding).decode())
        assert verdict.trusted
        assert codes(verdict.remarks) == remarks


GARBLED = {
    "nothing": ("", "is empty"),
    "no text of a certificate": ("***", "is neither base64 of DER nor PEM"),
    "cut PEM": ("-----BEGIN CERTIFICATE-----\nMIIB", "is PEM that was cut short"),
    "zeros": (base64.b64encode(bytes(500)).decode(), "is no X.509 certificate"),
    "noise": (base64.b64encode(b"\x30\x82\x01\x00" + b"\xa5" * 256).decode(), "is no X.509 certificate"),
}


@pytest.mark.parametrize(("text", "words"), GARBLED.values(), ids=GARBLED)
def test_what_is_no_certificate_is_told(verify, text, words):
    verdict = verify(text)
    assert codes(verdict.problems) == ["unreadable"] and words in verdict.problems[0].message
    assert set(verdict.as_result()) >= {"maker", "subject", "path", "missing_issuer"}


def test_no_single_changed_byte_is_accepted(tpm_maker, write_roots, rsa_keys, as_text):
    verifier = Verifier(Rules(roots=(write_roots(tpm_maker.root, tpm_maker.issuer),)))
    data = base64.b64decode(as_text(tpm_maker.certify(rsa_keys[0])))
    accepted = []
    for at in range(len(data)):
        for bit in (0x01, 0x80):
            changed = data[:at] + bytes([data[at] ^ bit]) + data[at + 1 :]
            if verifier.verify(base64.b64encode(changed).decode()).trusted:
                accepted.append((at, bit))
    assert accepted == []


def test_no_cut_certificate_is_accepted(tpm_maker, write_roots, rsa_keys, as_text):
    verifier = Verifier(Rules(roots=(write_roots(tpm_maker.root, tpm_maker.issuer),)))
    data = base64.b64decode(as_text(tpm_maker.certify(rsa_keys[0])))
    for size in range(1, len(data)):
        verdict = verifier.verify(base64.b64encode(data[:size]).decode())
        assert codes(verdict.problems) == ["unreadable"]
