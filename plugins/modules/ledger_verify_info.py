# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ledger_verify_info
short_description: Whether an event in the line's ledger was changed, taken out or put in
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Each event of a device carries the hash of the one before it. This goes through all of them and says which were
    changed, taken out or put in, the first one first. It changes nothing, and does not fail for what it finds.
  - A chain proves nothing against somebody who may write the whole database, for he can make every hash anew. A head
    that was kept elsewhere does, see O(anchors).
  - Events of releases before 1.1.0 carry no hash. They are covered from the upgrade of the ledger on.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
  - tpmfleet.azure_dps.ledger
options:
  anchors:
    description:
      - Heads of the ledger that were kept elsewhere, as RV(tpmfleet.azure_dps.device_records#module:ledger_head) and
        RV(head) say them. Each proves that none of the events that there were then has changed.
    type: list
    elements: dict
    default: []
    suboptions:
      events:
        description: How many events there were.
        type: int
        required: true
      head:
        description: The hash over them, 64 hexadecimal digits.
        type: str
        required: true
seealso:
  - module: tpmfleet.azure_dps.device_records
  - module: tpmfleet.azure_dps.device_records_info
"""

EXAMPLES = r"""
- name: Prove the ledger, and that it still begins with what it had at the last audit
  tpmfleet.azure_dps.ledger_verify_info:
    ledger: /var/lib/tpmfleet/ledger.sqlite
    anchors:
      - events: 24
        head: 2dd38a0e1bb4f1e34a3ba0b0f4dc1f0c0b1ac6a1de5a2a4bfdd2a1c0b7cf0a55
  delegate_to: localhost
  register: proof
"""

RETURN = r"""
intact:
  description: Whether nothing is wrong.
  returned: success
  type: bool
  sample: false
first:
  description: The first of RV(findings), in words; empty where there is none.
  returned: success
  type: str
  sample: >-
    TF-000002 (rack1-slot02): event 2 (software_install on 2026-11-24T12:00:00Z, number 4 in the table) was changed
findings:
  description:
    - What is wrong, up to 1,000. C(kind) is V(changed), V(taken_out) or V(put_in), for an event, V(ledger) where what
      the ledger says of itself is not so, or V(anchor) for a head that was kept elsewhere.
    - C(number) is which event of its device it is, from 1 on.
  returned: success
  type: list
  elements: dict
  sample:
    - kind: changed
      device: 2
      serial_number: TF-000002
      device_id: null
      host: rack1-slot02
      number: 2
      at: "2026-11-24T12:00:00Z"
      step: software_install
      station: line-1
      words: >-
        TF-000002 (rack1-slot02): event 2 (software_install on 2026-11-24T12:00:00Z, number 4 in the table) was changed
count:
  description: How much is wrong.
  returned: success
  type: int
  sample: 1
events:
  description: How many events the ledger has.
  returned: success
  type: int
  sample: 24
unchained:
  description: How many of them carry no hash, since a release before 1.1.0 wrote them.
  returned: success
  type: int
  sample: 0
devices:
  description: How many devices have events.
  returned: success
  type: int
  sample: 8
head:
  description: The head of the ledger, to be kept elsewhere.
  returned: success
  type: dict
  sample: {"events": 24, "head": "2dd38a0e1bb4f1e34a3ba0b0f4dc1f0c0b1ac6a1de5a2a4bfdd2a1c0b7cf0a55"}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.ledger.verification import Proof
from ..module_utils.module.ledger import ledger_option, run


def prove(connection, module):
    """The result of the module."""
    proof = Proof(connection, module.params["anchors"])
    findings = proof.run()
    events, head = proof.head
    return {
        "intact": not proof.count,
        "first": findings[0]["words"] if findings else "",
        "findings": findings,
        "count": proof.count,
        "events": proof.events,
        "unchained": proof.unchained,
        "devices": proof.devices,
        "head": {"events": events, "head": head},
    }


def main():
    anchor = {"events": {"type": "int", "required": True}, "head": {"type": "str", "required": True}}
    module = AnsibleModule(
        argument_spec={
            **ledger_option(),
            "anchors": {"type": "list", "elements": "dict", "default": [], "options": anchor},
        },
        supports_check_mode=True,
    )
    run(module, lambda connection: prove(connection, module), reads_only=True, cut=True)


if __name__ == "__main__":
    main()
