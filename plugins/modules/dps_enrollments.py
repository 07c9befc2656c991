# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_enrollments
short_description: The enrollments of a batch or a fleet, planned and applied in one go
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Compares wanted enrollments with the service and applies the difference, with bulk operations where the service has
    them, several calls at a time, as fast as the service's quota allows.
  - Fields that a record does not mention are left as they are. An enrollment that others changed meanwhile is read and
    compared again, and never overwritten blindly.
  - Takes device records as they are. Fields of a device record that are no part of an enrollment are passed over;
    unknown ones are refused by name, since a misspelt field would be ignored for ever.
  - Two records with one registration ID or one endorsement key are both refused, and nothing of either is written.
  - A run that was killed or that failed for some records is completed by the next one.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.actiongroup_dps
  - tpmfleet.azure_dps.dps
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows the first O(diff_limit) changed records.
  idempotent:
    support: full
options:
  enrollments:
    description:
      - The wanted enrollments. Each is an object with C(registration_id), C(endorsement_key) and the other fields under
        the names of the options of M(tpmfleet.azure_dps.dps_enrollment), or a whole device record.
      - A record that is refused does not hold up the others.
    type: list
    elements: dict
  manifest:
    description:
      - A file of such records, one JSON object a line, or CSV where its name ends with C(.csv). It is streamed, so its
        size does not matter.
      - In CSV the first line names the columns, an empty cell is a field that is not mentioned, and objects are written
        as JSON.
      - If any line is wrong nothing is written at all, and every wrong line is told.
    type: path
  state:
    description: Whether the listed enrollments are to be there. Others are left alone.
    type: str
    choices: [present, absent]
    default: present
  endorsement_key_change:
    description:
      - Whether an enrollment that is there may be given to another TPM, or be removed though it has another key.
    type: bool
    default: false
  fail_on_record_error:
    description:
      - Whether the task fails when a record was refused. The others are applied in any case.
      - What is no record's fault, such as a service that does not answer, always fails the task.
    type: bool
    default: true
  concurrency:
    description: How many calls are under way at a time.
    type: int
    default: 8
  quota_share:
    description:
      - Per cent of the service's quota that this task may use. Devices that register and other tasks share the same
        quota.
      - With V(100) calls are made freely until the service refuses one, and then as often as it was seen to take.
    type: int
    default: 100
  results_limit:
    description: How many records RV(results) lists. RV(counts) and RV(failed_records) are always whole.
    type: int
    default: 1000
  diff_limit:
    description: How many records a diff shows.
    type: int
    default: 50
seealso:
  - module: tpmfleet.azure_dps.dps_enrollment
"""

EXAMPLES = r"""
- name: Enroll the rack
  tpmfleet.azure_dps.dps_enrollments:
    enrollments: "{{ rack_records }}"
  run_once: true
  delegate_to: localhost

- name: Apply a fleet from a file, and leave half of the service's quota to the devices
  tpmfleet.azure_dps.dps_enrollments:
    manifest: /srv/fleet/enrollments.jsonl
    quota_share: 50
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
counts:
  description: How many records met which end, in check mode would.
  returned: always, except where a manifest was refused
  type: dict
  sample: {"created": 6, "updated": 1, "deleted": 0, "unchanged": 4, "failed": 1, "total": 12}
results:
  description:
    - One result a record, in their order, up to O(results_limit).
    - RV(results[].action) is V(created), V(updated), V(deleted), V(unchanged) or V(failed).
  returned: always, except where a manifest was refused
  type: list
  elements: dict
  sample:
    - registration_id: pump-0001
      action: updated
      changed_fields: [provisioning_status]
      reason: null
results_omitted:
  description: How many records RV(results) leaves out.
  returned: always, except where a manifest was refused
  type: int
  sample: 0
failed_records:
  description: The refused records, each with its place in the list (or its line in the manifest) and the reason.
  returned: always, except where a manifest was refused
  type: list
  elements: dict
  sample:
    - registration_id: pump-0002
      place: 2
      reason: >-
        endorsement_key is also that of record 5 (pump-0005): two devices with one TPM, or one device listed twice
