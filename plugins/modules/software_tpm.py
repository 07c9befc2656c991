#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: software_tpm
short_description: Give a prototype a software TPM
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Installs swtpm from the distribution's packages where it is missing, makes a TPM once, and has it run as a systemd
    service from each boot on.
  - For prototypes only. A software TPM protects nothing from who has the device's storage. The role
    P(tpmfleet.azure_dps.software_tpm#role) refuses one in a production inventory; this does not.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.without_diff
options:
  state_dir:
    description: Where the TPM's memory is. It is made once and never overwritten; who loses it loses the TPM.
    type: path
    default: /var/lib/tpmfleet-swtpm
  user:
    description: The account that the TPM runs under. V(tss) comes with the TPM libraries.
    type: str
    default: tss
  unit:
    description: The text of the systemd unit.
    type: str
    required: true
  family:
    description:
      - Whose packages the device takes, as M(tpmfleet.azure_dps.tpm_runtime) returns it. Read by the collection's
        action plugin, and by nothing on the device.
    type: str
    required: true
seealso:
  - module: tpmfleet.azure_dps.tpm_runtime
"""

EXAMPLES = r"""
- name: The prototype has a TPM
  tpmfleet.azure_dps.software_tpm:
    unit: "{{ lookup('ansible.builtin.template', 'tpmfleet-swtpm.service.j2') }}"
    family: "{{ tpm_runtime_result.family }}"
"""

RETURN = r"""
programs:
  description: Whether the device has swtpm. Where it has not, check mode could only plan.
  returned: success
  type: bool
  sample: true
changes:
  description:
    - What was changed, or would be in check mode, of C(directory), C(tpm), C(unit), C(enabled) and C(started).
  returned: success
  type: list
  elements: str
  sample: [directory, tpm, unit, enabled, started]
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client.control import without_root
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client.software_tpm import (
    SoftwareTpm,
    SoftwareTpmError,
)


def main():
    module = AnsibleModule(
        argument_spec={
            "state_dir": {"type": "path", "default": "/var/lib/tpmfleet-swtpm"},
            "user": {"type": "str", "default": "tss"},
            "unit": {"type": "str", "required": True},
            "family": {"type": "str", "required": True},
        },
        supports_check_mode=True,
    )
    refusal = without_root("Making a software TPM")
    if refusal:
        module.fail_json(msg=refusal)
    params = module.params
    tpm = SoftwareTpm(state_dir=params["state_dir"], user=params["user"], unit=params["unit"], run=module.run_command)
    programs = tpm.has_programs()
    try:
        changes = tpm.plan()
        if programs and not module.check_mode:
            tpm.apply()
    except SoftwareTpmError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(changes) and (programs or module.check_mode), programs=programs, changes=changes)


if __name__ == "__main__":
    main()
