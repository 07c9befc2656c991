# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a device's TPM is reached, in the words that the TPM modules share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  tcti:
    description:
      - The way to the TPM, as the TPM2 software stack writes it, such as V(device:/dev/tpmrm0) or
        V(swtpm:host=127.0.0.1,port=2321).
      - V(device:/dev/tpmrm0) goes through the kernel's resource manager, so that other programs can use the TPM at the
        same time.
      - There is no fallback to an environment variable, so that what a shell has set never decides which TPM is used.
    type: str
    default: device:/dev/tpmrm0
  timeout:
    description:
      - The longest that the TPM may take for one command, in seconds. A busy TPM is asked again for as long.
      - Making an RSA key takes a discrete TPM up to minutes, so do not be stingy.
    type: int
    default: 300
requirements:
  - tpm2-pytss 1.2 or later on the device (the role tpmfleet.azure_dps.tpm_runtime installs it)
notes:
  - The TPM is left as it was apart from what the module says that it changes. Keys and sessions that were needed on the
    way are flushed, also when the module fails.
"""

    # What an endorsement hierarchy with an authorization takes before its TPM can prove anything.
    UNLOCKING = r"""
options:
  recorded_storage_root_key:
    description:
      - The TPM2B_PUBLIC, in base64, of the storage root key that is on record for the device since it proved it.
      - The authorizations that its endorsement hierarchy may have travel sealed to that key, so that no other TPM reads
        them. To an endorsement key whose use takes one nothing can be sealed.
    type: str
  endorsement_auth_before_proof:
    description:
      - Whether the endorsement authorization is sent to a TPM that says that it has one, and to which it cannot be
        sealed, since no storage root key is on record for it.
      - Set it for a unit that is known to be the right one. Another that says so would learn the authorization.
    type: bool
    default: false
  sealed_endorsement_auth:
    description: Those authorizations, sealed. Filled in by the collection's action plugin, not by you.
    type: dict
"""
