#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: work_report_import
short_description: Holds a work report against its order, and says which of its units are to be enrolled
version_added: 1.1.0
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
  service:
    description:
      - The service, where the enrollment of a unit that did not prove itself is disabled. Without it that is left to
        you, and said.
    type: dict
    default: {}
    suboptions:
      connection_string:
        description: As of M(tpmfleet.azure_dps.dps_enrollments).
        type: str
      host:
        description: As of M(tpmfleet.azure_dps.dps_enrollments).
        type: str
      ca_file:
        description: As of M(tpmfleet.azure_dps.dps_enrollments).
        type: path
      retry_budget:
        description: As of M(tpmfleet.azure_dps.dps_enrollments).
        type: int
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
  description: How many units of the order are in which state with it, C(ordered), C(done), C(failed) or C(revoked).
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

import base64
from collections import Counter

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.handover.report_intake import held_against
from ..module_utils.handover.signature import signer_of
from ..module_utils.handover.signed_document import document_and_key, parts_of
from ..module_utils.handover.work_report import MOST_BYTES, NAMESPACE, STEP, report_of
from ..module_utils.ledger.database import LedgerError, is_new
from ..module_utils.ledger.devices import Devices
from ..module_utils.ledger.judgement import LIST_POLICIES, Step
from ..module_utils.ledger.ordered import units_on
from ..module_utils.module.ledger import event_options, ledger_option, now, run, written_by
from ..module_utils.module.trust import certificate_options, make_verifier
from ..module_utils.outside.files import FileError, read_file
from ..module_utils.outside.visible import visible
from ..module_utils.record.model import IDENTITIES, called
from ..module_utils.record.orders import DONE, FAILED, order_in, with_order
from ..module_utils.trust.derived import derived_from_endorsement_key
from ..module_utils.trust.findings import TrustError
from ..module_utils.trust.hierarchy_auth import MasterKeyError, checked_master_key
from ..module_utils.trust.policy import POLICIES, CertificatePolicy

# Of which the task's action makes use, once the ledger is free for others again.
SERVICE = {
    "connection_string": {"type": "str", "no_log": True},
    "host": {"type": "str"},
    "ca_file": {"type": "path"},
    "retry_budget": {"type": "int"},
}


def opened_report(params):
    """(The report, whose it is, the fingerprint of the key that signed it). TrustError where it is none that counts.

    Without allowed signers that is for its order to say.
    """
    try:
        content = read_file(params["src"], most=MOST_BYTES)
        name = None
        if params["allowed_signers"]:
            signature, document = parts_of(content)
            trusted = {"allowed_signers": params["allowed_signers"], "signer": params["signer"]}
            name = signer_of(document, signature, **trusted, namespace=NAMESPACE)
        document, key = document_and_key(content, namespace=NAMESPACE, most=MOST_BYTES)
        return report_of(document), name or key, key
    except (FileError, TrustError) as error:
        raise TrustError(
            f"The work report {visible(params['src'])} {error}. Nothing was taken in: get it again from the line."
        ) from None


def check_order(params, report, key, units):
    """TrustError where the report is of no order of the ledger, or nothing that counts for that one."""
    where = f"The work report {visible(params['src'])}"
    number = report.number
    orders = [order_in(one, number) for one in units.records.values()]
    if not orders:
        raise TrustError(
            f"{where} is of the work order {number}, which the ledger does not know. Nothing was taken in: is it the "
            "ledger that the order was written with?"
        )
    signers = {signer for one in orders for signer in one.get("report_signers") or ()}
    if signers and key not in signers:
        raise TrustError(
            f"{where} is signed by the key {key}, and the work order {number} is for a line that signs with "
            f"{', '.join(sorted(signers))}. Nothing was taken in: ask that line for its report."
        )
    if not signers and not params["allowed_signers"]:
        raise TrustError(
            f"{where} is of the work order {number}, which does not say whose key signs its report: name the lines "
            "whose reports count in allowed_signers. Nothing was taken in."
        )
    scopes = {one.get("id_scope", params["id_scope"]) for one in orders}
    if scopes != {params["id_scope"]}:
        raise TrustError(
            f"The work order {number} has the ID scope {', '.join(sorted(scopes))}, and id_scope is "
            f"{params['id_scope']}: the clients that the line placed would not find their enrollments. Nothing was "
            "taken in."
        )


def said_of(params, known, unit, hosts):
    """What is said of a unit that is taken, as a device record of step 3."""
    # What it is called is not for the line to say, but for its serial number where the ledger has none: by a device ID
    # or a registration ID it would take another device's place in the hub or at the DPS.
    names = {name: known.get(name) for name in IDENTITIES}
    names["serial_number"] = names["serial_number"] or unit["record"].get("serial_number")
    key = derived_from_endorsement_key(base64.b64decode(known["endorsement_key"]))
    names["registration_id"] = names["registration_id"] or key["registration_id"]
    host = str(known.get("host") or names["serial_number"] or names["registration_id"])
    if host in hosts:
        host = str(names["serial_number"] or names["device_id"] or names["registration_id"])
    hosts.add(host)
    said = {**unit["record"], **names, **params["enrollment"]}
    if params["enabled"] and "provisioning_status" not in params["enrollment"]:
        said["provisioning_status"] = "enabled" if known.get("provisioning_status") else None
    allowed = ["software_tpm"] if params["software_tpms_allowed"] else None
    proven = unit["record"]["endorsement_key_sha256"]
    said.update(host=host, proven=proven, enrolling=params["id_scope"], exceptions=allowed)
    return {name: value for name, value in said.items() if value is not None}


