# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: audit_report
short_description: The report of an audit of boxed units
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Joins what the role P(tpmfleet.azure_dps.warehouse_audit#role) found on the units of a batch, in the ledger and at
    the service.
extends_documentation_fragment:
  - tpmfleet.azure_dps.batch
positional: _input, hostvars
options:
  verdicts:
    description: The RV(tpmfleet.azure_dps.device_records#module:verdicts) of the batch, from check mode.
    type: dict
    required: true
  enrollments:
    description: The result of M(tpmfleet.azure_dps.dps_enrollments) for the batch, from check mode.
    type: dict
    required: true
  device:
    description: Name of the registered result of M(tpmfleet.azure_dps.device_read) on each host.
    type: str
    required: true
  work:
    description:
      - Name of the registered result of M(tpmfleet.azure_dps.device_work) on each host, from check mode and with its
        parts apart.
    type: str
    required: true
  id_scope:
    description: ID scope of the DPS where the units belong.
    type: str
    required: true
  key_version:
    description: The version of the authorizations that the units should have.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Say which units to pull, and why
  ansible.builtin.debug:
    msg: "{{ report.lines }}"
  run_once: true
  vars:
    report: >-
      {{ ansible_play_batch | tpmfleet.azure_dps.audit_report(
           hostvars, verdicts=batch.verdicts, enrollments=enrollments,
           device='device', work='planned', id_scope='0ne00000A1B', key_version=1) }}
"""

RETURN = r"""
_value:
  description:
    - C(lines) for people, which tell of what is wrong only.
    - C(bad) says of each host that is not good why.
    - C(counts) and C(units) for programs, the latter with the C(verdict) V(good), V(pull) or V(unchecked) of each unit,
      why in one line where it is not good, and what each check found.
  type: dict
  sample:
    lines:
      - "AUDIT: 1 of 2 units are good, 1 to pull"
      - "PULL rack1-slot02 (TF-000002): enrollment: is disabled"
    bad: {"rack1-slot02": "enrollment: is disabled"}
    counts: {"units": 2, "good": 1, "pull": 1, "unchecked": 0}
    units:
      - host: rack1-slot02
        serial_number: TF-000002
        verdict: pull
        why: "enrollment: is disabled"
        findings:
          - {check: endorsement_key, state: good, words: is the recorded one}
          - {check: enrollment, state: pull, words: is disabled}
"""

from ..module_utils.ledger.audit import GOOD, Audit, counts, lines, why


def _part(work: dict, name: str) -> dict:
    """What became of a part of the work, which as a whole may have failed before it came to its parts."""
    return work.get(name) or (work if work.get("failed") or work.get("unreachable") else {})


def audit_report(hosts, hostvars, verdicts, enrollments, device, work, id_scope, key_version) -> dict:
    """The report; see DOCUMENTATION."""
    audit = Audit(verdicts, enrollments, id_scope=id_scope, key_version=int(key_version))
    units = []
    for host in hosts:
        read, done = (hostvars[host].get(name) or {} for name in (device, work))
        unit = audit.unit(host, read, _part(done, "ownership"), _part(done, "client"))
        units.append({**unit, "why": why(unit)})
    bad = {unit["host"]: unit["why"] for unit in units if unit["verdict"] != GOOD}
    return {"lines": lines(units), "counts": counts(units), "bad": bad, "units": units}


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"audit_report": audit_report}
