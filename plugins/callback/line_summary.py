# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the person at the rack has to know at the end of a run: which units to pull, what to mend, what comes next."""

from __future__ import annotations

DOCUMENTATION = r"""
name: line_summary
type: aggregate
short_description: Says at the end of a run which units to pull from the rack, what to mend, and what comes next
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - At the end of a run, says how many units passed, and what to do about the others.
  - A unit has passed when it has reached the end of the step, which is the last task of the play. One for which
    nothing ran, since a tag matched nothing or the run began at a later task, is not run, and a run in which none
    passed is not green. Where tags choose whole roles of a play of your own, the end is that of the last one of these,
    and plays of which they choose nothing do not count.
  - A play that finds no host of the inventory says so, and how its hosts are named, where nothing else ran for any.
  - A failure is of one of three kinds. Units to C(PULL) are named with where they stopped and why, those together that
    one cause has stopped at one place. The inventory or the station to C(MEND) is said once, with the variable where
    one is to be set, and not for each unit. With C(AGAIN) nothing is wrong, such as a service that did not answer, and
    the run has to be repeated.
  - The kind of a failure comes from the controller's side alone. What a device says of itself is shown as a reason,
    and never moves another unit, nor the kind.
  - A unit whose TPM took its time is told once, with what became of it in the play that took it after the others.
  - A unit that did nothing wrong, but was stopped with its batch, is counted as held up. It stays in the rack.
  - C(localhost) is the station and not a unit. It is named where it failed and is in no count. A run over nothing else
    that went well has no summary.
  - Only what is wrong is listed, so that a run over hundreds of units still ends in one look. A long reason loses of
    its middle, never its first and its last clause, which say the cause and the remedy. In a terminal long lines are
    folded between words.
  - A reason ends with the entry of C(docs/errors.md) that explains it, and the end says how to read that at once.
  - Each file that the run wrote is named with its whole path.
  - Results of tasks with C(no_log) are not shown.
extends_documentation_fragment:
  - tpmfleet.azure_dps.summary
requirements:
  - To be enabled in the configuration, for example C(callbacks_enabled=tpmfleet.azure_dps.line_summary) in the section
    C([defaults]) of C(ansible.cfg), or in the environment by E(ANSIBLE_CALLBACKS_ENABLED).
"""

EXAMPLES = r"""
# ansible-playbook --inventory inventories/factory/ tpmfleet.azure_dps.site, with in ansible.cfg:
#
#   [defaults]
#   callbacks_enabled = tpmfleet.azure_dps.line_summary
#
# ends with, for instance:
#
#   LINE SUMMARY: 6 passed, 2 to pull
#   PULL rack1-slot03: stopped at device_work : Do the step's work on the TPM and the client (Step 3, …)
#        This TPM has an owner: the authorization of owner, lockout is set, and … (errors.md#tpm-owned)
#   PULL rack1-slot07: unreachable at endorsement_key : Read the device (Step 3, …)
#        Data could not be sent to remote host … Is it switched on and on the network? (errors.md#device-unreachable)
#   EXPLAINED by ansible-playbook tpmfleet.azure_dps.explain -e error=tpm-owned,device-unreachable
#   WRITTEN /var/lib/tpmfleet/ledger.sqlite
#   NEXT box what has passed
"""

import json
import os
import shutil
import sys
import textwrap
from dataclasses import dataclass, field

from ansible import constants as C
from ansible import context
from ansible.plugins.callback import CallbackBase
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.failure_kind import AGAIN, UNIT
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside import durable
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible, visible_few
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.failure import Failure, failure_of, is_of_station
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.run_events import data_of, host_of, hosts_of, task_of
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.station_path import from_here

