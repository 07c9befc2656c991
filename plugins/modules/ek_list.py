# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ek_list
short_description: A TPM maker's list of endorsement keys, checked and taken into the ledger
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Reads the list that came with a shipment of TPMs, checks every line, and takes it into the ledger. From then on
    devices are held against it by M(tpmfleet.azure_dps.device_records).
  - A list with a bad line is not taken in at all, and every bad line is told. Bad are a key that is not the
    TPM2B_PUBLIC of an RSA endorsement key in base64, a key that is on the list twice, and a key that came with another
    shipment.
  - The file is streamed, so its size does not matter.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.ledger
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - RV(added) says how many keys are new.
  idempotent:
    support: full
options:
  src:
    description:
      - The list, where the task runs. Each line is a record with at least C(endorsement_key), the TPM2B_PUBLIC in
        base64. Fields of a device record are kept under their names, others as they are.
    type: path
    required: true
  format:
    description: JSON Lines or CSV with the names of the columns in its first line; V(auto) goes by the file's name.
    type: str
    choices: [auto, jsonl, csv]
    default: auto
  columns:
    description:
      - For CSV, which column holds which field, as a mapping of field to column. Other columns keep their names.
    type: dict
    default: {}
  maker:
    description: Who made the TPMs. Left out, each line says so in C(maker), or nobody does.
    type: str
    default: ""
  batch:
    description:
      - The shipment. Left out, each line says so in C(batch), or nobody does.
      - A key that comes again under the same maker and batch is verified; under others it is an error.
    type: str
    default: ""
seealso:
  - module: tpmfleet.azure_dps.device_records
"""

EXAMPLES = r"""
- name: Take in the list of a shipment
  tpmfleet.azure_dps.ek_list:
    src: /srv/shipments/2026-11/ek-list.csv
    columns:
      endorsement_key: EK_PUB
      tpm_serial_number: TPM_SERIAL
    maker: Example Semiconductors
    batch: "2026-11"
    ledger: /var/lib/tpmfleet/ledger.sqlite
  delegate_to: localhost
"""

RETURN = r"""
total:
  description: How many records the list has.
  returned: success
  type: int
  sample: 8
added:
  description: How many of them were not in the ledger.
  returned: success
  type: int
  sample: 8
problems:
  description: Every bad line.
  returned: failure
  type: list
  elements: dict
  sample:
    - place: 17
      registration_id: null
      field: endorsement_key
      reason: is not base64 (standard alphabet, padded)
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps.manifest import FileSource, refusal
from ..module_utils.ledger.ek_list import Intake, ListedKeys
from ..module_utils.ledger_module import ledger_option, now, run


def take_in(connection, params):
    """The result of the module."""
    intake = Intake(ListedKeys(connection), maker=params["maker"], batch=params["batch"])
    csv_rows = None if params["format"] == "auto" else params["format"] == "csv"
    source = FileSource(params["src"], kind="EK list", csv_rows=csv_rows, columns=params["columns"])
    try:
        intake.take_in(source, at=now())
    finally:
        source.close()
    if intake.problems:
        return refusal(intake.problems, total=intake.total, word=source.word, name=params["src"])
    return {"changed": intake.added > 0, "total": intake.total, "added": intake.added}


def main():
    module = AnsibleModule(
        argument_spec={
            **ledger_option(),
            "src": {"type": "path", "required": True},
            "format": {"type": "str", "choices": ["auto", "jsonl", "csv"], "default": "auto"},
            "columns": {"type": "dict", "default": {}},
            "maker": {"type": "str", "default": ""},
            "batch": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    run(module, lambda connection: take_in(connection, module.params))


if __name__ == "__main__":
    main()
