# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A run as people at a rack look at it: a live picture, or a few plain lines, and then the closing summary."""

from __future__ import annotations

DOCUMENTATION = r"""
name: line
type: stdout
short_description: Shows a run over a rack as a live picture, or in a few plain lines
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - In a terminal, a picture of the rack that is redrawn while the run is under way. It has each unit in each part of
    the step (waiting, running with seconds, done, verified, later, failed), how far the part is, and the time that is
    left.
  - A unit whose TPM takes its time is C(later). The step goes on for the others, and takes it in a play of its own.
  - Units that need somebody stand on top with the reason, and so do those that have been at work for long. Where the
    terminal is too small for a line a unit, the others are folded into a line a rack.
  - Without a terminal, in a pipeline (E(CI)), with E(NO_COLOR) or C(TERM=dumb), or where the Python library rich is
    missing, it writes about one line a part and batch, and one a failure.
  - With C(-v) and more it is Ansible's own output.
  - In the end it says what P(tpmfleet.azure_dps.line_summary#callback) says, which need not be enabled besides.
  - The exit code is Ansible's own, such as 2 where a unit failed and 4 where one could not be reached, and 3 where
    Ansible has nothing against the run and yet no unit has come to the end of the step.
  - Warnings are shown once, before the summary. Results of tasks with C(no_log) are not shown.
extends_documentation_fragment:
  - default_callback
  - result_format_callback
  - tpmfleet.azure_dps.summary
requirements:
  - rich on the controller, for the picture
  - To be set as stdout callback in the configuration, as C(stdout_callback=tpmfleet.azure_dps.line) in the section
    C([defaults]) of C(ansible.cfg), or in the environment by E(ANSIBLE_STDOUT_CALLBACK).
"""

EXAMPLES = r"""
# ansible-playbook --inventory inventories/lab/ tpmfleet.azure_dps.software_install, without a terminal, writes:
#
#   STEP Step 3, firmware and software are installed: 8 units
#     Read the endorsement key: 8 verified, of 8, in 2 s
#     PULL rack1-slot03: stopped at ownership : Have ownership of the TPM claimed: The owner authorization of this …
#     Have ownership of the TPM claimed: 7 done, of 8, in 3 s
#   LINE SUMMARY: 7 passed, 1 to pull
#   …
"""

import time

