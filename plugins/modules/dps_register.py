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
    power-up. The service's own record is removed with M(tpmfleet.azure_dps.dps_registration). A device without the
    client holds none.
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
  unless_assigned_by:
    description:
      - With O(state=absent), leave an assignment that this service made to the TPM that the device has now, so that
        only one from elsewhere, or of a TPM that was replaced, is removed.
    type: dict
    suboptions:
      id_scope:
        description: ID scope of the Device Provisioning Service.
        type: str
        required: true
      global_endpoint:
        description: Where devices reach it.
        type: str
        default: https://global.azure-devices-provisioning.net
      hubs:
        description: Host names of the hubs that the device may be assigned to. Empty is any.
        type: list
        elements: str
        default: []
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

- name: Forget what another service or another hub assigned
  tpmfleet.azure_dps.dps_register:
    state: absent
    unless_assigned_by:
      id_scope: 0ne00000A1B
      hubs: [hub-eu.azure-devices.net]
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
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client.assignment import (
    as_result,
    forget,
    service_options,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client.control import (
    ClientControl,
    ControlError,
    without_root,
)


def register(client, params, *, check_mode):
    """(The assignment before, after); in check mode None for one that would be made."""
    before = client.assignment()
    if check_mode:
        return before, None if params["anew"] or before is None or not client.usable() else before
    # Also where one is held: the client looks whether it still is this TPM's and this service's.
    client.register(anew=params["anew"], timeout=params["timeout"])
    return before, client.assignment()


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "unless_assigned_by": {"type": "dict", "options": service_options()},
            "anew": {"type": "bool", "default": False},
            "timeout": {"type": "int", "default": 120},
        },
        supports_check_mode=True,
    )
    refusal = without_root("Using the client")
    if refusal:
        module.fail_json(msg=refusal)
    client = ClientControl(module.run_command)
    try:
        if module.params["state"] == "absent":
            before, after = forget(client, module.params["unless_assigned_by"], check_mode=module.check_mode)
            changed = before != after
        else:
            before, after = register(client, module.params, check_mode=module.check_mode)
            changed = after != before or after is None
    except ControlError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**as_result(before, after, changed=changed))


if __name__ == "__main__":
    main()
