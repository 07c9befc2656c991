# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_story_info
short_description: What became of one device, from the line's ledger, in plain sentences
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Reads one device's events from the ledger, the oldest first, those in which it was stopped too, and says each in a
    sentence with time, station, operator and run. Changes nothing.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
  - tpmfleet.azure_dps.ledger
options:
  serial_number:
    description: The device, by its serial number.
    type: str
  device_id:
    description: The device, by its device ID, which is its registration ID where it has none of its own.
    type: str
  registration_id:
    description: The device, by its registration ID. Letters count the same in both cases.
    type: str
seealso:
  - module: tpmfleet.azure_dps.device_records_info
  - module: tpmfleet.azure_dps.ledger_verify_info
"""

EXAMPLES = r"""
- name: Look up the story of a unit that came back
  tpmfleet.azure_dps.device_story_info:
    ledger: /var/lib/tpmfleet/ledger.sqlite
    serial_number: TF-000001
  delegate_to: localhost
  register: story
"""

RETURN = r"""
found:
  description: Whether the ledger knows the device.
  returned: success
  type: bool
  sample: true
lines:
  description: The story for people, first who it is, then a line an event.
  returned: success
  type: list
  elements: str
  sample:
    - "TF-000001 (rack1-slot01): registration ID unit-1, enrolled in 0ne00000001."
    - >-
      2026-11-24 12:00:00 UTC, step 2, the TPM is installed, at line-1, by ada, run r7: It was read, and written down.
record:
  description: What is known of the device now; empty where that cannot be read.
  returned: success
  type: dict
  sample: {"record_version": 1, "host": "rack1-slot01", "serial_number": "TF-000001", "registration_id": "unit-1"}
events:
  description:
    - The device's events, the oldest first, each with C(words), the sentence about it. Those from before the ledger
      knew it are among them where they say its serial number or device ID.
  returned: success
  type: list
  elements: dict
  sample:
    - at: "2026-11-24T12:00:00Z"
      step: tpm_install
      station: line-1
      operator: ada
      run_id: r7
      state: done
      words: >-
        2026-11-24 12:00:00 UTC, step 2, the TPM is installed, at line-1, by ada, run r7: It was read, and written down.
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.ledger.devices import Devices
from ..module_utils.ledger.stored import DamagedRecord
from ..module_utils.ledger.story import about, sentence
from ..module_utils.module.ledger import ledger_option, run
from ..module_utils.outside.visible import visible
from ..module_utils.record.model import IDENTITIES


def tell(connection, module):
    """The result of the module."""
    name, value = next((name, module.params[name]) for name in IDENTITIES if module.params[name] is not None)
    devices = Devices(connection)
    row = devices.row_of({name: value})
    if row is None and name == "device_id":
        row = devices.row_of({"registration_id": value})
    if row is None:
        line = f"The ledger knows no device with the {name.replace('_id', ' ID').replace('_', ' ')} {visible(value)}."
        return {"found": False, **told(line, devices.history_of_nobody({name: value})), "record": {}}
    try:
        record = devices.record(row)
        head = about(record)
    except DamagedRecord as error:
        record, head = {}, visible(f"{error}.", most=600)
    before = devices.history_of_nobody(record)
    return {"found": True, **told(head, [*before, *devices.history(row)]), "record": record}


def told(head, events):
    """The story after its *head*."""
    events = [{**event, "words": sentence(event)} for event in events]
    return {"lines": [head, *(one["words"] for one in events)], "events": events}


def main():
    module = AnsibleModule(
        argument_spec={**ledger_option(), **{name: {"type": "str"} for name in IDENTITIES}},
        mutually_exclusive=[list(IDENTITIES)],
        required_one_of=[list(IDENTITIES)],
        supports_check_mode=True,
    )
    run(module, lambda connection: tell(connection, module), reads_only=True)


if __name__ == "__main__":
    main()