from ansible import constants as C
from ansible.plugins.callback.default import CallbackModule as Default
from ansible_collections.tpmfleet.azure_dps.plugins.callback.line_summary import STATION, is_left_for_later
from ansible_collections.tpmfleet.azure_dps.plugins.callback.line_summary import CallbackModule as LineSummary
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.failure_kind import AGAIN, UNIT
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import end_of, parted
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.failure import (
    COLLECTION,
    CONTROLLER_ACTIONS,
    is_of_station,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.rack.screen import screen_of
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.rack.state import DONE, FAILED, LATER, VERIFIED, Rack
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.run_events import data_of, host_of, hosts_of, task_of

# No unit has passed, and Ansible calls that a success.
NOTHING_PASSED = 3
_DEBUG = "ansible.builtin.debug"
_LEFT = "its TPM takes its time, and goes on; it is asked again after the others"


class CallbackModule(LineSummary, Default):
    """Ansible's own output where more than a look is asked for; else the rack, and in the end its summary."""

    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "tpmfleet.azure_dps.line"
    CALLBACK_NEEDS_ENABLED = False

    def __init__(self):
        super().__init__()
        self._rack = Rack(time.monotonic)
        self._screen = None if self._display.verbosity else screen_of(self._rack, self._write_line)
        self._warned: dict[str, None] = {}
        self._none_wanted = False

    # What a run tells

    def v2_playbook_on_play_start(self, play):
        """The next batch."""
        LineSummary.v2_playbook_on_play_start(self, play)
        if self._screen is None:
            Default.v2_playbook_on_play_start(self, play)
            return
        self._end_batch()
        self._none_wanted = not play.hosts
        names = sorted(hosts_of(play) - {STATION})
        self._rack.begin(visible(play.get_name().strip()), names, len(hosts_of(play, whole=True) - {STATION}))
        if names:
            self._screen.start()
            self._screen.begin()

    def v2_playbook_on_task_start(self, task, is_conditional):
        """What comes next for all."""
        if self._screen is None:
            Default.v2_playbook_on_task_start(self, task, is_conditional)
        elif not _is_silent(task):
            self._end_part()
            self._rack.begin_task(_called(task), common=bool(task.run_once) or not _is_part(task))

    def v2_playbook_on_handler_task_start(self, task):
        """As any other task."""
        self.v2_playbook_on_task_start(task, False)

    def v2_runner_on_start(self, host, task):
        """A unit is at work."""
        if self._screen is None:
            Default.v2_runner_on_start(self, host, task)
        elif _is_part(task) and not task.run_once:
            self._rack.unit_begins(host.get_name())

    def v2_runner_on_ok(self, result):
        """A task that is done."""
        LineSummary.v2_runner_on_ok(self, result)
        if self._screen is None:
            Default.v2_runner_on_ok(self, result)
            return
        data, task = data_of(result), task_of(result)
        if is_left_for_later(_action(task), data):
            self._end_unit(result, LATER)
            self._screen.left(visible(host_of(result)), _LEFT)
            return
        self._end_unit(result, DONE if data.get("changed") else VERIFIED)
        if _action(task) == _DEBUG and not task.no_log:
            said = data.get("msg", "")
            if _is_ours(task):
                # Lists are of the units, of which the summary says what counts; a text is about the whole.
                if task.run_once and isinstance(said, str):
                    self._write_line(f"  {visible(said.strip())}")
            elif isinstance(said, list):
                for line in said:
                    self._write_line(f"  {visible(line, most=2000)}")
            else:
                self._write_line(f"  {visible(host_of(result))}: {visible(said, most=2000)}")

    def v2_runner_on_skipped(self, result):
        """A task that had nothing to do."""
        LineSummary.v2_runner_on_skipped(self, result)
        if self._screen is None:
            Default.v2_runner_on_skipped(self, result)
        else:
            self._end_unit(result, None)

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Where a rescue follows, the end says so."""
        LineSummary.v2_runner_on_failed(self, result, ignore_errors)
        if self._screen is None:
            Default.v2_runner_on_failed(self, result, ignore_errors)
        elif ignore_errors:
            self._end_unit(result, VERIFIED)
        else:
            self._fail(result)

    def v2_runner_on_unreachable(self, result):
        """A device that could not be reached."""
        LineSummary.v2_runner_on_unreachable(self, result)
        if self._screen is None:
            Default.v2_runner_on_unreachable(self, result)
        elif task_of(result).ignore_unreachable:
            self._end_unit(result, VERIFIED)
        else:
            self._fail(result)

    def v2_playbook_on_stats(self, stats):
        """The end: the picture goes, the summary comes."""
        if self._screen is None:
            Default.v2_playbook_on_stats(self, stats)
        else:
            self._end_batch()
            self._screen.stop()
            for one in self._warned:
                self._display.display(f"WARNING {one}", color=C.COLOR_WARN)
        summary = self._summary(stats)
        if "tpmfleet.azure_dps.line_summary" not in C.CALLBACKS_ENABLED:
            self._tell(summary)
        if summary["not_run"] and not summary["passed"] and not (stats.failures or stats.dark):
            raise SystemExit(NOTHING_PASSED)

    # What Ansible's own output says of each item, and this one in the end of the task or not at all

    def v2_playbook_on_include(self, included_file):
        """What was included."""
        LineSummary.v2_playbook_on_include(self, included_file)
        if self._screen is None:
            Default.v2_playbook_on_include(self, included_file)

    def v2_playbook_on_no_hosts_matched(self):
        """A play for units of which there are none today is not worth a line."""
        if self._screen is None or not self._none_wanted:
            Default.v2_playbook_on_no_hosts_matched(self)

    def v2_playbook_on_no_hosts_remaining(self):
        """The summary says who stopped."""
        if self._screen is None:
            Default.v2_playbook_on_no_hosts_remaining(self)

    def v2_runner_item_on_ok(self, result):
        """One item of a loop."""
        if self._screen is None:
            Default.v2_runner_item_on_ok(self, result)

    def v2_runner_item_on_failed(self, result):
        """One item of a loop."""
        if self._screen is None:
            Default.v2_runner_item_on_failed(self, result)

    def v2_runner_item_on_skipped(self, result):
        """One item of a loop."""
        if self._screen is None:
            Default.v2_runner_item_on_skipped(self, result)

    # What it comes to

    def _write_line(self, line: str) -> None:
        self._display.display(line)

    def _end_part(self) -> None:
        if self._rack.part and not self._rack.common:
            self._screen.part_ended()

    def _end_batch(self) -> None:
        self._end_part()
        if self._rack.units:
            self._screen.batch_ended()

    def _end_unit(self, result, state: str | None) -> None:
        self._rack.unit_ends(host_of(result), _called(task_of(result)), state)
        # ansible-core has taken them out of the result where it shows them itself.
        for one in data_of(result).get("warnings") or []:
            self._warned.setdefault(visible(one, most=400))

    def _fail(self, result) -> None:
        host, task = host_of(result), task_of(result)
        stop = self._batch_stopped[-1][0] if task.run_once and self._batch_stopped else self._stopped.get(host)
        if stop is None or self._screen is None:
            return
        words, entry = parted(stop.failure.reason)
        told = visible(f"{words} ({_called(task)}){end_of(entry)}")
        self._end_unit(result, FAILED)
        if not task.run_once:
            self._rack.unit_fails(host, visible(stop.failure.reason), _called(task))
        self._screen.failed("the batch" if task.run_once else visible(host), _word(stop.failure.kind, host), told)


def _word(kind: str, host: str) -> str:
    """What the summary says of a failure of *kind*, too; the station is no unit that could be pulled."""
    return "AGAIN" if kind == AGAIN else "PULL" if kind == UNIT and host != STATION else "MEND"


def _action(task) -> str:
    return str(getattr(task, "resolved_action", None) or task.action)


def _called(task) -> str:
    """The task's name without its role's."""
    return visible(task.get_name().rpartition(" : ")[2].strip())


def _is_ours(task) -> bool:
    role = getattr(task, "_role", None)
    return role is not None and role.get_name().startswith(COLLECTION)


def _is_part(task) -> bool:
    """Whether *task* works on the units one by one, and not on the controller."""
    action = _action(task)
    return not is_of_station(action) and action not in CONTROLLER_ACTIONS and action not in C._ACTION_META


def _is_silent(task) -> bool:
    """Whether *task* takes no time that anybody would ask about."""
    return _action(task) in CONTROLLER_ACTIONS or _action(task) in C._ACTION_META
