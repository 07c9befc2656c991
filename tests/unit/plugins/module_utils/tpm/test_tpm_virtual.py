# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which TPMs say that they are made of software, and which chips only sound as if they did."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import connect
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.properties import read_properties
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.virtual import is_reference_code

# As TPM2_GetCapability tells them, by the name of whoever has them.
CHIPS = {
    "swtpm": ("IBM", "SW   TPM", "software"),
    "Microsoft's simulator, Hyper-V, OP-TEE": ("MSFT", "xCG fTPM", "software"),
    "a simulator that tells no maker": ("", "xCG fTPM", "software"),
    "Google's virtual TPM, with and without a model": ("GOOG", "", "software"),
    "Google's virtual TPM": ("GOOG", "vTPM", "software"),
    "VMware's": ("VMW", "VMware TPM", "software"),
    "Amazon's": ("AMZN", "NitroTPM", "software"),
    "Hyper-V's by its own name": ("MSFT", "Virtual TPM", "software"),
    "Google's Cr50, a chip": ("CROS", "xCG fTPM", "hardware"),
    "AMD's firmware TPM": ("AMD", "AMD", "hardware"),
    "Intel's": ("INTC", "Intel", "hardware"),
    "Pluton": ("MSFT", "Pluton", "hardware"),
    "IBM's firmware": ("IBM", "PowerTPM", "hardware"),
    "Infineon's": ("IFX", "SLB9672", "hardware"),
    "one that tells nothing": ("", "", "hardware"),
}


def as_properties(manufacturer, model):
    """What the chip is to tell of itself."""
    words = [manufacturer, *(model[at : at + 4] for at in range(0, 16, 4))]
    names = ["MANUFACTURER", *(f"VENDOR_STRING_{number}" for number in range(1, 5))]
    return {name: int.from_bytes(word.encode().ljust(4, b"\0"), "big") for name, word in zip(names, words)}


@pytest.mark.parametrize("chip_of", CHIPS)
def test_the_type_of_a_tpm_is_told_by_vendor_and_model(chip, answers, chip_of):
    manufacturer, model, expected = CHIPS[chip_of]
    answers(chip, properties=as_properties(manufacturer, model))
    with connect(chip.tcti) as esys:
        found = read_properties(esys)
    assert (found.manufacturer, found.tpm_type) == (manufacturer, expected)
    assert is_reference_code(found.manufacturer, found.model) == (chip_of.startswith(("Microsoft's", "a simulator")))
