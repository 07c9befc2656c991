# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_disenrollment
short_description: Take devices out of the Device Provisioning Service
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Disables each enrollment, removes the device's registration, then removes the enrollment. Wherever this is cut off,
    what is left lets no device in, and the next run completes it.
  - An enrollment under the same registration ID that has another endorsement key is of another TPM. It is left alone,
    and the result says so.
  - The device in its hub stays; a hub has its own registry.
  - To remove enrollments only, ten in a call, use M(tpmfleet.azure_dps.dps_enrollments) with C(state=absent).
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.resource_module
  - tpmfleet.azure_dps.attributes.actiongroup_dps
  - tpmfleet.azure_dps.dps
  - tpmfleet.azure_dps.dps.entra
options:
  enrollments:
    description:
      - The enrollments to end, each with C(registration_id) and, where it is known, C(endorsement_key). Device records
        are taken as they are.
      - Two to four calls each.
    type: list
    elements: dict
    required: true
  fail_on_record_error:
    description:
      - Whether the task fails when a record was refused. The others are done in any case.
      - What is no record's fault, such as a service that does not answer, always fails the task.
    type: bool
    default: true
  concurrency:
    description: How many devices are under way at a time.
    type: int
    default: 8
seealso:
  - module: tpmfleet.azure_dps.dps_enrollments
  - module: tpmfleet.azure_dps.dps_registration
"""

EXAMPLES = r"""
- name: Take two scrapped units out
  tpmfleet.azure_dps.dps_disenrollment:
    enrollments:
      - registration_id: pump-0001
      - registration_id: pump-0002
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
results:
  description:
    - One result a record, in their order.
    - C(action) is V(disenrolled), V(absent) where there was nothing to do, or V(failed).
    - C(done) says what was changed, in check mode would be; also of a record that failed half-way.
    - C(host), C(dps_id_scope) and C(endorsement_key) are those of the record, where it has them.
  returned: always
  type: list
  elements: dict
  sample:
    - registration_id: pump-0001
      action: disenrolled
      done: [enrollment disabled, registration removed, enrollment removed]
      reason: null
counts:
  description: How many records met which end.
  returned: always
  type: dict
  sample: {"disenrolled": 1, "absent": 1, "failed": 0}
failed_records:
  description: Those of RV(results) that failed.
  returned: always
  type: list
  elements: dict
  sample: []
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps.connection import CONCURRENCY, connection_options, run
from ..module_utils.dps.disenrollment import Disenrollment, disenroll
from ..module_utils.dps.errors import DpsError

_OF_THE_RECORD = ("host", "dps_id_scope", "endorsement_key")


def as_result(device):
    """What became of one device, as the module returns it."""
    return {
        **{name: device.record[name] for name in _OF_THE_RECORD if device.record.get(name)},
        "registration_id": device.record.get("registration_id"),
        "action": device.action,
        "done": device.done,
        "reason": device.note,
    }


def take_out(service, module):
    """The result of the module."""
    params = module.params
    devices = [Disenrollment(record) for record in params["enrollments"]]
    failure = None
    try:
        disenroll(service, devices, check_mode=module.check_mode, concurrency=params["concurrency"])
    except DpsError as error:
        failure = error
    results = [as_result(one) for one in devices]
    failed = [one for one in results if one["action"] == "failed"]
    changed = {str(one.record.get("registration_id")): one.before for one in devices if one.done}
    result = {
        "changed": bool(changed),
        "results": results,
        "counts": {what: sum(one["action"] == what for one in results) for what in ("disenrolled", "absent", "failed")},
        "failed_records": failed,
        "diff": {"before": changed, "after": {}},
    }
    if failure is not None:
        unsettled = sum(not one.settled for one in devices)
        result.update({"failed": True, **failure.as_result()})
        result["msg"] += f" {unsettled} of {len(devices)} records were not settled; run again to complete them."
    elif failed and params["fail_on_record_error"]:
        result.update(
            failed=True,
            msg=f"{len(failed)} of {len(devices)} enrollments were not ended, the others were. The first is "
            f"{failed[0]['registration_id']}: {failed[0]['reason']}. See failed_records for all.",
        )
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "enrollments": {"type": "list", "elements": "dict", "required": True},
            "fail_on_record_error": {"type": "bool", "default": True},
            "concurrency": {"type": "int", "default": CONCURRENCY},
        },
        supports_check_mode=True,
    )
    if not 1 <= module.params["concurrency"] <= 64:
        module.fail_json(msg=f"concurrency is {module.params['concurrency']}; it has to be 1 to 64.")
    run(module, lambda service: take_out(service, module))


if __name__ == "__main__":
    main()
