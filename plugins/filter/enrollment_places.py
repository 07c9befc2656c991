# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: enrollment_places
short_description: Where the devices of a batch are enrolled, or may be, besides where they belong
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - The ledger notes each enrollment before it is made and forgets it once it was seen gone. This lists, for
    M(tpmfleet.azure_dps.dps_disenrollment), those that the devices of a batch leave behind.
positional: _input, verdicts, id_scope
options:
  _input:
    description: Names of the hosts, such as C(ansible_play_batch).
    type: list
    elements: str
    required: true
  verdicts:
    description: The RV(tpmfleet.azure_dps.device_records#module:verdicts) of the batch.
    type: dict
    required: true
  id_scope:
    description: ID scope of the DPS in which the devices belong.
    type: str
    required: true
  own:
    description: Whether to list the place where each device belongs as well, for one that is taken out of service.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Show what moved devices leave behind
  ansible.builtin.debug:
    msg: "{{ ansible_play_batch | tpmfleet.azure_dps.enrollment_places(batch.verdicts, '0ne00000A1B') }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: One place each, with the host whose it is.
  type: list
  elements: dict
  sample:
    - host: rack1-slot01
      dps_id_scope: 0ne00000000
      registration_id: o2pzpqzcqyqxkmkwbbw7mgxyv7zpmwfivtuhz7gcdq3tzyezpcoa
      endorsement_key: AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCA...
"""

from ..module_utils.record.places import PLACE, own_place, places_left


def enrollment_places(hosts, verdicts, id_scope, own=False) -> list[dict]:
    """Places with their hosts; see DOCUMENTATION."""
    places = []
    for host in hosts:
        if not verdicts.get(host, {}).get("accepted"):
            continue
        record = verdicts[host]["record"]
        mine = own_place(record, id_scope) if own else None
        found = [*places_left(record, id_scope), *([mine] if mine else [])]
        places += [{"host": host, **{name: place[name] for name in PLACE}} for place in found]
    return places


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"enrollment_places": enrollment_places}
