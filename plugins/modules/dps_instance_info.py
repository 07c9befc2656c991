# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_instance_info
short_description: Device Provisioning Service instances in Azure
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Reads one instance by its name, those of a resource group, or those of a subscription.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
  - tpmfleet.azure_dps.attributes.actiongroup_dps_management
  - tpmfleet.azure_dps.dps.management
  - tpmfleet.azure_dps.dps.entra
options:
  resource_group:
    description: The resource group to look in, the whole subscription where it is left out.
    type: str
    required: false
  instance:
    description: Name of the instance to read, which needs O(resource_group). All of them where it is left out.
    type: str
    required: false
"""

EXAMPLES = r"""
- name: Read the instance that the line uses
  tpmfleet.azure_dps.dps_instance_info:
    resource_group: fleet
    instance: fleet-dps
  delegate_to: localhost
  register: found

- name: Stop if it has no hub that a device could go to
  ansible.builtin.assert:
    that: found.instances[0].linked_hubs | length > 0
"""

RETURN = r"""
instances:
  description:
    - The instances, each as M(tpmfleet.azure_dps.dps_instance) returns it. Empty where there is none of that name.
  returned: success
  type: list
  elements: dict
  sample:
    - name: fleet-dps
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
      linked_hubs:
        - hub: fleet-eu.azure-devices.net
          location: westeurope
          authentication: key
          hub_policy: dps
          user_assigned_identity: null
          allocation_weight: 10
          apply_allocation_policy: null
      etag: bDlMIkdGbEk=
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps_management.connection import management_options, run
from ..module_utils.dps_management.instance import as_result


def read(manager, name):
    """The result of the module."""
    if name is None:
        return {"instances": [as_result(document) for document in manager.instances()]}
    document = manager.instance(name)
    return {"instances": [] if document is None else [as_result(document)]}


def main():
    module = AnsibleModule(
        argument_spec={**management_options(), "resource_group": {"type": "str"}, "instance": {"type": "str"}},
        required_by={"instance": ["resource_group"]},
        supports_check_mode=True,
    )
    run(module, lambda manager: read(manager, module.params["instance"]))


if __name__ == "__main__":
    main()
