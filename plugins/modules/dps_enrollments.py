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
  - Two records with one registration ID, endorsement key, device ID or serial number are both refused, and nothing of
    either is written.
  - A run that was killed or that failed for some records is completed by the next one.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.actiongroup_dps
  - tpmfleet.azure_dps.dps
  - tpmfleet.azure_dps.dps.entra
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows the first O(diff_limit) changed records. In check mode the result has them in any case.
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
      - A file of such records in one of the formats of O(format). It is streamed, so its size does not matter.
      - In CSV the first line names the columns, an empty cell is a field that is not mentioned, and objects are written
        as JSON.
      - Its text is UTF-8, with or without a byte order mark, or UTF-16 with one. A line in another code page is told.
      - If any line is wrong nothing is written at all, and every wrong line is told, up to 10,000.
    type: path
  format:
    description:
      - What O(manifest) is written in.
      - V(jsonl) is one JSON object a line. V(json) is an array of objects, such as the cloud's command line prints with
        C(az iot dps enrollment list), or an object with such an array as C(value); enrollments in it that do not attest
        by TPM have to be left out.
      - V(csv) is rows with the names of the columns in the first one. V(keys) is what tools print of endorsement keys
        (C(tpm2_readpublic), C(tpm2_print), C(tpm_device_provision), PEM), or one key a line.
      - V(auto) goes by the file's name (C(.csv), C(.tsv), C(.jsonl)) and by how it begins.
    type: str
    choices: [auto, jsonl, json, csv, keys]
    default: auto
  delimiter:
    description:
      - What stands between two cells of CSV. Left out, it is found in the first line.
    type: str
    choices: [comma, semicolon, tab, ",", ";"]
  endorsement_key_template:
    description:
      - The template from which the TPMs made their endorsement keys. It is needed where O(manifest) or O(enrollments)
        has the modulus of a key only (a SubjectPublicKeyInfo in PEM or DER, or the modulus itself), for all else of the
        key is the template's. It is never guessed.
      - V(tcg) is template L-1 of the TCG for RSA-2048, from which TPMs come with a certificate in NV index 0x01c00002.
        The keys of the stock SDKs are completed by it as well.
      - Keys that are a TPM2B_PUBLIC or a TPMT_PUBLIC (base64, base64url or hexadecimal) are whole, and it changes none.
    type: str
    choices: [tcg]
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
  managed_fields:
    description:
      - The fields in which an enrollment that is there is compared and changed, under the names of the options of
        M(tpmfleet.azure_dps.dps_enrollment). Without it these are the fields that the record mentions.
      - A new enrollment gets all that its record mentions. So fields that others look after once a device is enrolled
        can be in the manifest all the same.
    type: list
    elements: str
    choices:
      - endorsement_key
      - device_id
      - provisioning_status
      - iot_edge
      - initial_twin
      - reprovision_policy
      - allocation_policy
      - iot_hubs
      - custom_allocation
      - optional_device_information
  on_conflict:
    description:
      - What becomes of a record whose enrollment someone changed between its plan and its write, which the ETag tells.
      - V(replan) reads it and compares again, and does what is then to be done. V(fail) leaves the enrollment as it is
        and refuses the record; so it is with O(approved_plan) in any case.
      - Nothing is ever overwritten blindly.
    type: str
    choices: [replan, fail]
    default: replan
  plan_file:
    description:
      - Write the plan to this file, one JSON object a line, whole and without limits. In check mode too, and also where
        O(prune_limit) then refuses it.
      - An earlier plan in this file is removed first, so that a run that fails before it has a plan leaves none.
    type: path
  plan_summary:
    description:
      - Write the plan for a reviewer to this file, as Markdown. Refusals and deletions come first, and every changed
        value is a line. It shows O(diff_limit) records of each kind.
      - As with O(plan_file), none of an earlier run is left.
    type: path
  approved_plan:
    description:
      - Do nothing but the plan in this file, which an earlier run wrote as O(plan_file). If anything is to be done that
        is not in it, or something in it can no longer be done so, because the manifest or the service has moved since,
        nothing is changed and the task fails.
      - What is in it and done already is passed over. So an apply that was killed is completed under the same approval,
        and a second one is no change.
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
      - With less, the share is one of the 1,000 operations a minute that are documented, until a refusal tells another
        quota. Whether a bulk call of ten enrollments counts as one operation or as ten is not documented. A batch that
        is larger than the share in the dearer reading finds it out, by going on for half a minute at the pace of the
        whole quota; then it keeps to its share.
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
  progress_interval:
    description:
      - How often C(ansible-playbook) says how far the task is (count, rate, time left) on its error output, in seconds;
        V(0) is never.
      - Only where the task runs on the controller, as with C(delegate_to=localhost), and not with C(async).
    type: float
    default: 10
  progress_file:
    description:
      - Keep this file up to date with how far the task is, where the task runs, for whoever watches. It is one JSON
        object with C(phase) (V(read), V(compare) or V(apply)), C(done), C(total), C(failed), and C(since) in seconds
        since the epoch.
    type: path
notes:
  - Enrollment groups are for X.509 certificates and symmetric keys; the service has none for TPMs, so a fleet of TPM
    devices is one individual enrollment each.
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
    plan_summary: plan.md
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
      reason: "is in no form that is known: neither base64 nor base64url, hexadecimal or PEM"
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps.batch import enroll, forget_plans
from ..module_utils.dps.connection import connection_options, run
from ..module_utils.dps.enrollment import FIELDS
from ..module_utils.dps.key_forms import TEMPLATES
from ..module_utils.lists.rows import DELIMITERS
from ..module_utils.lists.source import FORMATS


def main():
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "enrollments": {"type": "list", "elements": "dict"},
            "manifest": {"type": "path"},
            "format": {"type": "str", "choices": list(FORMATS), "default": "auto"},
            "delimiter": {"type": "str", "choices": list(DELIMITERS)},
            "endorsement_key_template": {"type": "str", "choices": list(TEMPLATES), "no_log": False},
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
            "managed_fields": {"type": "list", "elements": "str", "choices": list(FIELDS)},
            "on_conflict": {"type": "str", "choices": ["replan", "fail"], "default": "replan"},
            "plan_file": {"type": "path"},
            "plan_summary": {"type": "path"},
            "approved_plan": {"type": "path"},
            "endorsement_key_change": {"type": "bool", "default": False, "no_log": False},
            "fail_on_record_error": {"type": "bool", "default": True},
            "concurrency": {"type": "int", "default": 8},
            "quota_share": {"type": "int", "default": 100},
            "results_limit": {"type": "int", "default": 1000},
            "diff_limit": {"type": "int", "default": 50},
            "progress_interval": {"type": "float", "default": 10},
            "progress_file": {"type": "path"},
        },
        required_one_of=[("enrollments", "manifest")],
        mutually_exclusive=[("enrollments", "manifest")],
        supports_check_mode=True,
    )
    fault = forget_plans(module.params)
    if fault:
        module.fail_json(msg=fault)
    if module.params["selector"] is not None and module.params["state"] != "exact":
        module.fail_json(msg="selector is for state exact; with other states only what is listed is touched.")
    for name, lowest, highest in (("concurrency", 1, 64), ("quota_share", 1, 100)):
        if not lowest <= module.params[name] <= highest:
            module.fail_json(msg=f"{name} is {module.params[name]}; it has to be {lowest} to {highest}.")
    run(
        module,
        lambda service: enroll(
            service,
            module.params,
            check_mode=module.check_mode,
            show_diff=module.check_mode or module._diff,
            directory=module.tmpdir,
        ),
    )


if __name__ == "__main__":
    main()
