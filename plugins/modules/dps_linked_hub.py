# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_linked_hub
short_description: An IoT hub that a Device Provisioning Service instance assigns devices to
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Links an IoT hub to an instance, changes the link, or ends it.
  - What is not mentioned is left as it is, and so are all other hubs.
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
      - With O(renew_key=true) the key is written each time, since Azure does not tell which one it has.
options:
  state:
    description:
      - Whether the hub is to be linked.
      - With V(absent) devices that were assigned to it stay there. An enrollment that names the hub cannot be changed
        any more without naming another.
    type: str
    choices: [present, absent]
    default: present
  hub:
    description:
      - Host name of the hub. May be left out where O(connection_string) is given, which has it.
    type: str
  connection_string:
    description:
      - Connection string of a shared access policy of the hub with the permissions C(RegistryWrite) and
        C(ServiceConnect).
      - It is compared by the policy's name. Its key is hidden by Azure, so for a new key of the same policy say
        O(renew_key=true).
    type: str
  renew_key:
    description: Whether O(connection_string) is written although the link has one of the same policy.
    type: bool
    default: false
  location:
    description: The hub's Azure region. Needed to link it.
    type: str
  authentication:
    description:
      - How the instance shows the hub who it is. Linking takes V(key) where nothing is said.
      - V(system_assigned) and V(user_assigned) are managed identities of the instance, which need a role on the hub.
    type: str
    choices: [key, system_assigned, user_assigned]
  user_assigned_identity:
    description: Resource ID of the identity of O(authentication=user_assigned).
    type: str
  allocation_weight:
    description: How often the hub is taken by the allocation policy V(hashed), in relation to the others; 1 to 1000.
    type: int
  apply_allocation_policy:
    description: Whether the hub takes part in the instance's allocation, or is only for enrollments that name it.
    type: bool
seealso:
  - module: tpmfleet.azure_dps.dps_instance
"""

EXAMPLES = r"""
- name: Link a hub
  tpmfleet.azure_dps.dps_linked_hub:
    resource_group: fleet
    instance: fleet-dps
    connection_string: "{{ lookup('ansible.builtin.file', '/run/secrets/hub-connection-string') }}"
    location: westeurope
    allocation_weight: 10
  delegate_to: localhost

- name: Keep it for enrollments that name it
  tpmfleet.azure_dps.dps_linked_hub:
    resource_group: fleet
    instance: fleet-dps
    hub: fleet-eu.azure-devices.net
    apply_allocation_policy: false
  delegate_to: localhost

- name: End the link
  tpmfleet.azure_dps.dps_linked_hub:
    resource_group: fleet
    instance: fleet-dps
    hub: fleet-eu.azure-devices.net
    state: absent
  delegate_to: localhost
"""

RETURN = r"""
action:
  description: What was done, in check mode what would be. One of V(linked), V(updated), V(unlinked), V(unchanged).
  returned: success
  type: str
  sample: linked
linked_hub:
  description:
    - The link as it is then, null where there is none. C(hub_policy) is the policy of its connection string, whose key
      is never shown. What Azure was not told is null.
  returned: success
  type: dict
  sample:
    hub: fleet-eu.azure-devices.net
    location: westeurope
    authentication: key
    hub_policy: dps
    user_assigned_identity: null
    allocation_weight: 10
    apply_allocation_policy: null
status:
  description: HTTP status of Azure's refusal.
  returned: when Azure refused
  type: int
  sample: 400
error_code:
  description: Azure's own code, a name or a number.
  returned: when Azure refused
  type: raw
  sample: 400300
tracking_id:
  description: What Azure's support wants to know.
  returned: when Azure refused
  type: str
  sample: 2f0a7d2c-6a1c-4b0e-9d5e-1f8f6f3ad7b0
hint:
  description: What to do next.
  returned: failure
  type: str
  sample: Correct what Azure names, or report it with the tracking ID.
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps_management.connection import management_options, run
from ..module_utils.dps_management.linked_hub import AUTHENTICATION, ensure_linked, ensure_unlinked


def main():
    module = AnsibleModule(
        argument_spec={
            **management_options(),
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "hub": {"type": "str"},
            "connection_string": {"type": "str", "no_log": True},
            "renew_key": {"type": "bool", "default": False, "no_log": False},
            "location": {"type": "str"},
            "authentication": {"type": "str", "choices": list(AUTHENTICATION)},
            "user_assigned_identity": {"type": "str"},
            "allocation_weight": {"type": "int"},
            "apply_allocation_policy": {"type": "bool"},
        },
        required_one_of=[("hub", "connection_string")],
        required_if=[("renew_key", True, ["connection_string"])],
        supports_check_mode=True,
    )
    instance, check_mode = module.params["instance"], module.check_mode
    ensure = ensure_unlinked if module.params["state"] == "absent" else ensure_linked
    run(module, lambda manager: ensure(manager, instance, module.params, check_mode=check_mode))


if __name__ == "__main__":
    main()