problems:
  description: Every wrong line of a manifest that was refused.
  returned: when a manifest was refused
  type: list
  elements: dict
  sample:
    - place: 17
      registration_id: pump-0017
      field: endorsement_key
      reason: is not base64 (standard alphabet, padded)
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps.apply import Options, apply_plan, make_plan
from ..module_utils.dps.connection import connection_options, run
from ..module_utils.dps.errors import DpsError
from ..module_utils.dps.manifest import FileSource, Index, ListSource
from ..module_utils.dps.report import Report

# So many wrong lines stand in the message itself; all of them are in problems.
PROBLEMS_IN_MESSAGE = 10


def refuse_manifest(index, path):
    """The failure of a manifest that has wrong lines."""
    places = len({problem.place for problem in index.problems})
    told = [problem.told(index.source.word) for problem in index.problems[:PROBLEMS_IN_MESSAGE]]
    if len(index.problems) > len(told):
        told.append(f"and {len(index.problems) - len(told)} more, see problems")
    return {
        "failed": True,
        "msg": f"{places} of {index.total} lines of {path} are wrong, so nothing was written: {'; '.join(told)}.",
        "problems": [problem.as_result() for problem in index.problems],
    }


def enroll(service, module):
    """The result of the module."""
    params = module.params
    source = ListSource(params["enrollments"]) if params["manifest"] is None else FileSource(params["manifest"])
    try:
        index = Index(source)
        if index.problems and params["manifest"] is not None:
            return refuse_manifest(index, params["manifest"])
        return plan_and_apply(service, index, module)
    finally:
        source.close()


def plan_and_apply(service, index, module):
    """The result of the module for what is good in *index*."""
    params = module.params
    options = Options(absent=params["state"] == "absent", replace_key=params["endorsement_key_change"])
    report = Report(index, results_limit=params["results_limit"], diff_limit=params["diff_limit"])
    report.problems(index.problems)
    failure = None
    plan = None
    try:
        plan = make_plan(
            service,
            index,
            options,
            concurrency=params["concurrency"],
            directory=module.tmpdir,
            on_unchanged=report.unchanged,
        )
        if module.check_mode:
            for step in plan.steps():
                report.planned(step)
        else:
            apply_plan(
                service, index, plan, options, concurrency=params["concurrency"], on_outcome=report.outcome
            )
    except DpsError as error:
        failure = error
    finally:
        if plan is not None:
            plan.close()
    result = report.as_result()
    if params["results_limit"] and module._diff:
        result["diff"] = report.diff()
    if failure is not None:
        left = index.total - result["counts"]["total"]
        result.update({"failed": True, **failure.as_result()})
        result["msg"] += f" {left} of {index.total} records were not settled; run again to complete them."
    elif result["counts"]["failed"] and params["fail_on_record_error"]:
        first = result["failed_records"][0]
        result.update(
            failed=True,
            msg=f"{result['counts']['failed']} of {index.total} records were refused, the others were applied. "
            f"The first is {first['registration_id']}: {first['reason']}. See failed_records for all.",
        )
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "enrollments": {"type": "list", "elements": "dict"},
            "manifest": {"type": "path"},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "endorsement_key_change": {"type": "bool", "default": False, "no_log": False},
            "fail_on_record_error": {"type": "bool", "default": True},
            "concurrency": {"type": "int", "default": 8},
            "quota_share": {"type": "int", "default": 100},
            "results_limit": {"type": "int", "default": 1000},
            "diff_limit": {"type": "int", "default": 50},
        },
        required_one_of=[("enrollments", "manifest")],
        mutually_exclusive=[("enrollments", "manifest")],
        supports_check_mode=True,
    )
    for name, lowest, highest in (("concurrency", 1, 64), ("quota_share", 1, 100)):
        if not lowest <= module.params[name] <= highest:
            module.fail_json(msg=f"{name} is {module.params[name]}; it has to be {lowest} to {highest}.")
    run(module, lambda service: enroll(service, module))


if __name__ == "__main__":
    main()
