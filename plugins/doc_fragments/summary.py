# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The summary of a run as a file, in the words that the callbacks that write it share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  summary_file:
    description:
      - A file for the summary as JSON, for a program. A relative path begins where the command was given.
      - The object has C(passed), C(held_up) and C(not_run) (names of units), C(pull) (C(unit), C(task), C(play),
        C(how), C(reason), C(error)), C(mend) (C(variable), C(units), C(task), C(play), C(reason), C(error)), C(again)
        (C(units), C(task), C(play), C(reason), C(error)), C(files), C(next), C(changed), the number of tasks that
        changed something, each counted for each unit, and what the ledger was told last, C(run_id) and
        C(ledger_head), see M(tpmfleet.azure_dps.device_records). They are null where the run wrote nothing into it.
      - C(without_hosts) are the plays that found no host, where nothing ran for any.
      - C(error) is the entry of C(docs/errors.md) that explains the reason, empty where none does.
    type: str
    env:
      - name: TPMFLEET_SUMMARY_FILE
    ini:
      - section: callback_line_summary
        key: summary_file
"""
