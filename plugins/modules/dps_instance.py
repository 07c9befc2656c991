# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_instance
short_description: A Device Provisioning Service instance in Azure
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Makes, changes or removes an instance of the Device Provisioning Service, and returns its ID scope and host names.
  - What is not mentioned is left as it is, and so are linked hubs and access policies, which have modules of their own.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.resource_module
  - tpmfleet.azure_dps.attributes.actiongroup_dps_management
  - tpmfleet.azure_dps.dps.management
  - tpmfleet.azure_dps.dps.entra
options:
  state:
    description:
      - Whether the instance is to be there.
      - V(absent) removes it with all its enrollments and registrations. Its ID scope cannot be had again, so devices
        that have it never find another instance.
    type: str
    choices: [present, absent]
    default: present
  location:
    description:
      - The Azure region, such as V(westeurope). Needed to make an instance.
      - An instance cannot be moved, so another one than it has is refused.
    type: str
  sku:
    description: The pricing tier. Azure has one.
    type: str
    choices: [S1]
  units:
    description: The number of units.
    type: int
  allocation_policy:
    description: How a device's hub is chosen where its enrollment does not say so. Azure's default is V(hashed).
    type: str
    choices: [hashed, geoLatency, static]
  tags:
    description: Tags of the Azure resource.
    type: dict
  append_tags:
    description: Whether tags that are there and not in O(tags) are kept.
    type: bool
    default: true
seealso:
  - module: tpmfleet.azure_dps.dps_instance_info
  - module: tpmfleet.azure_dps.dps_linked_hub
  - module: tpmfleet.azure_dps.dps_access_policy
"""

EXAMPLES = r"""
- name: Have an instance
  tpmfleet.azure_dps.dps_instance:
    subscription_id: 5d3f1e0c-52a1-4c0b-9f57-f1c2a6a1a9c4
    resource_group: fleet
    instance: fleet-dps
    location: westeurope
    allocation_policy: hashed
    tags:
      line: pumps
  delegate_to: localhost
  register: dps

- name: Say what the devices' software has to know
  ansible.builtin.debug:
    msg: "{{ dps.instance.id_scope }} at {{ dps.instance.device_host }}"

- name: Remove it with everything in it
  tpmfleet.azure_dps.dps_instance:
    resource_group: fleet
    instance: fleet-dps
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
instance:
  description:
    - The instance as it is then; null where there is none. In check mode what Azure alone knows is null.
    - C(service_host) is the O(tpmfleet.azure_dps.dps_enrollment#module:host) of the DPS modules, C(device_host) is
      where devices register with C(id_scope).
    - C(linked_hubs) are as M(tpmfleet.azure_dps.dps_linked_hub) returns them.
  returned: success
  type: dict
  sample:
    name: fleet-dps
    id: /subscriptions/2f83a2fc-f870-4f7b-8a4a-9588ac046a46/resourceGroups/lab/providers/Microsoft.Devices/...
    resource_group: lab
    location: westeurope
    state: Active
    id_scope: 0ne6D5ECEB8
    service_host: fleet-dps.azure-devices-provisioning.example
    device_host: global.example
    sku: S1
    units: 1
    allocation_policy: hashed
    tags: {"line": "pumps"}
    linked_hubs: []
    etag: 7vRvRFovrxs=
status:
  description: HTTP status of Azure's refusal.
  returned: when Azure refused
  type: int
  sample: 404
error_code:
  description: Azure's own code, a name or a number.
  returned: when Azure refused
  type: raw
  sample: ResourceGroupNotFound
tracking_id:
  description: What Azure's support wants to know.
  returned: when Azure refused
  type: str
  sample: 2f0a7d2c-6a1c-4b0e-9d5e-1f8f6f3ad7b0
hint:
  description: What to do next.
  returned: failure
  type: str
  sample: Check the name; resource groups are not made here.
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps_management.connection import management_options, run
from ..module_utils.dps_management.instance import ALLOCATION_POLICIES, SKUS, ensure_absent, ensure_present


def main():
    module = AnsibleModule(
        argument_spec={
            **management_options(),
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "location": {"type": "str"},
            "sku": {"type": "str", "choices": list(SKUS)},
            "units": {"type": "int"},
            "allocation_policy": {"type": "str", "choices": list(ALLOCATION_POLICIES)},
            "tags": {"type": "dict"},
            "append_tags": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    name, check_mode = module.params["instance"], module.check_mode
    if module.params["state"] == "absent":
        run(module, lambda manager: ensure_absent(manager, name, check_mode=check_mode))
    run(module, lambda manager: ensure_present(manager, name, module.params, check_mode=check_mode))


if __name__ == "__main__":
    main()
