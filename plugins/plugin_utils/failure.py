# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which of three kinds a failure is, by what the controller itself knows of it, and its reason for people.

A device is believed nothing here. Its words are a reason that is shown, and never decide what kind a failure is, nor
what another unit is told: a kind comes from the task (a variable of it whose name ends with ``_failure_kind``), from a
module that runs on the station or an action that speaks to the device (``failure`` in its result), from Ansible, which
could not make a task's arguments, or from the last line of this machine's own ssh.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace
from typing import Any

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.failure_kind import AGAIN, KINDS, SETUP, UNIT
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import end_of, entry_of, parted

COLLECTION = "tpmfleet.azure_dps."
# The modules that run on a device; all others of the collection run on the station.
DEVICE_MODULES = frozenset(
    f"{COLLECTION}{name}"
    for name in (
        "device_read",
        "device_work",
        "doctor_device",
        "dps_client",
        "dps_client_aziot",
        "dps_register",
        "software_tpm",
        "tpm_endorsement_key_info",
        "tpm_info",
        "tpm_ownership",
        "tpm_possession",
        "tpm_runtime",
    )
)
# Of Ansible's own, those whose result no device has a word in.
CONTROLLER_ACTIONS = frozenset(
    f"ansible.builtin.{name}"
    for name in (
        "add_host",
        "assert",
        "debug",
        "fail",
        "group_by",
        "import_role",
        "include_role",
        "include_tasks",
        "include_vars",
        "set_fact",
        "validate_argument_spec",
    )
)

REASON_LENGTH = 400
# At a step's head each sentence is a thing to mend, and none is anybody's but the controller's.
_HEAD, _HEAD_LENGTH = f"{COLLECTION}step_start", 4000
_CUT = " […] "
_UNDEFINED = re.compile(r"'([A-Za-z_]\w*)' is undefined")
_VARIABLE = re.compile(r"\btpmfleet_\w+")
_NAME = re.compile(r"\{\{\s*\(*\s*([A-Za-z_]\w*)")
# What ansible-core says first of every failure of a task, before the reason.
_PREAMBLE = re.compile(r"^(Task failed: |Module failed: |Action failed: )+")
# How it begins what it says of a task that it could not begin; 2.17 and 2.18 have no preamble.
_ANSIBLES_OWN = re.compile(
    r"Task failed: |The task includes an option with an undefined variable|The conditional check "
)
# Lines of this machine's ssh, and of Ansible about become, that are about the access and not about the unit.
_ACCESS = (
    (
        re.compile(r"\S+: Permission denied \([^()]*\)\.?"),
        "ansible_user",
        "Mend the user or the key that Ansible logs in with.",
    ),
    (
        re.compile(r"Host key verification failed\."),
        "ansible_ssh_common_args",
        "Its host key is not the known one: is another unit in this slot? The README, Host keys, has what to do.",
    ),
    (
        re.compile(r"ssh: Could not resolve hostname .*"),
        "ansible_host",
        "Mend ansible_host, or this machine's name service.",
    ),
    (
        re.compile(r"(Missing|Incorrect|Invalid/incorrect) \w+ password"),
        "ansible_become_password",
        "Give ansible_become_password, as docs/ownership.md has for other secrets.",
    ),
)
# What Ansible says before what ssh has said: where it connected, and where it had begun to send a module.
_BEFORE_SSH = re.compile(
    r"(Failed to connect to the host via ssh: "
    r'|Data could not be sent to remote host ".*?"\. Make sure this host can be reached over ssh: )'
)
_SLOW = re.compile(r"Timeout \(\d+s\) waiting for privilege escalation prompt")


@dataclass(frozen=True)
class Failure:
    """*variable* is what is to be mended in the inventory, and *entry* what explains it; empty where there is none.

    The entry is named at the end of the *reason* too.
    """

    kind: str
    reason: str
    variable: str = ""
    entry: str = ""


def failure_of(result: dict[str, Any], task: Any, host_name: str, *, unreachable: bool = False) -> Failure:
    """What the failed *result* of *task* comes to. A loop's is that of its first item that failed."""
    found = _found(result, task, host_name, unreachable)
    if found.entry:
        return found
    whole, entry = parted(_in_one_line(result, host_name))
    # What somebody else's task says is explained by no page of ours, whatever its words.
    undefined = _undefined_in(result)
    if not entry and (unreachable or _is_ours(task) or (undefined and found.reason == undefined[0])):
        entry = entry_of(found.reason) or entry_of(whole) or ""
    return replace(found, reason=found.reason + end_of(entry), entry=entry)


