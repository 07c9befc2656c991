# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Holds a work report against its order, and has the enrollments disabled of units that did not prove themselves."""

from __future__ import annotations

from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.disabling_action import DisablingAction


class ActionModule(DisablingAction):
    """The module; what has to be done first about a unit is a warning."""

    def work(self, tmp, task_vars) -> dict:
        """The result of the module."""
        result = super().work(tmp, task_vars)
        # At once: what comes next may fail for the same cause.
        first = [f"{one['unit']}: {one['first']}" for one in result.get("unproven") or () if one.get("first")]
        return {**result, "warnings": [*first, *(result.get("warnings") or ())]} if first else result
