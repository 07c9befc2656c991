# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How long work tells how far it is, in the words that the modules of the ledger share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  progress_interval:
    description:
      - How often C(ansible-playbook) says how far the task is on its error output, in seconds; V(0) is never.
      - Only where the task runs on the controller, as with C(delegate_to=localhost), and not with C(async).
    type: float
    default: 10
    version_added: 1.0.0
  progress_file:
    description:
      - Keep this file up to date with how far the task is, where the task runs, for whoever watches. It is one JSON
        object, as with M(tpmfleet.azure_dps.dps_enrollments); C(phase) is V(read) or V(write).
    type: path
    version_added: 1.0.0
"""

    INVENTORY = r"""
options:
  progress_interval:
    description:
      - After how many seconds each to say, on the error output, how much was read and how long the rest will take.
      - V(0) says nothing.
    type: float
    default: 10
    version_added: 1.0.0
"""
