#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: work_order
short_description: A work order for another firm's line, written or revoked by the owner of the fleet
version_added: 1.1.0
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
  description: How many of them are in which state, C(ordered), C(done), C(failed) or C(revoked).
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

import base64
import hashlib
import os
from collections import Counter
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.handover.age_file import checked_recipients, encrypted
from ..module_utils.handover.opened_orders import REVOKED as NOTICE
from ..module_utils.handover.signature import fingerprint, fingerprint_of
from ..module_utils.handover.signed_document import document_and_key, place, signed_document
from ..module_utils.handover.work_order import (
    CLIENTS,
    MOST_UNITS,
    NAMESPACE,
    REVOCATION_NAMESPACE,
    Terms,
    checked_number,
    content_sha256,
    document_of,
    is_expired,
    revocation_of,
    revoked_number,
)
from ..module_utils.handover.work_order import faults_of as faults_of_units
from ..module_utils.ledger.database import LedgerError, is_new
from ..module_utils.ledger.devices import Devices
from ..module_utils.ledger.ek_list import checked_entry, open_list
from ..module_utils.ledger.ordered import STEP, faults_of, listed, units_on
from ..module_utils.ledger.reading import each_record
from ..module_utils.ledger.selection import Selection
from ..module_utils.module.ledger import event_options, ledger_option, now, run, written_by
from ..module_utils.outside.files import FileError, read_file
from ..module_utils.outside.moments import moment_of
from ..module_utils.outside.visible import visible
from ..module_utils.record.model import called
from ..module_utils.record.orders import OPEN, ORDERED, REVOKED, order_in, own_orders_in, spent_key_version, with_order
from ..module_utils.trust.derived import derived_from_endorsement_key
from ..module_utils.trust.findings import TrustError
from ..module_utils.trust.hierarchy_auth import SET_BY, MasterKeyError, checked_master_key

_MOST_FILE = 256 << 20
_MOST_CERTIFICATES = 256 << 10
_AGE = b"age-encryption.org/"


def terms_of(params):
    """What the options say of all units. TrustError for what no order has."""
    expires = moment_of(params["expires"])
    if expires is None:
        raise TrustError(
            f"expires is '{visible(params['expires'], most=60)}', which is no time. Write 2027-01-31, or "
            "2027-01-31T18:00:00Z."
        )
    if params["client"] == "aziot" and params["profile"] != "sdk":
        raise TrustError(
            "Azure's IoT identity service needs the owner authorization in a file that the line would write, and no "
            "line gets one that it can read. Order with the ownership profile 'sdk', or with the client 'builtin'."
        )
    install = {
        "client": params["client"],
        "profile": params["profile"],
        "id_scope": params["id_scope"],
        "global_endpoint": params["global_endpoint"],
    }
    if params["ca_file"]:
        try:
            certificates = read_file(params["ca_file"], most=_MOST_CERTIFICATES).decode("ascii", errors="replace")
        except FileError as error:
            raise TrustError(f"ca_file {visible(params['ca_file'])} {error}.") from None
        if "-----BEGIN CERTIFICATE-----" not in certificates:
            raise TrustError(f"ca_file {visible(params['ca_file'])} has no certificate in PEM.")
        install["ca_certificates"] = certificates
    if not 1 <= params["key_version"] < 2**32:
        raise TrustError(f"key_version is {params['key_version']}; it has to be 1 to 4294967295.")
    empty = [name for name in ("owner", "id_scope", "global_endpoint") if not params[name].strip()]
    if empty:
        raise TrustError(f"{empty[0]} is empty, and the line would not know it.")
    recipients = checked_recipients(params["recipients"])
    return Terms(
        number=checked_number(params["number"]),
        owner=params["owner"],
        expires=expires.strftime("%Y-%m-%dT%H:%M:%SZ"),
        key_version=params["key_version"],
        recipients=recipients,
        install=install,
        report_signers=signers_of(params["report_signers"] or [one for one in recipients if one.startswith("ssh-")]),
    )