STATION = "localhost"
# So many units are named in a line for people; the JSON names all.
NAMED = 5
NEXT = "NEXT: "
NO_HOSTS = (
    "The playbooks take the group devices, and other hosts by -e tpmfleet_hosts=GROUP on the command line alone: where "
    "a play begins, no variable of the inventory is there yet. Is it -i or --limit?"
)
EXPLAIN = "ansible-playbook tpmfleet.azure_dps.explain -e error="


@dataclass
class Batch:
    """The hosts that a play takes together, and how far each of them came; those for *later* are another play's.

    *including* are those whose end is a task that includes others, which may fail yet.
    """

    play: str
    hosts: set[str]
    ends: set[str]
    reached: set[str] = field(default_factory=set)
    including: set[str] = field(default_factory=set)
    later: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Stop:
    """A failure, with where it was."""

    failure: Failure
    how: str
    task: str
    play: str

    def described(self) -> dict[str, str]:
        """For a program."""
        failure = self.failure
        return {"task": self.task, "play": self.play, "how": self.how, "reason": failure.reason, "error": failure.entry}


class CallbackModule(CallbackBase):
    """Keeps the last failure of each host; the run's own statistics say in the end which of them count."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "aggregate"
    CALLBACK_NAME = "tpmfleet.azure_dps.line_summary"
    CALLBACK_NEEDS_ENABLED = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._batches: list[Batch] = []
        self._restricted = False
        self._units: set[str] = set()
        self._without_hosts: list[str] = []
        self._stopped: dict[str, Stop] = {}
        self._batch_stopped: list[tuple[Stop, set[str]]] = []
        self._held_up: set[str] = set()
        self._files: dict[str, None] = {}
        self._next: list[str] = []
        self._told_ledger: dict[str, object] = {"run_id": None, "ledger_head": None}

    # What a run tells

    def v2_playbook_on_play_start(self, play):
        """Called for each batch of a play."""
        self._restricted = _is_restricted(play)
        ends = _ends_of(play)
        # Of a play of which the tags choose nothing, no host comes to an end, and none is short of one.
        self._batches.append(Batch(play.get_name().strip(), hosts_of(play) if ends else set(), ends))
        # The statistics do not know a unit for which another one did all tasks, nor one whose batch never began.
        self._units |= hosts_of(play, whole=True)

    def v2_playbook_on_include(self, included_file):
        """What is included last in a play has reached its end where it is included.

        Not so where tags are given, which the included tasks need not have: then with the first of these.
        """
        batch = self._batches[-1] if self._batches else None
        if batch is None or included_file._task._uuid not in batch.ends:
            return
        hosts = {host.get_name() for host in included_file._hosts}
        batch.including |= hosts
        # Ansible has told of the task itself already.
        batch.reached = batch.reached - hosts if self._restricted else batch.reached | hosts

    def v2_playbook_on_no_hosts_matched(self):
        """Called in place of the tasks of a play that was just told of."""
        if self._batches:
            self._without_hosts.append(self._batches[-1].play)

    def v2_runner_on_ok(self, result):
        """A task that is done."""
        task = task_of(result)
        self._came_to(task, host_of(result))
        self._note_news(task, data_of(result))
        if is_left_for_later(_action_of(task), data_of(result)):
            batch = self._batches[-1]
            batch.hosts.discard(host_of(result))
            batch.later.add(host_of(result))
        if _is_only_planned(_action_of(task), data_of(result)):
            # A check that says what it would install has said all that it can of this unit.
            self._batches[-1].reached.add(host_of(result))

    def v2_runner_on_skipped(self, result):
        """A task that had nothing to do."""
        self._came_to(task_of(result), host_of(result))

    def v2_runner_on_failed(self, result, ignore_errors=False):
        """Where a rescue follows, the statistics do not count it."""
        task = task_of(result)
        if ignore_errors:
            self._came_to(task, host_of(result))
            return
        batch = self._batches[-1]
        stop = self._stop(result, "stopped")
        self._note_news(task, data_of(result))
        if task.run_once:
            # Ansible ends the batch for all its hosts, and counts the failure for the one that stood for them.
            self._batch_stopped.append((stop, set(batch.hosts)))
        else:
            self._stopped[host_of(result)] = stop
        if task.run_once or task.any_errors_fatal:
            self._held_up |= batch.hosts | batch.later
            # Ansible still does what is always to be done, which is no end of a batch that failed.
            batch.reached -= batch.hosts if task.run_once else batch.including

    def v2_runner_on_unreachable(self, result):
        """The statistics count it also where it is to be ignored."""
        if task_of(result).ignore_unreachable:
            self._came_to(task_of(result), host_of(result))
        else:
            self._stopped[host_of(result)] = self._stop(result, "unreachable")

    def v2_playbook_on_stats(self, stats):
        """The end: says it."""
        self._tell(self._summary(stats))

    # What it comes to

    def _tell(self, summary: dict) -> None:
        """Has *summary* in the file that is wanted, and on the screen."""
        self._write(summary)
        for line, color in _lines(summary):
            for part in _folded(_visible_line(line), self._width()):
                self._display.display(part, color=color)

    def _width(self) -> int | None:
        """Of the terminal that the summary is written to; None where it is written to none."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    def _came_to(self, task, host: str) -> None:
        if not self._batches:
            return
        batch = self._batches[-1]
        hosts = batch.hosts if task.run_once else {host}
        if task._uuid in batch.ends:
            batch.reached |= hosts
        elif self._restricted and "always" not in task.tags:
            batch.reached |= hosts & batch.including

    def _note_news(self, task, data: dict) -> None:
        """Files that were written, and what comes next, from results that no device has a word in."""
        action = _action_of(task)
        written = data.get("files_written")
        if is_of_station(action) and isinstance(written, list):
            self._files.update(dict.fromkeys(str(path) for path in written))
        elif action == "ansible.builtin.copy" and task.delegate_to == STATION and data.get("changed"):
            self._files.setdefault(str(data.get("dest")))
        if action == "tpmfleet.azure_dps.device_records" and not context.CLIARGS.get("check"):
            self._told_ledger = {name: data.get(name, told) for name, told in self._told_ledger.items()}
        said = data.get("msg")
        if action == "ansible.builtin.debug" and task.run_once and isinstance(said, list):
            self._next = [line.removeprefix(NEXT) for line in map(str, said) if line.startswith(NEXT)]

    def _stop(self, result, how: str) -> Stop:
        task = task_of(result)
        place = task.get_name().strip().replace("tpmfleet.azure_dps.", "")
        failure = failure_of(data_of(result), task, host_of(result), unreachable=how == "unreachable")
        return Stop(failure, how, place, self._batches[-1].play if self._batches else "")

    def _summary(self, stats) -> dict:
        """The summary as the option ``summary_file`` documents it."""
        bad = {}
        for host in sorted(self._stopped):
            counts = stats.summarize(host)
            if counts["failures"] or counts["unreachable"]:
                bad[host] = self._stopped[host]
        batches = self._batch_stopped if any(stats.failures.values()) else []
        pull = {host: stop for host, stop in bad.items() if stop.failure.kind == UNIT and host != STATION}
        others = [(stop, {host} - {STATION}) for host, stop in bad.items() if host not in pull] + batches
        units = (self._units | set(stats.processed)) - {STATION}
        short = {host for batch in self._batches for host in batch.hosts - batch.reached}
        begun = {host for batch in self._batches for host in batch.hosts}
        passed = (units & begun) - short - set(bad)
        held_up = ((self._held_up & units) | set(bad) - {STATION}) - set(pull) - passed
        return {
            "passed": sorted(passed),
            "held_up": sorted(held_up),
            "not_run": sorted(units - passed - held_up - set(pull)),
            "pull": [{"unit": host, **stop.described()} for host, stop in pull.items()],
            "mend": _grouped([(stop, hosts) for stop, hosts in others if stop.failure.kind != AGAIN]),
            "again": _grouped([(stop, hosts) for stop, hosts in others if stop.failure.kind == AGAIN]),
            "without_hosts": [] if units or stats.processed else self._without_hosts,
            "changed": sum(stats.changed.values()),
            "files": list(self._files),
            **self._told_ledger,
            "next": self._next if passed and not (bad or batches or context.CLIARGS.get("check")) else [],
        }

    def _write(self, summary: dict) -> None:
        path = self.get_option("summary_file")
        if not path:
            return
        path = from_here(os.path.expanduser(path), "summary_file")
        try:
            durable.replace_file(path, json.dumps({"version": 1, **summary}, indent=1).encode() + b"\n", 0o644)
        except OSError as error:
            self._display.warning(f"The summary could not be written to {path}: {error.strerror}.")
            return
        summary["files"].append(path)


