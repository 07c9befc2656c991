#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_labels
short_description: Labels for units and pallets, with a QR code of the registration ID
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Makes a label a unit from what the ledger knows of it. On it are the serial number, the registration ID, and a QR
    code whose text is the registration ID.
  - A unit without a serial number is called by its device ID, or by its host.
  - Equal labels give equal bytes.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.without_diff
  - tpmfleet.azure_dps.ledger
options:
  devices:
    description:
      - Which units, each with what is known of it of C(serial_number), C(device_id), C(host) and C(registration_id).
        The labels come in this order.
    type: list
    elements: dict
    required: true
  dest:
    description:
      - Where the labels go, on the machine where the task runs.
      - For O(format=pdf) a file, with a page a label. For O(format=png) a directory that is there, which gets a file
        C(REGISTRATION_ID.png) a unit and C(pallet.png). Other files in it are left alone.
    type: path
    required: true
  format:
    description: What to make. V(png) has 300 dots an inch.
    type: str
    choices: [pdf, png]
    default: pdf
  size:
    description: Width and height of a label in mm.
    type: str
    choices: [54x25, 62x29, 62x100, 100x50, 102x152]
    default: 62x29
  pallet:
    description:
      - Name of the pallet or the box that these units are in. It gets a label of its own, which comes first, with the
        number of units, the first and the last of them, and a QR code of this name.
    type: str
requirements:
  - fpdf2, pypdfium2 and segno where the task runs
seealso:
  - module: tpmfleet.azure_dps.device_records_info
"""

EXAMPLES = r"""
- name: Make the labels of a pallet
  tpmfleet.azure_dps.device_labels:
    ledger: /var/lib/tpmfleet/ledger.sqlite
    devices:
      - serial_number: TF-000001
      - serial_number: TF-000002
    dest: /var/lib/tpmfleet/labels.pdf
    pallet: P-0017
  delegate_to: localhost
"""

RETURN = r"""
labels:
  description: How many labels there are, that of the pallet among them.
  returned: success
  type: int
  sample: 3
files:
  description: The files that hold them.
  returned: success
  type: list
  elements: str
  sample: [/var/lib/tpmfleet/labels.pdf]
missing:
  description: The units without a label, each with the C(reason). Where there is one the task fails and writes nothing.
  returned: always
  type: list
  elements: dict
  sample: []
"""

import os
import tempfile

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ..module_utils.labels.drawing import IMPORT_ERROR, REQUIREMENTS, pdf, pictures
from ..module_utils.labels.label import SIZES, LabelError, pallet_label, unit_label
from ..module_utils.ledger.devices import Devices
from ..module_utils.ledger.stored import DamagedRecord
from ..module_utils.module.ledger import ledger_option, run
from ..module_utils.outside.visible import visible
from ..module_utils.record.model import called


def labels_of(devices, asked):
    """(the labels, the units that can have none with the reason)."""
    devices.expect(asked)
    labels, missing = [], []
    for one in asked:
        row = devices.row_of(one)
        try:
            if row is None:
                raise LabelError(f"the ledger does not know {visible(called(one))}")
            labels.append(unit_label(devices.record(row)))
        except (DamagedRecord, LabelError) as error:
            missing.append({**one, "reason": str(error)})
    return labels, missing


def files_of(labels, params):
    """Path to content."""
    sheet = pdf(labels, params["size"])
    if params["format"] == "pdf":
        return {params["dest"]: sheet}
    names = [f"{label.coded.lower()}.png" for label in labels]
    if params["pallet"]:
        names[0] = "pallet.png"
    return {os.path.join(params["dest"], name): picture for name, picture in zip(names, pictures(sheet))}


def holds(path, content):
    """Whether the file at *path* has this *content*."""
    if not os.path.isfile(path) or os.path.getsize(path) != len(content):
        return False
    with open(path, "rb") as file:
        return file.read() == content


def make(connection, module):
    """The result of the module."""
    params = module.params
    labels, missing = labels_of(Devices(connection), params["devices"])
    if missing:
        first = (
            f"{len(missing)} of {len(params['devices'])} units have no label, and none was made: {missing[0]['reason']}"
        )
        return {"failed": True, "msg": first, "missing": missing}
    try:
        if params["pallet"]:
            labels.insert(0, pallet_label(params["pallet"], labels))
    except LabelError as error:
        return {"failed": True, "msg": str(error), "missing": []}
    directory = params["dest"] if params["format"] == "png" else os.path.dirname(os.path.abspath(params["dest"]))
    if not os.path.isdir(directory):
        return {"failed": True, "msg": f"The directory {directory} for the labels is not there: make it", "missing": []}
    files = files_of(labels, params)
    changed = [path for path, content in files.items() if not holds(path, content)]
    for path in changed if not module.check_mode else ():
        with tempfile.NamedTemporaryFile(dir=module.tmpdir, delete=False) as file:
            file.write(files[path])
        os.chmod(file.name, 0o644)
        module.atomic_move(file.name, path)
    return {"changed": bool(changed), "labels": len(labels), "files": list(files), "missing": []}


def main():
    module = AnsibleModule(
        argument_spec={
            **ledger_option(),
            "devices": {"type": "list", "elements": "dict", "required": True},
            "dest": {"type": "path", "required": True},
            "format": {"type": "str", "choices": ["pdf", "png"], "default": "pdf"},
            "size": {"type": "str", "choices": list(SIZES), "default": "62x29"},
            "pallet": {"type": "str"},
        },
        supports_check_mode=True,
    )
    if IMPORT_ERROR is not None:
        module.fail_json(
            msg=missing_required_lib(REQUIREMENTS, reason="to draw labels", url="https://pypi.org/project/segno/"),
            exception=IMPORT_ERROR,
        )
    run(module, lambda connection: make(connection, module), reads_only=True)


if __name__ == "__main__":
    main()
