# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Indirect revocation lists: an authority that issues nothing says what others' certificates are revoked.

As Intel's on-die authorities name one. RFC 5280, 4.2.1.13, 5.2.5, 5.3.3 and 6.3.3.
"""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.verification import Rules, Verifier
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

POINT = "http://crl.example/all.crl"
NOW = datetime.datetime.now(datetime.timezone.utc)


def address(url):
    return [x509.UniformResourceIdentifier(url)]


def named(name):
    return [x509.DirectoryName(x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)]))]


def points(issuer=None, url=POINT):
    """The extension by which a certificate says where its list is, and who issues that if not its issuer."""
    point = x509.DistributionPoint(address(url) if url else None, None, None, named(issuer) if issuer else None)
    return [(x509.CRLDistributionPoints([point]), False)]


def scope(url=POINT, indirect=True):
    return (
        x509.IssuingDistributionPoint(address(url) if url else None, None, False, False, None, indirect, False),
        True,
    )


def the_list(maker, key, *entries, issuer="Revoker", more=None):
    """A list of *issuer* in DER; *entries* are pairs of serial number and the issuer that is named, if one is."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(maker.named(issuer))
    builder = builder.last_update(NOW - datetime.timedelta(1)).next_update(NOW + datetime.timedelta(30))
    for extension, critical in [scope()] if more is None else more:
        builder = builder.add_extension(extension, critical)
    for serial, about in entries:
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(NOW)
        if about:
            entry = entry.add_extension(x509.CertificateIssuer(named(about)), True)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.DER)


@pytest.fixture(scope="module")
def revoker_key():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def revoker(tpm_maker, revoker_key):
    """Below the maker's root, and may sign nothing but lists."""
    return tpm_maker.authority("Revoker", revoker_key, ca=False, usage=("crl_sign",))


@pytest.fixture
def verify(tpm_maker, write_roots, as_text, tmp_path, revoker):
    def run(certificate, *lists, roots=None, chain=(), required=False):
        place = tmp_path / "crls"
        place.mkdir(exist_ok=True)
        # Of the authority nothing is asked here.
        own = tpm_maker.revoke(issuer=f"{tpm_maker.name} Root", issuer_key=tpm_maker.root_key)
        for number, data in enumerate((*lists, own)):
            (place / f"{number}.crl").write_bytes(data)
        roots = roots or [tpm_maker.root, tpm_maker.issuer, revoker]
        rules = Rules(roots=(write_roots(*roots),), crls=(str(place),), crls_required=required)
        return Verifier(rules).verify(as_text(certificate), chain=[as_text(one) for one in chain])

    return run


def codes(verdict):
    return [one.code for one in verdict.problems]


ISSUER = "Test Maker Issuer"


@pytest.fixture(scope="module")
def certificate(tpm_maker, rsa_keys):
    return tpm_maker.certify(rsa_keys[0], serial=4711, more=points("Revoker"))


def test_a_certificate_is_revoked_by_the_list_that_it_names(tpm_maker, verify, certificate, revoker_key):
    verdict = verify(certificate, the_list(tpm_maker, revoker_key, (4711, ISSUER)))
    assert codes(verdict) == ["revoked"]


def test_it_is_cleared_by_that_list_where_it_is_not_on_it(tpm_maker, verify, certificate, revoker_key):
    verdict = verify(certificate, the_list(tpm_maker, revoker_key, (1, ISSUER)), required=True)
    assert verdict.trusted, verdict.problems


def test_an_entry_of_another_issuer_never_counts(tpm_maker, verify, certificate, revoker_key):
    """The same serial number, of the list's own issuer, of another one, and after an entry about the right one."""
    for entries in (
        [(4711, None)],
        [(4711, "Somebody Else")],
        [(1, "Somebody Else"), (4711, None)],
        [(1, ISSUER), (2, "Somebody Else"), (4711, None)],
    ):
        verdict = verify(certificate, the_list(tpm_maker, revoker_key, *entries), required=True)
        assert verdict.trusted, (entries, verdict.problems)


def test_an_issuer_holds_for_the_entries_that_follow(tpm_maker, verify, certificate, revoker_key):
    for entries in ([(1, ISSUER), (4711, None)], [(9, "Somebody Else"), (1, ISSUER), (2, None), (4711, None)]):
        assert codes(verify(certificate, the_list(tpm_maker, revoker_key, *entries))) == ["revoked"]


