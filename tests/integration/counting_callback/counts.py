# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Counts what each play asks of devices, TPMs and service, at those that were asked: their logs are read at its bounds.

COUNTS_LAB is the directory of the lab, whose TPMs have to answer by a script, an empty one, to be counted. COUNTS_LOG
gets a line of JSON a play: ``play`` (its name), ``hosts`` with ``executions``, ``tasks``, ``commands``
and ``keys`` of each, and ``calls`` by operation.
"""

from __future__ import annotations

import json
import os
import ssl
import urllib.request
from collections import Counter
from pathlib import Path

from ansible.plugins.callback import CallbackBase
from tpm_rack.answers import COMMANDS
from tpm_rack.rack import Rack

MAKE_A_KEY = {COMMANDS["CreatePrimary"], COMMANDS["Create"]}


class CallbackModule(CallbackBase):
    """One count a play."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "counts"

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        lab = Path(os.environ["COUNTS_LAB"])
        described = json.loads((lab / "lab.json").read_text())
        rack = Rack(lab / "rack")
        self._devices = {one["name"]: rack.device(one["name"]) for one in described["devices"]}
        self._stats = f"{described['service']['endpoint']}/_emulator/stats"
        self._tls = ssl.create_default_context(cafile=described["ca_file"])
        self._tasks: Counter[str] = Counter()
        self._play = ""
        self._before: dict = {}

    def v2_playbook_on_play_start(self, play):
        """The end of the one before, too. A play for units that took their time, of which there are none, is none."""
        self._end()
        if not play.hosts:
            return
        self._play = play.get_name()
        self._tasks.clear()
        self._before = self._seen()

    def v2_playbook_on_stats(self, stats):
        """The end of the last one."""
        self._end()

    def v2_runner_on_ok(self, result):
        """A host is done with a task."""
        self._tasks[result.host.get_name() if hasattr(result, "host") else result._host.get_name()] += 1

    v2_runner_on_skipped = v2_runner_on_ok
    v2_runner_on_unreachable = v2_runner_on_ok

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """A host is done with a task that failed."""
        self.v2_runner_on_ok(result)

    def _end(self) -> None:
        if not self._before:
            return
        before, after = self._before, self._seen()
        hosts = {}
        for name, device in after["devices"].items():
            commands = device["commands"][len(before["devices"][name]["commands"]) :]
            hosts[name] = {
                "executions": device["executions"] - before["devices"][name]["executions"],
                "tasks": self._tasks[name],
                "commands": len(commands),
                "keys": sum(command in MAKE_A_KEY for command in commands),
            }
        count = {"play": self._play, "hosts": hosts, "calls": after["calls"] - before["calls"]}
        with open(os.environ["COUNTS_LOG"], "a") as log:
            log.write(json.dumps(count) + "\n")
        self._before = {}

    def _seen(self) -> dict:
        with urllib.request.urlopen(self._stats, context=self._tls, timeout=20) as answer:
            calls = json.load(answer)["calls"]
        return {
            "calls": Counter({name: sum(by_status.values()) for name, by_status in calls.items()}),
            "devices": {
                name: {"executions": device.executions, "commands": device.tpm.commands}
                for name, device in self._devices.items()
            },
        }
