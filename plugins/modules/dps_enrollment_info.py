# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_enrollment_info
short_description: Individual TPM enrollments of the Device Provisioning Service
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Reads enrollments by their registration IDs, each with its registration state, or the whole list.
  - Reading by ID costs one call an ID. The whole list costs one call a page and comes without registration states,
    since the service leaves them out of lists.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
  - tpmfleet.azure_dps.attributes.actiongroup_dps
  - tpmfleet.azure_dps.dps
  - tpmfleet.azure_dps.dps.entra
options:
  registration_ids:
    description:
      - The enrollments to read. All of the service where it is left out; none where it is empty.
    type: list
    elements: str
    aliases: [registration_id]
  limit:
    description:
      - How many enrollments of the whole list to return at most. RV(complete) says whether there are more.
      - Ansible is slow at results of many megabytes; a fleet belongs in a file.
    type: int
    default: 1000
seealso:
  - module: tpmfleet.azure_dps.dps_registration_info
"""

EXAMPLES = r"""
- name: Look at one enrollment
  tpmfleet.azure_dps.dps_enrollment_info:
    registration_id: pump-0001
  delegate_to: localhost
  register: found

- name: Say where its device is
  ansible.builtin.debug:
    msg: "{{ found.enrollments[0].registration.assigned_hub | default('nowhere yet', true) }}"
  when: found.enrollments | length > 0
"""

RETURN = r"""
enrollments:
  description:
    - The enrollments, in the order that was asked for. C(registration) is as
      M(tpmfleet.azure_dps.dps_registration_info) returns it; null where the device has not registered, and in the whole
      list.
  returned: success
  type: list
  elements: dict
  sample:
    - registration_id: pump-0001
      endorsement_key: AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAowLaMpTv...
      endorsement_key_sha256: 12e2e27422f513888dbbde8633a47cd642bdfc021815ccddf2dc21c5fcb2f4f4
      device_id: null
      provisioning_status: disabled
      iot_edge: false
      initial_twin: {"tags": {"product": "pump"}, "properties": {"desired": {}}}
      reprovision_policy: {"update_hub_assignment": true, "migrate_device_data": true}
      allocation_policy: null
      iot_hubs: []
      custom_allocation: null
      optional_device_information: {}
      etag: '"975c7fed-e4db-4f28-ac66-a1f2c10146b6"'
      created: "2026-11-24T11:57:38.5239020Z"
      last_updated: "2026-11-24T11:57:39.6847430Z"
      registration: null
not_found:
  description: The asked for IDs that have no enrollment.
  returned: success
  type: list
  elements: str
  sample: [pump-0007]
complete:
  description: Whether all that was asked for was returned, or O(limit) cut it off.
  returned: success
  type: bool
  sample: true
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps.apply import in_threads
from ..module_utils.dps.connection import CONCURRENCY, connection_options, run
from ..module_utils.dps.enrollment import as_result, checked_ids


def read_by_id(service, registration_ids):
    """Enrollments in the order of their IDs, and the IDs that have none."""
    wanted = checked_ids(registration_ids)
    found = dict(in_threads(lambda one: (one, service.enrollment(one)), iter(wanted), CONCURRENCY))
    return {
        "enrollments": [as_result(found[one]) for one in wanted if found[one] is not None],
        "not_found": [one for one in wanted if found[one] is None],
        "complete": True,
    }


def read_all(service, limit):
    """The first *limit* enrollments of the service."""
    enrollments = []
    for page in service.pages():
        enrollments += [as_result(document) for document in page]
        if len(enrollments) > limit:
            return {"enrollments": enrollments[:limit], "not_found": [], "complete": False}
    return {"enrollments": enrollments, "not_found": [], "complete": True}


def main():
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "registration_ids": {"type": "list", "elements": "str", "aliases": ["registration_id"]},
            "limit": {"type": "int", "default": 1000},
        },
        supports_check_mode=True,
    )
    wanted = module.params["registration_ids"]
    if wanted is None:
        run(module, lambda service: read_all(service, module.params["limit"]))
    run(module, lambda service: read_by_id(service, wanted))


if __name__ == "__main__":
    main()
