# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Has the key read, with the authorization where it is needed, and computes what follows from it."""

from __future__ import annotations

from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.reading_action import ReadingAction


class ActionModule(ReadingAction):
    """The module, and no more."""

    MODULE = "tpm_endorsement_key_info"

    def work(self, task_vars):
        """The result of the task."""
        return self.read(self._task.args, task_vars)
