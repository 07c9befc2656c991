#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_records_import
short_description: Device records of another ledger into the line's own
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Merges a file that M(tpmfleet.azure_dps.device_records_export) wrote into the ledger. A signature, if there is one,
    is checked before a line is believed. Without one, whoever can write the file can say anything of devices, such as
    that a TPM has proven its key.
  - What only one side knows of a device is kept. Of what both know otherwise the word of the side counts that did
    something with the device last, and what it replaces stays in the device's history. Where no side did anything
    later, and where a serial number, device ID, registration ID or endorsement key would be that of two devices, the
    device is left as it was and is named in RV(conflicts); the others are taken in.
  - A line that is no record refuses the whole file.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.resource_module
  - tpmfleet.azure_dps.ledger
  - tpmfleet.azure_dps.events
  - tpmfleet.azure_dps.signing.verified
options:
  src:
    description:
      - The file, on the machine where the task runs. Its text is UTF-8, with or without a byte order mark, or UTF-16
        with one, with the line ends of any system.
    type: path
    required: true
  signature:
    description: A signature over O(src) that was made by C(ssh-keygen -Y sign).
    type: path
  allowed_signers:
    description:
      - Whose signature counts, in the format of C(ssh-keygen), C(NAME KEYTYPE KEY) a line.
      - Where it is given, a file without O(signature) is refused.
    type: path
seealso:
  - module: tpmfleet.azure_dps.device_records_export
"""

EXAMPLES = r"""
- name: Take in what the other site knows of its units
  tpmfleet.azure_dps.device_records_import:
    ledger: /var/lib/tpmfleet/ledger.sqlite
    src: /var/lib/tpmfleet/boxed.jsonl
    signature: /var/lib/tpmfleet/boxed.jsonl.sig
    allowed_signers: /etc/tpmfleet/sites
  delegate_to: localhost
  register: imported
"""

RETURN = r"""
total:
  description: How many records the file has.
  returned: success
  type: int
  sample: 480
added:
  description: How many devices the ledger did not know.
  returned: success
  type: int
  sample: 470
updated:
  description: How many it knows more or other things of now.
  returned: success
  type: int
  sample: 6
unchanged:
  description: How many it knew all of.
  returned: success
  type: int
  sample: 3
conflicts:
  description: The devices that were left as they were, each with the reasons.
  returned: success
  type: list
  elements: dict
  sample:
    - device: TF-000007 (rack1-slot07)
      reasons: ["its registration ID is unit-7 here and unit-8 there"]
signed_by:
  description: Whose signature it is.
  returned: when it is signed, else null
  type: str
  sample: site-2@example.org
"""

import contextlib

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.handover.records import NoRecord, record_of
from ..module_utils.ledger.database import LedgerError
from ..module_utils.ledger.importing import Taken, take_in
from ..module_utils.ledger.stored import MOST_OF_A_RECORD
from ..module_utils.lists.text_file import TextFile
from ..module_utils.module.ledger import event_options, ledger_option, now, run
from ..module_utils.outside.files import FileError, lines_of
from ..module_utils.outside.visible import visible
from ..module_utils.trust.findings import TrustError
from ..module_utils.trust.list_signature import check_signature

# Records that are in memory at a time.
_BATCH = 500


def signed_by(params):
    """Whose signature the file has, None where none is asked for."""
    if not params["signature"]:
        if params["allowed_signers"]:
            raise TrustError(
                f"{params['src']} has no signature, and allowed_signers asks for one. Name its file as signature; "
                "ssh-keygen makes it beside the other, with .sig behind the name."
            )
        return None
    return check_signature(
        params["src"],
        params["signature"],
        allowed_signers=params["allowed_signers"],
        signer=params["signer"],
        namespace=params["signature_namespace"],
    )


def batches(src):
    """The records of the file, some at a time."""
    some = []
    try:
        with contextlib.closing(TextFile(src)) as text:
            for number, line in enumerate(lines_of(text.file, most=MOST_OF_A_RECORD), start=1):
                # As an editor or a mail program leaves it at the end.
                if not line.strip():
                    continue
                try:
                    some.append(record_of(line))
                except NoRecord as error:
                    raise LedgerError(
                        f"Line {number} of {visible(src, most=300)} {error}. Nothing was taken in: get the file again."
                    ) from None
                if len(some) == _BATCH:
                    yield some
                    some = []
    except FileError as error:
        raise LedgerError(f"{visible(src, most=300)} {error}. Nothing was taken in.") from None
    if some:
        yield some


def merge(connection, module):
    """The result of the module."""
    params = module.params
    signer = signed_by(params)
    said = {"source": signer, "operator": params["operator"], "run_id": params["run_id"]}
    by = {name: visible(value, most=200) for name, value in said.items() if value}
    taken, total, at = Taken(), 0, now()
    for records in batches(params["src"]):
        total += len(records)
        one = take_in(connection, records, at=at, by=by, diff=module._diff)
        taken.added += one.added
        taken.updated += one.updated
        taken.unchanged += one.unchanged
        taken.conflicts += one.conflicts
        taken.before.update(one.before)
        taken.after.update(one.after)
    if not total:
        raise LedgerError(f"{visible(params['src'], most=300)} has no record.")
    if taken.conflicts:
        first, count = taken.conflicts[0], len(taken.conflicts)
        module.warn(
            f"{count} of {total} devices were left as they were. {first['device']}: {first['reasons'][0]}. See"
            " conflicts."
        )
    result = {
        "changed": bool(taken.added or taken.updated),
        "total": total,
        "added": taken.added,
        "updated": taken.updated,
        "unchanged": taken.unchanged,
        "conflicts": taken.conflicts,
        "signed_by": signer,
    }
    if module._diff:
        result["diff"] = {"before": taken.before, "after": taken.after}
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            **ledger_option(),
            **event_options(),
            "src": {"type": "path", "required": True},
            "signature": {"type": "path"},
            "allowed_signers": {"type": "path"},
            "signer": {"type": "str"},
            "signature_namespace": {"type": "str", "default": "file"},
        },
        required_by={"signature": ["allowed_signers"], "signer": ["allowed_signers"]},
        supports_check_mode=True,
    )
    run(module, lambda connection: merge(connection, module))


if __name__ == "__main__":
    main()
