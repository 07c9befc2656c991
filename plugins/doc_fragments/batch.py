# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options of the filters that join what was registered on the hosts of a batch."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  _input:
    description: Names of the hosts, such as C(ansible_play_batch).
    type: list
    elements: str
    required: true
  hostvars:
    description: The magic variable of that name.
    type: dict
    required: true
"""
