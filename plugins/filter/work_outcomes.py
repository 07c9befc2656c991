# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: work_outcomes
short_description: What became of the units of work orders in a batch, for the report to their owner
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Makes one entry a host that is meant to be a unit of a work order and was worked on, out of the registered results
    of M(tpmfleet.azure_dps.device_read), M(tpmfleet.azure_dps.device_records) and M(tpmfleet.azure_dps.device_work).
    Hosts that failed are among them, also before they were read.
positional: _input, hostvars
options:
  _input:
    description: Names of the hosts, such as C(ansible_play_hosts_all), which has those that failed too.
    type: list
    elements: str
    required: true
  hostvars:
    description: The magic variable of that name.
    type: dict
    required: true
  opened:
    description:
      - Name of the registered result of M(tpmfleet.azure_dps.work_order_units) for what the inventory says of hosts.
    type: str
    required: true
  units:
    description: Name of the registered result of M(tpmfleet.azure_dps.work_order_units) for the batch.
    type: str
    required: true
  read:
    description: Name of the registered result of M(tpmfleet.azure_dps.device_read).
    type: str
    required: true
  batch:
    description: Name of the registered result of M(tpmfleet.azure_dps.device_records) for the batch.
    type: str
    required: true
  done:
    description: Name of the registered result of M(tpmfleet.azure_dps.device_work).
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Report what was done
  tpmfleet.azure_dps.work_report_export:
    ledger: /var/lib/line/work-journal.sqlite
    numbers: [WO-2026-0042]
    dest: /srv/reports
    signing_key: /etc/tpmfleet/line
    units: >-
      {{ ansible_play_hosts_all | tpmfleet.azure_dps.work_outcomes(
           hostvars, opened='software_install_opened', read='endorsement_key_device', units='software_install_units',
           batch='endorsement_key_batch', done='device_work_done') }}
  run_once: true
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: One entry a unit, for the option C(units) of M(tpmfleet.azure_dps.work_report_export).
  type: list
  elements: dict
  sample:
    - endorsement_key_sha256: 69e8ffd4bcf550f4982e7d4c34159f1ad1a56ce843b6cb12cb8abe2d811d5293
      number: WO-2026-0042
      state: failed
      reason: The TPM could not open the challenge
"""

from ..module_utils.record.orders import DONE, FAILED, told_reason


def work_outcomes(hosts, hostvars, opened, read, units, batch, done) -> list[dict]:
    """What became of *hosts*; see DOCUMENTATION."""
    outcomes = []
    for host in hosts:
        variables = hostvars[host]
        meant = [(variables.get(name) or {}).get("meant", {}).get(host) for name in (units, opened)]
        unit = next((one for one in meant if one), None)
        if unit is None:
            continue
        about = {name: unit[name] for name in ("endorsement_key_sha256", "number", "customer")}
        results = [variables.get(name) or {} for name in (done, read)]
        result = next((one for one in results if one.get("failed")), results[0])
        verdict = (variables.get(batch) or {}).get("verdicts", {}).get(host) or {}
        answer = {"answer": result["order"]["answer"]} if result.get("order") else {}
        if verdict.get("reasons") or result.get("failed"):
            why = "; ".join(verdict.get("reasons") or []) or result.get("reason") or result.get("msg")
            proof = {"not_proven": True} if result.get("not_proven") else answer
            outcomes.append({**about, "state": FAILED, "reason": told_reason(why or "it gave no reason"), **proof})
        elif answer:
            outcomes.append({**about, "state": DONE, **answer})
    return outcomes


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"work_outcomes": work_outcomes}
