# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_registration
short_description: Removes registrations from the Device Provisioning Service
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Removes what the service remembers of a device's registration, so that the device's next one is its first.
  - The enrollment stays, and so does the device in its hub. To keep a device from registering, disable or remove its
    enrollment with M(tpmfleet.azure_dps.dps_enrollment).
  - A registration is made by the device alone, so there is no other state to ask for.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.resource_module
  - tpmfleet.azure_dps.attributes.actiongroup_dps
  - tpmfleet.azure_dps.dps
  - tpmfleet.azure_dps.dps.entra
options:
  registration_ids:
    description: The registrations to remove. One call to read and one to remove each.
    type: list
    elements: str
    required: true
    aliases: [registration_id]
  state:
    description: What is to become of them.
    type: str
    choices: [absent]
    default: absent
seealso:
  - module: tpmfleet.azure_dps.dps_registration_info
  - module: tpmfleet.azure_dps.dps_register
"""

EXAMPLES = r"""
- name: Let a returned unit start anew
  tpmfleet.azure_dps.dps_registration:
    registration_id: pump-0001
    state: absent
  delegate_to: localhost
"""

RETURN = r"""
removed:
  description: The IDs whose registrations were removed, in check mode would be.
  returned: success
  type: list
  elements: str
  sample: [pump-0001]
not_found:
  description: The IDs that had none.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps.apply import in_threads
from ..module_utils.dps.connection import CONCURRENCY, connection_options, run
from ..module_utils.dps.enrollment import checked_ids, registration_result
from ..module_utils.dps.errors import DpsError


def remove(service, registration_ids, *, check_mode):
    """The result of the module."""
    wanted = checked_ids(registration_ids)

    def remove_one(registration_id):
        state = service.registration(registration_id)
        # By its ETag: a registration that the device makes meanwhile is not the one to remove.
        if state is not None and not state.get("etag"):
            raise DpsError(
                f"Registration {registration_id}: the service gave no ETag for it, and nothing is removed blindly.",
                hint="Run again; what was done so far stands.",
            )
        if state is not None and not check_mode:
            service.delete_registration(registration_id, etag=state["etag"])
        return registration_id, state

    found = dict(in_threads(remove_one, iter(wanted), CONCURRENCY))
    removed = [one for one in wanted if found[one] is not None]
    return {
        "changed": bool(removed),
        "removed": removed,
        "not_found": [one for one in wanted if found[one] is None],
        "diff": {"before": {one: registration_result(found[one], one) for one in removed}, "after": {}},
    }


def main():
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "registration_ids": {
                "type": "list",
                "elements": "str",
                "required": True,
                "aliases": ["registration_id"],
            },
            "state": {"type": "str", "choices": ["absent"], "default": "absent"},
        },
        supports_check_mode=True,
    )
    run(module, lambda service: remove(service, module.params["registration_ids"], check_mode=module.check_mode))


if __name__ == "__main__":
    main()
