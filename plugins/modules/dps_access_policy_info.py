# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_access_policy_info
short_description: Shared access policies of a Device Provisioning Service instance
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Reads the shared access policies of an instance, with their keys only where it is told to.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
  - tpmfleet.azure_dps.attributes.actiongroup_dps_management
  - tpmfleet.azure_dps.dps.management
  - tpmfleet.azure_dps.dps.entra
options:
  name:
    description: The policy to read, all of them where it is left out.
    type: str
  with_keys:
    description:
      - Whether keys and connection strings are returned. Say C(no_log=true) for the task then, or they are in logs.
      - To let somebody else in, M(tpmfleet.azure_dps.dps_access_token) is the better way.
    type: bool
    default: false
seealso:
  - module: tpmfleet.azure_dps.dps_access_policy
"""

EXAMPLES = r"""
- name: See who has access
  tpmfleet.azure_dps.dps_access_policy_info:
    resource_group: fleet
    instance: fleet-dps
  delegate_to: localhost
  register: found

- name: Name the policies that may change enrollments
  ansible.builtin.debug:
    msg: "{{ found.access_policies | selectattr('rights', 'contains', 'EnrollmentWrite') | map(attribute='name') }}"

- name: Have the line's connection string
  tpmfleet.azure_dps.dps_access_policy_info:
    resource_group: fleet
    instance: fleet-dps
    name: line
    with_keys: true
  delegate_to: localhost
  register: line
  no_log: true
"""

RETURN = r"""
access_policies:
  description:
    - The policies, each as M(tpmfleet.azure_dps.dps_access_policy) returns it. Empty where there is none of that name.
    - With O(with_keys=true) also C(primary_key), C(secondary_key), C(primary_connection_string) and
      C(secondary_connection_string).
  returned: success
  type: list
  elements: dict
  sample:
    - name: tpm-maker
      rights: [EnrollmentRead, EnrollmentWrite, RegistrationStatusRead, RegistrationStatusWrite]
      primary_key_sha256: ea03a6977da428a033f7062dc51d3f597198828e0a3b2118b34e648cbd2b14f3
      secondary_key_sha256: af52319c29ff4296a8fb65f80913ded3de36ed385c7eed59c0cf486547b2bc2e
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps_management.access_policy import connection_strings, find_policy, shown_policy
from ..module_utils.dps_management.connection import management_options, run


def read(manager, instance, name, *, with_keys):
    """The result of the module."""
    document = manager.instance(instance)
    if document is None:
        raise manager.missing(instance)
    policies = manager.access_policies(instance)
    if name is not None:
        found = find_policy(policies, name)
        policies = [] if found is None else [found]
    host = document["properties"].get("serviceOperationsHostName")
    return {
        "access_policies": [
            {**shown_policy(policy), **(connection_strings(policy, host) if with_keys else {})} for policy in policies
        ]
    }


def main():
    module = AnsibleModule(
        argument_spec={
            **management_options(),
            "name": {"type": "str"},
            "with_keys": {"type": "bool", "default": False, "no_log": False},
        },
        supports_check_mode=True,
    )
    wanted = module.params
    run(module, lambda manager: read(manager, wanted["instance"], wanted["name"], with_keys=wanted["with_keys"]))


if __name__ == "__main__":
    main()
