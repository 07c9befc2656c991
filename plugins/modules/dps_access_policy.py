# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_access_policy
short_description: A shared access policy of a Device Provisioning Service instance
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Makes, changes or removes a shared access policy, and replaces its keys.
  - A policy has two keys, which let in alike. To replace them without a gap, replace the secondary one, give that to
    every client, and replace the primary one then.
  - Keys are in no result. M(tpmfleet.azure_dps.dps_access_policy_info) returns them where it is told to, and
    M(tpmfleet.azure_dps.dps_access_token) makes a time-limited token of one, which is what to hand to others.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.actiongroup_dps_management
  - tpmfleet.azure_dps.dps.management
  - tpmfleet.azure_dps.dps.entra
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - O(regenerate) replaces a key each time, unless O(regenerate_only_sha256) says which one is to be replaced.
options:
  state:
    description:
      - Whether the policy is to be there.
      - V(absent) locks out at once whoever has a key of it or a token made of one.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: Name of the policy. Letters count the same in both cases.
    type: str
    required: true
  rights:
    description:
      - What the policy allows. Needed to make one.
      - Azure grants a right together with those that it needs, and so they are added. C(EnrollmentRead) needs
        C(RegistrationStatusRead), C(RegistrationStatusWrite) needs C(RegistrationStatusRead), and C(EnrollmentWrite)
        needs all three.
      - There is no right to add enrollments only, or to touch only one's own. Whoever may write may read, change and
        remove the whole list.
    type: list
    elements: str
    choices: [EnrollmentRead, EnrollmentWrite, RegistrationStatusRead, RegistrationStatusWrite, ServiceConfig]
  primary_key:
    description: The primary key to have, base64 of 16 to 64 bytes. The one that is there is kept where none is given.
    type: str
  secondary_key:
    description: The same for the secondary key.
    type: str
  regenerate:
    description:
      - Which keys are to be replaced by new, random ones. The other one goes on to let in.
      - Both at once lock out everybody who has a key or a token of this policy.
    type: list
    elements: str
    choices: [primary, secondary]
    default: []
  regenerate_only_sha256:
    description:
      - Replace keys only while the first one that O(regenerate) names has this SHA-256, as a module returned it. A run
        that is repeated then changes nothing.
    type: str
seealso:
  - module: tpmfleet.azure_dps.dps_access_policy_info
  - module: tpmfleet.azure_dps.dps_access_token
"""

EXAMPLES = r"""
- name: Let a TPM maker write the enrollment list
  tpmfleet.azure_dps.dps_access_policy:
    resource_group: fleet
    instance: fleet-dps
    name: tpm-maker
    rights: [EnrollmentWrite]
  delegate_to: localhost

- name: See which keys there are
  tpmfleet.azure_dps.dps_access_policy_info:
    resource_group: fleet
    instance: fleet-dps
    name: tpm-maker
  delegate_to: localhost
  register: keys

- name: First step of a rotation. The primary key still lets in
  tpmfleet.azure_dps.dps_access_policy:
    resource_group: fleet
    instance: fleet-dps
    name: tpm-maker
    regenerate: [secondary]
    regenerate_only_sha256: "{{ keys.access_policies[0].secondary_key_sha256 }}"
  delegate_to: localhost

- name: Second step, once every client has the new secondary key. The old primary key is worth nothing now
  tpmfleet.azure_dps.dps_access_policy:
    resource_group: fleet
    instance: fleet-dps
    name: tpm-maker
    regenerate: [primary]
    regenerate_only_sha256: "{{ keys.access_policies[0].primary_key_sha256 }}"
  delegate_to: localhost

- name: Lock the maker out
  tpmfleet.azure_dps.dps_access_policy:
    resource_group: fleet
    instance: fleet-dps
    name: tpm-maker
    state: absent
  delegate_to: localhost
"""

RETURN = r"""
action:
  description:
    - What was done, in check mode what would be. One of V(created), V(updated), V(deleted), V(unchanged).
  returned: success
  type: str
  sample: created
access_policy:
  description:
    - The policy as it is then, null where there is none. Of its keys there is the SHA-256, which tells one from another
      and gives nothing away; in check mode null for a key that is to be made.
  returned: success
  type: dict
  sample:
    name: tpm-maker
    rights: [EnrollmentRead, EnrollmentWrite, RegistrationStatusRead, RegistrationStatusWrite]
    primary_key_sha256: ea03a6977da428a033f7062dc51d3f597198828e0a3b2118b34e648cbd2b14f3
    secondary_key_sha256: af52319c29ff4296a8fb65f80913ded3de36ed385c7eed59c0cf486547b2bc2e
status:
  description: HTTP status of Azure's refusal.
  returned: when Azure refused
  type: int
  sample: 403
error_code:
  description: Azure's own code, a name or a number.
  returned: when Azure refused
  type: raw
  sample: AuthorizationFailed
tracking_id:
  description: What Azure's support wants to know.
  returned: when Azure refused
  type: str
  sample: 2f0a7d2c-6a1c-4b0e-9d5e-1f8f6f3ad7b0
hint:
  description: What to do next.
  returned: failure
  type: str
  sample: Give the identity a role that may do this, such as Contributor, on the resource group or the instance.
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps_management.access_policy import KEYS, RIGHTS, ensure_absent, ensure_present
from ..module_utils.dps_management.connection import management_options, run


def main():
    module = AnsibleModule(
        argument_spec={
            **management_options(),
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "name": {"type": "str", "required": True},
            "rights": {"type": "list", "elements": "str", "choices": list(RIGHTS)},
            "primary_key": {"type": "str", "no_log": True},
            "secondary_key": {"type": "str", "no_log": True},
            "regenerate": {"type": "list", "elements": "str", "choices": list(KEYS), "default": []},
            "regenerate_only_sha256": {"type": "str"},
        },
        required_by={"regenerate_only_sha256": ["regenerate"]},
        supports_check_mode=True,
    )
    instance, check_mode = module.params["instance"], module.check_mode
    if module.params["state"] == "absent":
        run(module, lambda manager: ensure_absent(manager, instance, module.params["name"], check_mode=check_mode))
    run(module, lambda manager: ensure_present(manager, instance, module.params, check_mode=check_mode))


if __name__ == "__main__":
    main()
