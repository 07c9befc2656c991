# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_records_info
short_description: What the line's ledger knows of devices
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Reads device records, and on request the history of each device, from the ledger. Changes nothing.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
  - tpmfleet.azure_dps.ledger
options:
  devices:
    description:
      - Which devices, each with what is known of it of C(serial_number), C(device_id), C(host) and C(registration_id),
        as the filter P(tpmfleet.azure_dps.device_records#filter) makes it of the inventory. All where it is left out.
    type: list
    elements: dict
  limit:
    description:
      - How many of all devices to return at most. RV(complete) says whether there are more.
    type: int
    default: 1000
  history:
    description: Whether to return the events of each device as well.
    type: bool
    default: false
seealso:
  - module: tpmfleet.azure_dps.device_records
"""

EXAMPLES = r"""
- name: Look up the story of a unit that came back
  tpmfleet.azure_dps.device_records_info:
    ledger: /var/lib/tpmfleet/ledger.sqlite
    devices:
      - serial_number: TF-000001
    history: true
  delegate_to: localhost
  register: story
"""

RETURN = r"""
records:
  description:
    - The device records, in the order that was asked for. C(host) is the one that was asked for, if any.
    - C(history), where asked for, is a list of the device's events, the oldest first.
  returned: success
  type: list
  elements: dict
  sample:
    - record_version: 1
      host: rack1-slot01
      serial_number: TF-000001
      registration_id: o2pzpqzcqyqxkmkwbbw7mgxyv7zpmwfivtuhz7gcdq3tzyezpcoa
      history:
        - at: "2026-11-24T12:00:00Z"
          step: software_install
          station: line-1
          state: done
          outcome: {"ownership": "done", "dps_client": "done", "enrollment": "verified"}
unknown:
  description: Those of O(devices) that the ledger does not know.
  returned: success
  type: list
  elements: dict
  sample: [{"host": "rack1-slot09"}]
damaged:
  description:
    - The devices whose record in the ledger is no record any more, each with the C(reason). They are not in
      RV(records).
  returned: success
  type: list
  elements: dict
  sample: []
complete:
  description: Whether all was returned, or O(limit) cut it off.
  returned: success
  type: bool
  sample: true
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.ledger.devices import Devices
from ..module_utils.ledger.stored import DamagedRecord
from ..module_utils.module.ledger import ledger_option, run


def read(connection, module):
    """The result of the module."""
    params = module.params
    devices = Devices(connection)
    if params["devices"] is None:
        rows = devices.rows(params["limit"] + 1)
        asked = [(row, {}) for row in rows[: params["limit"]]]
        devices.know(rows[: params["limit"]])
        complete = len(rows) <= params["limit"]
    else:
        devices.expect(params["devices"])
        asked = [(devices.row_of(one), one) for one in params["devices"]]
        complete = True
    histories = devices.histories([row for row, _one in asked if row is not None]) if params["history"] else {}
    records, damaged = [], []
    for row, one in asked:
        if row is not None:
            try:
                known = devices.record(row)
            except DamagedRecord as error:
                damaged.append({**one, "reason": str(error)})
                continue
            record = {**known, **({"host": one["host"]} if one.get("host") else {})}
            records.append({**record, "history": histories[row]} if params["history"] else record)
    if damaged:
        module.warn(
            f"{len(damaged)} records in the ledger are damaged. The first: {damaged[0]['reason']}. See damaged."
        )
    unknown = [one for row, one in asked if row is None]
    return {"records": records, "unknown": unknown, "damaged": damaged, "complete": complete}


def main():
    module = AnsibleModule(
        argument_spec={
            **ledger_option(),
            "devices": {"type": "list", "elements": "dict"},
            "limit": {"type": "int", "default": 1000},
            "history": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    run(module, lambda connection: read(connection, module), reads_only=True)


if __name__ == "__main__":
    main()