def signers_of(keys):
    """The fingerprints of *keys*, each once. TrustError where there are none."""
    # A file of public keys may have several.
    lines = [line for one in keys for line in one.strip().splitlines() or [""]]
    if not lines:
        raise TrustError(
            "No key of SSH is among recipients that could sign the report: give report_signers, the line's public key."
        )
    return list(dict.fromkeys(map(fingerprint_of, lines)))


def of_list(devices, src, problems):
    """Pairs of row and record of the devices on the list *src*, and into *problems* what is wrong with it."""
    rows = []
    source = open_list({"src": src, "format": "auto", "delimiter": None, "columns": {}})
    try:
        for _position, place, record, wrong in source.scan():
            entry, faults = checked_entry(record, "", "") if record is not None else (None, [])
            reasons = [*wrong, *faults]
            if entry is None or reasons:
                problems += [f"{source.where(place)}: {field or 'the record'} {why}" for field, why in reasons]
                continue
            key = derived_from_endorsement_key(base64.b64decode(entry["endorsement_key"]))
            # What follows from the key says nothing against a name that the device has.
            named = {"registration_id": record.get("registration_id"), "endorsement_key_sha256": key["sha256"]}
            rows.append((source.where(place), {**entry, **named}))
        problems += [f"{source.where(place)}: {field} {why}" for place, field, why in source.lost()]
    finally:
        source.close()
    devices.expect([entry for _where, entry in rows])
    found = []
    for where, entry in rows:
        try:
            found.append(listed(devices, entry))
        except LedgerError as error:
            problems.append(f"{where}: {error}")
    return found


def of_ledger(connection, filters, damaged):
    """The same of the ledger's devices that fit *filters*, no more than show that they are too many; and into *damaged*
    which ones might and cannot be read."""
    selection = Selection(filters or {"decommissioned": False}, now=datetime.now(timezone.utc))
    if selection.of_failures:
        raise LedgerError("filters cannot ask for failures here.")
    found = []
    for row, one in each_record(connection, damaged, selection):
        if one.get("endorsement_key"):
            found.append((row, with_registration_id(one)))
        if len(found) > MOST_UNITS:
            break
    return found


def with_registration_id(record):
    """*record* with the registration ID that its key has by itself, where it has no other: a line needs one."""
    key = derived_from_endorsement_key(base64.b64decode(record["endorsement_key"]))
    return {"registration_id": key["registration_id"], **record}


def problems_with(terms, meant, there):
    """Why the order of those that are *meant* is not written, as sentences without their end; *there* has its units
    where it was written before."""
    records = [record for _row, record in meant]
    problems = faults_of_units(records)
    for record in () if there else records:
        problems += faults_of(record, terms.number, terms.key_version)
    strangers = [record for row, record in meant if there and row not in there]
    problems += [
        f"{visible(called(one), most=120)} is not on the work order {terms.number}, which is written: take another one"
        for one in strangers
    ]
    if len(records) > MOST_UNITS:
        problems.append(f"more than {MOST_UNITS:,} units are meant, which is as many as an order has")
    return problems


def file_sha256(path):
    """Of what is at *path*, None where nothing is. TrustError where that is no file."""
    try:
        return hashlib.sha256(read_file(path, most=_MOST_FILE)).hexdigest() if os.path.lexists(path) else None
    except FileError as error:
        raise TrustError(f"What is at {visible(path)} {error}, and is left alone.") from None


def check_what_is_there(devices, path, found, number):
    """TrustError where the file at *path*, of the SHA-256 *found*, is no order, or that of another number."""
    other = devices.order_in_file(found)
    if other not in (None, number):
        raise TrustError(f"The file at {visible(path)} is the work order {other}: give another name.")
    try:
        content = read_file(path, most=_MOST_FILE)
    except FileError as error:
        raise TrustError(f"What is at {visible(path)} {error}, and is left alone.") from None
    if content and not content.startswith(_AGE):
        raise TrustError(f"What is at {visible(path)} is no work order, and is left alone: give another name.")


