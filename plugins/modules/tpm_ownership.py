# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpm_ownership
short_description: Claims, rotates, releases or clears the ownership of a TPM 2.0
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - A claimed TPM has its endorsement key persisted at C(0x81010001) and its storage root key at C(0x81000001), where
    every client looks first; dictionary attack parameters are set; and its hierarchies have the authorizations
    given here.
  - A TPM that has another owner is refused, and nothing in it is changed. The owner and endorsement authorizations are
    tried, which no TPM counts as an attack. The lockout authorization is never tried before something has proven it,
    since one wrong try disables the lockout hierarchy for a long time.
  - What proves it is the owner authorization, which is always of the same owner and key version. On a TPM whose owner
    authorization is left empty it is the key version that a claim records at the NV index C(0x0180df50). Either changes
    only while the lockout authorization is empty, which the TPM tells. So a run that is killed at any point leaves a
    TPM of which all is known, and the next run completes it.
  - That is why a rotation takes the lockout authorization from the old one to none, changes the others, and then sets
    the new one. Each of these is one command, done wholly or not at all, and a few milliseconds pass between them.
    Where the power goes just then, the lockout hierarchy stays without authorization until the next run. Who has access
    to the TPM by then could clear it or set an authorization of his own; no key and no data in it are open to him.
  - Authorizations are given to nobody but the TPM that O(endorsement_key) names. The controller seals them to that key
    (TPM2_MakeCredential), and only the TPM that holds it can open them (TPM2_ActivateCredential). The answer to that is
    its proof, which the controller checks. A device whose TPM does not hold the key that it reports is refused; it has
    read nothing, and nothing in it was changed.
  - A TPM whose endorsement hierarchy has an authorization opens nothing without it. So O(endorsement_auth) and
    O(previous_endorsement_auth) travel sealed to O(recorded_storage_root_key) as well, whose use takes none.
  - Authorizations cross the bus to the TPM only in sessions salted to the endorsement key, new ones encrypted. Where
    the endorsement key is not persisted and the endorsement hierarchy has an authorization, making that key takes a
    session that is not salted. The authorization does not cross the bus in it either.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.actiongroup_tpm
  - tpmfleet.azure_dps.tpm
  - tpmfleet.azure_dps.tpm.unlocking
attributes:
  check_mode:
    support: full
    details:
      - Keys that are not persisted yet are made in check mode too, so that it returns them, and flushed again.
      - What is sealed is opened in check mode too, which changes nothing.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - V(claimed) persists the keys and sets what is missing of O(owner_auth), O(endorsement_auth), O(lockout_auth).
      - V(rotated) is the same, for a TPM whose authorizations may still be the previous ones, which then change. Each
        hierarchy may be at either, such as after a rotation that was cut off.
      - V(released) empties all authorizations again. The ones given are those that the TPM has now.
      - V(cleared) is TPM2_Clear, for which O(clear_confirmation) has to name the TPM. All keys and NV indices of the
        owner and the storage seed are gone then for good, so that nothing that the storage root key ever wrapped can be
        used again. The endorsement key is made again from the same seed. Of the authorizations only O(lockout_auth) is
        needed, and O(owner_auth) to prove it. A TPM with nothing of an owner in it is left as it is.
    type: str
    choices: [claimed, rotated, released, cleared]
    default: claimed
  owner_auth:
    description:
      - The owner (storage) authorization, 32 bytes of UTF-8 at most.
      - Where it is left out the owner hierarchy has to be without one, as the stock SDK clients need it to be.
    type: str
  endorsement_auth:
    description:
      - The endorsement authorization, 32 bytes of UTF-8 at most.
      - Whatever registers the device needs to be given it, so it is best left out.
    type: str
  lockout_auth:
    description: The lockout authorization, 32 bytes of UTF-8 at most.
    type: str
  previous_owner_auth:
    description: For O(state=rotated), the owner authorization to come from.
    type: str
  previous_endorsement_auth:
    description: For O(state=rotated), the endorsement authorization to come from.
    type: str
  previous_lockout_auth:
    description:
      - For O(state=rotated), the lockout authorization to come from; the same as O(lockout_auth) where it does not
        change.
    type: str
  key_version:
    description:
      - The key version of the authorizations given, 1 or more.
      - It is recorded in the TPM where O(owner_auth) is left out and O(lockout_auth) is not, and proves O(lockout_auth)
        later. Otherwise it has no effect.
    type: int
  previous_key_version:
    description: For O(state=rotated), the key version of the previous authorizations.
    type: int
  lockout_auth_trusted:
    description:
      - Whether O(lockout_auth), for O(state=rotated) O(previous_lockout_auth), may be tried where the TPM has a lockout
        authorization and nothing proves that it is the right one. This is so after a claim without O(owner_auth) and
        O(key_version).
      - If it is wrong, the TPM refuses its lockout hierarchy for the lockout recovery time.
    type: bool
    default: false
  clear_confirmation:
    description:
      - For O(state=cleared), the SHA-256 of the TPM2B_PUBLIC of the endorsement key of the TPM to clear, in
        hexadecimal. That of another TPM is refused.
    type: str
  endorsement_key:
    description:
      - The TPM2B_PUBLIC, in base64, of the endorsement key of this TPM, as
        M(tpmfleet.azure_dps.tpm_endorsement_key_info) returned it and it was found to be trusted.
      - Required with any authorization. Authorizations are sealed to it; another TPM is refused before anything is
        changed.
    type: str
  challenge:
    description: What is sealed. Filled in by the collection's action plugin, not by you.
    type: dict
  endorsement_key_sha256:
    description:
      - SHA-256 of the TPM2B_PUBLIC of the endorsement key that this TPM has to have, in hexadecimal.
      - Another TPM is refused before anything is changed.
    type: str
  template:
    description:
      - The template of the endorsement key to persist, see M(tpmfleet.azure_dps.tpm_endorsement_key_info).
      - V(auto) takes a persisted key as it is, and else makes the V(tcg) key; with O(endorsement_key_sha256) the key
        that has it, whatever its template.
    type: str
    choices: [auto, tcg, sdk, nv]
    default: auto
  identify_template:
    description:
      - Whether a persisted endorsement key that no certificate vouches for is compared with newly made keys, which can
        take minutes.
    type: bool
    default: true
  read_certificate:
    description:
      - Whether to read the endorsement key certificate. One that only the owner authorization reads is read with it.
    type: bool
    default: true
  replace_persistent_keys:
    description:
      - Whether a claim may remove a key at C(0x81010001) or C(0x81000001) that is not the one which belongs there.
      - Where V(false), such a key is an error.
    type: bool
    default: false
  remove_persistent_keys:
    description: Whether a release removes the storage root key and the endorsement key.
    type: bool
    default: false
  remove_handles:
    description:
      - For O(state=released), persistent keys to remove as well, such as C(0x81000100), where DPS clients keep the key
        of the hub. What is not there is passed over.
    type: list
    elements: str
    default: []
  max_tries:
    description:
      - How many failed tries at an authorization lock the TPM.
      - A claim takes V(32) where it is left out; a release leaves it as it is.
    type: int
  recovery_time:
    description:
      - After how many seconds one failed try is forgiven. V(0) turns the protection off.
      - A claim takes V(600) where it is left out; a release leaves it as it is.
    type: int
  lockout_recovery:
    description:
      - After how many seconds the lockout hierarchy comes back from a wrong lockout authorization. V(0) is at the next
        power cycle.
      - A claim takes V(86400) where it is left out; a release leaves it as it is.
    type: int
