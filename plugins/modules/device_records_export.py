#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_records_export
short_description: Device records of the line's ledger as a file for others
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Writes the records of a ledger, all or a selection, as JSON Lines with the fields of
    C(meta/device-record.schema.json), in the order in which the devices became known.
    M(tpmfleet.azure_dps.device_records_import) takes the file in elsewhere.
  - An equal ledger gives equal bytes. The file is written as a whole or not at all, and the ledger is only read.
  - Where a record of the ledger is damaged, nothing is written.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.resource_module
  - tpmfleet.azure_dps.ledger
  - tpmfleet.azure_dps.progress
  - tpmfleet.azure_dps.signing
options:
  dest:
    description:
      - The file, on the machine where the task runs, readable by its owner only. Its signature is beside it, with
        C(.sig) behind the name.
    type: path
    required: true
  filters:
    description:
      - Which devices are meant; all where it is left out. The keys are those of C(filters) of the inventory plugin
        P(tpmfleet.azure_dps.ledger#inventory). With an age in it the selection changes as time goes by.
    type: dict
    default: {}
notes:
  - With C(--diff) a file of more than 1 MB is told by its size.
seealso:
  - module: tpmfleet.azure_dps.device_records_info
  - plugin: tpmfleet.azure_dps.ledger
    plugin_type: inventory
"""

EXAMPLES = r"""
- name: Hand the records of boxed units to the next site
  tpmfleet.azure_dps.device_records_export:
    ledger: /var/lib/tpmfleet/ledger.sqlite
    dest: /var/lib/tpmfleet/boxed.jsonl
    filters:
      last_step: warehouse
      station: [store-1, store-2]
      decommissioned: false
  delegate_to: localhost
"""

RETURN = r"""
total:
  description: How many records are in the file.
  returned: success
  type: int
  sample: 480
signature:
  description: The file with the signature.
  returned: when it is signed, else null
  type: str
  sample: /var/lib/tpmfleet/boxed.jsonl.sig
"""

import os
import tempfile
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.handover.records import line_of
from ..module_utils.handover.signature import fingerprint, is_signed_by, sign
from ..module_utils.ledger.database import LedgerError, is_new
from ..module_utils.ledger.reading import Failures, each_record, failures, how_many
from ..module_utils.ledger.selection import Selection
from ..module_utils.module.ledger import ledger_option, run
from ..module_utils.module.progress import progress_of, progress_options
from ..module_utils.outside.durable import replace_file
from ..module_utils.outside.files import FileError, open_file, read_file
from ..module_utils.trust.findings import TrustError

_CHUNK = 1 << 20
_MOST_SHOWN = 1 << 20
_MOST_SIGNATURE = 1 << 20


def write_lines(connection, given, file, progress):
    """Writes the records that are meant into *file*, and tells *progress* how far that is; how many."""
    if is_new(connection):
        raise LedgerError("The ledger is not there, or is an empty one. Is its name right?")
    selection = Selection(given, now=datetime.now(timezone.utc))
    failed = failures(connection, selection) if selection.of_failures else Failures()
    damaged = []
    total = 0
    # How many a selection leaves is known when all is over.
    progress.begin("read", None if given else how_many(connection))
    for row, record in each_record(connection, damaged, selection):
        if damaged:
            break
        if not selection.of_failures or row in failed.of_row:
            file.write(line_of(record))
            total += 1
        progress.step()
    if damaged:
        raise LedgerError(f"Nothing was written: {damaged[0]}.")
    file.flush()
    return total


def parts(file):
    """What an open file has, from its beginning."""
    file.seek(0)
    while part := file.read(_CHUNK):
        yield part


def is_same(path, file):
    """Whether the file at *path* has what the open *file* has."""
    if not os.path.lexists(path):
        return False
    try:
        with open_file(path) as there:
            if os.fstat(there.fileno()).st_size != os.fstat(file.fileno()).st_size:
                return False
            return all(there.read(len(part)) == part for part in parts(file)) and not there.read(1)
    except FileError as error:
        raise TrustError(f"What is at {path} {error}, and is left alone.") from None


def needs_signature(params, file, signature):
    """Whether the signature that is there is not one of the key over the open *file*."""
    if not params["signing_key"]:
        return False
    mark = fingerprint(params["signing_key"])
    if not os.path.lexists(signature):
        return True
    try:
        there = read_file(signature, most=_MOST_SIGNATURE)
    except FileError as error:
        raise TrustError(f"What is at {signature} {error}, and is left alone.") from None
    file.seek(0)
    return not is_signed_by(file, there, mark, namespace=params["signature_namespace"])


def shown(path):
    """A file for the eye; a long one is told by its size."""
    if not os.path.exists(path):
        return ""
    size = os.path.getsize(path)
    if size > _MOST_SHOWN:
        return f"{size:,} bytes\n"
    with open_file(path) as file:
        return file.read(_MOST_SHOWN).decode(errors="replace")


def export(connection, module):
    """The result of the module."""
    params = module.params
    dest, signature = params["dest"], f"{params['dest']}.sig"
    if not os.path.isdir(os.path.dirname(os.path.abspath(dest))):
        raise TrustError(f"The directory of {dest} is not there: make it.")
    progress = progress_of(params)
    with tempfile.NamedTemporaryFile(prefix="records-") as file:
        total = write_lines(connection, params["filters"], file, progress)
        changed = not is_same(dest, file)
        stale = needs_signature(params, file, signature)
        result = {
            "changed": changed or stale,
            "total": total,
            "signature": signature if params["signing_key"] else None,
        }
        if module._diff:
            result["diff"] = {
                "before_header": dest,
                "after_header": dest,
                "before": shown(dest),
                "after": shown(file.name),
            }
        if module.check_mode:
            return result
        signed = None
        if stale:
            # Made before anything is written, so that a key that makes none leaves no file without one.
            file.seek(0)
            signed = sign(file, params["signing_key"], namespace=params["signature_namespace"])
        try:
            if changed:
                replace_file(dest, parts(file), 0o600)
            if signed:
                replace_file(signature, signed, 0o644)
        except OSError as error:
            raise TrustError(f"{dest} could not be written: {error.strerror}. Run again to complete it.") from None
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            **ledger_option(),
            "dest": {"type": "path", "required": True},
            "filters": {"type": "dict", "default": {}},
            "signing_key": {"type": "path", "no_log": False},
            "signature_namespace": {"type": "str", "default": "file"},
            **progress_options(),
        },
        supports_check_mode=True,
    )
    run(module, lambda connection: export(connection, module), reads_only=True)


if __name__ == "__main__":
    main()
