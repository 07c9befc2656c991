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


def test_software_is_known_by_what_its_maker_writes():
    assert is_software("IBM", "id:00001014", "anything")
    assert is_software("IBM", "id:49424D00", "SW  TPM")
    assert is_software("MSFT", "id:4D534654", "xCG fTPM")
    assert is_software("TST0", "id:54535430", "")
    assert is_software("GOOG", "id:474F4F47", "vTPM")
    assert is_software("VMW", "id:564D5700", "VMware TPM2")
    assert is_software("AMZN", "id:414D5A4E", "NitroTPM")
    assert is_software("MSFT", "id:4D534654", "", "CN=Global Virtual TPM CA - 03")
    assert not is_software("IBM", "id:49424D00", "Power TPM")
    assert not is_software("IFX", "id:49465800", "SLB9670")
    assert not is_software("MSFT", "id:4D534654", "Pluton", "CN=Pluton Factory EK ICA")
    assert not is_software("GOOG", "id:474F4F47", "Ti50")


@pytest.mark.parametrize(
    ("manufacturer", "model", "software"),
    [
        ("IBM", "SW TPM", True),
        ("MSFT", "xCG fTPM", True),
        ("GOOG", "vTPM", True),
        ("VMW", "VMware TPM2", True),
        ("AMZN", "NitroTPM", True),
        ("INTC", "Intel", False),
        ("AMD", "AMD", False),
        ("IFX", "SLB9670", False),
    ],
)
def test_software_is_known_by_what_a_chip_says_of_itself(manufacturer, model, software):
    assert is_software(manufacturer, "", model) is software
