# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks of the modules that run on the station: relative paths begin where the command was given, files are named."""

from __future__ import annotations

import os
import sys
from typing import Any

from ansible.plugins.action.normal import ActionModule as NormalAction
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.failure_kind import SETUP, failure
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import explain
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.in_worker import PROFILE, run_here
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.module_result import as_mapping
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.station_path import from_here, ledger_from_here

# The options of the station's modules that name a file.
PATH_OPTIONS = frozenset(
    (
        "allowed_signers",
        "approved_plan",
        "ca_file",
        "csv",
        "decryption_key",
        "dest",
        "manifest",
        "parts",
        "path",
        "plan_file",
        "plan_summary",
        "progress_file",
        "signature",
        "signature_roots",
        "signing_key",
        "src",
        "x509_certificate_path",
    )
)
# Those that are lists of paths.
PATH_LISTS = frozenset(("ek_certificate_crls", "ek_certificate_roots", "orders", "revocations"))
# The modules where an option that is a path elsewhere is such a list.
LISTS_OF_MODULES = frozenset((("ek_roots", "src"),))
# Those that have such options in them, or in their entries.
OPTIONS_WITH_PATHS = frozenset(("certificates", "service"))
LEDGER = "ledger"


class StationAction(NormalAction):
    """The module of the task's name, on this machine or where the task is delegated to."""

    def run(self, tmp=None, task_vars=None):
        """Runs the task; ``files_written`` in its result are the files of its options that are not as they were."""
        here = self._connection.transport == "local"
        try:
            self._task.args = _placed(self._task.args, here, self._task.action.rpartition(".")[2])
        except ValueError as error:
            # Its first word is the option.
            return explain(
                {"failed": True, "changed": False, "msg": str(error), **failure(SETUP, str(error).split()[0])}
            )
        named = sorted(_files_in(self._task.args)) if here else []
        before = {path: _trace(path) for path in named}
        result = explain(self.work(tmp, task_vars))
        # A module may name others, which are in a directory of its options.
        written = [path for path in named if _trace(path) not in (None, before[path])]
        written = [*(result.pop("files_written", None) or ()), *written]
        return {**result, "files_written": written} if written else result

    def work(self, tmp, task_vars) -> dict:
        """The result of the module."""
        return super().run(tmp, task_vars)

    def _execute_module(self, module_name=None, module_args=None, task_vars=None, wrap_async=False, **others):
        """The module's result; without a process of its own where that would be one like this."""
        if wrap_async or not self._would_be_here(task_vars or {}):
            return super()._execute_module(
                module_name=module_name, module_args=module_args, task_vars=task_vars, wrap_async=wrap_async, **others
            )
        name = str(module_name or self._task.action)
        arguments = dict(self._task.args if module_args is None else module_args)
        self._update_module_args(name, arguments, task_vars or {})
        environment: dict[str, str] = {}
        self._compute_environment_string(environment)
        return as_mapping(
            self._parse_returned_data(run_here(name.rpartition(".")[2], arguments, environment), *PROFILE)
        )

    def _would_be_here(self, task_vars: dict[str, Any]) -> bool:
        """Whether the module's process would run on this machine, as this user and by this Python."""
        if self._connection.transport != "local" or self._connection.become is not None or self._play_context.become:
            return False
        delegated = task_vars.get("ansible_delegated_vars") or {}
        variables = delegated.get(self._task.delegate_to, task_vars) if self._task.delegate_to else task_vars
        return self._templar.template(variables.get("ansible_python_interpreter")) == sys.executable


def _placed(arguments: dict[str, Any], here: bool, module: str) -> dict[str, Any]:
    """*arguments* of *module* with absolute paths, where the task runs *here*. ValueError where a path is empty."""
    placed = dict(arguments)
    for name, value in arguments.items():
        if value is None:
            continue
        if name == LEDGER:
            place = ledger_from_here(value, name)
        elif name in PATH_LISTS or (module, name) in LISTS_OF_MODULES:
            # A string is several paths with commas between them, as everywhere in Ansible.
            place = [from_here(one, name) for one in (value.split(",") if isinstance(value, str) else value)]
        elif name in PATH_OPTIONS:
            place = from_here(value, name)
        elif name in OPTIONS_WITH_PATHS and isinstance(value, dict):
            place = _placed(value, here, module)
        elif name in OPTIONS_WITH_PATHS and isinstance(value, list):
            place = [_placed(one, here, module) if isinstance(one, dict) else one for one in value]
        else:
            continue
        placed[name] = place if here else value
    return placed


def _files_in(arguments: dict[str, Any]) -> set[str]:
    """The files that placed *arguments* name one by one."""
    named = {str(value) for name, value in arguments.items() if name in PATH_OPTIONS and isinstance(value, str)}
    ledger = arguments.get(LEDGER)
    if ledger and "://" not in str(ledger):
        named.add(str(ledger))
    return {os.path.expanduser(path) for path in named}


def _trace(path: str) -> tuple[int, ...] | None:
    """What changes with each writing of the file at *path*; None where there is no file."""
    try:
        state = os.stat(path)
    except (OSError, ValueError):
        return None
    return None if not os.path.isfile(path) else (state.st_ino, state.st_mtime_ns, state.st_size)
