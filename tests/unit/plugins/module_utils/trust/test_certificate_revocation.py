# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Revocation lists in a directory: who is on one, whose they are, and what they do not cover."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.findings import TrustError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.verification import Rules, Verifier
from cryptography import x509


@pytest.fixture
def crls(tmp_path):
    """Writes revocation lists, in DER, into one directory; returns its path."""

    def write(*lists, name="list"):
        place = tmp_path / "crls"
        place.mkdir(exist_ok=True)
        for number, data in enumerate(lists):
            (place / f"{name}-{number}.crl").write_bytes(data)
        return str(place)

    return write


@pytest.fixture
def verify(tpm_maker, write_roots, as_text):
    def run(certificate, *places, required=False):
        roots = (write_roots(tpm_maker.root, tpm_maker.issuer),)
        return Verifier(Rules(roots=roots, crls=places, crls_required=required)).verify(as_text(certificate))

    return run


@pytest.fixture(scope="module")
def certificate(tpm_maker, rsa_keys):
    return tpm_maker.certify(rsa_keys[0])


@pytest.fixture(scope="module")
def other_certificate(tpm_maker, rsa_keys):
    return tpm_maker.certify(rsa_keys[1])


def root_list(maker, *certificates, **options):
    return maker.revoke(*certificates, issuer=f"{maker.name} Root", issuer_key=maker.root_key, **options)


def test_a_revoked_certificate_is_refused_and_another_is_not(tpm_maker, verify, crls, certificate, other_certificate):
    place = crls(tpm_maker.revoke(certificate), root_list(tpm_maker))
    verdict = verify(certificate, place)
    (problem,) = verdict.problems
    assert problem.code == "revoked"
    assert problem.message.startswith("was revoked on 20") and "(key compromise), says" in problem.message
    fine = verify(other_certificate, place, required=True)
    assert (fine.trusted, fine.remarks) == (True, ())


def test_a_revoked_authority_takes_all_with_it(tpm_maker, verify, crls, certificate):
    place = crls(tpm_maker.revoke(), root_list(tpm_maker, tpm_maker.issuer))
    (problem,) = verify(certificate, place).problems
    assert problem.code == "revoked"
    assert problem.message.startswith("has an authority, CN=Test Maker Issuer, that was revoked")


def test_a_list_that_somebody_else_signed_proves_nothing(tpm_maker, other_maker, verify, crls, certificate):
    place = crls(other_maker.revoke(certificate), root_list(other_maker, tpm_maker.issuer))
    verdict = verify(certificate, place)
    assert verdict.trusted
    assert [one.code for one in verdict.remarks] == ["revocation_unknown"] * 2
    required = verify(certificate, place, required=True)
    assert "may be revoked: there is no revocation list of CN=Test Maker Issuer" in required.problems[0].message


def test_an_outdated_list_still_revokes_and_no_longer_clears(tpm_maker, verify, crls, certificate, other_certificate):
    place = crls(tpm_maker.revoke(certificate, days=(-20, -10)), root_list(tpm_maker))
    assert verify(certificate, place).problems[0].code == "revoked"
    assert "should have been replaced by" in verify(other_certificate, place).remarks[0].message
    assert not verify(other_certificate, place, required=True).trusted


def test_the_newest_list_counts(tpm_maker, verify, crls, other_certificate):
    place = crls(tpm_maker.revoke(days=(-20, -10)), tpm_maker.revoke(), root_list(tpm_maker))
    assert verify(other_certificate, place, required=True).trusted


def test_without_lists_nothing_is_said(verify, certificate):
    assert verify(certificate).remarks == ()


POINT = "http://crl.example/part-1.crl"


def point(url):
    return [x509.UniformResourceIdentifier(url)]


def scope(url=None, **flags):
    every = dict.fromkeys(
        ("only_contains_user_certs", "only_contains_ca_certs", "indirect_crl", "only_contains_attribute_certs"), False
    )
    return x509.IssuingDistributionPoint(
        full_name=point(url) if url else None, relative_name=None, only_some_reasons=None, **{**every, **flags}
    )


SCOPES = {
    "for users": (scope(only_contains_user_certs=True), True),
    "for authorities": (scope(only_contains_ca_certs=True), False),
    "of many issuers, among them its own": (scope(indirect_crl=True), True),
    "its part": (scope(POINT), True),
    "another part": (scope("http://crl.example/part-2.crl"), False),
    "only changes": (x509.DeltaCRLIndicator(1), False),
}


@pytest.mark.parametrize(("extension", "covered"), SCOPES.values(), ids=SCOPES)
def test_a_list_covers_what_it_is_for(tpm_maker, verify, crls, rsa_keys, extension, covered):
    points = x509.CRLDistributionPoints([x509.DistributionPoint(point(POINT), None, None, None)])
    certificate = tpm_maker.certify(rsa_keys[0], more=[(points, False)])
    place = crls(tpm_maker.revoke(more=[(extension, True)]), root_list(tpm_maker))
    assert verify(certificate, place, required=True).trusted is covered


def test_an_issuer_without_the_right_signs_no_list(tpm_maker, crls, write_roots, as_text, rsa_keys):
    issuer = tpm_maker.authority("Test Maker Issuer", tpm_maker.issuer_key, usage=("key_cert_sign",))
    certificate = tpm_maker.certify(rsa_keys[0])
    place = crls(tpm_maker.revoke(certificate), root_list(tpm_maker))
    verifier = Verifier(Rules(roots=(write_roots(tpm_maker.root, issuer),), crls=(place,)))
    assert [one.code for one in verifier.verify(as_text(certificate)).remarks] == ["revocation_unknown"]


def test_pem_lists_are_read(tpm_maker, verify, tmp_path, certificate):
    parts = [
        f"-----BEGIN X509 CRL-----\n{base64.encodebytes(data).decode()}-----END X509 CRL-----\n"
        for data in (tpm_maker.revoke(certificate), root_list(tpm_maker))
    ]
    (tmp_path / "all.pem").write_text("".join(parts))
    assert verify(certificate, str(tmp_path / "all.pem")).problems[0].code == "revoked"


def test_what_is_no_list_is_told(tpm_maker, tmp_path, write_roots):
    roots = (write_roots(tpm_maker.root),)
    (tmp_path / "garbled.crl").write_bytes(b"\x30\x03\x02\x01\x05")
    (tmp_path / "root.pem").write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for place, words in (
        (tmp_path / "garbled.crl", "garbled.crl is no certificate revocation list"),
        (tmp_path / "root.pem", "There is no certificate revocation list in .*root.pem"),
        (tmp_path / "nowhere", "There is no .*nowhere, which should hold certificate revocation lists"),
    ):
        with pytest.raises(TrustError, match=words):
            Verifier(Rules(roots=roots, crls=(str(place),)))
    with pytest.raises(TrustError, match="Revocation has to be known, and no revocation list was given"):
        Verifier(Rules(roots=roots, crls_required=True))