seealso:
  - module: tpmfleet.azure_dps.tpm_info
  - module: tpmfleet.azure_dps.tpm_endorsement_key_info
"""

EXAMPLES = r"""
- name: Claim the TPM whose endorsement key was checked before
  tpmfleet.azure_dps.tpm_ownership:
    state: claimed
    endorsement_key: "{{ ek.endorsement_key.public }}"
    owner_auth: "{{ vault_owner_auth }}"
    lockout_auth: "{{ vault_lockout_auth }}"

- name: Claim it for a stock SDK client, which needs an empty owner authorization
  tpmfleet.azure_dps.tpm_ownership:
    endorsement_key: "{{ ek.endorsement_key.public }}"
    lockout_auth: "{{ vault_lockout_auth }}"

- name: Give it back as it came
  tpmfleet.azure_dps.tpm_ownership:
    state: released
    endorsement_key: "{{ ek.endorsement_key.public }}"
    owner_auth: "{{ vault_owner_auth }}"
    lockout_auth: "{{ vault_lockout_auth }}"
    remove_persistent_keys: true

- name: Change to the next key version
  tpmfleet.azure_dps.tpm_ownership:
    state: rotated
    endorsement_key: "{{ ek }}"
    owner_auth: "{{ key | tpmfleet.azure_dps.hierarchy_auth(endorsement_key=ek, hierarchy='owner', version=2) }}"
    lockout_auth: "{{ key | tpmfleet.azure_dps.hierarchy_auth(endorsement_key=ek, hierarchy='lockout', version=2) }}"
    previous_owner_auth: >-
      {{ key | tpmfleet.azure_dps.hierarchy_auth(endorsement_key=ek, hierarchy='owner', version=1) }}
    previous_lockout_auth: >-
      {{ key | tpmfleet.azure_dps.hierarchy_auth(endorsement_key=ek, hierarchy='lockout', version=1) }}
  vars:
    key: "{{ lookup('ansible.builtin.env', 'TPMFLEET_MASTER_KEY') }}"
    ek: "{{ read.endorsement_key.public }}"

- name: Take everything of an owner out of this one TPM, for good
  tpmfleet.azure_dps.tpm_ownership:
    state: cleared
    clear_confirmation: 69e8ffd4bcf550f4982e7d4c34159f1ad1a56ce843b6cb12cb8abe2d811d5293
    endorsement_key: "{{ ek.endorsement_key.public }}"
    owner_auth: "{{ vault_owner_auth }}"
    lockout_auth: "{{ vault_lockout_auth }}"
