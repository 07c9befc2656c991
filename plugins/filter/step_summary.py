# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: step_summary
short_description: One line a device, of what a step did and what it verified, and what comes next
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Turns the C(verdicts) that M(tpmfleet.azure_dps.device_records) returned into lines for people.
  - The last line, which begins with C(NEXT:), says what comes next for the devices that may go on. The closing summary
    of P(tpmfleet.azure_dps.line_summary#callback) repeats it where all went well.
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
  then:
    description: What comes next, where it is not what follows from the step.
    type: str
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
    - "NEXT: step 4 for them, before they are boxed: tpmfleet.azure_dps.warehouse"
"""


from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible

# What a person does after each step; the steps are those of the device record.
NEXT = {
    "tpm_install": "step 3 for them, when their firmware and software are on: tpmfleet.azure_dps.software_install",
    "software_install": "step 4 for them, before they are boxed: tpmfleet.azure_dps.warehouse",
    "warehouse": "box them; once they are installed, tpmfleet.azure_dps.field_activation says whether they came up",
    "field_activation": "nothing, they are in service; take them out of the inventory of the line",
    "reprovision": (
        "power them up: they have no identity until their client registers, at power-up, at its daily look, or by "
        "'systemctl start tpmfleet-dps-client.service'"
    ),
    "replace_tpm": "take tpmfleet_replace_tpm out of the inventory, then step 4: tpmfleet.azure_dps.warehouse",
    "decommission": "take them out of the inventory",
}


def step_summary(verdicts: dict, step: str, then: str = "") -> list[str]:
    """Lines for people; see DOCUMENTATION."""
    lines = []
    for host, verdict in verdicts.items():
        if not verdict["accepted"]:
            lines.append(f"{host}: STOPPED, {'; '.join(verdict['reasons'])}")
            continue
        outcome = verdict.get("outcome") or {}
        said = ", ".join(f"{part} {state}" for part, state in outcome.items())
        lines.append(f"{host}: {said or step + ' ' + verdict['state']}")
    if any(verdict["accepted"] for verdict in verdicts.values()):
        lines.append(f"NEXT: {then or NEXT[step]}")
    return [visible(line) for line in lines]


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"step_summary": step_summary}
