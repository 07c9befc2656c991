#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: work_report_import
short_description: Holds a work report against its order, and says which of its units are to be enrolled
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - For the owner, whose ledger has the order. A report without a good signature of the line that the order is for, that
    was changed or cut, that is none, or that is of an order which the ledger does not know, is refused as a whole.
  - A unit is taken where its TPM answered the order's challenge. The right answer is derived from the master key, so
    that nobody has to be trusted for it. One with another answer, one that the line says otherwise of than the ledger,
    and one that the ledger would stop at step 3 are refused by name, and nothing of them is taken.
  - What was taken in before is not taken in again. So a report may come twice, an older one later, and each of several
    stations may report its part.
  - Where units failed, their reasons are noted. What was taken has its place noted before it is enrolled, and is done
    when M(tpmfleet.azure_dps.device_records) wrote it, which the role P(tpmfleet.azure_dps.work_report#role) does.
  - The storage root key of a unit is the line's word, until step 4 proves it.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.without_diff
  - tpmfleet.azure_dps.ledger
  - tpmfleet.azure_dps.events
  - tpmfleet.azure_dps.ek_certificates
  - tpmfleet.azure_dps.service
options:
  src:
    description: The report, on the machine where the task runs.
    type: path
    required: true
  allowed_signers:
    description:
      - The file with the lines whose reports count, as C(ssh-keygen -Y verify) takes it. By it who signed has a name.
      - An order says whose keys sign its report, and no others do. One that was written before orders said so needs
        this file.
    type: path
  signer:
    description: The one whose report it has to be, where the file has several.
    type: str
  master_key:
    description: The fleet master key.
    type: str
    required: true
  id_scope:
    description: The ID scope of the DPS where the units are about to be enrolled.
    type: str
    required: true
  enrollment:
    description: Settings of every enrollment, under the names of the options of M(tpmfleet.azure_dps.dps_enrollment).
    type: dict
    default: {}
  enabled:
    description: Whether an enrollment that is disabled is enabled for a unit that was taken.
    type: bool
    default: true
  software_tpms_allowed:
    description: Whether units with a software TPM are taken.
    type: bool
    default: false
  ek_list_policy:
    description: As of M(tpmfleet.azure_dps.device_records).
    type: str
    choices: [required, preferred, ignored]
    default: ignored
  ek_certificate_policy:
    description: As of M(tpmfleet.azure_dps.device_records).
    type: str
    choices: [required, preferred, ignored]
    default: ignored
requirements:
  - ssh-keygen of OpenSSH 8.2 or later where the task runs
seealso:
  - module: tpmfleet.azure_dps.work_order
  - module: tpmfleet.azure_dps.work_report_export
"""

EXAMPLES = r"""
- name: Look what of a report can be believed
  tpmfleet.azure_dps.work_report_import:
    ledger: /var/lib/tpmfleet/ledger.sqlite
    src: /srv/reports/WO-2026-0042.report
    allowed_signers: /etc/tpmfleet/lines
    master_key: "{{ tpmfleet_master_key }}"
    id_scope: 0ne00000A1B
  register: report
  delegate_to: localhost
"""

RETURN = r"""
number:
  description: The number of the order.
  returned: success
  type: str
  sample: WO-2026-0042
signed_by:
  description: Whose report it is, by O(allowed_signers), or the fingerprint of the key where that is left out.
  returned: success
  type: str
  sample: line@example.org
enrollments:
  description: What is to be enrolled, for M(tpmfleet.azure_dps.dps_enrollments).
  returned: success
  type: list
  elements: dict
  sample: []
records:
  description: What is to be written once that is done, for M(tpmfleet.azure_dps.device_records).
  returned: success
  type: list
  elements: dict
  sample: []
known:
  description: How many units were taken in before.
  returned: success
  type: int
  sample: 470
failed_units:
  description: The units that failed at the line, with its reasons.
  returned: success
  type: list
  elements: dict
  sample: [{"unit": "TF-000003 (slot03)", "reason": "This TPM has an owner: …"}]
states:
  description: How many units of the order are in which state with it, C(ordered), C(done), C(failed), C(closed) or
    C(revoked).
  returned: success
  type: dict
  sample: {"done": 478, "failed": 1, "ordered": 1}
missing:
  description: The units of the order that neither this report nor one before it says anything of.
  returned: success
  type: list
  elements: str
  sample: ["TF-000007 (slot07)"]
late:
  description: The units that were taken, and that the line has done after the order had expired, as it says itself.
  returned: success
  type: list
  elements: str
  sample: []
closed:
  description:
    - The units that you did otherwise while they were on the order, with the reasons, as an earlier report had them in
      RV(refused). They are closed on it, and no report is taken in of them.
  returned: success
  type: list
  elements: dict
  sample: []
overtaken:
  description:
    - The units that failed at the line before you did a later step with them, which is in C(since). It is noted in
      their histories, and changes nothing else.
  returned: success
  type: list
  elements: dict
  sample: [{"unit": "TF-000004 (slot04)", "reason": "no power", "since": "warehouse on 2026-11-27T09:12:00Z"}]
damaged:
  description: The units of the order whose records in the ledger cannot be read. Nothing of them is taken.
  returned: success
  type: list
  elements: str
  sample: []
unexpected:
  description: The units of the report that are not on the order. Nothing of them is taken.
  returned: success
  type: list
  elements: dict
  sample: []
refused:
  description: The units that are on the order, and of which nothing is taken, with the reasons.
  returned: success
  type: list
  elements: dict
  sample:
    - unit: TF-000009 (slot09)
      reason: "the answer is not that of its TPM to this work order: …"
without_list:
  description:
    - Whether units are among RV(refused) for want of an EK list where the ledger has never taken in any, or where three
      units or more were held against the lists and none is on one. That says nothing of the units. C(msg) then says
      what to mend.
  returned: success
  type: bool
  sample: false
unlisted:
  description: >-
    How many units were held against the lists, where those are three or more and none is on one; else V(0).
  returned: success
  type: int
  sample: 0
unproven:
  description:
    - Those of RV(refused) and RV(failed_units) that were not taken in before, and whose TPMs did not prove themselves.
    - In C(is) what became of the unit's enrollment, V(disabled), V(left enabled) or V(not seen), where it has one that
      was not disabled already. C(first) is what has to be done about it before all else.
  returned: success
  type: list
  elements: dict
  sample:
    - unit: TF-000009 (slot09)
      reason: "the answer is not that of its TPM to this work order: …"
      is: disabled
"""

from collections import Counter

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.handover.opened_report import check_order, opened_report
from ..module_utils.handover.report_intake import held_against, new_serial_numbers
from ..module_utils.handover.report_records import (
    Enrolling,
    TakenUnits,
    note_closed,
    note_failures,
    note_overtaken,
    reason_of,
    said_by_line,
    when_enrolled,
)
from ..module_utils.handover.work_report import STEP
from ..module_utils.ledger.database import LedgerError, is_new
from ..module_utils.ledger.devices import Devices
from ..module_utils.ledger.judgement import LIST_POLICIES, Step
from ..module_utils.ledger.ordered import units_on
from ..module_utils.module.ek_lists import without_list
from ..module_utils.module.ledger import event_options, ledger_option, now, run, written_by
from ..module_utils.module.service import service_option
from ..module_utils.module.trust import certificate_options, make_verifier
from ..module_utils.outside.visible import visible
from ..module_utils.record.model import called
from ..module_utils.record.orders import DONE, MOST_REASON, order_in
from ..module_utils.trust.findings import TrustError
from ..module_utils.trust.hierarchy_auth import MasterKeyError, master_key_check
from ..module_utils.trust.policy import POLICIES, CertificatePolicy


def take(connection, policy, module):
    """The result of the module."""
    params = module.params
    try:
        key_check = master_key_check(params["master_key"])
        opened = opened_report(params["src"], allowed_signers=params["allowed_signers"], signer=params["signer"])
        if is_new(connection):
            raise LedgerError("The ledger is not there, or is an empty one. Is its name right?")
        number = opened.report.number
        devices = Devices(connection)
        units = units_on(devices, number)
        named = bool(params["allowed_signers"])
        check_order(opened, units, key_check=key_check, id_scope=params["id_scope"], named=named)
        others = devices.serial_numbers_like(new_serial_numbers(opened.report, units))
        intake = held_against(opened.report, units, params["master_key"], others=others)
    except MasterKeyError as error:
        raise TrustError(f"{error}.") from None
    known, at = units.records, now()
    by = {"order": number, **written_by(params)}
    changed, still = note_failures(devices, known, intake, at=at, signed_by=opened.signed_by, by=by)
    changed = note_overtaken(devices, known, intake, at=at, by=by) or changed
    changed = note_closed(devices, known, intake, at=at, signed_by=opened.signed_by, by=by) or changed
    taken = TakenUnits(
        Enrolling(params["id_scope"], params["enrollment"], params["enabled"]),
        software_tpms_allowed=params["software_tpms_allowed"],
    )
    said = {row: taken.said_of(known[row], unit) for row, unit in intake.taken.items()}
    step = step_of(connection, policy, params, at=at, station=opened.signed_by)
    policy.verify_ahead(list(said.values()))
    verdicts = step.take(list(said.values())) if said else {}
    states = {row: order_in(one, number)["state"] for row, one in known.items()}
    enrollments, records = [], []
    for row, one in said.items():
        verdict = verdicts[one["host"]]
        if verdict.reasons:
            intake.refused.append((visible(called(known[row]), most=120), "; ".join(verdict.reasons)))
            continue
        changed = changed or verdict.changed
        states[row] = DONE
        enrollments.append(verdict.record)
        records.append(when_enrolled(one, intake.taken[row], order_in(known[row], number)))
    return {
        "changed": changed,
        "number": number,
        **without_list(step, params["ledger"]),
        "signed_by": opened.signed_by,
        "enrollments": enrollments,
        "records": records,
        "states": dict(Counter(states.values())),
        "known": len(intake.known),
        "failed_units": [
            {
                "unit": visible(called(known[row]), most=120),
                "reason": visible(unit.get("reason") or "", most=MOST_REASON),
            }
            for row, unit in intake.failed.items()
        ],
        "missing": [visible(called(known[row]), most=120) for row in intake.missing],
        "late": [visible(called(known[row]), most=120) for row in intake.late],
        "closed": [
            {"unit": visible(called(known[row]), most=120), "reason": order_in(known[row], number).get("reason", "")}
            for row in intake.closed
        ],
        "overtaken": [
            {"unit": visible(called(known[row]), most=120), "reason": said_by_line(unit), "since": since}
            for row, (unit, since) in intake.overtaken.items()
        ],
        "damaged": [one.why for one in units.damaged.values()],
        "unexpected": [{"unit": name, "reason": why} for name, why in intake.unexpected],
        "refused": [{"unit": name, "reason": why} for name, why in intake.refused],
        "unproven": [
            {
                "unit": visible(called(known[row]), most=120),
                "reason": reason_of(intake, row),
                # For the action, which looks after its enrollment and has all of it noted.
                "record": known[row],
                "id_scope": params["id_scope"],
                "event": {"step": STEP, **still[row]},
            }
            for row in intake.unproven
        ],
    }


def step_of(connection, policy, params, *, at, station):
    """Step 3, which judges the units of the report as it would at the owner's own line."""
    by = {name: params[name] for name in ("operator", "run_id")}
    about = {"step": STEP, "station": station, "at": at, "list_policy": params["ek_list_policy"]}
    return Step(connection, **about, certificates=policy, **by)


def certificate_policy(module):
    """What the options ask of certificates."""
    name = module.params["ek_certificate_policy"]
    return CertificatePolicy(name, None if name == "ignored" else make_verifier(module))


def main():
    module = AnsibleModule(
        argument_spec={
            **ledger_option(),
            **event_options(),
            **certificate_options(),
            **service_option(),
            "src": {"type": "path", "required": True},
            "allowed_signers": {"type": "path"},
            "signer": {"type": "str"},
            "master_key": {"type": "str", "required": True, "no_log": True},
            "id_scope": {"type": "str", "required": True},
            "enrollment": {"type": "dict", "default": {}},
            "enabled": {"type": "bool", "default": True},
            "software_tpms_allowed": {"type": "bool", "default": False},
            "ek_list_policy": {"type": "str", "choices": list(LIST_POLICIES), "default": "ignored"},
            "ek_certificate_policy": {"type": "str", "choices": list(POLICIES), "default": "ignored"},
        },
        required_by={"signer": ["allowed_signers"]},
        supports_check_mode=True,
    )
    run(
        module,
        lambda connection, policy: take(connection, policy, module),
        prepare=lambda: certificate_policy(module),
    )


if __name__ == "__main__":
    main()
