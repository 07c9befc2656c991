#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_client_aziot
short_description: Configure Azure's IoT identity service to provision a device by its TPM
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Writes C(/etc/aziot/config.toml), which only root can read, in one step that a power cut cannot halve, and has the
    service's own tool C(aziotctl) apply it where the device has it and has not applied it yet.
  - The image has to have the service; this installs nothing.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - The file holds authorizations.
  idempotent:
    support: full
options:
  state:
    description:
      - V(present) writes the file, V(absent) overwrites and removes it.
    type: str
    choices: [present, absent]
    default: present
  id_scope:
    description:
      - ID scope of the Device Provisioning Service. Required for O(state=present).
    type: str
  global_endpoint:
    description:
      - Where devices reach the service.
    type: str
    default: https://global.azure-devices-provisioning.net
  registration_id:
    description:
      - Registration ID. Required for O(state=present).
    type: str
  tcti:
    description:
      - How the service reaches the TPM.
    type: str
    default: device:/dev/tpmrm0
  auth_key_index:
    description:
      - Where the service persists the hub's key, as an offset from 0x81000000. Without it the service takes its own
        default, C(0x000100).
    type: str
  endorsement_auth:
    description:
      - Authorization of the endorsement hierarchy, where ownership has set one.
    type: str
  owner_auth:
    description:
      - Authorization of the owner hierarchy, where ownership has set one.
    type: str
seealso:
  - module: tpmfleet.azure_dps.dps_client
  - module: tpmfleet.azure_dps.tpm_ownership
"""

EXAMPLES = r"""
- name: Have Azure's IoT identity service provision the device
  tpmfleet.azure_dps.dps_client_aziot:
    id_scope: 0ne00000A1B
    registration_id: "{{ ek.endorsement_key.registration_id }}"
    owner_auth: "{{ vault_owner_auth }}"

- name: Remove what it was told
  tpmfleet.azure_dps.dps_client_aziot:
    state: absent
"""

RETURN = r"""
changes:
  description: What was done, or would be in check mode, of C(configuration) and C(applied).
  returned: success
  type: list
  elements: str
  sample: [configuration, applied]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client.aziot import Aziot, AziotError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client.control import without_root


def main():
    module = AnsibleModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "id_scope": {"type": "str"},
            "global_endpoint": {"type": "str", "default": "https://global.azure-devices-provisioning.net"},
            "registration_id": {"type": "str"},
            "tcti": {"type": "str", "default": "device:/dev/tpmrm0"},
            "auth_key_index": {"type": "str", "no_log": False},
            "endorsement_auth": {"type": "str", "no_log": True},
            "owner_auth": {"type": "str", "no_log": True},
        },
        required_if=[("state", "present", ["id_scope", "registration_id"])],
        supports_check_mode=True,
    )
    refusal = without_root("Configuring Azure's IoT identity service")
    if refusal:
        module.fail_json(msg=refusal)
    aziot = Aziot(module.params, run=module.run_command)
    try:
        result = aziot.plan()
        if not module.check_mode:
            aziot.apply()
    except AziotError as error:
        module.fail_json(msg=str(error))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
