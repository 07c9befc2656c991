# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Runs the module of the task's name on the station. meta/runtime.yml leads the other modules of the station here."""

from __future__ import annotations

from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.disabling_action import DisablingAction


class ActionModule(DisablingAction):
    """The module; a unit that did not prove itself is told among its reasons what became of its enrollment."""

    # Who may not disable it says so elsewhere, or another step does it.
    SAYS_WITHOUT_SERVICE = False

    def work(self, tmp, task_vars) -> dict:
        """The result of the module."""
        result = super().work(tmp, task_vars)
        for one in result.get("unproven") or () if self.module == "device_records" else ():
            reasons = result["verdicts"][one["unit"]]["reasons"]
            first, more = (str(one.get(name) or "").removesuffix(".") for name in ("first", "more"))
            reasons[:0] = [first] if first else []
            reasons += [f"{more[0].lower()}{more[1:]}"] if more else []
        return result