"""

RETURN = r"""
proven:
  description:
    - Whether the TPM has proven in this task that it holds O(endorsement_key), which it does in check mode too.
    - V(false) only where no O(endorsement_key) was given.
  returned: success
  type: bool
  sample: true
actions:
  description: What was done, in order; in check mode what would be.
  returned: success
  type: list
  elements: str
  sample:
    - persist the endorsement key at 0x81010001
    - persist the storage root key at 0x81000001
    - set the dictionary attack parameters to 32 tries, 600 s recovery, 86400 s lockout recovery
    - set the owner authorization
    - set the lockout authorization
hierarchies:
  description: Which hierarchies have an authorization now.
  returned: success
  type: dict
  sample: {"owner_auth_set": true, "endorsement_auth_set": false, "lockout_auth_set": true}
authorizations:
  description:
    - What each hierarchy has now. V(none) is none, V(given) the one given.
    - V(unproven) is a lockout authorization of which nothing proves that it is the one given, and that was not tried.
  returned: success
  type: dict
  sample: {"owner": "given", "endorsement": "none", "lockout": "given"}
authorizations_before:
  description:
    - The same, before the task did anything. V(previous) is the previous one of O(state=rotated).
    - In check mode this tells, of two key versions, which one each hierarchy has.
  returned: success
  type: dict
  sample: {"owner": "previous", "endorsement": "none", "lockout": "previous"}
key_version:
  description: The O(key_version) of the task, null for none. What the ledger is told of the unit.
  returned: success
  type: int
  sample: 2
recorded_key_version:
  description: The key version that is recorded in the TPM, null for none.
  returned: success
  type: int
  sample: null
lockout_auth_proven:
  description: Whether the lockout authorization is proven to be the one given, without having been tried.
  returned: success
  type: bool
  sample: true
dictionary_attack:
  description:
    - The dictionary attack parameters as they are now.
    - Null where the TPM was cleared, which brings back values of the chip's own; see M(tpmfleet.azure_dps.tpm_info).
  returned: success
  type: dict
  sample: {"max_tries": 32, "recovery_time": 600, "lockout_recovery": 86400}
in_lockout:
  description: Whether the TPM is in dictionary attack lockout. Such a TPM is refused, unless it is to be cleared.
  returned: success
  type: bool
  sample: false
endorsement_key:
  description: The endorsement key, as M(tpmfleet.azure_dps.tpm_endorsement_key_info) returns it.
  returned: success
  type: dict
  sample:
    public: AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAnhJ2fia4cfVCC0pI...
    sha256: 69e8ffd4bcf550f4982e7d4c34159f1ad1a56ce843b6cb12cb8abe2d811d5293
    template: tcg
    source: persistent
    handle: "0x81010001"
    persisted: true
unreadable:
  description:
    - NV indices that are there and could not be read, each with its C(handle) and the C(reason) in words, as
      M(tpmfleet.azure_dps.tpm_endorsement_key_info) returns it.
  returned: success
  type: list
  elements: dict
  sample: []
certificates:
  description:
    - The certificates of the TPM's makers in NV memory (C(0x01c00100) and following) where only the owner authorization
      reads them, as M(tpmfleet.azure_dps.tpm_endorsement_key_info) returns those that anybody reads.
  returned: success
  type: list
  elements: dict
  sample: []
storage_root_key:
  description: The storage root key; null where a release or a clear left none.
  returned: success
  type: dict
  contains:
    public:
      description: The TPM2B_PUBLIC in base64.
      type: str
      returned: success
      sample: AToAAQALAAMEcgAAAAYAgABDABAIAAAAAAABAL...
    name:
      description: The TPM name of the key, in hexadecimal.
      type: str
      returned: success
      sample: 000bd1e7...
    handle:
      description: Where it is persisted.
      type: str
      returned: success
      sample: "0x81000001"
    persisted:
      description: Whether it is persisted.
      type: bool
      returned: success
      sample: true
tpm:
  description: The chip, as the device record has it.
  returned: success
  type: dict
  sample: {"manufacturer": "IBM", "model": "SWTPM", "firmware_version": "8217.4131.22.13878", "tpm_type": "software"}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.module.ownership import REQUIRED_IF, opened, own, ownership_options
from ..module_utils.module.tpm import connection_options, run
from ..module_utils.module.unlocking import unlocking_options


def answer(esys, module):
    """The result of the module for the open TPM."""
    if not module.params["challenge"]:
        return own(esys, module, module.params, None)
    found = opened(esys, module.params)
    return {**own(esys, module, module.params, found), "answer": found.answer.hex()}


def main():
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            **ownership_options(),
            **unlocking_options(),
            "endorsement_key": {"type": "str", "no_log": False},
            "challenge": {"type": "dict", "no_log": True},
        },
        required_if=REQUIRED_IF,
        required_by={"challenge": "endorsement_key"},
        supports_check_mode=True,
    )
    run(module, lambda esys: answer(esys, module))


if __name__ == "__main__":
    main()
