# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: enrollment_settings
short_description: What an inventory says of a host's enrollment, its parts merged
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Takes C(tpmfleet_enrollment), and over it each variable C(tpmfleet_enrollment_PART) in the alphabetical order of
    their names. So a group and a host add to what the fleet says, where Ansible by itself would take the one variable
    that outweighs the others.
  - Mappings are merged key by key at every depth. Everything else, lists too, is replaced. A null takes away what an
    earlier part said.
  - The order is that of the names and not that of the groups. Say it in the names where it matters, such as
    C(tpmfleet_enrollment_10_fleet), C(tpmfleet_enrollment_50_pumps) and C(tpmfleet_enrollment_90_unit).
options:
  _input:
    description: The variables of a host, C(hostvars[inventory_hostname]).
    type: dict
    required: true
"""

EXAMPLES = r"""
- name: Show what this host's enrollment is to say
  ansible.builtin.debug:
    msg: "{{ hostvars[inventory_hostname] | tpmfleet.azure_dps.enrollment_settings }}"
"""

RETURN = r"""
_value:
  description: The settings, under the names of the options of M(tpmfleet.azure_dps.dps_enrollment).
  type: dict
  sample:
    allocation_policy: hashed
    initial_twin:
      tags:
        line: "4"
        product: pump
"""

from ansible.errors import AnsibleFilterError

from ..module_utils.dps.enrollment_settings import settings_of
from ..plugin_utils.catalogue import explained


def enrollment_settings(variables) -> dict:
    """The settings of one host; see DOCUMENTATION."""
    try:
        return settings_of(variables)
    except ValueError as error:
        raise AnsibleFilterError(explained(str(error))) from None


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"enrollment_settings": enrollment_settings}