def note_failures(devices, params, number, known, intake, at, signed_by):
    """Notes in the ledger which units failed at the line, whether that was news, and which ones are not believed."""
    by = written_by(params)
    changed = False
    for row, unit in intake.failed.items():
        record, reason = known[row], visible(unit.get("reason") or "the line gives no reason", most=1000)
        before = order_in(record, number)
        news = {"state": FAILED, "at": unit["at"], "station": unit["station"], "reason": reason}
        order = {**before, **{name: value for name, value in news.items() if value}}
        # Another station's word on it may be the later one.
        if order == before or (before["state"] == FAILED and before["at"] > unit["at"]):
            continue
        changed = True
        known[row] = with_order(record, order)
        devices.save(row, known[row])
        what = {"state": "stopped", "reasons": [reason], "order": number, **by}
        if row in intake.unproven:
            what["not_proven"] = True
        devices.note(row, record.get("host"), at=at, step=STEP, station=unit["station"], what=what)
    for row, why in intake.stopped.items():
        what = {"state": "stopped", "reasons": [why], "order": number, **by}
        if row in intake.unproven:
            what["not_proven"] = True
        devices.note(row, known[row].get("host"), at=at, step=STEP, station=signed_by, what=what)
    devices.write()
    return changed


def take(connection, policy, module):
    """The result of the module."""
    params = module.params
    try:
        checked_master_key(params["master_key"])
        report, signed_by, key = opened_report(params)
        if is_new(connection):
            raise LedgerError("The ledger is not there, or is an empty one. Is its name right?")
        devices = Devices(connection)
        units = units_on(devices, report.number)
        check_order(params, report, key, units)
        known = units.records
        unnamed = {one.get("endorsement_key_sha256") for one in known.values() if not one.get("serial_number")}
        told = [one["record"] for one in report.units if one["record"]["endorsement_key_sha256"] in unnamed]
        others = devices.serial_numbers_like([one["serial_number"] for one in told if one.get("serial_number")])
        intake = held_against(report, units, params["master_key"], others=others)
    except MasterKeyError as error:
        raise TrustError(f"{error}.") from None
    at = now()
    changed = note_failures(devices, params, report.number, known, intake, at, signed_by)
    hosts: set[str] = set()
    said = {row: said_of(params, known[row], unit, hosts) for row, unit in intake.taken.items()}
    policy.verify_ahead(list(said.values()))
    by = {name: params[name] for name in ("operator", "run_id")}
    step = Step(
        connection,
        step=STEP,
        station=signed_by,
        at=at,
        list_policy=params["ek_list_policy"],
        certificates=policy,
        **by,
    )
    verdicts = step.take(list(said.values())) if said else {}
    states = {row: order_in(one, report.number)["state"] for row, one in known.items()}
    result = {"number": report.number, "signed_by": signed_by, "enrollments": [], "records": []}
    for row, one in said.items():
        verdict, unit = verdicts[one["host"]], intake.taken[row]
        if verdict.reasons:
            intake.refused.append((visible(called(known[row]), most=120), "; ".join(verdict.reasons)))
            continue
        changed = changed or verdict.changed
        order = {name: value for name, value in order_in(known[row], report.number).items() if name != "reason"}
        order.update({"state": DONE, "at": unit["at"], "station": unit["station"]})
        states[row] = DONE
        result["enrollments"].append(verdict.record)
        # The place is noted by now, and is the unit's own from now on.
        kept = {name: value for name, value in one.items() if name != "enrolling"}
        kept.update(dps_id_scope=params["id_scope"], outcome=dict(unit["outcome"]), work_order=order)
        result["records"].append(kept)
    return {
        **result,
        "changed": changed,
        "states": dict(Counter(states.values())),
        "known": len(intake.known),
        "failed_units": [
            {"unit": called(known[row]), "reason": visible(unit.get("reason") or "", most=1000)}
            for row, unit in intake.failed.items()
        ],
        "missing": [visible(called(known[row]), most=120) for row in intake.missing],
        "late": [visible(called(known[row]), most=120) for row in intake.late],
        "damaged": [one.why for one in units.damaged.values()],
        "unexpected": [{"unit": name, "reason": why} for name, why in intake.unexpected],
        "refused": [{"unit": name, "reason": why} for name, why in intake.refused],
        "unproven": [
            {"unit": visible(called(known[row]), most=120), "reason": reason_of(intake, row), "record": known[row]}
            for row in intake.unproven
        ],
    }


def reason_of(intake, row):
    """Why the unit in *row* did not prove itself."""
    return intake.stopped.get(row) or visible(intake.failed[row].get("reason"), most=1000)


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
            "src": {"type": "path", "required": True},
            "allowed_signers": {"type": "path"},
            "signer": {"type": "str"},
            "master_key": {"type": "str", "required": True, "no_log": True},
            "id_scope": {"type": "str", "required": True},
            "enrollment": {"type": "dict", "default": {}},
            "service": {"type": "dict", "default": {}, "options": SERVICE},
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
