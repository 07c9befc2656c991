#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_register
short_description: Register a device with its Device Provisioning Service now
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Has the client that M(tpmfleet.azure_dps.dps_client) placed on the device register now instead of at its next
    power-up, for a line that wants to see the assignment before the unit is boxed.
  - With O(state=absent) the device forgets its assignment, so that it ships unassigned and registers at its next
    power-up. The service's own record is removed with M(tpmfleet.azure_dps.dps_registration).
requirements:
  - On the device the client, placed by M(tpmfleet.azure_dps.dps_client).
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: partial
    details:
      - With O(anew=true) each run registers.
options:
  state:
    description:
      - V(present) sees to it that the device is assigned, V(absent) that it holds no assignment.
    type: str
    choices: [present, absent]
    default: present
  anew:
    description:
      - Register also where the device is assigned already. Always a change.
    type: bool
    default: false
  timeout:
    description:
      - Seconds within which to succeed. What the service refuses is not tried again.
    type: int
    default: 120
seealso:
  - module: tpmfleet.azure_dps.dps_client
  - module: tpmfleet.azure_dps.dps_registration
"""

EXAMPLES = r"""
- name: See the unit assigned before it is boxed
  tpmfleet.azure_dps.dps_register:
  register: seen

- name: Ship it unassigned
  tpmfleet.azure_dps.dps_register:
    state: absent
"""

RETURN = r"""
assignment:
  description:
    - What the device holds after the call. Null where it holds nothing, and in check mode where it would register.
  returned: success
  type: dict
  sample:
    assigned_at: 1795519195
    assigned_hub: hub-asia.azure-devices.example
    created: "2026-11-24T11:19:54.4392650Z"
    device_id: gcvvclx5didot3djaqei5huddmw3lazveqjff7734ugk4ulsgwda
    etag: '"aaf2e6e9-6fa3-4ac7-b276-33781d83a17f"'
    global_endpoint: https://localhost:8443
    id_scope: 0ne29111A17
    last_updated: "2026-11-24T11:19:54.6419320Z"
    registration_id: gcvvclx5didot3djaqei5huddmw3lazveqjff7734ugk4ulsgwda
    substatus: initialAssignment
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client_control import ClientControl, ControlError


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "anew": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    client = ClientControl(module.run_command)
    try:
        before = client.assignment()
        after = None
        if module.params["state"] == "absent":
            if before and not module.check_mode:
                client.forget()
        elif module.check_mode:
            after = None if module.params["anew"] else before
        else:
            # Also where one is held: the client looks whether it still is this TPM's and this service's.
            client.register(anew=module.params["anew"], timeout=module.params["timeout"])
            after = client.assignment()
    except ControlError as error:
        module.fail_json(msg=str(error))
    wanted = module.params["state"] == "present"
    changed = (after != before or after is None) if wanted else before is not None
    module.exit_json(changed=changed, assignment=after, diff={"before": before or {}, "after": after or {}})


if __name__ == "__main__":
    main()
