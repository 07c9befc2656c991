# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpm_info
short_description: What a TPM 2.0 is and what state it is in
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Reads maker, model, firmware, lockout state, which authorizations are set, and which handles are in use.
  - It makes no key and needs no authorization, so that it answers in milliseconds, also for a TPM in lockout.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
  - tpmfleet.azure_dps.attributes.actiongroup_tpm
  - tpmfleet.azure_dps.tpm
seealso:
  - module: tpmfleet.azure_dps.tpm_endorsement_key_info
  - module: tpmfleet.azure_dps.tpm_ownership
"""

EXAMPLES = r"""
- name: Look at the TPM
  tpmfleet.azure_dps.tpm_info:
  register: chip

- name: Stop where the TPM has an owner already
  ansible.builtin.assert:
    that: not chip.hierarchies.owner_auth_set
"""

RETURN = r"""
tpm:
  description: The chip, as the device record has it.
  returned: success
  type: dict
  contains:
    manufacturer:
      description: TCG vendor ID.
      type: str
      returned: success
      sample: IFX
    model:
      description: The vendor string.
      type: str
      returned: success
      sample: SLB9670
    firmware_version:
      description: The two words of the firmware version as four numbers.
      type: str
      returned: success
      sample: 7.85.17.4555
    tpm_type:
      description: V(software) by maker and model, also for virtual TPMs, else V(hardware), firmware TPMs included.
      type: str
      returned: success
      sample: hardware
  sample: {"manufacturer": "IBM", "model": "SWTPM", "firmware_version": "8217.4131.22.13878", "tpm_type": "software"}
specification:
  description: The TPM library specification that the chip was made to; revision and year are null where it tells none.
  returned: success
  type: dict
  sample: {"family": "2.0", "revision": "1.64", "year": 2021}
hierarchies:
  description: Which hierarchies have an authorization.
  returned: success
  type: dict
  sample: {"owner_auth_set": true, "endorsement_auth_set": false, "lockout_auth_set": true}
clear_disabled:
  description: Whether TPM2_Clear is disabled for the lockout authorization.
  returned: success
  type: bool
  sample: false
in_lockout:
  description: Whether the TPM refuses objects that are protected against dictionary attacks.
  returned: success
  type: bool
  sample: false
lockout_counter:
  description: How many failed tries the TPM counts at the moment.
  returned: success
  type: int
  sample: 0
dictionary_attack:
  description:
    - How many failed tries are allowed, after how many seconds one is forgiven, and after how many seconds the lockout
      hierarchy comes back from a wrong lockout authorization.
    - Null is a parameter that the chip does not tell.
  returned: success
  type: dict
  sample: {"max_tries": 32, "recovery_time": 600, "lockout_recovery": 86400}
persistent_handles:
  description: Handles of persistent keys.
  returned: success
  type: list
  elements: str
  sample: ["0x81000001", "0x81010001"]
nv_indices:
  description: Indices that are defined in NV memory.
  returned: success
  type: list
  elements: str
  sample: ["0x01c00002", "0x01c00016"]
algorithms:
  description: The algorithms of note that the TPM has.
  returned: success
  type: list
  elements: str
  sample: ["aes", "ecc", "ecdsa", "rsa", "sha1", "sha256", "sha384"]
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.module.tpm import connection_options, run
from ..module_utils.tpm.properties import (
    NV_INDICES,
    PERSISTENT_HANDLES,
    read_algorithms,
    read_handles,
    read_properties,
)


def read(esys):
    """The result of the module for the open TPM."""
    properties = read_properties(esys)
    return {
        "changed": False,
        "tpm": properties.chip(),
        "specification": {
            "family": properties.family,
            "revision": properties.revision,
            "year": properties.year,
        },
        "hierarchies": properties.hierarchies(),
        "clear_disabled": properties.clear_disabled,
        "in_lockout": properties.in_lockout,
        "lockout_counter": properties.lockout_counter,
        "dictionary_attack": properties.dictionary_attack(),
        "persistent_handles": [f"0x{handle:08x}" for handle in read_handles(esys, *PERSISTENT_HANDLES)],
        "nv_indices": [f"0x{index:08x}" for index in read_handles(esys, *NV_INDICES)],
        "algorithms": read_algorithms(esys),
    }


def main():
    module = AnsibleModule(argument_spec=connection_options(), supports_check_mode=True)
    run(module, read)


if __name__ == "__main__":
    main()
