# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who makes TPMs: the TCG's vendor IDs, which the maker writes into the chip and into its certificate.

TCG TPM Vendor ID Registry 1.08, tables 2 (TPM_PT_MANUFACTURER) and 3 (simulators and tests).
"""

from __future__ import annotations

from ..tpm import virtual
from .certificate import Certificate

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
# Makers of virtual TPMs that the registry does not have, as they write themselves.
_UNREGISTERED = {"AMZN": "Amazon", "CROS": "Google", "VMW": "VMware"}
_NAMES = {**_MAKERS, **_UNREGISTERED}
# Names of directories in Microsoft's package of trusted TPM roots, and of firms, that are neither IDs nor the names
# above. NSING is Nations' name outside of China; its roots lie with those of Nations.
_ALSO_CALLED = {
    "qc": {"QCOM"},
    "nationz": {"NTZ", "NSG"},
    "nations": {"NTZ", "NSG"},
    "aws": {"AMZN"},
    "stm": {"STM"},
    "chromeos": {"CROS"},
}
# Authorities of one maker below another one's directory there: words in their name, the directory's vendor ID, and
# whose TPMs they vouch for as well. AMD's processors have Microsoft's Pluton, which both certify.
_GUESTS = (("pluton", "AMD", "MSFT"),)
# swtpm's certificates carry IBM's number as a PCI vendor in the place of the four letters.
_SWTPM_MANUFACTURER = "00001014"
# How makers write every certificate of theirs, though a strict parser refuses it: words of its complaint. Nuvoton has
# the parts of a name in an order of its own, Intel values that DER leaves out, Google long names.
_HABITS = {
    "GOOG": ("length must be",),
    "INTC": ("EncodedDefault",),
    "NTC": ("SetOrdering",),
}
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
    if vendor in virtual.SIMULATORS:
        return "simulator"
    return _NAMES.get(vendor or "")


def vendors_named(text: str) -> frozenset[str]:
    """The vendor IDs that *text*, the name of a directory, stands for: by ID, or by a maker's name in short or in full.

    None where it stands for nobody, or where nobody can say for whom.
    """
    words = ["".join(filter(str.isalnum, word)) for word in text.lower().replace("_", " ").replace("-", " ").split()]
    for size in range(len(words), 0, -1):
        also = _ALSO_CALLED.get("".join(words[:size]))
        if also:
            return frozenset(also)
    if text.upper() in _NAMES:
        return frozenset({text.upper()})
    found = [vendor for vendor, name in _NAMES.items() if _is_called(words, _letters(name))]
    return frozenset(found) if len(found) == 1 else frozenset()


def guests_of(vendors: frozenset[str], authority: Certificate) -> frozenset[str]:
    """For whose TPMs *authority* vouches besides *vendors*, in whose directory the root lies that it is or is below."""
    name = str(authority.subject).lower()
    return frozenset(guest for word, host, guest in _GUESTS if host in vendors and word in name)


def is_habit(vendor: str | None, complaint: str) -> bool:
    """Whether all certificates of this maker are written as *complaint*, a strict parser's, says."""
    return any(word in complaint for word in _HABITS.get(vendor or "", ()))


def is_software(vendor: str | None, manufacturer: str, model: str, issuer: str) -> bool:
    """Whether a TPM is made of software, by what its maker wrote into its certificate.

    *vendor* is what :func:`vendor_id` makes of the *manufacturer*, *issuer* the name of who certified it.
    """
    return (
        manufacturer.endswith(_SWTPM_MANUFACTURER) or virtual.is_software(vendor, model) or virtual.is_virtual(issuer)
    )


def _is_called(words: list[str], name: str) -> bool:
    """Whether *words* begin with the whole *name* of a maker, or are the beginning of it."""
    whole = "".join(words)
    begins = any("".join(words[:size]) == name for size in range(1, len(words) + 1))
    return begins or (len(whole) >= _NAME_BEGINNING and name.startswith(whole))


def _letters(text: str) -> str:
    return "".join(letter for letter in text.lower() if letter.isalnum())
