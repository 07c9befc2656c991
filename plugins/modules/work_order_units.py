#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: work_order_units
short_description: Opens work orders, and finds the units of a batch on them
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - For the line that works from orders that M(tpmfleet.azure_dps.work_order) wrote. An order is refused, before any
    device is asked, where it is not for this line's key, has no good signature of an allowed signer, was changed or
    cut, is expired or revoked, or shares its number or a unit with another one, or takes no report that
    O(signing_key) has signed.
  - A device is on an order by its endorsement key. Where the inventory says another serial number, device ID or
    registration ID for it than the order, it is refused.
  - What is sealed for a unit is returned as it is in the order. Nothing of it can be read without the unit's TPM.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.without_diff
options:
  orders:
    description: The files of the orders, on the machine where the task runs.
    type: list
    elements: path
    required: true
  decryption_key:
    description:
      - The private key that the orders are encrypted to, an SSH key (Ed25519 or RSA) without a passphrase or a file of
        C(age-keygen), on the machine where the task runs.
    type: path
    required: true
  allowed_signers:
    description: The file with the owners whose orders count, as C(ssh-keygen -Y verify) takes it.
    type: path
    required: true
  signer:
    description: The one whose orders count, where the file has several.
    type: str
  signing_key:
    description:
      - The line's SSH key that is to sign the reports on the orders, or the public half of it. An order that is for a
        line which signs with another key is refused. Without it that is not looked at.
    type: path
  revocations:
    description:
      - Notices of revoked orders. A file in the directory of an order, with C(.revoked) behind its name, is one too.
    type: list
    elements: path
    default: []
  records:
    description: Device records of the batch, each with C(host). Without them the orders are only looked at.
    type: list
    elements: dict
    default: []
requirements:
  - pyrage
  - ssh-keygen of OpenSSH 8.2 or later where the task runs
seealso:
  - module: tpmfleet.azure_dps.work_order
  - module: tpmfleet.azure_dps.device_work
  - module: tpmfleet.azure_dps.work_report_export
"""

EXAMPLES = r"""
- name: Look at an order
  tpmfleet.azure_dps.work_order_units:
    orders: [/srv/orders/WO-2026-0042.age]
    decryption_key: /etc/tpmfleet/line
    allowed_signers: /etc/tpmfleet/customers
  register: opened
  delegate_to: localhost
"""

RETURN = r"""
orders:
  description: What each order says of all of its units.
  returned: success, and where an order has expired or was revoked
  type: list
  elements: dict
  sample:
    - number: WO-2026-0042
      owner: Example Devices
      expires: "2027-01-31T00:00:00Z"
      count: 480
      file: /srv/orders/WO-2026-0042.age
      signed_by: owner@example.org
      key_version: 1
      install: {"client": "builtin", "profile": "fleet", "id_scope": "0ne00000A1B", "global_endpoint": "https://dps.example"}
units:
  description: What the orders have for each of the hosts, by its name, for M(tpmfleet.azure_dps.device_work).
  returned: success
  type: dict
  sample: {}
meant:
  description:
    - Which unit of an order a host is meant to be, by its name, whether or not it may be worked on. Its endorsement key
      tells that, or else its serial number, device ID or registration ID.
  returned: success
  type: dict
  sample:
    rack1-slot09:
      number: WO-2026-0042
      customer: owner@example.org
      endorsement_key: AToAAQALAAMAsgAg...
      endorsement_key_sha256: 69e8ffd4bcf550f4982e7d4c34159f1ad1a56ce843b6cb12cb8abe2d811d5293
refused:
  description: Why a host gets nothing, by its name.
  returned: success
  type: dict
  sample: {"rack1-slot09": "its endorsement key of SHA-256 69e8… is on none of the work orders WO-2026-0042"}
"""

from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.handover.opened_orders import EndedError, Trusted, opened_orders
from ..module_utils.handover.ordered_units import OrderedUnits
from ..module_utils.module.failure_kind import SETUP, failure, option_of
from ..module_utils.trust.findings import TrustError


def told(opened):
    """What is returned of an order."""
    terms = opened.order.terms
    about = {name: value for name, value in terms._asdict().items() if name != "recipients"}
    return {**about, "count": len(opened.order.units), "file": opened.path, "signed_by": opened.signed_by}


def look(params):
    """The result of the module."""
    opened = opened_orders(
        params["orders"],
        key=params["decryption_key"],
        trusted=Trusted(params["allowed_signers"], params["signer"]),
        revocations=params["revocations"],
        now=datetime.now(timezone.utc),
        signing_key=params["signing_key"],
    )
    ordered = OrderedUnits(opened)
    units, refused, meant = {}, {}, {}
    for record in params["records"]:
        host = str(record.get("host"))
        unit, why = ordered.of(record)
        if unit is None:
            refused[host] = why
        else:
            units[host] = unit
        one = ordered.meant_by(record)
        if one is not None:
            meant[host] = one
    orders = [told(one) for one in opened]
    return {"changed": False, "orders": orders, "units": units, "meant": meant, "refused": refused}


def main():
    module = AnsibleModule(
        argument_spec={
            "orders": {"type": "list", "elements": "path", "required": True},
            "decryption_key": {"type": "path", "required": True, "no_log": False},
            "allowed_signers": {"type": "path", "required": True},
            "signer": {"type": "str"},
            "signing_key": {"type": "path", "no_log": False},
            "revocations": {"type": "list", "elements": "path", "default": []},
            "records": {"type": "list", "elements": "dict", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        result = look(module.params)
    except TrustError as error:
        ended = {"orders": [told(one) for one in error.opened]} if isinstance(error, EndedError) else {}
        option = option_of(error, module.params) or "orders"
        result = {"failed": True, "msg": str(error), **failure(SETUP, option), **ended}
    # Outside of the handler: inside, Ansible would take it for a crash and show a traceback.
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
