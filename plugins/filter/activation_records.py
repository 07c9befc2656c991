# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: activation_records
short_description: What the ledger is told of the devices that provisioned themselves
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Joins device records with the registration states that M(tpmfleet.azure_dps.dps_registration_info) returned, and
    keeps the devices that are assigned to a hub.
positional: _input, registrations
options:
  _input:
    description: Device records with C(host) and C(registration_id).
    type: list
    elements: dict
    required: true
  registrations:
    description: The RV(tpmfleet.azure_dps.dps_registration_info#module:registrations) of the batch.
    type: list
    elements: dict
    required: true
"""

EXAMPLES = r"""
- name: Write what the service says into the ledger
  tpmfleet.azure_dps.device_records:
    ledger: /var/lib/line/ledger.sqlite
    step: field_activation
    records: "{{ known.records | tpmfleet.azure_dps.activation_records(states.registrations) }}"
"""

RETURN = r"""
_value:
  description: One record a device that is assigned.
  type: list
  elements: dict
  sample:
    - host: rack1-slot01
      serial_number: TF-000001
      registration_id: o2pzpqzcqyqxkmkwbbw7mgxyv7zpmwfivtuhz7gcdq3tzyezpcoa
      outcome: {assigned_hub: hub-eu.azure-devices.example}
"""


# What the ledger knows a device by.
IDENTITY = ("host", "serial_number", "device_id", "registration_id")


def activation_records(records: list[dict], registrations: list[dict]) -> list[dict]:
    """Records for the ledger; see DOCUMENTATION."""
    states = {state["registration_id"]: state for state in registrations if state.get("status") == "assigned"}
    return [
        {
            **{name: record[name] for name in IDENTITY if name in record},
            "outcome": {"assigned_hub": states[record["registration_id"]]["assigned_hub"]},
        }
        for record in records
        if record["registration_id"] in states
    ]


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"activation_records": activation_records}
