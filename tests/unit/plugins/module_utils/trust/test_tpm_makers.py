# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who made a TPM, by what its certificate says."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.makers import (
    is_software,
    maker_name,
    vendor_id,
    vendors_named,
)


@pytest.mark.parametrize(
    ("text", "vendor", "name"),
    [
        ("id:49465800", "IFX", "Infineon"),
        ("id:53544D20", "STM", "STMicroelectronics"),
        ("ID:4e544300", "NTC", "Nuvoton Technology"),
        ("id:00001014", "IBM", "IBM"),
        ("id:53494D31", "SIM1", "simulator"),
        ("id:5A5A5A5A", "ZZZZ", None),
        ("id:00000000", None, None),
        ("id:4946580", None, None),
        ("Infineon", None, None),
        ("id:FFFFF1D0", None, None),
    ],
)
def test_a_vendor_id_is_read(text, vendor, name):
    assert (vendor_id(text), maker_name(vendor)) == (vendor, name)


@pytest.mark.parametrize(
    ("directory", "vendor"),
    [
        ("IFX", "IFX"),
        ("infineon", "IFX"),
        ("Infineon Technologies AG", "IFX"),
        ("Intel ODCA", "INTC"),
        ("STMicro", "STM"),
        ("Nuvoton", "NTC"),
        ("AMD", "AMD"),
        ("na", None),
        ("nati", None),
        ("RootCA", None),
        ("intelligence", None),
        ("Intel-roots", "INTC"),
        ("QC", "QCOM"),
        ("Qualcomm", "QCOM"),
        ("AWS", "AMZN"),
        ("VMware", "VMW"),
        ("any", None),
        ("", None),
    ],
)
def test_a_directory_is_known_by_its_makers_id_or_name(directory, vendor):
    assert vendors_named(directory) == ({vendor} if vendor else set())


def test_a_directory_may_stand_for_two_names_of_one_firm():
    assert vendors_named("NationZ") == vendors_named("Nations Technologies") == {"NTZ", "NSG"}
    assert vendors_named("NTZ") == {"NTZ"} and vendors_named("NSING") == {"NSG"}


@pytest.mark.parametrize(
    ("vendor", "manufacturer", "model", "issuer", "software"),
    [
        ("IBM", "id:00001014", "anything", "", True),
        ("IBM", "id:49424D00", "SW  TPM", "", True),
        ("MSFT", "id:4D534654", "xCG fTPM", "", True),
        ("TST0", "id:54535430", "", "", True),
        ("GOOG", "id:474F4F47", "vTPM", "", True),
        ("VMW", "id:564D5700", "VMware TPM2", "", True),
        ("AMZN", "id:414D5A4E", "NitroTPM", "", True),
        ("MSFT", "id:4D534654", "", "CN=Global Virtual TPM CA - 03", True),
        ("IBM", "id:49424D00", "Power TPM", "", False),
        ("IFX", "id:49465800", "SLB9670", "", False),
        ("MSFT", "id:4D534654", "Pluton", "CN=Pluton Factory EK ICA", False),
        ("GOOG", "id:474F4F47", "Ti50", "", False),
    ],
)
def test_software_is_known_by_what_its_maker_writes(vendor, manufacturer, model, issuer, software):
    assert is_software(vendor, manufacturer, model, issuer) is software
