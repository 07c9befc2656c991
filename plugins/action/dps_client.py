# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Builds the field client on the controller and hands it to the module of its name: placing it costs one call."""

from __future__ import annotations

import base64

from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.client_program import build_program, read_units
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import DeviceAction


class ActionModule(DeviceAction):
    """Adds the program and its units to the arguments."""

    MODULE = "dps_client"
    SECRET_OPTIONS = ("endorsement_auth", "owner_auth", "proxy_auth", "program")

    def work(self, task_vars):
        """Runs the module on the device."""
        arguments = dict(self._task.args)
        if arguments.get("state", "present") == "present":
            interpreter = arguments.get("interpreter") or "/usr/bin/python3"
            arguments["program"] = base64.b64encode(build_program(interpreter)).decode()
        arguments["units"] = read_units()
        return self.run_module(self.MODULE, arguments, task_vars)
