# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: station_path
short_description: An absolute path on the controller, begun where the command was given
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Ansible runs local modules in the directory of the playbook, and its lookups search beside roles and playbooks. This
    makes a relative path begin at the directory where the command was given, as in any other program.
  - The modules of this collection that run on the controller do so by themselves.
  - An empty path is refused.
positional: _input
options:
  _input:
    description: The path. C(~) is the home directory of the user who gave the command.
    type: str
    required: true
"""

EXAMPLES = r"""
- name: Write a report where the command was given
  ansible.builtin.copy:
    content: "{{ report | to_nice_json }}"
    dest: "{{ 'report.json' | tpmfleet.azure_dps.station_path }}"
    mode: "0644"
  delegate_to: localhost
"""

RETURN = r"""
_value:
  description: The absolute path.
  type: str
  sample: /home/line/report.json
"""

import os

from ansible.errors import AnsibleFilterError
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import explained
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.station_path import from_here


def station_path(path: str) -> str:
    """An absolute path; see DOCUMENTATION."""
    try:
        return from_here(os.path.expanduser(path) if isinstance(path, str) else path, "a file's path")
    except ValueError as error:
        raise AnsibleFilterError(explained(str(error))) from None


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"station_path": station_path}
