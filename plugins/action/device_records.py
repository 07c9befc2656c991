# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the task's name on the station. meta/runtime.yml leads the other modules of the station here."""

from __future__ import annotations

from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.station_action import StationAction


class ActionModule(StationAction):
    """The module, with its paths begun where the command was given."""
