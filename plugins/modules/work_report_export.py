#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: work_report_export
short_description: What became of the units of work orders, noted in the line's journal and reported to their owner
version_added: 1.0.0
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
        C(state). One that is V(done) has C(answer), one that V(failed) has C(reason), with C(not_proven) where its TPM
        did not prove its endorsement key, or with C(answer) where it did and something else failed. The filter
        P(tpmfleet.azure_dps.work_outcomes#filter) makes them.
      - That a unit did not prove itself is told until its TPM has answered, whatever else it fails for meanwhile.
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
files_written:
  description: Those of the reports that were not as they are now.
  returned: success
  type: list
  elements: path
  sample: [/srv/reports/WO-2026-0042.report]
"""

import json
import os
from collections import Counter

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.handover.journal import note, of_customer
from ..module_utils.handover.kept_report import is_there
from ..module_utils.handover.signed_document import place, signed_document
from ..module_utils.handover.work_order import checked_number
from ..module_utils.handover.work_report import NAMESPACE, document_of
from ..module_utils.ledger.database import Access, opened
from ..module_utils.ledger.devices import Devices
from ..module_utils.ledger.order_failures import failures_on
from ..module_utils.ledger.ordered import units_on
from ..module_utils.module.ledger import ledger_option, now, run
from ..module_utils.outside.visible import visible
from ..module_utils.trust.findings import TrustError


def noted(module):
    """(Whether there was news for the journal, which has it from now on, whatever becomes of the report; what of it is
    damaged)."""
    if module.check_mode:
        return False, []
    with opened(module.params["ledger"], Access.WRITE) as connection:
        units, station = module.params["units"], module.params["station"]
        return note(connection, Devices(connection), units, station=station, at=now())


def export(connection, module, journal):
    """The result of the module; *journal* is what :func:`noted` returned."""
    params = module.params
    numbers = [checked_number(one) for one in params["numbers"]]
    if not os.path.isdir(params["dest"]):
        raise TrustError(f"The directory {visible(params['dest'])} is not there: make it.")
    devices = Devices(connection)
    changed, damaged = journal
    if module.check_mode:
        changed, damaged = note(connection, devices, params["units"], station=params["station"], at=now())
    reports, written = [], []
    for number in numbers:
        customer = params["customers"].get(number)
        units = units_on(devices, number)
        damaged += [one.why for one in units.damaged.values()]
        there = of_customer(number, units.records.values(), customer)
        document = document_of(number, there, failures_on(connection, number, customer), customer)
        path = os.path.join(params["dest"], f"{number}.report")
        unreadable = {one.endorsement_key_sha256 for one in units.damaged.values()}
        if not is_there(path, document, params["signing_key"], unreadable):
            changed = True
            if not module.check_mode:
                place(path, signed_document(document, params["signing_key"], namespace=NAMESPACE))
                written.append(path)
        states = Counter(one["state"] for one in json.loads(document)["units"])
        reports.append({"number": number, "file": path, "states": dict(states)})
    for one in dict.fromkeys(damaged):
        module.warn(f"The report has no word of a unit: {one}.")
    return {"changed": changed, "reports": reports, "files_written": written}


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
        lambda connection, journal: export(connection, module, journal),
        prepare=lambda: noted(module),
    )


if __name__ == "__main__":
    main()
