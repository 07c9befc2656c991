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
    description:
      - V(present) creates and changes the listed enrollments, V(absent) removes them. Others are left alone.
      - V(exact) is V(present), and removes what is not listed, as far as O(selector) goes and O(prune_limit) allows. It
        reads the whole list of the service. One wrong record refuses it all, since a record that is passed over would
        look like one that is not listed.
    type: str
    choices: [present, absent, exact]
    default: present
  selector:
    description:
      - Which enrollments are this manifest's own with O(state=exact), so that several teams can share one service. An
        enrollment is selected if all that is given fits. Without it every TPM enrollment of the service is.
      - A listed record that would not be selected is refused.
    type: dict
    suboptions:
      registration_id:
        description: A pattern with C(*) and C(?) that the registration ID fits.
        type: str
      tags:
        description: Tags that the initial twin has at its top.
        type: dict
      optional_device_information:
        description: Values that the device information has at its top.
        type: dict
  prune_limit:
    description:
      - How many enrollments O(state=exact) may remove. If either number is exceeded nothing at all is changed, and the
        task fails, in check mode too.
    type: dict
    default: {}
    suboptions:
      count:
        description: So many.
        type: int
        default: 100
      percent:
        description: So many of a hundred selected enrollments.
        type: int
        default: 10
  plan_file:
    description:
      - Write the plan to this file, one JSON object a line, whole and without limits. In check mode too, which is what
        a pipeline shows to a reviewer.
    type: path
  approved_plan:
    description:
      - Apply only if the plan is exactly the one in this file, which an earlier run wrote as O(plan_file). If the
        manifest or the service has moved since, nothing is changed and the task fails.
    type: path
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
      - With less every enrollment of a bulk call is counted as an operation of the 1,000 a minute that are documented.
        Whether the service counts so cannot be found out without using up the others' share.
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

- name: Plan on the pull request
  tpmfleet.azure_dps.dps_enrollments:
    manifest: enrollments.jsonl
    state: exact
    selector:
      tags:
        team: pumps
    plan_file: plan.jsonl
  check_mode: true
  run_once: true
  delegate_to: localhost

- name: Apply on merge what was reviewed
  tpmfleet.azure_dps.dps_enrollments:
    manifest: enrollments.jsonl
    state: exact
    selector:
      tags:
        team: pumps
    approved_plan: plan.jsonl
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
    - C(action) is V(created), V(updated), V(deleted), V(unchanged) or V(failed).
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
  description: Every wrong line of a manifest that was refused, or record of an exact batch.
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
from ..module_utils.dps.manifest import FileSource, Index, ListSource, refusal
from ..module_utils.dps.planfile import hold_to, write_plan
from ..module_utils.dps.report import Report
from ..module_utils.dps.selector import Selector


def enroll(service, module):
    """The result of the module."""
    params = module.params
    source = ListSource(params["enrollments"]) if params["manifest"] is None else FileSource(params["manifest"])
    try:
        index = Index(source)
        if index.problems and (params["manifest"] is not None or params["state"] == "exact"):
            name = params["manifest"] or "enrollments"
            return refusal(index.problems, total=index.total, word=source.word, name=name)
        return plan_and_apply(service, index, module)
    finally:
        source.close()


def check_pruning(plan, limit):
    """DpsError if more would be removed than *limit* allows."""
    percent = 100 * plan.pruned / plan.selected if plan.pruned else 0
    if plan.pruned > limit["count"] or percent > limit["percent"]:
        raise DpsError(
            f"{plan.pruned} of {plan.selected} enrollments ({percent:.0f} %) are not listed and would be removed; "
            f"prune_limit allows {limit['count']} and {limit['percent']} %.",
            hint="Nothing was changed. Is the manifest whole? If they are to go, raise prune_limit.",
        )


def plan_and_apply(service, index, module):
    """The result of the module for what is good in *index*."""
    params = module.params
    options = Options(
        absent=params["state"] == "absent",
        replace_key=params["endorsement_key_change"],
        exact=params["state"] == "exact",
        selector=Selector(params["selector"]) if params["selector"] is not None else None,
    )
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
        if options.exact:
            check_pruning(plan, params["prune_limit"])
        if params["plan_file"]:
            write_plan(params["plan_file"], plan, service.host)
        if params["approved_plan"]:
            hold_to(params["approved_plan"], plan, service.host)
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
            "state": {"type": "str", "choices": ["present", "absent", "exact"], "default": "present"},
            "selector": {
                "type": "dict",
                "options": {
                    "registration_id": {"type": "str"},
                    "tags": {"type": "dict"},
                    "optional_device_information": {"type": "dict"},
                },
            },
            "prune_limit": {
                "type": "dict",
                "default": {},
                "options": {
                    "count": {"type": "int", "default": 100},
                    "percent": {"type": "int", "default": 10},
                },
            },
            "plan_file": {"type": "path"},
            "approved_plan": {"type": "path"},
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
    if module.params["selector"] is not None and module.params["state"] != "exact":
        module.fail_json(msg="selector is for state exact; with other states only what is listed is touched.")
    for name, lowest, highest in (("concurrency", 1, 64), ("quota_share", 1, 100)):
        if not lowest <= module.params[name] <= highest:
            module.fail_json(msg=f"{name} is {module.params[name]}; it has to be {lowest} to {highest}.")
    run(module, lambda service: enroll(service, module))


if __name__ == "__main__":
    main()
