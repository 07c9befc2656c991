# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_enrollment
short_description: One individual TPM enrollment in the Device Provisioning Service
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Creates, changes or removes the enrollment of one device with a TPM.
  - Fields that are not mentioned are left as they are. An empty value empties a field.
  - For more than one device use M(tpmfleet.azure_dps.dps_enrollments), which costs a tenth of the calls.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.resource_module
  - tpmfleet.azure_dps.attributes.actiongroup_dps
  - tpmfleet.azure_dps.dps
  - tpmfleet.azure_dps.dps.entra
options:
  state:
    description: Whether the enrollment is to be there.
    type: str
    choices: [present, absent]
    default: present
  registration_id:
    description:
      - The registration ID. Letters count the same in both cases.
      - Where it is left out it is made from O(endorsement_key), as the stock clients make their own.
    type: str
  endorsement_key:
    description:
      - The public endorsement key, base64 of the whole TPM2B_PUBLIC. Needed to create.
      - With O(state=absent) an enrollment of another key is refused and not removed.
    type: str
  endorsement_key_change:
    description:
      - Whether an enrollment that is there may be given to another TPM, or be removed though it has another key.
      - Say so when a device's TPM was replaced. Otherwise two devices with one registration ID would take each
        other's place.
    type: bool
    default: false
  device_id:
    description: Device ID in the hub. The service takes the registration ID where it is not set.
    type: str
  provisioning_status:
    description: Whether the device may register.
    type: str
    choices: [enabled, disabled]
  iot_edge:
    description: Whether the device is an IoT Edge device.
    type: bool
  initial_twin:
    description:
      - The device twin to begin with, an object with C(tags) and C(properties), which holds C(desired).
      - Each of the two is replaced as a whole where it is mentioned.
    type: dict
  reprovision_policy:
    description: What happens when the device registers again.
    type: dict
    suboptions:
      update_hub_assignment:
        description: Whether the device may be moved to another hub.
        type: bool
      migrate_device_data:
        description: Whether its twin moves along.
        type: bool
  allocation_policy:
    description: How the hub is chosen. The service's own policy holds where none is set.
    type: str
    choices: [hashed, geoLatency, static, custom]
  iot_hubs:
    description: Host names of the linked hubs to choose from; all of them where the list is empty.
    type: list
    elements: str
  custom_allocation:
    description: The webhook of O(allocation_policy=custom).
    type: dict
    suboptions:
      webhook_url:
        description: Its address.
        type: str
      api_version:
        description: Version of the webhook's interface, such as V(2021-10-01).
        type: str
  optional_device_information:
    description: A free object that is kept with the enrollment.
    type: dict
  etag:
    description:
      - Change or remove only the enrollment that has this ETag, as a module returned it.
      - Without it the ETag that this run has read is used, so that a change by others in between is never overwritten.
    type: str
notes:
  - Enrollment groups are for X.509 certificates and symmetric keys. The service has none for TPMs, so a fleet with TPMs
    has one enrollment a device.
  - An update sends only properties that this module knows. What the service or another client added to the enrollment
    beyond them is not sent back.
seealso:
  - module: tpmfleet.azure_dps.dps_enrollments
  - module: tpmfleet.azure_dps.dps_enrollment_info
"""

EXAMPLES = r"""
- name: Enroll a device under the ID that its TPM gives it
  tpmfleet.azure_dps.dps_enrollment:
    endorsement_key: "{{ ek.endorsement_key.public }}"
    device_id: pump-0001
    initial_twin:
      tags:
        product: pump
  delegate_to: localhost

- name: Keep a device from registering, and leave everything else as it is
  tpmfleet.azure_dps.dps_enrollment:
    registration_id: pump-0001
    provisioning_status: disabled
  delegate_to: localhost

- name: Remove it
  tpmfleet.azure_dps.dps_enrollment:
    registration_id: pump-0001
    state: absent
  delegate_to: localhost
"""

RETURN = r"""
action:
  description: What was done, in check mode what would be. One of V(created), V(updated), V(deleted), V(unchanged).
  returned: success
  type: str
  sample: updated
changed_fields:
  description: Which fields were changed, under the names of the options.
  returned: success
  type: list
  elements: str
  sample: [provisioning_status]
enrollment:
  description:
    - The enrollment as it is then, with its registration as M(tpmfleet.azure_dps.dps_registration_info) returns it
      (null where the device has not registered). Null where there is none.
    - In check mode what the service alone knows, such as the ETag to be, is null.
  returned: success
  type: dict
  sample:
    registration_id: pump-0001
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
status:
  description: HTTP status of the service's refusal.
  returned: when the service refused
  type: int
  sample: 401
error_code:
  description: The service's own code.
  returned: when the service refused
  type: int
  sample: 401002
tracking_id:
  description: What the service's support wants to know.
  returned: when the service refused
  type: str
  sample: 2f0a7d2c-6a1c-4b0e-9d5e-1f8f6f3ad7b0
hint:
  description: What to do next.
  returned: failure
  type: str
  sample: Check the policy's name and key and that the policy has the right, or that the token is for this host.
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps.apply import Options, apply_one
from ..module_utils.dps.connection import connection_options, run
from ..module_utils.dps.enrollment import ALLOCATION_POLICIES, FIELDS, PROVISIONING_STATUSES, wanted_of
from ..module_utils.dps.errors import DpsError
from ..module_utils.dps.report import shown


def enroll(service, params, *, check_mode):
    """The result of the module."""
    wanted, problems = wanted_of({name: params[name] for name in (*FIELDS, "registration_id")})
    if problems or wanted is None:
        raise DpsError(". ".join(f"{field} {reason}" for field, reason in problems) + ".", hint="Nothing was sent.")
    options = Options(
        absent=params["state"] == "absent", replace_key=params["endorsement_key_change"], etag=params["etag"]
    )
    outcome, enrollment = apply_one(service, wanted, options, check_mode=check_mode)
    step = outcome.step
    if outcome.action == "failed":
        raise DpsError(f"Enrollment {step.registration_id}: {outcome.reason}.", hint="Nothing was changed.")
    return {
        "changed": outcome.action != "unchanged",
        "action": outcome.action,
        "changed_fields": step.changed,
        "enrollment": enrollment,
        "diff": {"before": shown(step.before), "after": shown(step.after)},
    }


def main():
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "registration_id": {"type": "str"},
            "endorsement_key": {"type": "str", "no_log": False},
            "endorsement_key_change": {"type": "bool", "default": False, "no_log": False},
            "device_id": {"type": "str"},
            "provisioning_status": {"type": "str", "choices": list(PROVISIONING_STATUSES)},
            "iot_edge": {"type": "bool"},
            "initial_twin": {"type": "dict"},
            "reprovision_policy": {
                "type": "dict",
                "options": {"update_hub_assignment": {"type": "bool"}, "migrate_device_data": {"type": "bool"}},
            },
            "allocation_policy": {"type": "str", "choices": list(ALLOCATION_POLICIES)},
            "iot_hubs": {"type": "list", "elements": "str"},
            "custom_allocation": {
                "type": "dict",
                "options": {"webhook_url": {"type": "str"}, "api_version": {"type": "str"}},
            },
            "optional_device_information": {"type": "dict"},
            "etag": {"type": "str"},
        },
        required_one_of=[("registration_id", "endorsement_key")],
        supports_check_mode=True,
    )
    run(module, lambda service: enroll(service, module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