def _grouped(stops: list[tuple[Stop, set[str]]]) -> list[dict]:
    """Each failure once, with all units that it stopped."""
    grouped: dict[tuple, dict] = {}
    for stop, hosts in stops:
        key = (stop.failure.variable, stop.failure.reason, stop.task, stop.play)
        entry = grouped.setdefault(key, {"variable": stop.failure.variable, "units": [], **stop.described()})
        entry["units"] = sorted({*entry["units"], *hosts})
    return list(grouped.values())


def _lines(summary: dict) -> list[tuple[str, str]]:
    """(a line for people, its colour) for each line of the summary; none where there is nothing to tell."""
    counts = {name: len(summary[name]) for name in ("passed", "pull", "held_up", "not_run")}
    wrong = summary["pull"] or summary["mend"] or summary["again"]
    lines: list[str] = []
    heads = [f"{counts['passed']} passed", f"{counts['pull']} to pull"]
    if counts["held_up"]:
        first = "mend what is named below, then " if summary["mend"] else ""
        heads.append(f"{counts['held_up']} held up: nothing is wrong with them, {first}repeat the run")
    if counts["not_run"]:
        heads.append(f"{counts['not_run']} not run: nothing, or not all of the step, was done for them")
    good = C.COLOR_OK if counts["passed"] and not (wrong or counts["not_run"]) else C.COLOR_ERROR
    told = [(f"LINE SUMMARY: {', '.join(heads)}", good)] if wrong or any(counts.values()) else []
    if summary["without_hosts"] and not told:
        told = [(f"LINE SUMMARY: {', '.join(heads)}", C.COLOR_ERROR)]
        lines += [f"NOTHING RAN: the inventory has no host for {summary['without_hosts'][0]}", f"     {NO_HOSTS}"]
    alike: dict[tuple[str, str], list[str]] = {}
    for one in summary["pull"]:
        alike.setdefault((_place(one), one["reason"]), []).append(one["unit"])
    for (place, reason), units in alike.items():
        lines += [f"PULL {', '.join(units)}: {place}", f"     {reason}"]
    for one in summary["mend"]:
        named = f"MEND {one['variable']}" if one["variable"] else "MEND"
        lines += [f"{named}: {_place(one)}{_of_units(one['units'])}", f"     {one['reason']}"]
    for one in summary["again"]:
        lines += [f"AGAIN: {_place(one)}{_of_units(one['units'])}", f"     {one['reason']}"]
    if counts["not_run"] and not wrong:
        lines.append(f"NOT RUN {_first_of(summary['not_run'])}: is it --tags, --skip-tags or --start-at-task?")
    entries = dict.fromkeys(one["error"] for kind in ("pull", "mend", "again") for one in summary[kind] if one["error"])
    if entries:
        lines.append(f"EXPLAINED by {EXPLAIN}{','.join(list(entries)[:NAMED])}")
    told += [(line, C.COLOR_ERROR) for line in lines]
    told += [(f"WRITTEN {path}", C.COLOR_OK) for path in summary["files"]]
    return told + [(f"NEXT {one}", C.COLOR_OK) for one in summary["next"]]


