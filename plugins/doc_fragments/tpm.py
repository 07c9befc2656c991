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

    # What a step takes from the variables of its roles.
    NAMED = r"""
options:
  options:
    description:
      - The name of a variable with more options of this module. What the task says itself goes before them.
      - The controller compiles their templates once for all hosts, and those of a task once for each host.
    type: str
"""

    # How a TPM's keys are read.
    READING = r"""
options:
  template:
    description:
      - V(tcg) is the template of the TCG, which the endorsement key certificate certifies. Where the TPM's maker left a
        nonce or a template in NV memory, it is the key that is made with these. V(nv) is that key alone. V(sdk) is the
        one from which Azure's device SDKs make a key where none is persisted.
      - With each, a persisted key of another template is an error, since clients would use that one. Where the
        endorsement hierarchy has an authorization that is not given, a persisted key is taken as it is.
      - V(auto) takes a persisted key as it is, and else makes the V(tcg) key.
    type: str
    choices: [auto, tcg, sdk, nv]
    default: auto
  identify_template:
    description:
      - Whether a persisted key that no certificate vouches for is compared with newly made keys, which can take
        minutes.
      - Where V(false), the template of such a key is V(other).
    type: bool
    default: true
  endorsement_auth:
    description:
      - The authorization of the endorsement hierarchy, where it has one.
      - It is of use only to a device that has to make a key with it, since none is persisted, and is sent to it only
        with O(endorsement_auth_before_proof).
    type: str
  endorsement_auth_before_proof:
    description:
      - Whether O(endorsement_auth) is sent to a device that says that it needs it. It can prove nothing before its key
        was read, so that a unit in the place of the right one would learn the authorization.
    type: bool
    default: false
  replace_persistent_keys:
    description:
      - Whether a key at C(0x81010001) that is not the one which belongs there counts for nothing. The key is then read
        that M(tpmfleet.azure_dps.tpm_ownership) with O(tpmfleet.azure_dps.tpm_ownership#module:replace_persistent_keys)
        would put in its place.
      - Where V(false), such a key is an error.
    type: bool
    default: false
  read_certificate:
    description:
      - Whether to read the certificate of the key. Where V(false), a persisted key is identified by making keys.
    type: bool
    default: true
  all_certificates:
    description:
      - Whether to return every certificate in the NV indices of the TCG's profile, ECC keys and chains included, and
        every key at the handles of endorsement keys.
    type: bool
    default: false
  storage_root_key:
    description:
      - Whether the storage root key is read as well, for who has it proven next. One that is not persisted is made for
        it, where the owner hierarchy has no authorization.
    type: bool
    default: false
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
