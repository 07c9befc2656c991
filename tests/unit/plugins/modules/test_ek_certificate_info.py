# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module that verifies certificates: many in one call, each with its verdict, and faults of what it is given."""

from __future__ import annotations

import base64
import sys

import pytest
from cryptography.hazmat.primitives.serialization import Encoding


@pytest.fixture
def roots(tpm_maker, write_roots):
    return [write_roots(tpm_maker.root)]


def test_many_are_verified_in_one_call(tpm_maker, run_module, roots, rsa_keys, ek_public, as_text, tmp_path):
    good = tpm_maker.certify(rsa_keys[0])
    file = tmp_path / "unit-2.pem"
    file.write_bytes(good.public_bytes(Encoding.PEM) + tpm_maker.issuer.public_bytes(Encoding.PEM))
    binary = tmp_path / "unit-3.der"
    binary.write_bytes(good.public_bytes(Encoding.DER))
    result = run_module(
        "ek_certificate_info",
        ek_certificate_roots=roots,
        certificates=[
            {
                "name": "unit-1",
                "certificate": as_text(good),
                "endorsement_key": ek_public(rsa_keys[0]),
                "chain": [as_text(tpm_maker.issuer)],
            },
            {"path": str(file)},
            {"path": str(binary)},
            {"certificate": as_text(good), "endorsement_key": ek_public(rsa_keys[1])},
        ],
    )
    assert (result["changed"], result["trusted"]) == (False, False)
    first, second, third, fourth = result["certificates"]
    assert [one["name"] for one in result["certificates"]] == ["unit-1", str(file), str(binary), "4"]
    assert (first["trusted"], first["key_matches"], first["maker"]) == (True, True, "Infineon")
    assert (second["trusted"], second["key_matches"]) == (True, None)
    assert third["missing_issuer"]["name"] == "CN=Test Maker Issuer"
    assert {one["code"] for one in fourth["problems"]} == {"key_mismatch", "issuer_missing"}


def test_the_options_reach_the_verdict(tpm_maker, run_module, write_roots, rsa_keys, as_text, tmp_path):
    certificate = tpm_maker.certify(rsa_keys[0], days=(-1, 10), purposes=None)
    (tmp_path / "root.crl").write_bytes(tpm_maker.revoke(certificate))

    def judge(**options):
        places = [write_roots(tpm_maker.root, tpm_maker.issuer)]
        found = run_module(
            "ek_certificate_info",
            ek_certificate_roots=places,
            certificates=[{"certificate": as_text(certificate)}],
            **options,
        )
        return [one["code"] for one in found["certificates"][0]["problems"]]

    crls = [str(tmp_path / "root.crl")]
    assert judge() == ["extended_key_usage"]
    assert judge(ek_certificate_tolerated=["extended_key_usage"]) == []
    assert judge(ek_certificate_tolerated=["extended_key_usage"], ship_date="9998-12-31") == ["expired", "expired"]
    assert judge(ek_certificate_tolerated=["extended_key_usage"], ek_certificate_crls=crls) == ["revoked"]
    assert judge(
        ek_certificate_tolerated=["extended_key_usage"], ek_certificate_crls=crls, ek_certificate_crls_required=True
    ) == ["revoked", "revocation_unknown"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ek_certificate_roots": ["/nowhere"]}, "There is no /nowhere, which should hold trusted certificates"),
        ({"ek_certificate_roots": []}, "nothing to verify certificates to: set ek_certificate_roots"),
        ({"ship_date": "soon"}, "'soon' is no date"),
        ({"certificates": [{"path": "/nowhere"}]}, "The certificate /nowhere is not there"),
        ({"certificates": [{"name": "unit-1"}]}, "one of the following is required: certificate, path"),
    ],
)
def test_what_it_cannot_judge_by_fails_it(run_module, roots, options, words):
    arguments = {
        "ek_certificate_roots": roots,
        "certificates": [{"certificate": base64.b64encode(b"x").decode()}],
        **options,
    }
    result = run_module("ek_certificate_info", **arguments)
    assert result["failed"] and words in result["msg"]


def test_a_missing_library_is_named(run_module, roots, monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    result = run_module("ek_certificate_info", ek_certificate_roots=roots, certificates=[])
    assert result["failed"] and "cryptography" in result["msg"] and "to verify certificates" in result["msg"]
