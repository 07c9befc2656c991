#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: work_report_export
short_description: What became of the units of work orders, noted in the line's journal and reported to their owner
version_added: 1.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Notes in the journal what became of each unit that was worked on, and writes a signed report for each order with
    all of its units that the journal knows, or has in its history. C(meta/work-report.schema.json) has what is in it.
  - What was noted stays also where no report can be written.
  - The journal is a ledger of the line's own, which M(tpmfleet.azure_dps.device_records) writes too. A unit that was
    done stays done.
  - An equal journal gives an equal report. It is written as a whole or not at all.
  - A report that has units which the journal does not have, since that was lost or is another station's, is not
    overwritten.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.without_diff
  - tpmfleet.azure_dps.ledger
options:
  numbers:
    description: The numbers of the orders.
    type: list
    elements: str
    required: true
  dest:
    description:
      - The directory of the reports, on the machine where the task runs. A report is called as its order, with
        C(.report) behind that.
    type: path
    required: true
  signing_key:
    description:
      - The line's SSH key, on the machine where the task runs. Where an agent or a hardware token has the private key,
        it is the file of the public one. Nobody is asked for a passphrase.
    type: path
    required: true
  customers:
    description:
      - Who signed each order, by its number, as M(tpmfleet.azure_dps.work_order_units) says it. Two customers may call
        an order the same, and neither is told of the other's units.
    type: dict
    default: {}
  units:
    description:
      - What became of units, each with C(endorsement_key_sha256), the C(number) and C(customer) of its order, and
        C(state). One that is
        V(done) has C(answer), one that V(failed) has C(reason), and C(not_proven) where its TPM did not prove its
        endorsement key. The filter P(tpmfleet.azure_dps.work_outcomes#filter)
        makes them.
    type: list
    elements: dict
    default: []
  station:
    description: The station, for the report.
    type: str
    default: ""
requirements:
  - ssh-keygen of OpenSSH 8.2 or later where the task runs
seealso:
  - module: tpmfleet.azure_dps.work_order_units
  - module: tpmfleet.azure_dps.work_report_import
"""

EXAMPLES = r"""
- name: Report what the journal has of an order
  tpmfleet.azure_dps.work_report_export:
    ledger: /var/lib/line/work-journal.sqlite
    numbers: [WO-2026-0042]
    dest: /srv/reports
    signing_key: /etc/tpmfleet/line
  delegate_to: localhost
"""

RETURN = r"""
reports:
  description: The report of each order, with how many units are in which state.
  returned: success
  type: list
  elements: dict
  sample:
    - number: WO-2026-0042
      file: /srv/reports/WO-2026-0042.report
      states: {"done": 478, "failed": 2}
"""

import json
import os
from collections import Counter

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.handover.signature import fingerprint, is_signed_by
from ..module_utils.handover.signed_document import parts_of, signed_document
from ..module_utils.handover.work_order import checked_number
from ..module_utils.handover.work_report import MOST_BYTES, NAMESPACE, document_of, report_of
from ..module_utils.ledger.database import Access, opened
from ..module_utils.ledger.devices import Devices
from ..module_utils.ledger.ordered import units_on
from ..module_utils.ledger.stored import DamagedRecord
from ..module_utils.ledger.unread import failed_unread
from ..module_utils.module.ledger import ledger_option, now, run
from ..module_utils.outside.durable import replace_file
from ..module_utils.outside.files import FileError, read_file
from ..module_utils.outside.strict_json import JsonError, parse
from ..module_utils.outside.visible import visible
from ..module_utils.record.model import called
from ..module_utils.record.orders import DONE, FAILED, order_in, orders_in, with_order
from ..module_utils.trust.findings import TrustError

_MOST_REASON = 1000
_KEY = "endorsement_key_sha256"


def news_of(unit, station):
    """What the journal notes of a *unit*, without the time. TrustError for what is no outcome."""
    state = unit.get("state")
    order = {"number": str(unit.get("number")), "customer": unit.get("customer")}
    if state == DONE:
        return {**order, "state": DONE, "station": station, "answer": unit.get("answer")}
    if state == FAILED:
        reason = visible(unit.get("reason") or "no reason was given", most=_MOST_REASON)
        return {
            **order,
            "state": FAILED,
            "station": station,
            "reason": reason,
            "not_proven": bool(unit.get("not_proven")),
        }
    raise TrustError(f"units has the state {visible(state, most=40)}, which is neither {DONE} nor {FAILED}.")


def note(devices, params):
    """Has in the journal what became of the units; (whether that was news, what is damaged there).

    A failure is in the history already, by the task in which the unit failed.
    """
    devices.expect([{_KEY: unit.get(_KEY)} for unit in params["units"]])
    at = now()
    changed, damaged = False, []
    for unit in params["units"]:
        row = devices.other_row_with(_KEY, unit.get(_KEY), None)
        news = {name: value for name, value in news_of(unit, params["station"]).items() if value}
        if row is None:
            # In check mode the journal does not know it yet; what failed unread has no record.
            changed = changed or news["state"] == DONE
            continue
        try:
            record = devices.record(row)
        except DamagedRecord as error:
            damaged.append(str(error))
            continue
        before = order_in(record, news["number"], news.get("customer"))
        failed = news["state"] == FAILED
        if failed and before.get("state") == DONE:
            continue
        if {name: value for name, value in before.items() if name not in ("at", "station")} == {
            name: value for name, value in news.items() if name != "station"
        }:
            continue
        changed = True
        devices.save(row, with_order(record, {**news, "at": at}))
    devices.write()
    return changed, damaged


def of_customer(number, records, customer):
    """Those of *records* that are on the order *number* of *customer*: another one may have an order of that number."""
    found = {one.get("customer") for record in records for one in orders_in(record) if one.get("number") == number}
    if customer is None and len(found) > 1:
        raise TrustError(f"The journal has orders {number} of several customers: say in customers whose is meant.")
    return [one for one in records if order_in(one, number, customer)]


def is_there(path, document, signing_key, damaged):
    """Whether the report at *path* is *document*, and signed by the key.

    TrustError where that is no file, or a report that has what *document* has not, but for *damaged* units, by the
    digests of their keys.
    """
    if not os.path.lexists(path):
        return False
    try:
        signature, written = parts_of(read_file(path, most=MOST_BYTES))
    except FileError as error:
        raise TrustError(f"What is at {visible(path)} {error}, and is left alone.") from None
    except TrustError:
        return False
    if written == document:
        return is_signed_by(document, signature, fingerprint(signing_key), namespace=NAMESPACE)
    lost = lost_between(written, document, damaged)
    if lost:
        raise TrustError(
            f"The report {visible(path)} is left alone: it has {len(lost)} units, such as "
            f"{visible(lost[0], most=120)}, which this journal does not have, or not done. Bring back the journal that "
            "it was written of. Where that is lost, or the report is another station's, move it away, run again, and "
            "send both to the owner of the order; that of another customer goes to him."
        )
    return False


def lost_between(written, document, damaged):
    """Which units the report *written* has that *document* has not, or has not done; none where it is no report."""
    try:
        before = report_of(parse(written, most=MOST_BYTES)).units
    except (JsonError, TrustError):
        return []
    states = {one["endorsement_key"]: one["state"] for one in json.loads(document)["units"]}
    kept = {DONE: (DONE,), FAILED: (DONE, FAILED)}
    said = [(one["record"], kept[one["state"]]) for one in before if one["record"][_KEY] not in damaged]
    lost = [record for record, states_kept in said if states.get(record["endorsement_key"]) not in states_kept]
    return [called({"host": record[_KEY], **record}) for record in lost]


def noted(module):
    """Whether there was news for the journal, which has it from now on, whatever becomes of the report."""
    if module.check_mode:
        return False
    with opened(module.params["ledger"], Access.WRITE) as connection:
        return note(Devices(connection), module.params)[0]


def export(connection, module, changed):
    """The result of the module; *changed* is whether the journal was."""
    params = module.params
    numbers = [checked_number(one) for one in params["numbers"]]
    if not os.path.isdir(params["dest"]):
        raise TrustError(f"The directory {visible(params['dest'])} is not there: make it.")
    devices = Devices(connection)
    planned, damaged = note(devices, params)
    changed = changed or planned
    reports = []
    for number in numbers:
        customer = params["customers"].get(number)
        units = units_on(devices, number)
        damaged += [one.why for one in units.damaged.values()]
        there = of_customer(number, units.records.values(), customer)
        document = document_of(number, there, failed_unread(connection, number, customer), customer)
        path = os.path.join(params["dest"], f"{number}.report")
        unreadable = {one.endorsement_key_sha256 for one in units.damaged.values()}
        if not is_there(path, document, params["signing_key"], unreadable):
            changed = True
            if not module.check_mode:
                whole = signed_document(document, params["signing_key"], namespace=NAMESPACE)
                try:
                    replace_file(path, whole, 0o600)
                except OSError as error:
                    words = f"{visible(path)} could not be written: {error.strerror}. Run again to complete it."
                    raise TrustError(words) from None
        states = Counter(one["state"] for one in json.loads(document)["units"])
        reports.append({"number": number, "file": path, "states": dict(states)})
    for one in dict.fromkeys(damaged):
        module.warn(f"The report has no word of a unit: {one}.")
    return {"changed": changed, "reports": reports}


def main():
    module = AnsibleModule(
        argument_spec={
            **ledger_option(),
            "numbers": {"type": "list", "elements": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "signing_key": {"type": "path", "required": True, "no_log": False},
            "customers": {"type": "dict", "default": {}},
            "units": {"type": "list", "elements": "dict", "default": []},
            "station": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    run(
        module,
        lambda connection, changed: export(connection, module, changed),
        prepare=lambda: noted(module),
    )


if __name__ == "__main__":
    main()