def _found(result: dict[str, Any], task: Any, host_name: str, unreachable: bool) -> Failure:
    if "censored" in result or result.get("_ansible_no_log"):
        return Failure(_kind_of_task(task) or UNIT, "the reason is not shown, because the task has no_log")
    for item in result.get("results") or []:
        if isinstance(item, dict) and _went_wrong(item):
            return failure_of(item, task, host_name, unreachable=bool(item.get("unreachable")))
    if unreachable:
        return _of_connection(result, reason_in_one_line(result, host_name))
    marked = _kind_of_task(task)
    action = _action_of(task)
    reason = reason_in_one_line(result, host_name, _HEAD_LENGTH if action == _HEAD else REASON_LENGTH)
    # The wall lets no such field of a device through: its action has set it.
    if is_of_station(action) or (action in DEVICE_MODULES and isinstance(result.get("failure"), dict)):
        return _of_station(result, task, reason)
    if _never_ran(result, action):
        undefined = _undefined_in(result)
        if undefined:
            return Failure(SETUP, *undefined)
        marked = SETUP
    if task.run_once and action == "ansible.builtin.command" and _is_ours(task) and not marked:
        return _of_command(result, task, reason)
    if marked:
        return Failure(marked, reason, variable_in(reason) if marked == SETUP else "")
    return Failure(SETUP if task.run_once else UNIT, reason)


def _went_wrong(item: dict[str, Any]) -> bool:
    """Whether the *item* of a loop failed, or its host could not be reached."""
    if item.get("failed") or item.get("unreachable"):
        return True
    # Since ansible-core 2.21 a callback is told no "failed"; what failed has an exception, if of no traceback.
    return "failed" not in item and bool(item.get("exception")) and item.get("failed_when_result") is not False


def reason_in_one_line(result: dict[str, Any], host_name: str, length: int = REASON_LENGTH) -> str:
    """What *result* says went wrong, whole in its first and its last clause, in *length* characters.

    Without the end that names what explains it, which is not to be cut.
    """
    return shortened(parted(_in_one_line(result, host_name))[0], length)


def _in_one_line(result: dict[str, Any], host_name: str) -> str:
    text = result.get("msg") or result.get("module_stderr") or result.get("stderr") or "no reason was given"
    if str(text).startswith("MODULE FAILURE") and result.get("module_stderr"):
        # The last line of a traceback is the one that says what it is.
        text = f"{text} {str(result['module_stderr']).strip().splitlines()[-1]}"
    if isinstance(text, (list, tuple)):
        text = "; ".join(str(one) for one in text)
    text = _PREAMBLE.sub("", " ".join(str(text).split()))
    # The line is headed by the name already.
    return text[len(host_name) + 2 :] if text.startswith(f"{host_name}: ") else text


def variable_in(reason: str) -> str:
    """The inventory's variable that our own words name first; empty for none."""
    named = _VARIABLE.search(reason)
    return named[0] if named else ""


