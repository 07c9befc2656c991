#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_report
short_description: What the line's ledger knows, as one HTML file and as CSV
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Writes a page that needs no network, with how far units have come, what stopped them and where, how long they have
    been in the warehouse, where they stand in their racks, and the story of each.
  - The page holds what the ledger holds of every unit, so its file may be read by its owner and group only.
  - Equal ledgers give equal bytes. Ages are counted by the clock of who opens the page.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.without_diff
  - tpmfleet.azure_dps.ledger
  - tpmfleet.azure_dps.progress
options:
  dest:
    description: The HTML file to write, in a directory that is there.
    type: path
    required: true
  csv:
    description:
      - The CSV file to write too, with a line a unit.
      - A cell that begins with C(=), C(+), C(-), C(@) or a tab gets an apostrophe before it, so that no spreadsheet
        takes it for a formula.
    type: path
  title:
    description: What the page is called.
    type: str
    default: Fleet report
  rack_pattern:
    description:
      - A regular expression of Python that finds the groups C(rack) and C(slot) in the name of a host. The slot is a
        number up to 9999. Hosts that it does not fit are on no map.
    type: str
    default: ^(?P<rack>.+?)[-_.]slot[-_.]?(?P<slot>[0-9]+)$
  parts:
    description: The directory of the page's program and style. The collection's own where it is left out.
    type: path
seealso:
  - module: tpmfleet.azure_dps.device_records_info
"""

EXAMPLES = r"""
- name: Write the report of a line
  tpmfleet.azure_dps.fleet_report:
    ledger: /var/lib/tpmfleet/ledger.sqlite
    dest: /var/lib/tpmfleet/report.html
    csv: /var/lib/tpmfleet/report.csv
  delegate_to: localhost
"""

RETURN = r"""
units:
  description: How many units are in it.
  returned: success
  type: int
  sample: 8
files:
  description: The files that hold it.
  returned: success
  type: list
  elements: str
  sample: [/var/lib/tpmfleet/report.html, /var/lib/tpmfleet/report.csv]
damaged:
  description: The units whose record in the ledger is no record any more, in words. They are in the report by name.
  returned: success
  type: list
  elements: str
  sample: []
"""

import contextlib
import hashlib
import os
import re
import tempfile

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.fleet_report.gathered import DEFAULT_RACK_PATTERN, Gathered
from ..module_utils.fleet_report.page import PageError, page
from ..module_utils.fleet_report.table import heading, line
from ..module_utils.ledger.reading import how_many
from ..module_utils.module.ledger import ledger_option, run
from ..module_utils.module.progress import progress_of, progress_options
from ..module_utils.outside.durable import replace_file
from ..module_utils.outside.visible import visible

_BLOCK = 1 << 20
_MODE = 0o640


def blocks(file):
    """The content of an open *file*, in parts."""
    while block := file.read(_BLOCK):
        yield block


def digest(file):
    """Of the content of an open *file*."""
    total = hashlib.sha256()
    for block in blocks(file):
        total.update(block)
    return total.digest()


def differs(path, file):
    """Whether what is at *path* is not the content of the open *file*, which is at its beginning again after that."""
    try:
        with open(path, "rb") as before:
            same = os.fstat(before.fileno()).st_size == os.fstat(file.fileno()).st_size
            same = same and digest(before) == digest(file)
    except FileNotFoundError:
        same = False
    file.seek(0)
    return not same


def fault_of(params):
    """Why the report cannot be made, None where it can; and that of its places."""
    try:
        groups = re.compile(params["rack_pattern"]).groupindex
    except re.error as error:
        return f"rack_pattern (tpmfleet_report_rack_pattern) is no regular expression: {error}"
    if not {"rack", "slot"} <= set(groups):
        return "rack_pattern (tpmfleet_report_rack_pattern) has no groups rack and slot: write (?P<rack>…)(?P<slot>…)"
    for path in filter(None, (params["dest"], params["csv"])):
        directory = os.path.dirname(os.path.abspath(path))
        if not os.path.isdir(directory):
            return f"The directory {visible(directory)} for the report is not there: make it"
        if os.path.lexists(path) and not os.path.isfile(path):
            return f"{visible(path)} is no file: name one for the report"
    if params["csv"] and os.path.abspath(params["csv"]) == os.path.abspath(params["dest"]):
        return "dest (tpmfleet_report) and csv (tpmfleet_report_csv) are one file: name two"
    return None


def make(connection, module):
    """The result of the module."""
    params = module.params
    fault = fault_of(params)
    if fault:
        return {"failed": True, "msg": fault}
    gathered = Gathered(connection, params["rack_pattern"])
    progress = progress_of(params)
    with contextlib.ExitStack() as open_files:
        files = {}
        for name in ("dest", "csv"):
            if params[name]:
                files[params[name]] = open_files.enter_context(tempfile.TemporaryFile(dir=module.tmpdir))
        table = files.get(params["csv"])
        if table:
            table.write(heading())
        progress.begin("read", how_many(connection))
        for unit in gathered.units():
            if table:
                table.write(line(unit))
            progress.step()
        progress.begin("write", len(files))
        try:
            files[params["dest"]].write(page(gathered.data(), visible(params["title"], most=200), params["parts"]))
            changed = []
            for path, file in files.items():
                file.flush()
                file.seek(0)
                if differs(path, file):
                    changed.append(path)
                progress.step()
            for path in changed if not module.check_mode else ():
                replace_file(path, blocks(files[path]), _MODE)
        except PageError as error:
            return {"failed": True, "msg": str(error)}
        except OSError as error:
            reason = f"The report {visible(error.filename or params['dest'])} cannot be written: {error.strerror}"
            return {"failed": True, "msg": f"{reason}. Run again to complete it."}
    if gathered.damaged:
        module.warn(f"{len(gathered.damaged)} records in the ledger are damaged. The first: {gathered.damaged[0]}")
    return {
        "changed": bool(changed),
        "units": gathered.count,
        "files": list(files),
        "damaged": gathered.damaged,
    }


def main():
    module = AnsibleModule(
        argument_spec={
            **ledger_option(),
            "dest": {"type": "path", "required": True},
            "csv": {"type": "path"},
            "title": {"type": "str", "default": "Fleet report"},
            "rack_pattern": {"type": "str", "default": DEFAULT_RACK_PATTERN},
            "parts": {"type": "path"},
            **progress_options(),
        },
        supports_check_mode=True,
    )
    run(module, lambda connection: make(connection, module), reads_only=True)


if __name__ == "__main__":
    main()
