# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Refuses to start a step whose settings would let it go wrong, once for the batch and before a device is asked."""

from __future__ import annotations

from ansible.plugins.action import ActionBase
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.start_checks import wrong_at_start


class ActionModule(ActionBase):
    """The checks of the controller; no device is connected to."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset()
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        """Runs the task."""
        result = super().run(tmp, task_vars)
        wrong = wrong_at_start(task_vars or {})
        if wrong:
            return {**result, "failed": True, "msg": " ".join([*wrong, "Nothing was changed."])}
        return {**result, "changed": False}
