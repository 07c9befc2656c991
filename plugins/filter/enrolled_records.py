# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: enrolled_records
short_description: Device records with what became of their enrollments
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Adds the outcome of its enrollment to each record. One whose enrollment was refused is left out.
positional: _input, enrollments
options:
  _input:
    description: Device records, such as the RV(tpmfleet.azure_dps.work_report_import#module:records) of a work report.
    type: list
    elements: dict
    required: true
  enrollments:
    description: What M(tpmfleet.azure_dps.dps_enrollments) returned for them.
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Write what was taken in
  tpmfleet.azure_dps.device_records:
    ledger: /var/lib/tpmfleet/ledger.sqlite
    step: software_install
    records: "{{ report.records | tpmfleet.azure_dps.enrolled_records(enrolled) }}"
"""

RETURN = r"""
_value:
  description: The records.
  type: list
  elements: dict
  sample:
    - host: rack1-slot01
      registration_id: unit-1
      outcome: {"ownership": "done", "enrollment": "done"}
"""

from .device_records import ENROLLMENT_OUTCOMES


def enrolled_records(records, enrollments) -> list[dict]:
    """Those of *records* that were enrolled; see DOCUMENTATION."""
    refused = {one.get("registration_id") for one in enrollments.get("failed_records", ())}
    actions = {one["registration_id"]: one["action"] for one in enrollments.get("results", ())}
    found = []
    for record in records:
        name = record["registration_id"]
        outcome = ENROLLMENT_OUTCOMES.get(actions.get(name, ""))
        if name not in refused and outcome:
            found.append({**record, "outcome": {**(record.get("outcome") or {}), "enrollment": outcome}})
    return found


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"enrolled_records": enrolled_records}