def is_notice(path, number, signing_key):
    """Whether the notice of the order *number* is at *path*, and not what was cut off or edited.

    TrustError where it is that of another order, which would be lost.
    """
    if file_sha256(path) is None:
        return False
    try:
        content = read_file(path, most=_MOST_FILE)
        document, key = document_and_key(content, namespace=REVOCATION_NAMESPACE, most=_MOST_FILE)
        noticed = revoked_number(document)
    except (FileError, TrustError):
        return False
    if noticed != number:
        raise TrustError(
            f"The notice at {visible(path)} is that of the work order {noticed}: give as dest the file of {number}."
        )
    return key == fingerprint(signing_key)


def noted(devices, meant, news, params, at):
    """Writes *news* into the order of each of *meant*; (before, after) of those that it changes."""
    by = written_by(params)
    before, after = {}, {}
    for row, record in meant:
        same = order_in(record, news["number"])
        order = {**(same or {"state": ORDERED}), **news}
        if order == same:
            continue
        if order["state"] != same.get("state"):
            order["at"] = at
        name = called(record)
        before[name], after[name] = {"work_order": same}, {"work_order": order}
        row = devices.save(row, with_order(record, order))
        what = {"state": order["state"], "order": order["number"], **by}
        devices.note(row, record.get("host"), at=at, step=STEP, station="", what=what)
    devices.write()
    return before, after


def present(connection, module):
    """The result for an order that is to be there."""
    params = module.params
    terms = terms_of(params)
    try:
        checked_master_key(params["master_key"])
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
    if not units.damaged and any(one.get("content_sha256") != content for one in noted_before):
        raise TrustError(
            f"The work order {number} was written with other terms, and may be at work by now. Revoke it, and take "
            "another number."
        )
    if any(one.get("state") == REVOKED for one in noted_before):
        raise TrustError(f"The work order {number} was revoked. Take another number.")
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
    news.update(id_scope=terms.install["id_scope"], expires=terms.expires)
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
    before, after = noted(devices, meant, news, params, at) if stale else ({}, {})
    states = Counter(order_in(one, number)["state"] if there else ORDERED for one in records)
    result.update(total=len(records), states=dict(states))
    if module._diff:
        result["diff"] = {"before": before, "after": after}
    return result


def check_that_it_can_be_written_again(units, number):
    """TrustError where one of *units* of the order cannot be read, or is on a later order: both would be out."""
    whys = [one.why for one in units.damaged.values()]
    whys += [
        f"{visible(called(one), most=120)} is on a later one, {order_in(one)['number']}"
        for one in units.records.values()
        if order_in(one)["number"] != number
    ]
    if whys:
        raise TrustError(
            f"The file of the work order {number} is gone or another one, and is not written again: {whys[0]}. "
            "Take another number."
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
        [(row, there[row]) for row, state in states.items() if state in OPEN],
        {"number": number, "state": REVOKED},
        params,
        at,
    )
    moments = sorted(order_in(there[row], number)["at"] for row, state in states.items() if state == REVOKED)
    if stale and not module.check_mode:
        notice = revocation_of(number, at=moments[0] if moments else at)
        place(path, signed_document(notice, params["signing_key"], namespace=REVOCATION_NAMESPACE))
    states.update((row, REVOKED) for row, state in states.items() if state in OPEN)
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


def also_open(devices, rows):
    """What is to be said of those of *rows* that are on another order with what a revoked line was given."""
    for record in map(devices.record, rows):
        spent, revoked_order = spent_key_version(record)
        for order in own_orders_in(record):
            if order.get("state") in OPEN and int(order.get("key_version") or 0) <= spent:
                yield (
                    f"{visible(called(record), most=120)} is on the work order {order['number']} too, with key version "
                    f"{order['key_version']}, which the line of {revoked_order} was given: revoke that one as well."
                )


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
