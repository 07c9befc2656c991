# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the person at the rack has to know at the end of a run: which units to pull, and why."""

from __future__ import annotations

DOCUMENTATION = r"""
name: line_summary
type: aggregate
short_description: Says at the end of a run which units to pull from the rack
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - At the end of a run, says how many units passed, and for each one to pull its name, where it stopped and why.
  - A task for a whole batch (C(run_once)) that fails is named as such, with no unit to pull for it.
  - A unit that did nothing wrong, but was stopped with its batch, is counted as held up. It stays in the rack, and the
    run has to be repeated.
  - C(localhost) is the station and not a unit. It is named where it failed and is in no count. A run over nothing else
    that went well has no summary.
  - Only what is wrong is listed, so that a run over hundreds of units still ends in one look.
  - Results of tasks with C(no_log) are not shown.
requirements:
  - To be enabled in the configuration, for example C(callbacks_enabled=tpmfleet.azure_dps.line_summary) in the section
    C([defaults]) of C(ansible.cfg), or in the environment by E(ANSIBLE_CALLBACKS_ENABLED).
"""

EXAMPLES = r"""
# ansible-playbook --inventory inventories/lab/ tpmfleet.azure_dps.site, with in ansible.cfg:
#
#   [defaults]
#   callbacks_enabled = tpmfleet.azure_dps.line_summary
#
# ends with, for instance:
#
#   LINE SUMMARY: 6 passed, 2 to pull
#   PULL rack1-slot03: stopped at ownership : Have ownership of the TPM claimed (Step 3, firmware and software …)
#        The owner authorization of this TPM was set by someone else.
#   PULL rack1-slot07: unreachable at endorsement_key : Read the endorsement key (Step 2, the TPM is integrated)
#        Failed to connect to the host via ssh: Connection refused
"""

from ansible import constants as C
from ansible.plugins.callback import CallbackBase

REASON_LENGTH = 200


def reason_in_one_line(result: dict, host_name: str) -> str:
    """What *result* says went wrong, at most :data:`REASON_LENGTH` characters; nothing of a ``no_log`` result.

    A loop's reason is that of its first item that failed.
    """
    if "censored" in result or result.get("_ansible_no_log"):
        return "the reason is not shown, because the task has no_log"
    for item in result.get("results") or []:
        if isinstance(item, dict) and (item.get("failed") or item.get("unreachable")):
            return reason_in_one_line(item, host_name)
    text = result.get("msg") or result.get("module_stderr") or result.get("stderr") or "no reason was given"
    if isinstance(text, (list, tuple)):
        text = "; ".join(str(one) for one in text)
    text = " ".join(str(text).split())
    # The line is headed by the name already.
    text = text[len(host_name) + 2 :] if text.startswith(f"{host_name}: ") else text
    return text if len(text) <= REASON_LENGTH else text[: REASON_LENGTH - 3] + "..."


class CallbackModule(CallbackBase):
    """Keeps the last failure of each host; the run's own statistics say in the end which of them count."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "tpmfleet.azure_dps.line_summary"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._play = None
        self._units: set[str] = set()
        self._batch: set[str] = set()
        self._stopped: dict[str, tuple[str, str, str]] = {}
        self._batch_stopped: list[tuple[str, str]] = []
        self._held_up: set[str] = set()

    def v2_playbook_on_play_start(self, play):
        """Called for each batch of a play."""
        self._play = play
        self._batch = self._hosts_of(play)
        # The statistics do not know a unit for which another one did all tasks.
        self._units |= self._batch

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Where a rescue follows, the statistics do not count it."""
        if ignore_errors:
            return
        task = self._task_of(result)
        if task.run_once:
            # Ansible ends the batch for all its hosts, and counts the failure for the one that stood for them.
            self._batch_stopped.append(self._where_and_why(result))
        else:
            self._stopped[self._host_of(result)] = ("stopped", *self._where_and_why(result))
        if task.run_once or task.any_errors_fatal:
            self._held_up |= self._batch

    def v2_runner_on_unreachable(self, result):
        """The statistics count it also where it is to be ignored."""
        if not self._task_of(result).ignore_unreachable:
            self._stopped[self._host_of(result)] = ("unreachable", *self._where_and_why(result))

    def v2_playbook_on_stats(self, stats):
        """The end: says it."""
        bad = []
        for host in sorted(self._stopped):
            counts = stats.summarize(host)
            if counts["failures"] or counts["unreachable"]:
                bad.append(host)
        units = (self._units | set(stats.processed)) - {"localhost"}
        to_pull = units.intersection(bad)
        held_up = (self._held_up & units) - to_pull
        heads = [f"{len(units - to_pull - held_up)} passed", f"{len(to_pull)} to pull"]
        if held_up:
            heads.append(f"{len(held_up)} held up: nothing is wrong with them, repeat the run")
        batches = self._batch_stopped if any(stats.failures.values()) else []
        if not (units or bad or batches):
            return
        self._say(f"LINE SUMMARY: {', '.join(heads)}", good=not (bad or batches))
        for place, reason in batches:
            self._say(f"BATCH stopped at {place}", f"     {reason}")
        for host in bad:
            verb, place, reason = self._stopped[host]
            who = "STATION" if host == "localhost" else "PULL"
            self._say(f"{who} {host}: {verb} at {place}", f"     {reason}")

    def _say(self, *lines: str, good: bool = False) -> None:
        for line in lines:
            self._display.display(line, color=C.COLOR_OK if good else C.COLOR_ERROR)

    def _where_and_why(self, result) -> tuple[str, str]:
        # ansible-core 2.19 gave the parts of a result public names and deprecated the others.
        data = result.result if hasattr(result, "result") else result._result
        place = self._task_of(result).get_name().strip().replace("tpmfleet.azure_dps.", "")
        play = self._play.get_name().strip() if self._play else ""
        return f"{place} ({play})" if play else place, reason_in_one_line(data, self._host_of(result))

    @staticmethod
    def _host_of(result) -> str:
        return (result.host if hasattr(result, "host") else result._host).get_name()

    @staticmethod
    def _task_of(result):
        return result.task if hasattr(result, "task") else result._task

    @staticmethod
    def _hosts_of(play) -> set[str]:
        """The hosts of the batch that starts; the inventory is narrowed to them by then."""
        manager = play.get_variable_manager()
        inventory = getattr(manager, "_inventory", None)
        return {host.get_name() for host in inventory.get_hosts(play.hosts)} if inventory else set()