def shortened(text: str, length: int) -> str:
    """*text* in *length* characters at most; what it loses is of its middle, where it can between clauses."""
    if len(text) <= length:
        return text
    clauses = re.split(r"(?<=[.;:!?]) ", text)
    first, last = clauses[0], clauses[-1]
    if len(clauses) > 2 and len(first) + len(last) + len(_CUT) <= length:
        head, tail = [first], [last]
        for clause in clauses[1:-1]:
            if len(" ".join([*head, clause])) + len(_CUT) + len(last) > length:
                break
            head.append(clause)
        return " ".join(head) + _CUT + " ".join(tail)
    # Not even those fit: as much of either end.
    room = length - len(_CUT)
    if room < 2:
        return text[:length]
    begin, end = text[: room - room // 2], text[-(room // 2) :]
    # Between words, where there are any.
    return (begin.rpartition(" ")[0] or begin) + _CUT + (end.partition(" ")[2] or end)


def is_of_station(action: str) -> bool:
    """Whether the results of *action* come from a module of ours that runs on the controller."""
    return action.startswith(COLLECTION) and action not in DEVICE_MODULES


def _is_ours(task: Any) -> bool:
    """Whether *task* is of a role of this collection, or runs something of it."""
    role = getattr(task, "_role", None)
    return _action_of(task).startswith(COLLECTION) or (role is not None and role.get_name().startswith(COLLECTION))


def _action_of(task: Any) -> str:
    return str(getattr(task, "resolved_action", None) or task.action)


def _kind_of_task(task: Any) -> str:
    """The kind that the task itself says its failure is; empty where it says none."""
    said = (value for name, value in (task.vars or {}).items() if name.endswith("_failure_kind"))
    return next((value for value in said if value in KINDS), "")


def _of_connection(result: dict[str, Any], reason: str) -> Failure:
    # An action of ours marks the lines of a quotation.
    lines = [line.strip("| ") for line in str(result.get("msg") or "").splitlines() if line.strip("| ")]
    # Lines before the last may be the device's banner.
    last = _BEFORE_SSH.sub("", _PREAMBLE.sub("", lines[-1]), count=1) if lines else ""
    for form, variable, remedy in _ACCESS:
        if form.fullmatch(last):
            return Failure(SETUP, f"{_ended(reason)} {remedy}", variable)
    if _SLOW.search(last):
        return Failure(AGAIN, f"{_ended(reason)} Its sudo is slow: raise tpmfleet_connection_timeout, and run again.")
    return Failure(UNIT, f"{_ended(reason)} Is it switched on and on the network?")


def _ended(reason: str) -> str:
    """*reason* as a sentence that another one can follow."""
    return reason if reason.endswith((".", "!", "?")) else f"{reason}."


def _of_station(result: dict[str, Any], task: Any, reason: str) -> Failure:
    said = result.get("failure")
    if not isinstance(said, dict):
        undefined = _undefined_in(result)
        return Failure(SETUP, *undefined) if undefined else Failure(_kind_of_task(task) or SETUP, reason)
    option = str(said.get("option") or "")
    kind = said.get("kind")
    variable = str(said.get("variable") or "") or (variable_behind(task, option) if option else "")
    if variable and variable not in reason:
        reason = f"{_ended(reason)} It comes from {variable}."
    return Failure(kind if kind in KINDS else SETUP, reason, variable)


def _of_command(result: dict[str, Any], task: Any, reason: str) -> Failure:
    """Of a command that the station was to run for a batch, and of which Ansible says little where it is not there."""
    variable = variable_behind(task, "argv")
    command, code = result.get("cmd"), result.get("rc")
    if command and isinstance(code, int):
        program, *arguments = command if isinstance(command, list) else str(command).split()
        came = f"could not be begun: {os.strerror(code)}."
        if "delta" in result:
            came = f"ended with the status {code}{_last_words(result, arguments)}"
        reason = f"The command {visible(program, most=200)} {came}"
    return Failure(SETUP, f"{_ended(reason)} It comes from {variable}." if variable else reason, variable)


def _last_words(result: dict[str, Any], arguments: list[str]) -> str:
    """The line in which a program that fails says why, to follow its status; empty where it says nothing.

    Without any of its *arguments*, as long as one has to be to be a secret: one may be a password.
    """
    said = str(result.get("stderr") or result.get("stdout") or "").strip().splitlines()
    last = said[-1] if said else ""
    for one in sorted((one for one in arguments if len(one) > 3), key=len, reverse=True):
        last = last.replace(one, "…")
    return f": {visible(last, most=REASON_LENGTH)}" if last else ""


def _never_ran(result: dict[str, Any], action: str) -> bool:
    """Whether Ansible itself failed, before the task did anything.

    Of an action that talks to a device this cannot be told by the message alone, which may be the device's; but that
    one says of every answer that it is one.
    """
    silent = action in CONTROLLER_ACTIONS or (action in DEVICE_MODULES and not result.get("answered"))
    return silent and bool(_ANSIBLES_OWN.match(str(result.get("msg") or "")))


def _undefined_in(result: dict[str, Any]) -> tuple[str, str] | None:
    """(what is to be said, the variable) where the task's arguments could not be made for want of one."""
    found = _UNDEFINED.search(str(result.get("msg") or ""))
    if not found:
        return None
    return f"{found[1]} is not defined. Set it in the inventory, for all units of this step.", found[1]


def variable_behind(task: Any, option: str) -> str:
    """The inventory's variable that *option* of *task* is made from, by the task's template and the role's defaults."""
    # The task as it is written: its arguments are templated by now.
    parts = [part for part in (task.get_ds() or {}).values() if isinstance(part, dict)]
    written = next((str(part[option]) for part in parts if option in part), "")
    named = _VARIABLE.search(written)
    if named:
        return named[0]
    name = _NAME.search(written)
    role = getattr(task, "_role", None)
    if not name or role is None:
        return name[1] if name else option
    named = _VARIABLE.search(str(role.get_default_vars().get(name[1], "")))
    return named[0] if named else name[1]
