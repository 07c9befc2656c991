# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks of the station's modules; what writes events into the ledger says who and which run."""

from __future__ import annotations

import contextlib
import importlib

from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.run_identity import operator, run_id
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.station_action import StationAction

# Each task of a step at the ledger would load these anew. Here it is done once, before their processes are forked.
for name in ("sqlalchemy", "ansible_collections.tpmfleet.azure_dps.plugins.modules.device_records"):
    with contextlib.suppress(ImportError):
        importlib.import_module(name)

WRITES_EVENTS = (
    "device_records",
    "device_records_import",
    "work_order",
    "work_report_import",
)


class EventsAction(StationAction):
    """The module, with its paths begun where the command was given."""

    @property
    def module(self) -> str:
        """The module's name in this collection."""
        return self._task.action.rpartition(".")[2]

    def work(self, tmp, task_vars) -> dict:
        """The result of the module."""
        if self.module in WRITES_EVENTS:
            said = {"operator": operator, "run_id": run_id}
            for name, found in said.items():
                if self._task.args.get(name) in (None, ""):
                    self._task.args[name] = found(task_vars or {}, self._templar.template)
        return super().work(tmp, task_vars)
