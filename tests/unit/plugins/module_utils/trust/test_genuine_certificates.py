# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Certificates of real TPMs, as their owners published them, and the makers' own: genuine/README.md has the sources."""

from __future__ import annotations

import base64
from datetime import datetime, timezone
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.verification import Rules, Verifier

GENUINE = Path(__file__).with_name("genuine")
# They were all valid at this time.
THEN = datetime(2026, 6, 1, tzinfo=timezone.utc)

# What each is: whose, model, firmware, whether software, codes of its problems.
CERTIFICATES = {
    "infineon-slb9670-rsa-fw7.61": ("IFX", "SLB 9670 TPM2.0", "7.61", False, []),
    "infineon-slb9670-rsa-ca035": ("IFX", "SLB 9670 TPM2.0", "7.63", False, []),
    "infineon-slb9670-ecc-ca035": ("IFX", "SLB 9670 TPM2.0", "7.63", False, ["issuer_missing"]),
    "infineon-slb9672-rsa-fw15.21": ("IFX", "SLB 9672 TPM2.0", "15.21", False, ["issuer_missing"]),
    "infineon-slb9672-ecc-p384": ("IFX", "SLB 9672 TPM2.0", "15.21", False, ["issuer_missing"]),
    "infineon-slb9660-tpm12": (
        "IFX",
        "SLB9660xx1.2",
        "4.40",
        False,
        ["key_usage", "extended_key_usage", "weak_signature", "tpm_specification", "issuer_missing"],
    ),
    "stm-st33ktpm2x-rsa": ("STM", "ST33KTPM2X", "9.256", False, ["issuer_missing"]),
    "stm-st33htphahd8-rsa": ("STM", "ST33HTPHAHD8", "1.258", False, ["issuer_missing"]),
    "stm-st33htphahb4-ecc-security-assertions": ("STM", "ST33HTPHAHB4", "73.4", False, ["issuer_missing"]),
    "nuvoton-npct75x-rsa": ("NTC", "NPCT75x", "7.2", False, []),
    "nuvoton-npct6xx-rsa-security-assertions": ("NTC", "NPCT6xx", "id:13", False, []),
    "intel-ptt-spt-rsa": ("INTC", "SPT", "2.0", False, []),
    "google-vtpm-rsa": ("GOOG", "vTPM", "8214.1297", True, ["issuer_missing"]),
    "google-vtpm-ak-digitalsignature": ("GOOG", "vTPM", "8214.1297", True, ["key_usage", "issuer_missing"]),
    "vmware-vtpm-rsa": ("VMW", "VMware TPM2", "2.101", True, ["issuer_missing"]),
    "chromeos-cr50-ecc": ("CROS", "id:0000", "0.0", False, ["key_usage", "extended_key_usage", "issuer_missing"]),
}


def text_of(name):
    return base64.b64encode((GENUINE / f"{name}.der").read_bytes()).decode()


@pytest.fixture(scope="module")
def verifier():
    return Verifier(Rules(roots=(str(GENUINE / "chain"),), now=THEN))


def test_every_genuine_certificate_has_its_row():
    assert set(CERTIFICATES) == {one.stem for one in GENUINE.glob("*.der")}


@pytest.mark.parametrize("name", CERTIFICATES)
def test_a_genuine_certificate_is_read_and_judged(verifier, name):
    manufacturer, model, firmware, software, codes = CERTIFICATES[name]
    verdict = verifier.verify(text_of(name))
    result = verdict.as_result()
    assert [one.code for one in verdict.problems] == codes
    # No maker's habit is news of a unit.
    assert verdict.remarks == ()
    assert (result["manufacturer"], result["model"], result["firmware_version"], result["software"]) == (
        manufacturer,
        model,
        firmware,
        software,
    )


@pytest.mark.parametrize("name", [name for name, row in CERTIFICATES.items() if "issuer_missing" in row[4]])
def test_the_missing_issuer_is_named_with_its_place(verifier, name):
    (problem,) = [one for one in verifier.verify(text_of(name)).problems if one.code == "issuer_missing"]
    if name in ("infineon-slb9660-tpm12", "chromeos-cr50-ecc"):
        assert "names no address" in problem.message and "0x01c00100 and following" in problem.message
        assert "to the roots" not in problem.message
        # Nuvoton\'s roots certify TPMs themselves, and no address is in what they certify.
        assert "missing in tpmfleet_ek_certificate_roots" in problem.message
    else:
        assert "; its maker publishes it at http" in problem.message


def test_what_is_refused_is_refused_for_the_right_reason(verifier):
    def said(name):
        return {one.code: one.message for one in verifier.verify(text_of(name)).problems}

    old = said("infineon-slb9660-tpm12")
    assert "family 1.2" in old["tpm_specification"] and "SHA-1" in old["weak_signature"]
    assert old["key_usage"].startswith("lacks keyUsage: keyEncipherment is missing")
    assert "a key that signs, such as an attestation key" in said("google-vtpm-ak-digitalsignature")["key_usage"]
    assert "has none" in said("chromeos-cr50-ecc")["extended_key_usage"]


def test_what_can_be_tolerated_names_the_variable_and_is_tolerated(verifier):
    problems = verifier.verify(text_of("chromeos-cr50-ecc")).problems
    for code in ("key_usage", "extended_key_usage"):
        (message,) = [one.message for one in problems if one.code == code]
        assert f"tpmfleet_ek_certificate_tolerated: [{code}]" in message
    tolerant = Verifier(Rules(roots=(str(GENUINE / "chain"),), tolerated=("key_usage", "extended_key_usage"), now=THEN))
    verdict = tolerant.verify(text_of("chromeos-cr50-ecc"))
    assert [one.code for one in verdict.problems] == ["issuer_missing"]
    assert all("(tolerated)" in one.message and "tpmfleet_" not in one.message for one in verdict.remarks)


def test_a_makers_habit_is_said_once_a_run():
    verifier = Verifier(Rules(roots=(str(GENUINE / "chain"),), now=THEN))
    assert verifier.notes == []
    for _unit in range(3):
        assert verifier.verify(text_of("nuvoton-npct75x-rsa")).trusted
    (note,) = verifier.notes
    assert note.startswith("Certificates of Nuvoton Technology are no strict DER, which is normal for this maker.")
