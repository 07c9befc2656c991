# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Kills ansible-playbook by SIGKILL, as a power cut does, when the task begins whose number CUT_OFF_AT says.

What happened is written to the file CUT_OFF_LOG: ``began NUMBER MODULE`` for each task, and ``changed NUMBER`` for each
host on which it changed something.
"""

from __future__ import annotations

import os
import signal

from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):
    """Counts the tasks from 1."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "cut_off"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._begun = 0

    def v2_playbook_on_task_start(self, task, is_conditional):
        """Before any process of the task is there."""
        self._begun += 1
        self._log("began", task.action.rpartition(".")[2])
        if self._begun == int(os.environ.get("CUT_OFF_AT", "0")):
            os.kill(os.getpid(), signal.SIGKILL)

    def v2_runner_on_ok(self, result):
        """A host is done with the task."""
        if (result.result if hasattr(result, "result") else result._result).get("changed"):
            self._log("changed")

    def _log(self, *words: str) -> None:
        with open(os.environ["CUT_OFF_LOG"], "a") as log:
            log.write(" ".join([words[0], str(self._begun), *words[1:]]) + "\n")
