# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of its name on the device, and judges what that says beside the controller's own clock."""

from __future__ import annotations

import time

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.doctor.device import findings_of
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import DEFAULT_TCTI
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import DeviceAction


class ActionModule(DeviceAction):
    """The module, behind the wall."""

    MODULE = "doctor_device"

    def work(self, task_vars):
        """Runs the module."""
        asked = time.time()
        said = super().work(task_vars)
        if said.get("failed"):
            return said
        tcti = str(self._task.args.get("tcti") or DEFAULT_TCTI)
        found = findings_of(
            said, tcti=tcti, asked=asked, answered=time.time(), pipelined=self._is_pipelining_enabled("new")
        )
        return {**said, "findings": found}
