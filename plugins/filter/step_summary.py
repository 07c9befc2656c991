# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: step_summary
short_description: One line a device, of what a step did and what it verified
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Turns the C(verdicts) that M(tpmfleet.azure_dps.device_records) returned into lines for people.
positional: _input, step
options:
  _input:
    description: The verdicts, a mapping of host name to verdict.
    type: dict
    required: true
  step:
    description: The manufacturing step to tell of.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Say what was done and what was verified
  ansible.builtin.debug:
    msg: "{{ software_install_result.verdicts | tpmfleet.azure_dps.step_summary('software_install') }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: One line a host, in the order of the verdicts.
  type: list
  elements: str
  sample:
    - "rack1-slot01: ownership done, dps_client done, enrollment verified"
"""


from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible


def step_summary(verdicts: dict, step: str) -> list[str]:
    """Lines for people; see DOCUMENTATION."""
    lines = []
    for host, verdict in verdicts.items():
        if not verdict["accepted"]:
            lines.append(f"{host}: STOPPED, {'; '.join(verdict['reasons'])}")
            continue
        outcome = verdict.get("outcome") or {}
        said = ", ".join(f"{part} {state}" for part, state in outcome.items())
        lines.append(f"{host}: {said or step + ' ' + verdict['state']}")
    return [visible(line) for line in lines]


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"step_summary": step_summary}
