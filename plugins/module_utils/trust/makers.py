# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who makes TPMs: the TCG's vendor IDs, which the maker writes into the chip and into its certificate.

TCG TPM Vendor ID Registry 1.08, tables 2 (TPM_PT_MANUFACTURER) and 3 (simulators and tests).
"""

from __future__ import annotations

_MAKERS = {
    "AMD": "AMD",
    "ANT": "Ant Group",
    "ARM": "Arm",
    "ATML": "Atmel",
    "BRCM": "Broadcom",
    "CSCO": "Cisco",
    "FLYS": "Flyslice Technologies",
    "GOOG": "Google",
    "HISI": "Huawei",
    "HPE": "HPE",
    "HPI": "HPI",
    "IBM": "IBM",
    "IFX": "Infineon",
    "INTC": "Intel",
    "LEN": "Lenovo",
    "MSFT": "Microsoft",
    "NSG": "NSING",
    "NSM": "National Semiconductor",
    "NTC": "Nuvoton Technology",
    "NTZ": "Nationz",
    "QCOM": "Qualcomm",
    "ROCC": "Fuzhou Rockchip",
    "SEAL": "Wisekey",
    "SECE": "SecEdge",
    "SMSC": "SMSC",
    "SMSN": "Samsung",
    "SNS": "Sinosun",
    "STM": "STMicroelectronics",
    "TXN": "Texas Instruments",
    "WEC": "Winbond",
}
# swtpm's certificates carry IBM's number as a PCI vendor in the place of the four letters.
_SWTPM_MANUFACTURER = "00001014"
_SIMULATORS = tuple(f"{word}{number}" for word in ("SIM", "TST") for number in range(8))
# As in what a TPM says of itself: swtpm and IBM's simulator, and Microsoft's simulator.
_SOFTWARE_MODELS = ("SWTPM", "XCG")
# So many letters of a maker's name are enough to know it by.
_NAME_BEGINNING = 4


def vendor_id(manufacturer: str) -> str | None:
    """The vendor ID in a certificate's ``id:49465800``: ``IFX``. None where it is not written so."""
    prefix, _colon, digits = manufacturer.strip().partition(":")
    if prefix.lower() != "id" or len(digits) != 8:
        return None
    if digits == _SWTPM_MANUFACTURER:
        return "IBM"
    try:
        text = bytes.fromhex(digits).decode("ascii").strip("\0 ")
    except ValueError:
        return None
    return text if text.isalnum() else None


def maker_name(vendor: str | None) -> str | None:
    """The maker's name; None where the registry has none for *vendor*."""
    if vendor in _SIMULATORS:
        return "simulator"
    return _MAKERS.get(vendor or "")


def vendor_named(text: str) -> str | None:
    """The vendor ID that *text*, the name of a directory, stands for: an ID, or a maker's name in short or in full."""
    if text.upper() in _MAKERS:
        return text.upper()
    found = [vendor for vendor, name in _MAKERS.items() if _begins_alike(_letters(text), _letters(name))]
    return found[0] if len(found) == 1 else None


def is_software(vendor: str | None, manufacturer: str, model: str) -> bool:
    """Whether a certificate is about a TPM made of software, by what its maker wrote into it."""
    return (
        vendor in _SIMULATORS
        or manufacturer.endswith(_SWTPM_MANUFACTURER)
        or model.replace(" ", "").upper().startswith(_SOFTWARE_MODELS)
    )


def _begins_alike(one: str, other: str) -> bool:
    size = min(len(one), len(other))
    return size >= _NAME_BEGINNING and one[:size] == other[:size]


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())
