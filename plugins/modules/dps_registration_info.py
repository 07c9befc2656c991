# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_registration_info
short_description: Registration states of devices, and waiting until they are assigned
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Reads the registration state of each device, one call a device.
  - Can wait until all devices are assigned to a hub. Rounds of asking come at growing intervals, so that they take no
    more than half of the service's documented quota. A device that is assigned or disabled is not asked for again.
  - A device without a registration is a result with the status V(not_found) and no failure. Time that has run out is
    told in RV(timed_out) and is no failure either, so that a play can say which device it waits for.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
  - tpmfleet.azure_dps.attributes.actiongroup_dps
  - tpmfleet.azure_dps.dps
  - tpmfleet.azure_dps.dps.entra
options:
  registration_ids:
    description: The devices to ask for.
    type: list
    elements: str
    required: true
    aliases: [registration_id]
  names:
    description:
      - What the devices are called where it is told whom the task waits for, by registration ID, such as their names in
        the inventory. A device without one is called by its registration ID. What is returned has no names.
    type: dict
    default: {}
    version_added: 1.0.0
  wait_for:
    description:
      - V(assigned) waits until every device is assigned to a hub, or disabled.
      - A failed registration is waited for too, since devices try again.
    type: str
    choices: [assigned]
  wait_timeout:
    description: How long to wait, in seconds.
    type: int
    default: 300
  progress_interval:
    description:
      - Where the task runs on the controller, a line tells every so many seconds how many devices are assigned, and
        which the service has never heard of, since nobody has switched them on. V(0) tells nothing.
    type: float
    default: 10
  progress_file:
    description:
      - A file that is kept at the state of the wait, for a program, one JSON object. Its directory has to be there.
    type: path
seealso:
  - module: tpmfleet.azure_dps.dps_registration
  - module: tpmfleet.azure_dps.dps_enrollment_info
"""

EXAMPLES = r"""
- name: Wait for two pumps to provision themselves
  tpmfleet.azure_dps.dps_registration_info:
    registration_ids: [pump-0001, pump-0002]
    wait_for: assigned
    wait_timeout: 120
    names:
      pump-0001: rack1-slot01
      pump-0002: rack1-slot02
  delegate_to: localhost
  register: states

- name: Say what each is
  ansible.builtin.debug:
    msg: "{{ states.registrations | items2dict(key_name='registration_id', value_name='status') }}"
"""

RETURN = r"""
registrations:
  description: One state for each ID, in their order. What does not apply is null.
  returned: success
  type: list
  elements: dict
  contains:
    registration_id:
      description: The ID.
      type: str
      returned: success
      sample: pump-0001
    status:
      description:
        - One of V(unassigned), V(assigning), V(assigned), V(failed), V(disabled), and V(not_found) where the
          service knows none.
      type: str
      returned: success
      sample: assigned
    substatus:
      description: How it came to its hub, such as V(initialAssignment) or V(deviceDataMigrated).
      type: str
      returned: success
      sample: initialAssignment
    assigned_hub:
      description: Host name of the hub.
      type: str
      returned: success
      sample: hub-eu.azure-devices.example
    device_id:
      description: Device ID in the hub.
      type: str
      returned: success
      sample: pump-0001
    error_code:
      description: Why it failed, as a number.
      type: int
      returned: success
      sample: 400209
    error_message:
      description: Why it failed, or what V(not_found) means, in words.
      type: str
      returned: success
      sample: "Custom allocation failed with status code: 500"
    created:
      description: When the device first registered.
      type: str
      returned: success
      sample: "2026-11-24T11:19:54.4392650Z"
    last_updated:
      description: When the state changed last.
      type: str
      returned: success
      sample: "2026-11-24T11:19:54.6419320Z"
    etag:
      description: Its ETag.
      type: str
      returned: success
      sample: '"aaf2e6e9-6fa3-4ac7-b276-33781d83a17f"'
timed_out:
  description: Whether O(wait_timeout) ran out before all were settled.
  returned: success
  type: bool
  sample: false
waiting:
  description: The IDs that were not settled then.
  returned: success
  type: list
  elements: str
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps.connection import connection_options, run
from ..module_utils.dps.enrollment import checked_ids, registration_result
from ..module_utils.dps.errors import DpsError
from ..module_utils.dps.watch import watch
from ..module_utils.outside.progress import Progress


def read(service, params):
    """The result of the module."""
    wanted = checked_ids(params["registration_ids"])
    seconds = params["wait_timeout"] if params["wait_for"] else 0
    progress = Progress(params["progress_file"], DpsError)
    states, waiting = watch(service, wanted, seconds, progress, params["names"])
    return {
        "registrations": [registration_result(states[one], one) for one in wanted],
        "timed_out": bool(params["wait_for"] and waiting),
        "waiting": waiting if params["wait_for"] else [],
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
            "names": {"type": "dict", "default": {}},
            "wait_for": {"type": "str", "choices": ["assigned"]},
            "wait_timeout": {"type": "int", "default": 300},
            "progress_interval": {"type": "float", "default": 10},
            "progress_file": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run(module, lambda service: read(service, module.params))


if __name__ == "__main__":
    main()
