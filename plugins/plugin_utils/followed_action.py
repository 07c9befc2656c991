# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks that take long enough for somebody to wonder: they say how far they are while they run.

The module writes its progress to a file; here the file is followed, which takes that both are on one machine. Anywhere
else, and where there is nobody to tell, the module runs as any other does.
"""

from __future__ import annotations

import os
import tempfile

from ansible.utils.display import Display
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.following import following
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.station_action import StationAction

DEFAULT_INTERVAL = 10


class FollowedAction(StationAction):
    """The module as any other runs, with its progress followed."""

    def work(self, tmp, task_vars):
        """Runs the module."""
        interval = self._interval()
        if interval is None or not self._is_here():
            return super().work(tmp, task_vars)
        with tempfile.TemporaryDirectory(prefix="tpmfleet-progress-") as directory:
            path = os.path.expanduser(self._task.args.get("progress_file") or os.path.join(directory, "progress.json"))
            self._task.args = {**self._task.args, "progress_file": path}
            with following(path, interval, self._task.action.rpartition(".")[2], Display().display):
                return super().work(tmp, task_vars)

    def _interval(self) -> float | None:
        """Seconds between two lines; None for no lines, also where the module will refuse the option."""
        try:
            interval = float(self._task.args.get("progress_interval", DEFAULT_INTERVAL))
        except (TypeError, ValueError):
            return None
        return interval if interval > 0 else None

    def _is_here(self) -> bool:
        """Whether the module will run on this machine, at once, as a user who may write what we read."""
        become = self._connection.become
        stranger = become is not None and become.get_option("become_user", playcontext=self._play_context) != "root"
        return self._connection.transport == "local" and not self._task.async_val and not stranger
