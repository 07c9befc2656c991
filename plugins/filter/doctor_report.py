# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: doctor_report
short_description: What the doctor found, folded by cause
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Joins what M(tpmfleet.azure_dps.doctor_device) found on the hosts of a batch, those among them that could not be
    reached or fell over.
extends_documentation_fragment:
  - tpmfleet.azure_dps.batch
positional: _input, hostvars
options:
  result:
    description: The name of the registered result of M(tpmfleet.azure_dps.doctor_device) on each host.
    type: str
    required: true
  station:
    description: The registered result of M(tpmfleet.azure_dps.doctor_station).
    type: dict
    default: {}
"""

EXAMPLES = r"""
- name: Say what to do
  ansible.builtin.debug:
    msg: "{{ (ansible_play_hosts_all | tpmfleet.azure_dps.doctor_report(hostvars, result='looked')).lines }}"
  run_once: true
"""

RETURN = r"""
_value:
  description:
    - C(lines) for people, which tell of what is not well only, each cause once.
    - C(bad) says of each host that has a fault which.
    - C(counts), C(causes), C(station) and C(devices) for programs.
  type: dict
  sample:
    lines:
      - "DOCTOR: 1 of 2 devices are well, 1 with a fault"
      - "FAULT rack1-slot02: disk: a file system that the client's files go to is read-only (/etc). Look in dmesg."
    bad: {"rack1-slot02": "a file system that the client's files go to is read-only"}
    counts: {"fault": 1, "attention": 0, "unknown": 0, "ok": 1}
"""

from ansible.utils.unsafe_proxy import wrap_var

from ..module_utils.doctor.report import findings_in, report


def doctor_report(hosts, hostvars, result, station=None) -> dict:
    """The report; see DOCUMENTATION."""
    found = {host: findings_in(hostvars[host].get(result) or {}) for host in hosts}
    # Words of devices are in it, which are no templates.
    return wrap_var(report(findings_in(station) if station else [], found))


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"doctor_report": doctor_report}