def test_the_authority_on_the_die_is_revoked_by_it_too(tpm_maker, verify, rsa_keys, revoker_key, revoker):
    key = ec.generate_private_key(ec.SECP256R1())
    die = tpm_maker.authority("On-die", key, serial=99, more=points("Revoker"))
    certificate = tpm_maker.certify(rsa_keys[0], issuer="On-die", issuer_key=key, more=points("Revoker"))
    revoked = the_list(tpm_maker, revoker_key, (99, "Test Maker Root"))
    verdict = verify(certificate, revoked, chain=[die], roots=[tpm_maker.root], required=False)
    # Who signed the list is not known, so that nothing is.
    assert [one.code for one in verdict.remarks] == ["revocation_unknown"]
    verdict = verify(certificate, revoked, chain=[die, revoker], roots=[tpm_maker.root])
    assert codes(verdict) == ["revoked"]
    assert "has an authority, CN=On-die, that was revoked" in verdict.problems[0].message
    fine = the_list(tpm_maker, revoker_key, (99, ISSUER))
    assert verify(certificate, fine, chain=[die, revoker], roots=[tpm_maker.root], required=True).trusted


def test_a_list_of_the_issuer_itself_has_entries_of_others(tpm_maker, verify, rsa_keys):
    """Today's innocent one: its serial number stands on its issuer's list, about somebody else's certificate."""
    certificate = tpm_maker.certify(rsa_keys[0], serial=4711)
    whole = [scope(url=None)]

    def listed(*entries):
        return the_list(tpm_maker, tpm_maker.issuer_key, *entries, issuer=ISSUER, more=whole)

    assert verify(certificate, listed((4711, "Somebody Else")), required=True).trusted
    assert codes(verify(certificate, listed((4711, None)))) == ["revoked"]
    assert codes(verify(certificate, listed((1, "Somebody Else"), (4711, ISSUER)))) == ["revoked"]


WRONG = {
    "that it does not name": {"points": points(None)},
    "that it names for something else": {"points": points("Revoker", "http://crl.example/other.crl")},
    "that is not indirect": {"more": [scope(indirect=False)]},
}


@pytest.mark.parametrize("changes", WRONG.values(), ids=WRONG)
def test_a_list_clears_nobody(tpm_maker, verify, rsa_keys, revoker_key, changes):
    certificate = tpm_maker.certify(rsa_keys[0], serial=4711, more=changes.get("points") or points("Revoker"))
    listed = the_list(tpm_maker, revoker_key, more=changes.get("more"))
    verdict = verify(certificate, listed, required=True)
    assert codes(verdict) == ["revocation_unknown"]


def test_who_signs_a_list_leads_to_the_same_root_and_may(
    tpm_maker, other_maker, verify, certificate, revoker_key, rsa_keys
):
    revoked = the_list(tpm_maker, revoker_key, (4711, ISSUER))
    elsewhere = type(tpm_maker)("Other Root")
    strangers = elsewhere.authority("Revoker", revoker_key, ca=False, usage=("crl_sign",))
    without = tpm_maker.authority("Revoker", revoker_key, ca=False, usage=("digital_signature",))
    expired = tpm_maker.authority("Revoker", revoker_key, ca=False, usage=("crl_sign",), days=(-9, -1))
    for signer in (strangers, without, expired):
        verdict = verify(certificate, revoked, roots=[tpm_maker.root, tpm_maker.issuer, elsewhere.root, signer])
        assert codes(verdict) == [] and [one.code for one in verdict.remarks] == ["revocation_unknown"]


def test_an_entry_that_is_not_understood_lets_the_list_clear_nobody(tpm_maker, verify, rsa_keys):
    certificate = tpm_maker.certify(rsa_keys[0], serial=4711)
    builder = x509.CertificateRevocationListBuilder().issuer_name(tpm_maker.named(ISSUER))
    builder = builder.last_update(NOW - datetime.timedelta(1)).next_update(NOW + datetime.timedelta(30))
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.3.6.1.4.1.99999.1"), b"\x05\x00")
    entry = x509.RevokedCertificateBuilder().serial_number(5).revocation_date(NOW).add_extension(unknown, True)
    listed = builder.add_revoked_certificate(entry.build()).sign(tpm_maker.issuer_key, hashes.SHA256())
    assert codes(verify(certificate, listed.public_bytes(Encoding.DER), required=True)) == ["revocation_unknown"]
