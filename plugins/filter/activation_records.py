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
positional: _input, registrations, planned
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
  planned:
    description:
      - Whether devices that a run would wait for count as assigned, which is for check mode. Each is said to be at the
        hub where the ledger knows it, or at one that is yet to be told.
    type: bool
    default: false
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
NOT_YET_TOLD = "not yet told"


def _hub(record: dict, state: dict, planned: bool) -> str | None:
    """The hub that a device is at, or, where that is *planned*, will be at; None where it is at none."""
    if state.get("status") == "assigned":
        return state["assigned_hub"]
    if not planned or state.get("status") == "disabled":
        return None
    steps = record.get("steps") or {}
    return steps.get("field_activation", {}).get("outcome", {}).get("assigned_hub", NOT_YET_TOLD)


def activation_records(records: list[dict], registrations: list[dict], planned: bool = False) -> list[dict]:
    """Records for the ledger; see DOCUMENTATION."""
    states = {state["registration_id"].lower(): state for state in registrations}
    hubs = [(record, _hub(record, states.get(record["registration_id"].lower(), {}), planned)) for record in records]
    return [
        {**{name: record[name] for name in IDENTITY if name in record}, "outcome": {"assigned_hub": hub}}
        for record, hub in hubs
        if hub
    ]


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"activation_records": activation_records}
