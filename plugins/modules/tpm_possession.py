# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpm_possession
short_description: Proves that a device's TPM holds the endorsement key that was reported for it
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - An endorsement key is public, so that a device which reports one proves nothing. This is the proof. The controller
    encrypts a secret to the endorsement key, bound to the name of the storage root key (TPM2_MakeCredential), and the
    device has its TPM open it (TPM2_ActivateCredential). Only the TPM that has both private keys can. Without a storage
    root key the secret is bound to an object that every TPM can load, and only the endorsement key is proven.
  - The device answers with an HMAC by that secret over a nonce and the challenge. So the secret is never sent, written
    or shown, and an answer is good for one task. One round trip.
  - A device that fails is to be taken for another one than it says. It has to be kept from being enrolled.
  - It proves that the TPM is at hand, not that the endorsement key is a TPM's. For that the key has to be on the TPM
    maker's list or have a certificate.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
  - tpmfleet.azure_dps.attributes.actiongroup_tpm
  - tpmfleet.azure_dps.tpm
  - tpmfleet.azure_dps.tpm.unlocking
attributes:
  check_mode:
    details:
      - The proof is made in check mode too. Where the storage root key is not persisted yet, it is made for the proof
        and flushed again. If that took the owner authorization, the task is skipped and says that the proof is planned.
options:
  endorsement_key:
    description:
      - The TPM2B_PUBLIC, in base64, of the endorsement key that is on record for the device and is to be enrolled.
    type: str
    required: true
  storage_root_key:
    description:
      - The TPM2B_PUBLIC, in base64, of the storage root key, as M(tpmfleet.azure_dps.tpm_ownership) returned it.
      - Where it is left out, only the endorsement key is proven, which a TPM can that nobody has claimed yet.
    type: str
  recorded_storage_root_key_name:
    description:
      - The TPM name, in hexadecimal, of the storage root key that the device had when it was seen last.
      - Another O(storage_root_key) is refused, since the TPM was cleared or exchanged.
    type: str
  endorsement_auth:
    description:
      - The authorization of the endorsement hierarchy, which is of use only to a TPM that has one.
      - It travels sealed to O(recorded_storage_root_key), else see O(endorsement_auth_before_proof).
      - It crosses the bus to the TPM only in a session salted to the endorsement key.
    type: str
  replace_persistent_keys:
    description:
      - Whether another key at C(0x81010001) is passed over, as one is that a claim by the option of that name in
        M(tpmfleet.azure_dps.tpm_ownership) is to remove. The key is then made for the proof.
    type: bool
    default: false
    version_added: 1.0.0
  challenge:
    description: The challenge. Filled in by the collection's action plugin, not by you.
    type: dict
notes:
  - Neither side writes the challenge to a disk. The task is pipelined, whatever the configuration says of pipelining.
    Where that is impossible (E(ANSIBLE_KEEP_REMOTE_FILES), a connection plugin or become method without it), the task
    fails and says why.
seealso:
  - module: tpmfleet.azure_dps.tpm_endorsement_key_info
  - module: tpmfleet.azure_dps.tpm_ownership
"""

EXAMPLES = r"""
- name: Claim ownership
  tpmfleet.azure_dps.tpm_ownership:
    endorsement_key: "{{ endorsement_key_on_record }}"
    lockout_auth: "{{ vault_lockout_auth }}"
  register: claim

- name: Prove that the TPM holds the key that is to be enrolled
  tpmfleet.azure_dps.tpm_possession:
    endorsement_key: "{{ endorsement_key_on_record }}"
    storage_root_key: "{{ claim.storage_root_key.public }}"
"""

RETURN = r"""
proven:
  description: Whether possession was proven. It is V(true), or V(false) where check mode could only plan the proof.
  returned: success
  type: bool
  sample: true
endorsement_key_sha256:
  description: SHA-256 of the TPM2B_PUBLIC of the endorsement key, in hexadecimal.
  returned: success
  type: str
  sample: e20e0bd3654bdc8cac62024500d1355262475a3294271b3ef74e6fae105a80b8
storage_root_key_name:
  description:
    - The TPM name of the storage root key that is in the same TPM, in hexadecimal.
    - Null where none was asked for.
  returned: success
  type: str
  sample: 000b112a4b890facafd8fa865274ebdccef203898c2db375348d78cab6064074aafb
in_lockout:
  description: Whether the TPM is in dictionary attack lockout, which is in the way of most else but not of this.
  returned: success
  type: bool
  sample: false
not_proven:
  description: >-
    V(true) where the TPM has not the key, or another answer came than that of a TPM that has it. Any other failure says
    nothing of the keys.
  returned: failure
  type: bool
  sample: true
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.module.tpm import connection_options, run
from ..module_utils.module.unlocking import unlocking_options
from ..module_utils.tpm.challenge import Challenge, sealed_endorsement_auth
from ..module_utils.tpm.connection import TpmError
from ..module_utils.tpm.possession import LOCKOUT, answer_challenge
from ..module_utils.tpm.templates import decode_public


def answer(esys, module):
    """The result of the module for the open TPM."""
    params = module.params
    storage_root_key = params["storage_root_key"]
    try:
        result = answer_challenge(
            esys,
            Challenge.from_option(params["challenge"]),
            endorsement_key=decode_public(params["endorsement_key"], "endorsement_key"),
            storage_root_key=decode_public(storage_root_key, "storage_root_key") if storage_root_key else None,
            endorsement_auths=[params["endorsement_auth"].encode("utf-8")] if params["endorsement_auth"] else [],
            sealed_auths=sealed_endorsement_auth(params),
            replacing=params["replace_persistent_keys"],
            check_mode=module.check_mode,
        )
    except ValueError as error:
        raise TpmError(f"{error}.") from error
    if result["in_lockout"]:
        module.warn(LOCKOUT)
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "endorsement_key": {"type": "str", "required": True, "no_log": False},
            "storage_root_key": {"type": "str", "no_log": False},
            "recorded_storage_root_key_name": {"type": "str", "no_log": False},
            "endorsement_auth": {"type": "str", "no_log": True},
            "replace_persistent_keys": {"type": "bool", "default": False},
            "challenge": {"type": "dict", "no_log": True},
            **unlocking_options(),
        },
        supports_check_mode=True,
    )
    if not module.params["challenge"]:
        module.fail_json(msg="The challenge is missing: it is made by this collection's action plugin tpm_possession.")
    run(module, lambda esys: answer(esys, module))


if __name__ == "__main__":
    main()
