#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: work_order
short_description: A work order for another firm's line, written or revoked by the owner of the fleet
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Writes one file for a batch of units whose endorsement keys are known. For each unit it has its own authorizations,
    derived for it alone and sealed to its TPM, and a challenge that only its TPM can answer. The file is signed, and
    encrypted to the line that is to work from it. C(meta/work-order.schema.json) has what is in it.
  - Neither the fleet master key, nor a right at the DPS, nor an authorization that can be read without the unit's TPM
    is in the file.
  - The ledger notes which unit is on which order. An order is written once; a second call verifies it. One whose file
    is gone is written again. Under its number no other order is ever written.
  - Where anything is wrong with a unit, nothing is written, and all of it is told. A record that is damaged in the
    ledger is left out and named, and stops no others.
  - A unit that is ordered anew keeps its earlier orders in the ledger.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.ledger
  - tpmfleet.azure_dps.events
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - It tells which units change, not what is in the file.
  idempotent:
    support: full
options:
  state:
    description:
      - V(revoked) has the units that did not come back yet never taken in from this order, and asks for a later key
        version where they are claimed again. The notice of it is for the line, which refuses the order once it has it.
    type: str
    choices: [present, revoked]
    default: present
  number:
    description: What owner and line call the order, up to 64 letters, digits, dots, dashes and underscores.
    type: str
    required: true
  dest:
    description:
      - The file, on the machine where the task runs, readable by its owner only. With O(state=revoked) the notice is
        beside it, with C(.revoked) behind the name.
    type: path
    required: true
  signing_key:
    description:
      - The owner's SSH key, on the machine where the task runs. Where an agent or a hardware token has the private key,
        it is the file of the public one. Nobody is asked for a passphrase.
    type: path
    required: true
  owner:
    description: The owner's name, for people. Required with O(state=present).
    type: str
  recipients:
    description:
      - Public keys of the line, as C(~/.ssh/id_ed25519.pub) has one (Ed25519 or RSA), or as C(age-keygen) prints it.
        Required with O(state=present). A line whose key is not among them refuses the order, whoever passed it on.
    type: list
    elements: str
  report_signers:
    description:
      - Public SSH keys of the line, of which one has to sign its report. A report that another key signed is refused.
      - Without it they are those of O(recipients) that are SSH keys. A line that has only a key of age, or signs with a
        hardware token, needs it.
    type: list
    elements: str
  expires:
    description:
      - After this moment the line refuses it, ISO 8601. A date alone is its first moment, in UTC. Required with
        O(state=present).
    type: str
  master_key:
    description: The fleet master key. Required with O(state=present).
    type: str
  key_version:
    description: The version of the authorizations.
    type: int
    default: 1
  src:
    description:
      - A list of endorsement keys whose devices are meant, in any form that M(tpmfleet.azure_dps.ek_list) takes but a
        directory. A device that the ledger does not know is added to it. Without it they are those of O(filters).
    type: path
  filters:
    description:
      - Which devices of the ledger are meant, all that are in use and have an endorsement key where it is left out. The
        keys are those of C(filters) of the inventory plugin P(tpmfleet.azure_dps.ledger#inventory).
    type: dict
    default: {}
  client:
    description: Which DPS client is to be placed.
    type: str
    choices: [builtin, aziot]
    default: builtin
  profile:
    description:
      - Which hierarchies get an authorization, see the guide to ownership. With O(client=aziot) it has to be V(sdk),
        since that client would need the owner authorization in a file that the line writes.
    type: str
    choices: [fleet, sdk]
    default: fleet
  id_scope:
    description: The ID scope of the DPS where the devices register. Required with O(state=present).
    type: str
  global_endpoint:
    description: Where they register.
    type: str
    default: https://global.azure-devices-provisioning.net
  ca_file:
    description: The certificate authorities of service and hub in PEM, where they are not those of the device's system.
    type: path
requirements:
  - pyrage
  - ssh-keygen of OpenSSH 8.2 or later where the task runs
seealso:
  - module: tpmfleet.azure_dps.work_order_units
  - module: tpmfleet.azure_dps.work_report_import
"""

EXAMPLES = r"""
- name: Have another firm make the units of one shipment ready
  tpmfleet.azure_dps.work_order:
    ledger: /var/lib/tpmfleet/ledger.sqlite
    number: WO-2026-0042
    owner: Example Devices
    dest: /srv/orders/WO-2026-0042.age
    filters: {batch: "2026-11"}
    recipients: ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ3Sx2nH5yQpm9pzv2Ar6X0m2A6GQW3hRrZV0j6xTq1c"]
    expires: "2027-01-31"
    signing_key: /etc/tpmfleet/owner
    master_key: "{{ tpmfleet_master_key }}"
    id_scope: 0ne00000A1B
  delegate_to: localhost

- name: Take it back
  tpmfleet.azure_dps.work_order:
    ledger: /var/lib/tpmfleet/ledger.sqlite
    state: revoked
    number: WO-2026-0042
    dest: /srv/orders/WO-2026-0042.age
    signing_key: /etc/tpmfleet/owner
  delegate_to: localhost
"""

RETURN = r"""
total:
  description: How many units are on the order.
  returned: success
  type: int
  sample: 480
states:
  description: How many of them are in which state, C(ordered), C(done), C(failed), C(closed) or C(revoked).
  returned: success
  type: dict
  sample: {"ordered": 480}
file:
  description: The file that was written or verified, the order or the notice of its revocation.
  returned: success
  type: str
  sample: /srv/orders/WO-2026-0042.age
damaged:
  description: The records in the ledger that might be meant and cannot be read. Nothing is said of these devices.
  returned: success
  type: list
  elements: str
  sample: []
revoked:
  description: The registration IDs of the units that were on the order and had not come back.
  returned: with O(state=revoked)
  type: list
  elements: str
  sample: []
problems:
  description: All that is wrong with the units, where the task fails and writes nothing.
  returned: when something is
  type: list
  elements: str
  sample: ["TF-000007 (slot07) is on the work order WO-2026-0041, which is open: take its report in, or revoke it"]
"""

import hashlib
from collections import Counter
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.handover.age_file import encrypted
from ..module_utils.handover.meant_units import of_ledger, of_list, problems_with
from ..module_utils.handover.order_file import (
    check_that_it_can_be_written_again,
    check_what_is_there,
    file_sha256,
    is_notice,
)
from ..module_utils.handover.order_terms import terms_of
from ..module_utils.handover.signed_document import place, signed_document
from ..module_utils.handover.work_order import (
    CLIENTS,
    NAMESPACE,
    NOTICE,
    REVOCATION_NAMESPACE,
    checked_number,
    content_sha256,
    document_of,
    is_expired,
    revocation_of,
)
from ..module_utils.ledger.database import LedgerError, is_new
from ..module_utils.ledger.devices import Devices
from ..module_utils.ledger.ordered import also_open, noted, units_on
from ..module_utils.module.ledger import event_options, ledger_option, now, run, written_by
from ..module_utils.outside.visible import visible
from ..module_utils.record.orders import NOT_BACK, ORDERED, REVOKED, order_in
from ..module_utils.trust.findings import TrustError
from ..module_utils.trust.hierarchy_auth import SET_BY, MasterKeyError, master_key_check


def present(connection, module):
    """The result for an order that is to be there."""
    params = module.params
    terms = terms_of(params)
    try:
        key_check = master_key_check(params["master_key"])
    except MasterKeyError as error:
        raise TrustError(f"{error}.") from None
    if is_new(connection) and not params["src"]:
        raise LedgerError("The ledger is not there, or is an empty one. Is its name right?")
    devices = Devices(connection)
    number = terms.number
    units = units_on(devices, number)
    there = units.records
    if not there and is_expired(terms, datetime.now(timezone.utc)):
        raise TrustError(f"expires is {terms.expires}, which is over: no line would take the order.")
    if not there and devices.rows_on(number):
        # An answer to the one would be an answer to the other.
        raise TrustError(f"There was a work order {number}, of which no unit is left to be read. Take another number.")
    problems, damaged = [], [one.why for one in units.damaged.values()]
    src, filters = params["src"], params["filters"]
    meant = []
    if src:
        meant = of_list(devices, src, problems)
    elif filters or not there:
        meant = of_ledger(connection, filters, damaged)
    problems += problems_with(terms, meant, there)
    if not problems and not meant and not there:
        problems = ["no unit is meant"]
    if problems:
        msg = f"{problems[0]}. Nothing was written; {len(problems)} such problems are in `problems`."
        return {"failed": True, "msg": msg, "problems": problems}
    meant = list(there.items()) if there else meant
    records = [record for _row, record in meant]
    noted_before = [order_in(one, number) for one in there.values()]
    if noted_before and not any(one.get("report_signers") for one in noted_before):
        # It was written before orders had that.
        terms = terms._replace(report_signers=())
    content = content_sha256(terms, records)
    # What was ordered cannot be told again without all of its units.
    check_what_was_ordered(number, noted_before, key_check, None if units.damaged else content)
    found = file_sha256(params["dest"])
    if found and not there:
        raise TrustError(
            f"A file is at {visible(params['dest'])} already, of another order or of a run that was cut off: "
            "remove it, or give another name."
        )
    stale = found is None or any(one.get("file_sha256") != found for one in noted_before)
    if found and stale:
        check_what_is_there(devices, params["dest"], found, number)
    if stale and there:
        check_that_it_can_be_written_again(units, number)
    result = {"changed": stale, "file": params["dest"], "damaged": damaged}
    news = {"number": number, "key_version": terms.key_version, "content_sha256": content}
    news["master_key_check"] = key_check
    news.update({name: terms.install[name] for name in ("id_scope", "profile")}, expires=terms.expires)
    if terms.report_signers:
        news["report_signers"] = list(terms.report_signers)
    at = now()
    if not there:
        news["written"] = at
    if stale and not module.check_mode:
        try:
            document = document_of(terms, records, params["master_key"], written=at)
        except MasterKeyError as error:
            raise TrustError(f"{error}.") from None
        whole = encrypted(signed_document(document, params["signing_key"], namespace=NAMESPACE), terms.recipients)
        place(params["dest"], whole)
        news["file_sha256"] = hashlib.sha256(whole).hexdigest()
    before, after = noted(devices, meant, news, at=at, by=written_by(params)) if stale else ({}, {})
    states = Counter(order_in(one, number)["state"] if there else ORDERED for one in records)
    result.update(total=len(records), states=dict(states))
    if module._diff:
        result["diff"] = {"before": before, "after": after}
    return result


def check_what_was_ordered(number, noted_before, key_check, content):
    """TrustError where the order was revoked, or written with another *content*, where that is known."""
    if content and any(one.get("content_sha256") != content for one in noted_before):
        raise TrustError(
            f"The work order {number} was written with other terms, and may be at work by now. Revoke it, and take "
            "another number."
        )
    if any(one.get("state") == REVOKED for one in noted_before):
        raise TrustError(f"The work order {number} was revoked. Take another number.")
    if any(one.get("master_key_check", key_check) != key_check for one in noted_before):
        raise TrustError(
            f"The work order {number} was written with another master key, and with this one its TPMs' answers would "
            "be refused. Nothing was written: give tpmfleet_master_key as it was, or revoke it and take another number."
        )


def revoked(connection, module):
    """The result for an order that is to count no longer."""
    params = module.params
    number = checked_number(params["number"])
    devices = Devices(connection)
    units = units_on(devices, number)
    there = units.records
    if not there:
        raise TrustError(f"The ledger knows no work order {number}. Is it this ledger that it was written with?")
    found = file_sha256(params["dest"])
    if found:
        check_what_is_there(devices, params["dest"], found, number)
    path = params["dest"] + NOTICE
    stale = not is_notice(path, number, params["signing_key"])
    states = {row: order_in(one, number)["state"] for row, one in there.items()}
    at = now()
    before, after = noted(
        devices,
        [(row, there[row]) for row, state in states.items() if state in NOT_BACK],
        {"number": number, "state": REVOKED},
        at=at,
        by=written_by(params),
    )
    moments = sorted(order_in(there[row], number)["at"] for row, state in states.items() if state == REVOKED)
    if stale and not module.check_mode:
        notice = revocation_of(number, at=moments[0] if moments else at)
        place(path, signed_document(notice, params["signing_key"], namespace=REVOCATION_NAMESPACE))
    states.update((row, REVOKED) for row, state in states.items() if state in NOT_BACK)
    result = {
        "changed": bool(after) or stale,
        "total": len(there),
        "states": dict(Counter(states.values())),
        "file": path,
        "revoked": [str(there[row].get("registration_id")) for row, state in states.items() if state == REVOKED],
        "damaged": [one.why for one in units.damaged.values()],
    }
    for one in also_open(devices, [row for row, state in states.items() if state == REVOKED]):
        module.warn(one)
    if module._diff:
        result["diff"] = {"before": before, "after": after}
    return result


def with_warnings(result, module):
    """*result*, of which is said what is damaged."""
    for one in result.get("damaged", ()):
        module.warn(f"Nothing is said of a device: {one}.")
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            **ledger_option(),
            **event_options(),
            "state": {"type": "str", "choices": ["present", "revoked"], "default": "present"},
            "number": {"type": "str", "required": True},
            "dest": {"type": "path", "required": True},
            "signing_key": {"type": "path", "required": True, "no_log": False},
            "owner": {"type": "str"},
            "recipients": {"type": "list", "elements": "str"},
            "report_signers": {"type": "list", "elements": "str"},
            "expires": {"type": "str"},
            "master_key": {"type": "str", "no_log": True},
            "key_version": {"type": "int", "default": 1, "no_log": False},
            "src": {"type": "path"},
            "filters": {"type": "dict", "default": {}},
            "client": {"type": "str", "choices": list(CLIENTS), "default": "builtin"},
            "profile": {"type": "str", "choices": list(SET_BY), "default": "fleet"},
            "id_scope": {"type": "str"},
            "global_endpoint": {"type": "str", "default": "https://global.azure-devices-provisioning.net"},
            "ca_file": {"type": "path"},
        },
        required_if=[("state", "present", ["owner", "recipients", "expires", "master_key", "id_scope"])],
        supports_check_mode=True,
    )
    state = {"present": present, "revoked": revoked}[module.params["state"]]
    run(module, lambda connection: with_warnings(state(connection, module), module))


if __name__ == "__main__":
    main()