def _folded(line: str, width: int | None) -> list[str]:
    """*line* in lines of at most *width* characters, those after the first indented as what belongs to it."""
    # A command is copied as it stands.
    if width is None or len(line) <= width or EXPLAIN in line:
        return [line]
    indent = " " * (len(line) - len(line.lstrip(" ")) or len("PULL "))
    # A path or a name stays whole, to be copied.
    folded = textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False, drop_whitespace=True
    )
    return folded or [line]


def _visible_line(line: str) -> str:
    """*line* with its indentation kept, and all that a device or a service has said made visible."""
    words = line.lstrip(" ")
    return line[: len(line) - len(words)] + visible(words)


def _place(one: dict) -> str:
    return f"{one['how']} at {one['task']} ({one['play']})" if one["play"] else f"{one['how']} at {one['task']}"


def _of_units(units: list[str]) -> str:
    return f", for {_first_of(units)}" if units else ""


def _first_of(units: list[str]) -> str:
    # Whole, as a name may be copied from here.
    return visible_few(units, NAMED, most=None)


def is_left_for_later(action: str, data: dict) -> bool:
    """Whether a result is that of a device whose TPM takes its time, which a later play takes."""
    return action == "tpmfleet.azure_dps.device_read" and "later" in data


def _is_only_planned(action: str, data: dict) -> bool:
    """Whether a result is that of a check which found a device without what it is read with."""
    if action == "tpmfleet.azure_dps.device_read":
        return "record" not in data and not is_left_for_later(action, data)
    return action == "tpmfleet.azure_dps.tpm_runtime" and data.get("state") == "planned"


