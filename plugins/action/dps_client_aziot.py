# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Hands the authorizations to the module of its name without a file that holds them."""

from __future__ import annotations

from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import DeviceAction


class ActionModule(DeviceAction):
    """The module, behind the wall and off the disks."""

    MODULE = "dps_client_aziot"
    SECRET_OPTIONS = ("endorsement_auth", "owner_auth")
