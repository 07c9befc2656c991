# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of its name, and installs the programs first where the device says that it has none."""

from __future__ import annotations

from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import DeviceAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.packages import FAMILIES, install

PACKAGES = ["swtpm", "swtpm-tools"]


class ActionModule(DeviceAction):
    """The module, behind the wall."""

    MODULE = "software_tpm"

    def work(self, task_vars):
        """Runs the module, twice where something was missing."""
        said = super().work(task_vars)
        if said.get("failed") or said["programs"]:
            return said
        family = self._task.args.get("family")
        if family not in FAMILIES:
            words = (
                f"swtpm and swtpm_setup are not there, and no packages of them are known for the family '{family}'. "
                "Put them on its image."
            )
            return self.failure(words)
        installed = install(self, family, PACKAGES, task_vars)
        if installed.get("failed") or self.is_check:
            return installed if installed.get("failed") else said
        return {**super().work(task_vars), "changed": True}
