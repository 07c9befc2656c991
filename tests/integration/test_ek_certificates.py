# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Endorsement key certificates on a line: of another TPM, garbled, missing, and of a TPM made of software.

The certificates are exchanged in the TPMs' NV memory, as somebody would who has the units in hand. The tests stand in
the order of the day and share its rack.
"""

from __future__ import annotations

import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

GENUINE, SWAPPED, GARBLED, BARE = (f"rack1-slot0{number}" for number in (1, 2, 3, 4))
INDEX = "0x01c00002"
ONLY_LOOK = ("-e", '{"tpm_install_claim_ownership": false, "tpm_install_enroll": false}')


@pytest.fixture(scope="module")
def day(start_line, tmp_path_factory):
    """The line with its certificates exchanged, and step 2 over it."""
    line = start_line(4)
    directory = tmp_path_factory.mktemp("certificates")

    def tool(name, *command):
        done = line.tool(name, *command)
        assert done.returncode == 0, done.stdout

    def put(name, index, content):
        file = directory / name
        file.write_bytes(content)
        attributes = "ppwrite|ppread|ownerread|authread|no_da|platformcreate"
        tool(name, "tpm2_nvdefine", "-C", "p", "-s", str(len(content)), "-a", attributes, index)
        tool(name, "tpm2_nvwrite", "-C", "p", "-i", str(file), index)

    tool(GENUINE, "tpm2_nvread", "-o", str(directory / "genuine"), INDEX)
    for name in (SWAPPED, GARBLED, BARE):
        tool(name, "tpm2_nvundefine", "-C", "p", INDEX)
    put(SWAPPED, INDEX, (directory / "genuine").read_bytes())
    put(GARBLED, INDEX, b"\x30\x82\x03\x00" + b"\xa5" * 768)
    line.root, issuer = line.rack.authority.ca_certificates
    # Some makers put their intermediates into the TPM, so that a line needs the root alone.
    put(GENUINE, "0x01c00100", x509.load_pem_x509_certificate(issuer.read_bytes()).public_bytes(Encoding.DER))
    # Else the maker's list would serve with the certificate that was taken away.
    path = line.rack.directory / "ek-list.jsonl"
    path.write_text(path.read_text().replace("endorsement_key_certificate", "certificate_of_old"))
    assert line.play("ek_intake").code == 0
    line.first = line.play("tpm_install", *ONLY_LOOK)
    return line


def test_only_the_genuine_unit_passes(day):
    assert day.first.bad == {SWAPPED, GARBLED, BARE}, day.first.printed


@pytest.mark.parametrize(
    ("unit", "words"),
    [
        (SWAPPED, "its endorsement key certificate is about another key than the TPM's endorsement key"),
        (GARBLED, "its endorsement key certificate is no X.509 certificate"),
        (
            BARE,
            "it has no endorsement key certificate (what is in its NV memory is about keys that cannot be enrolled: ",
        ),
        (BARE, "), and this line requires one"),
    ],
)
def test_the_summary_says_why_to_pull_it(day, unit, words):
    assert words in day.first.reason(unit)


def test_where_they_are_preferred_the_makers_list_vouches_for_a_unit_without(day):
    """And the genuine unit's issuer comes with its TPM, as the line has the root alone."""
    roots = {"tpmfleet_ek_certificate_policy": "preferred", "tpmfleet_ek_certificate_roots": [str(day.root)]}
    again = day.play("tpm_install", *ONLY_LOOK, "-e", json.dumps(roots))
    assert again.bad == {SWAPPED, GARBLED}, again.printed


def test_in_production_a_certificate_of_software_is_refused_though_the_inventory_says_hardware(day):
    """What the TPM says of itself can be said otherwise; its maker's certificate cannot."""
    claims = ("-e", "tpmfleet_production=true", "-e", "tpmfleet_tpm_type=hardware")
    run = day.play("tpm_install", *ONLY_LOOK, *claims, "--limit", GENUINE)
    assert "it has a software TPM, says its endorsement key certificate" in run.reason(GENUINE), run.printed
    allowed = day.play(
        "tpm_install", *ONLY_LOOK, *claims, "-e", "tpmfleet_software_tpm_allowed=true", "--limit", GENUINE
    )
    assert allowed.code == 0, allowed.printed
