#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ek_export
short_description: An EK list of TPMs for whoever buys them, with its signature
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Writes an EK list that M(tpmfleet.azure_dps.ek_list) takes as it is, from records that were read from a tray of TPMs
    or from a ledger. Decommissioned devices of a ledger are left out.
  - The list is sorted by batch, tray and position, and equal TPMs give equal bytes.
  - TPMs that are there twice, keys that cannot be enrolled, and certificates of other keys are told before anything is
    written, and then nothing is.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.resource_module
  - tpmfleet.azure_dps.progress
  - tpmfleet.azure_dps.signing
options:
  dest:
    description: The list, on the machine where the task runs. Its signature is beside it, with C(.sig) behind the name.
    type: path
    required: true
  format:
    description: What to write, one JSON object a line or rows.
    type: str
    choices: [jsonl, csv]
    default: jsonl
  tpms:
    description:
      - Device records of the TPMs, as P(tpmfleet.azure_dps.device_records#filter) makes them, and C(tray), C(position)
        and C(tpm_serial_number) where they are known.
    type: list
    elements: dict
  ledger:
    description: The ledger whose devices' TPMs are meant, a path or an SQLAlchemy URL. It is only read.
    type: str
  maker:
    description: Who made the TPMs. Left out, each record says so, or nobody does.
    type: str
    default: ""
  batch:
    description: The shipment. Left out, each record says so, or nobody does.
    type: str
    default: ""
  tray:
    description: The tray of those TPMs whose record names none.
    type: str
    default: ""
  certificates:
    description:
      - V(required) fails where a TPM has no endorsement key certificate, V(preferred) warns, and its line has none.
    type: str
    choices: [required, preferred]
    default: required
requirements:
  - SQLAlchemy where the task runs
seealso:
  - module: tpmfleet.azure_dps.ek_list
"""

EXAMPLES = r"""
- name: Write the list of a ledger's TPMs and sign it
  tpmfleet.azure_dps.ek_export:
    ledger: /var/lib/tpmfleet/ledger.sqlite
    dest: /var/lib/tpmfleet/ek-list.jsonl
    maker: Example Semiconductors
    batch: "2026-11"
    certificates: preferred
  delegate_to: localhost
"""

RETURN = r"""
total:
  description: How many TPMs are on the list.
  returned: success
  type: int
  sample: 8
uncertified:
  description: Those without a certificate.
  returned: always
  type: list
  elements: str
  sample: []
signature:
  description: The file with the signature.
  returned: when it is signed, else null
  type: str
  sample: /srv/shipments/2026-11/ek-list.jsonl.sig
problems:
  description: All that is wrong with the TPMs, where the task fails and writes nothing.
  returned: when something is
  type: list
  elements: str
  sample: ["T-1 slot07 and T-1 slot03 have the same endorsement_key_sha256, registration_id"]
"""

import itertools
import os

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.handover.ek_list import comma_separated, json_lines, rows_of
from ..module_utils.handover.signature import fingerprint, is_signed_by, sign
from ..module_utils.ledger.ek_list import ListedKeys
from ..module_utils.ledger.reading import each_record, how_many
from ..module_utils.ledger.stored import DamagedRecord
from ..module_utils.module.ledger import run
from ..module_utils.module.progress import progress_of, progress_options
from ..module_utils.outside.durable import replace_file
from ..module_utils.outside.files import FileError, read_file
from ..module_utils.trust.findings import TrustError

CERTIFICATE = "endorsement_key_certificate"
_FORMS = {"jsonl": json_lines, "csv": comma_separated}
# Records for which the lists are asked at a time.
_AT_A_TIME = 1000
_MOST_LIST = 1 << 30
_MOST_SHOWN = 1 << 20


def told(records, progress):
    """*records* one by one, each of them a step of *progress*."""
    progress.begin("read", len(records))
    for one in records:
        yield one
        progress.step()


def of_ledger(connection, progress):
    """The records of its devices that have a TPM and are in use, one by one. TrustError at one that is damaged."""
    progress.begin("read", how_many(connection))
    damaged = []
    records = (record for _row, record in each_record(connection, damaged))
    while not damaged and (some := list(itertools.islice(records, _AT_A_TIME))):
        in_use = [one for one in some if one.get("endorsement_key") and not one.get("decommission")]
        yield from certified(connection, in_use)
        for _one in some:
            progress.step()
    if damaged:
        raise TrustError(f"Nothing was written: {damaged[0]}.")


def certified(connection, records):
    """*records*, those of TPMs that were not read yet with the certificates that only their makers' lists have."""
    listed = ListedKeys(connection)
    listed.expect([one.get("endorsement_key_sha256") for one in records if not one.get(CERTIFICATE)])
    for record in records:
        entry = {} if record.get(CERTIFICATE) else listed_entry(listed, record)
        yield {**record, **{name: entry[name] for name in (CERTIFICATE, f"{CERTIFICATE}_chain") if entry.get(name)}}


def listed_entry(listed, record):
    """What a maker's list says of the TPM of *record*; nothing where none does, or that is damaged."""
    try:
        return listed.entry(record.get("endorsement_key_sha256")) or {}
    except DamagedRecord:
        return {}


def present(path):
    """What the file has, None where it is not there."""
    try:
        return read_file(path, most=_MOST_LIST) if os.path.lexists(path) else None
    except FileError as error:
        raise TrustError(f"What is at {path} {error}, and is left alone.") from None


def export(module, records):
    """The result of the module."""
    params = module.params
    found = rows_of(records, maker=params["maker"], batch=params["batch"], tray=params["tray"])
    problems = list(found.problems)
    if params["certificates"] == "required":
        words = "has no endorsement key certificate, and certificates asks for one"
        problems += [f"{one} {words}" for one in found.uncertified]
    if not found.rows and not problems:
        problems = ["there is no TPM to list"]
    if problems:
        msg = f"{problems[0]}. Nothing was written; {len(problems)} such problems are in `problems`."
        return {"failed": True, "msg": msg, "problems": problems, "uncertified": found.uncertified}
    if found.uncertified:
        module.warn(f"{len(found.uncertified)} TPMs have no certificate. The first is {found.uncertified[0]}.")
    content = _FORMS[params["format"]](found.rows)
    dest, signature = params["dest"], f"{params['dest']}.sig"
    if not os.path.isdir(os.path.dirname(os.path.abspath(dest))):
        raise TrustError(f"The directory of {dest} is not there: make it.")
    before = present(dest)
    stale = needs_signature(params, content, signature)
    if not module.check_mode:
        # Made before anything is written, so that a key that makes none leaves no list without one.
        signed = sign(content, params["signing_key"], namespace=params["signature_namespace"]) if stale else None
        try:
            write(dest, before, content)
            if signed:
                replace_file(signature, signed, 0o644)
        except OSError as error:
            raise TrustError(
                f"The list {dest} could not be written: {error.strerror}. Run again to complete it."
            ) from None
    return {
        "changed": before != content or stale,
        "total": len(found.rows),
        "uncertified": found.uncertified,
        "signature": signature if params["signing_key"] else None,
        "diff": {
            "before_header": dest,
            "after_header": dest,
            "before": shown(before or b""),
            "after": shown(content),
        },
    }


def needs_signature(params, content, signature):
    """Whether the signature that is there is not one of the key over *content*."""
    if not params["signing_key"]:
        return False
    there = present(signature)
    mark = fingerprint(params["signing_key"])
    return there is None or not is_signed_by(content, there, mark, namespace=params["signature_namespace"])


def write(dest, before, content):
    """Has the list at *dest*, where another one was."""
    if before != content:
        replace_file(dest, content, 0o644)


def shown(content):
    """A list for the eye; a long one is told by its size."""
    return content.decode(errors="replace") if len(content) <= _MOST_SHOWN else f"{len(content):,} bytes\n"


def main():
    module = AnsibleModule(
        argument_spec={
            "dest": {"type": "path", "required": True},
            "format": {"type": "str", "choices": list(_FORMS), "default": "jsonl"},
            "tpms": {"type": "list", "elements": "dict"},
            "ledger": {"type": "str"},
            "maker": {"type": "str", "default": ""},
            "batch": {"type": "str", "default": ""},
            "tray": {"type": "str", "default": ""},
            "certificates": {"type": "str", "choices": ["required", "preferred"], "default": "required"},
            "signing_key": {"type": "path", "no_log": False},
            "signature_namespace": {"type": "str", "default": "file"},
            **progress_options(),
        },
        required_one_of=[("tpms", "ledger")],
        mutually_exclusive=[("tpms", "ledger")],
        supports_check_mode=True,
    )
    if module.params["ledger"]:
        run(
            module,
            lambda connection: export(module, of_ledger(connection, progress_of(module.params))),
            reads_only=True,
        )
    try:
        result = export(module, told(module.params["tpms"], progress_of(module.params)))
    except TrustError as error:
        result = {"failed": True, "msg": str(error)}
    # Outside of the handler: inside, Ansible would take it for a crash and show a traceback.
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
