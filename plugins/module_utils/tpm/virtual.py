# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which TPMs are made of software, by vendor ID and model: what a TPM says of itself, and its maker in a certificate.

Neither is enough alone. IBM, Microsoft and Google also stand for chips and firmware, and chips have the vendor string
of the code that they were made from: Google's Cr50 calls itself "xCG fTPM", as Microsoft's simulator does.
"""

from __future__ import annotations

SIMULATORS = tuple(f"{word}{number}" for word in ("SIM", "TST") for number in range(8))
# swtpm, libtpms and IBM's simulator, by the beginning of the model.
_SOFTWARE_MODEL = "SWTPM"
# Microsoft's reference code under its own vendor ID, or none: the simulator, Hyper-V and Azure; also the firmware TPMs
# of makers who left it as it is, as in OP-TEE on NVIDIA's Jetson.
_REFERENCE_CODE = "XCG"
_NO_OTHER_MAKER = ("MSFT", "")
# Anywhere in a model's name, or in the name of who certifies it: the virtual TPMs of Google, VMware, Amazon, Microsoft.
_VIRTUAL = ("VTPM", "VIRTUALTPM", "NITROTPM", "HYPERV", "VMWARE", "LIBTPMS", "QEMU", "SIMULATOR")
# Who makes nothing but virtual TPMs.
_VIRTUAL_MAKERS = ("AMZN", "VMW")
# Whose virtual TPM has no model, and whose chips have one.
_NAMELESS_ARE_VIRTUAL = ("GOOG",)


def is_software(vendor: str | None, model: str) -> bool:
    """Whether a TPM of *vendor* (an ID of the TCG's registry) that is called *model* is made of software."""
    plain = _plain(model)
    return (
        vendor in (*SIMULATORS, *_VIRTUAL_MAKERS)
        or plain.startswith(_SOFTWARE_MODEL)
        or is_reference_code(vendor, model)
        or (vendor in _NAMELESS_ARE_VIRTUAL and not plain)
        or is_virtual(model)
    )


def is_virtual(name: str) -> bool:
    """Whether *name*, of a model or of who certifies it, says that it is virtual."""
    return any(word in _plain(name) for word in _VIRTUAL)


def is_reference_code(vendor: str | None, model: str) -> bool:
    """Whether it is Microsoft's reference code and nobody else's chip: of software, or somebody's firmware TPM."""
    return (vendor or "") in _NO_OTHER_MAKER and _plain(model).startswith(_REFERENCE_CODE)


def _plain(text: str) -> str:
    return text.replace(" ", "").replace("-", "").upper()
