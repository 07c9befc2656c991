# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Gives a device what the TPM modules need."""

from __future__ import annotations

from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.runtime_action import RuntimeAction


class ActionModule(RuntimeAction):
    """No module of its own."""

    def work(self, task_vars):
        """Verified, done or, in check mode, planned."""
        _valid, options = self.validate_argument_spec(self.RUNTIME_ARGUMENTS)
        return self.provide(options, task_vars)
