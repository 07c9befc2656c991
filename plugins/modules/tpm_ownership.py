# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpm_ownership
short_description: Claims or releases the ownership of a TPM 2.0
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - A claimed TPM has its endorsement key persisted at C(0x81010001) and its storage root key at C(0x81000001), where
    every client looks first; dictionary attack parameters are set; and its hierarchies have the authorizations
    given here.
  - A TPM that has another owner is refused, and nothing in it is changed. The owner authorization is tried, which no
    TPM counts as an attack. The lockout authorization is never tried before the owner authorization has proven right,
    since one wrong try disables the lockout hierarchy for a long time.
  - A run that is killed at any point is completed by the next one.
  - Authorizations cross the bus to the TPM only in sessions salted to the endorsement key, new ones encrypted.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.actiongroup_tpm
  - tpmfleet.azure_dps.tpm
attributes:
  check_mode:
    support: full
    details:
      - Keys that are not persisted yet are made in check mode too, so that it returns them, and flushed again.
  diff_mode:
    support: full
  idempotent:
    support: full
options:
  state:
    description:
      - V(claimed) persists the keys and sets what is missing of O(owner_auth), O(endorsement_auth), O(lockout_auth).
      - V(released) empties all authorizations again. The ones given are those that the TPM has now.
    type: str
    choices: [claimed, released]
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
  lockout_auth_trusted:
    description:
      - Whether O(lockout_auth) may be tried where the TPM has a lockout authorization but no owner authorization, so
        that nothing proves that it is the right one. This is so after a claim without O(owner_auth).
      - If it is wrong, the TPM refuses its lockout hierarchy for the lockout recovery time.
    type: bool
    default: false
  endorsement_key_sha256:
    description:
      - SHA-256 of the TPM2B_PUBLIC of the endorsement key that this TPM has to have, in hexadecimal.
      - Another TPM is refused before anything is changed.
    type: str
  template:
    description:
      - The template of the endorsement key to persist, see M(tpmfleet.azure_dps.tpm_endorsement_key_info).
      - V(auto) takes a persisted key as it is, and else makes the V(tcg) key.
    type: str
    choices: [auto, tcg, sdk]
    default: auto
  identify_template:
    description:
      - Whether a persisted endorsement key that no certificate vouches for is compared with newly made keys, which can
        take minutes.
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
    endorsement_key_sha256: "{{ ek.endorsement_key.sha256 }}"
    owner_auth: "{{ vault_owner_auth }}"
    lockout_auth: "{{ vault_lockout_auth }}"

- name: Claim it for a stock SDK client, which needs an empty owner authorization
  tpmfleet.azure_dps.tpm_ownership:
    lockout_auth: "{{ vault_lockout_auth }}"

- name: Give it back as it came
  tpmfleet.azure_dps.tpm_ownership:
    state: released
    owner_auth: "{{ vault_owner_auth }}"
    lockout_auth: "{{ vault_lockout_auth }}"
    remove_persistent_keys: true
"""

RETURN = r"""
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
lockout_auth_proven:
  description:
    - Whether an owner authorization that was proven right vouches for the lockout authorization, which is not tried.
  returned: success
  type: bool
  sample: true
dictionary_attack:
  description: The dictionary attack parameters as they are now.
  returned: success
  type: dict
  sample: {"max_tries": 32, "recovery_time": 600, "lockout_recovery": 86400}
in_lockout:
  description: Whether the TPM is in dictionary attack lockout. Such a TPM is refused, so this is V(false).
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
storage_root_key:
  description: The storage root key; null where a release left none.
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

from ..module_utils.tpm.connection import TpmError
from ..module_utils.tpm.ownership import (
    CLAIMED_DICTIONARY_ATTACK,
    HIERARCHIES,
    Wish,
    checked_auth,
    claim_or_release,
)
from ..module_utils.tpm_module import connection_options, run

_AS_GIVEN = (
    "state",
    "lockout_auth_trusted",
    "endorsement_key_sha256",
    "template",
    "identify_template",
    "replace_persistent_keys",
    "remove_persistent_keys",
)


def wish_of(params):
    """What the options ask for; TpmError for what no TPM takes."""
    defaults = CLAIMED_DICTIONARY_ATTACK if params["state"] == "claimed" else {}
    dictionary_attack = dict(defaults)
    for option, lowest in (("max_tries", 1), ("recovery_time", 0), ("lockout_recovery", 0)):
        if params[option] is None:
            continue
        if not lowest <= params[option] < 2**32:
            raise TpmError(f"{option} is {params[option]}; it has to be {lowest} to 4294967295.")
        dictionary_attack[option] = params[option]
    auths = {f"{one}_auth": checked_auth(f"{one}_auth", params[f"{one}_auth"]) for one in HIERARCHIES}
    return Wish(dictionary_attack=dictionary_attack, **auths, **{option: params[option] for option in _AS_GIVEN})


def main():
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "state": {"type": "str", "choices": ["claimed", "released"], "default": "claimed"},
            "owner_auth": {"type": "str", "no_log": True},
            "endorsement_auth": {"type": "str", "no_log": True},
            "lockout_auth": {"type": "str", "no_log": True},
            "lockout_auth_trusted": {"type": "bool", "default": False},
            "endorsement_key_sha256": {"type": "str", "no_log": False},
            "template": {"type": "str", "choices": ["auto", "tcg", "sdk"], "default": "auto"},
            "identify_template": {"type": "bool", "default": True},
            "replace_persistent_keys": {"type": "bool", "default": False},
            "remove_persistent_keys": {"type": "bool", "default": False},
            "max_tries": {"type": "int"},
            "recovery_time": {"type": "int"},
            "lockout_recovery": {"type": "int"},
        },
        supports_check_mode=True,
    )
    run(module, lambda esys: claim_or_release(esys, wish_of(module.params), check_mode=module.check_mode))


if __name__ == "__main__":
    main()