def _action_of(task) -> str:
    return str(getattr(task, "resolved_action", None) or task.action)


def _is_restricted(play) -> bool:
    """Whether the run was told which tags it is for."""
    return bool(play.skip_tags) or set(play.only_tags) != {"all"}


def _ends_of(play) -> set[str]:
    """The identities of the tasks one of which a host comes to last, when it comes to the end of *play*.

    With tags that choose whole roles of it, when it comes to the end of these; none where they choose nothing of it.
    """
    blocks = play.compile()
    chosen = _chosen(play, [task for block in blocks for task in _tasks_of(block)]) if _is_restricted(play) else None
    for block in reversed(blocks):
        found = _last_of(block, chosen)
        if found:
            return found
    return set()


def _chosen(play, tasks: list) -> set[str] | None:
    """The identities of those of *tasks* that the run's tags choose; None where they choose a part of a role."""
    chosen, roles, left_out = set(), set(), set()
    for task in tasks:
        if "always" in task.tags and "always" not in play.only_tags:
            continue
        if task.evaluate_tags(play.only_tags, play.skip_tags, all_vars={}):
            chosen.add(task._uuid)
            roles.add(id(task._role))
        else:
            left_out.add(id(task._role))
    return None if roles & left_out else chosen


def _tasks_of(block) -> list:
    """All that *block* has but what is Ansible's own."""
    found = []
    for one in (*block.block, *block.rescue, *block.always):
        found += _tasks_of(one) if hasattr(one, "rescue") else [] if one.action in C._ACTION_META else [one]
    return found


def _last_of(block, chosen: set[str] | None) -> set[str]:
    # What is always done comes after a failure too, and is an end only where there is nothing else.
    for part in ([block.block, block.rescue], [block.always]):
        found: set[str] = set()
        for tasks in part:
            for one in reversed(tasks):
                last = _last_of(one, chosen) if hasattr(one, "rescue") else _end(one, chosen)
                if last:
                    found |= last
                    break
        if found:
            return found
    return set()


def _end(task, chosen: set[str] | None) -> set[str]:
    """The identity of *task*, where it can be an end."""
    counts = task.action not in C._ACTION_META and (chosen is None or task._uuid in chosen)
    return {task._uuid} if counts else set()
