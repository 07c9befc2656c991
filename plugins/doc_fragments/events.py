# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who and which run an event of the ledger is of, in the words that the modules that write some share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  operator:
    description:
      - Who is at work, for the history. Left out in a task, it is the variable C(tpmfleet_operator), else the user of
        AWX, else the account that started the playbook, also where that went through sudo.
    type: str
    default: ""
    version_added: 1.0.0
  run_id:
    description:
      - Which run it is, for the history. Left out in a task, it is the variable C(tpmfleet_run_id), else
        E(TPMFLEET_RUN_ID), else the job of AWX, else a name that is made for each run of a playbook.
    type: str
    default: ""
    version_added: 1.0.0
"""
