# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tells the report's module where the page's parts are: they are no Python, so they do not travel with it."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.followed_action import FollowedAction

PARTS = Path(__file__).resolve().parents[1] / "module_utils" / "fleet_report"


class ActionModule(FollowedAction):
    """The module, with its paths begun where the command was given, and its progress followed."""

    def work(self, tmp, task_vars) -> dict:
        """The result of the module."""
        self._task.args.setdefault("parts", str(PARTS))
        return super().work(tmp, task_vars)
