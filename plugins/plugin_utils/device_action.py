# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an action asks of a device: the one way to run something there, and all that comes back of it.

The wall between devices and Ansible. Ansible acts on what is in a result: facts become variables of the host, which
decide what the next tasks do on the controller; ``add_host`` changes the inventory; warnings are printed as they are. A
device is whatever answers at its address, so nothing of what it says passes but data that the module documents.
"""

from __future__ import annotations

import contextlib
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleConnectionFailure, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.failure_kind import SETUP, failure
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.files import told_size
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible, visible_lines
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.runtime.going_on import STILL_AT_WORK_CODE

from . import before_fork
from .answer import MOST_BYTES, NoAnswerError, last_words, read_answer, shown_output
from .bounded_call import MOST_MEMORY, LeftError, TooLateError, TooMuchError, bounded
from .catalogue import explain, explained
from .compiled_once import compile_roles
from .host_variables import HostVariables
from .module_result import as_read
from .payload import OptionsError, payload_of
from .returned import BUILTIN, DIFFERENCES, RETURNED, STILL_AT_WORK
from .shape import Fields, Shape, ShapeError
from .start_checks import facts_stay_facts

# Seconds that a TPM may take for one command, where neither the task nor the inventory says (tpmfleet_tpm_timeout), and
# how much later than that a device has to have answered: a connection, a Python that starts, and a few quick commands.
TPM_TIMEOUT = 300
MARGIN = 60
PULL_IT = "Take it off the line: what runs on it is not what this collection runs, or was tampered with."
# What a shell ends with that does not find its command.
NOT_THERE = 127
# The Python of the system, whose packages have the TPM library. To ask a device for others would be another trip, and
# the newest that one has may be anybody's.
PYTHON = "/usr/bin/python3"
_PATH = re.compile(r"/[\w./+@:, -]{1,500}")


class _GivenUpError(AnsibleActionFail):
    """The device took too long, or sent too much. Ansible's own helpers pass on what is an AnsibleError."""


class _LeftAloneError(_GivenUpError):
    """The device works on, and nobody waits."""


class DeviceAction(ActionBase):
    """Does the task's :meth:`work`, by default the module of its name, and keeps its secrets off the disks.

    A subclass names its module, and which options are secrets.
    """

    TRANSFERS_FILES = False
    _supports_check_mode = True

    MODULE = ""
    SECRET_OPTIONS: tuple[str, ...] = ()
    # Whose variables the action reads by name.
    ROLES: tuple[str, ...] = ()

    _shape = Fields({})
    _difference: Shape | None = None
    _host = "the device"
    _end: float | None = None
    _seconds: float = MARGIN
    _spent: float = 0
    _gave_up: _GivenUpError | None = None
    _goes_on: dict[str, Any] | None = None
    _leaving: Callable[[], bool] | None = None

    def __init_subclass__(cls) -> None:
        # Ansible loads an action before it forks a process for each host, and those get what was built.
        before_fork.made_ready()
        if cls.MODULE:
            payload_of(cls.MODULE)
        compile_roles(*cls.ROLES)

    # For subclasses

    def work(self, task_vars: dict[str, Any]) -> dict[str, Any]:
        """The result of the task."""
        return self.run_module(self.MODULE, self._task.args, task_vars)

    @property
    def is_check(self) -> bool:
        """Whether the task only tells what it would do."""
        return bool(self._task.check_mode)

    def secret(self) -> str | None:
        """What the task has that nobody else may read, for a message; None where it has nothing."""
        return next((name for name in self.SECRET_OPTIONS if self._task.args.get(name) is not None), None)

    def run_module(
        self,
        module: str,
        arguments: dict[str, Any],
        task_vars: dict[str, Any],
        *,
        seconds: float | None = None,
        looks: bool = False,
        goes_on: dict[str, Any] | None = None,
        leaving: Callable[[], bool] | None = None,
    ) -> dict[str, Any]:
        """What the *module* returned on the device, as far as it is of its *shape*, or a failed result.

        A module of this collection is named without it. The shapes are in :mod:`.returned`. The result has besides
        ``changed``, and where there are any ``warnings``, ``deprecations`` and, if the task shows them, a ``diff``. A
        failed one has ``failed``, ``msg`` and what tells of the cause. The device is given up after *seconds*, by
        default when all that the task has asked of it without them took :meth:`patience`. What only *looks* does so in
        check mode too. AnsibleConnectionFailure where it cannot be reached.

        With *goes_on*, the arguments of :func:`module_utils.runtime.going_on.run`, and a module that may go on, the
        result can be that it is ``still_at_work``, as also where *leaving* came to be true before there was one.
        """
        own = "." not in module
        self._goes_on, self._leaving = goes_on, leaving
        self._shape = RETURNED[module] if own else BUILTIN[module]
        self._difference = DIFFERENCES.get(module) if self._task.diff else None
        check_mode = self._task.check_mode
        if looks:
            self._task.check_mode = False
        try:
            with self._patient(arguments, task_vars) if seconds is None else self._waiting(task_vars, seconds):
                said = self._execute(module, arguments, task_vars)
        except OptionsError as error:
            said = {"failed": True, "changed": False, "msg": str(error)}
        except _LeftAloneError:
            return {"changed": False, "still_at_work": True}
        except _GivenUpError as error:
            return {"failed": True, "changed": False, "msg": error.message}
        finally:
            self._task.check_mode = check_mode
            self._goes_on = self._leaving = None
        # Ansible may have added what it came upon while it looked for a Python there, in the device's words too.
        for name, told in (("warnings", said.get("warnings")), ("deprecations", said.get("deprecations"))):
            if told:
                said[name] = [self._named_words(one) for one in told]
        given = [one for name in self.SECRET_OPTIONS if isinstance(one := arguments.get(name), str) and one]
        return without_secrets(said, given)

    def run_command(
        self, argv: list[str], task_vars: dict[str, Any], *, seconds: float | None = None, looks: bool = False
    ) -> dict[str, Any]:
        """The result of a command on the device: ``stdout`` and ``rc``; failed, with a message, where that is not 0."""
        said = self.run_module("ansible.builtin.command", {"argv": argv}, task_vars, seconds=seconds, looks=looks)
        if said.get("failed") and "rc" in said:
            cause = (said.get("stderr") or said.get("stdout") or "| nothing").splitlines()[-1].removeprefix("| ")
            said["msg"] = f"{self._host}: a command ended with exit code {said['rc']}, and its last words were: {cause}"
        return said

    def carry(self, path: str, name: str, task_vars: dict[str, Any], *, seconds: float) -> str:
        """The path on the device of a copy of the controller's file *path*, which is gone with the task."""
        with self._waiting(task_vars, seconds):
            directory = self._connection._shell.tmpdir or self._make_tmp_path()
            carried = self._connection._shell.join_path(directory, name)
            self._transfer_file(path, carried)
            self._fixup_perms2((directory, carried))
        return carried

    def patience(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> float:
        """Seconds within which the device has to answer: the longest that its TPM may take, and :data:`MARGIN`."""
        given = arguments.get("timeout", task_vars.get("tpmfleet_tpm_timeout"))
        with contextlib.suppress(AnsibleError, TypeError, ValueError, OverflowError):
            given = min(max(int(self._templar.template(given)), 0), 86400)
            return given + MARGIN
        # What is wrong with the option, its module says.
        return TPM_TIMEOUT + MARGIN

    # What Ansible calls

    def run(self, tmp=None, task_vars=None):
        """Runs the task. The message of a failed one ends with the entry that explains it."""
        try:
            return explain(self._run(tmp, task_vars))
        except AnsibleActionFail as error:
            raise AnsibleActionFail(explained(error.message), result=error.result) from None

    def _run(self, tmp, task_vars):
        result = super().run(tmp, task_vars)
        self._host = self._named(task_vars or {})
        named = self._task.args.get("options")
        if named is not None:
            given = {name: value for name, value in self._task.args.items() if name != "options"}
            self._task.args = {**HostVariables(task_vars or {}, self._loader).value(named), **given}
        if self._task._role is not None and self._task._role._role_collection == "tpmfleet.azure_dps":
            self._look_before(task_vars or {})
        secret = self.secret()
        if secret is not None:
            self._keep_off_disks(secret)
        result.update(self.work(task_vars or {}))
        if result.get("failed"):
            # For the closing summary, which tells by it what a device said from what was wrong before it was asked.
            result["answered"] = True
        return result

    def _low_level_execute_command(self, *args, **kwargs):
        """All that is done on a device comes through here, the connecting too."""
        execute = super()._low_level_execute_command
        said = self._bounded(lambda: execute(*args, **kwargs))
        if max(len(said["stdout"]), len(said["stderr"])) > MOST_BYTES:
            raise self._given_up(f"sent more than {told_size(MOST_BYTES)}, which are the most")
        return said

    def _make_tmp_path(self, *args, **kwargs):
        """A directory on the device, whose path the device says: it becomes a part of commands of this machine."""
        path = super()._make_tmp_path(*args, **kwargs)
        if not _PATH.fullmatch(path):
            raise self._given_up(f"said that its directory for temporary files is '{visible(path, most=100)}'")
        return path

    def _transfer_file(self, local_path, remote_path):
        """Where Ansible does not pipeline."""
        transfer = super()._transfer_file
        return self._bounded(lambda: transfer(local_path, remote_path))

    def _parse_returned_data(self, res, *_profile):
        """In place of Ansible's own reader."""
        return as_read(self._read(res))

    def _read(self, res: Mapping[str, Any]) -> dict[str, Any]:
        """What a module printed."""
        ended = (self._goes_on or {}).get("ends") and res.get("rc") == STILL_AT_WORK_CODE
        try:
            said = read_answer(res.get("stdout") or "", STILL_AT_WORK if ended else self._shape, self._difference)
        except ShapeError as error:
            return self.failure(
                f"what it returned for {self._task.action} is not what that returns: {error}. {PULL_IT}"
            )
        except NoAnswerError as error:
            if res.get("rc") == NOT_THERE:
                words = "there is no Python at what ansible_python_interpreter names, or at what was found instead."
                # No fault of the unit's: its image is to be mended, or the inventory.
                mend = failure(SETUP, variable="ansible_python_interpreter")
                return {**self.failure(words), "no_interpreter": True, **mend}
            said = last_words(res)
            words = f"{error} (exit code {int(res.get('rc') or 0)}{', last words: ' + said if said else ''})."
            return {
                **self.failure(f"{words} Look at its Python interpreter and its memory first."),
                **shown_output(res),
            }
        return said

    # Inside

    def _execute(self, module: str, arguments: dict[str, Any], task_vars: dict[str, Any]) -> dict[str, Any]:
        """What *module* returned: sent as its payload, or as Ansible sends it, where it is Ansible's or in a file."""
        python, task_vars = self._python(task_vars)
        own = "." not in module
        if not own or not self._is_pipelining_enabled("new"):
            return self._execute_module(
                module_name=f"tpmfleet.azure_dps.{module}" if own else module,
                module_args=arguments,
                task_vars=task_vars,
            )
        program = payload_of(module).program(
            arguments,
            **({} if self._goes_on is None else {"goes_on": self._goes_on}),
            check_mode=self._task.check_mode,
            diff=self._task.diff,
            no_log=bool(self._task.no_log or _setting("DEFAULT_NO_TARGET_SYSLOG", task_vars)),
            log_facility=task_vars.get("ansible_syslog_facility", C.DEFAULT_SYSLOG_FACILITY),
            log_info=_setting("TARGET_LOG_INFO", task_vars) or "",
        )
        command = self._connection._shell.build_module_command(self._compute_environment_string(), f"#!{python}", "")
        return self._read(self._low_level_execute_command(command, in_data=program))

    def _python(self, task_vars: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """What runs modules on the device, and the variables in which it is so, whatever Ansible would look for."""
        device = self._task.delegate_to
        delegated = task_vars.get("ansible_delegated_vars") or {}
        of_device = delegated[device] if device else task_vars
        # As it is: a copy of a template, such as str makes, is no template to Ansible.
        python = str(self._templar.template(_setting("INTERPRETER_PYTHON", of_device) or "")).strip()
        if not python or python.startswith("auto"):
            python = PYTHON
        of_device = {**of_device, "ansible_python_interpreter": python}
        if device:
            return python, {**task_vars, "ansible_delegated_vars": {**delegated, device: of_device}}
        return python, of_device

    def _named_words(self, one: Any) -> Any:
        """A warning or a deprecation, with the name of the device that it is about."""
        if isinstance(one, Mapping):
            return {"msg": self._named_words(one.get("msg"))}
        return f"{self._host}: {visible(one)}"

    def _named(self, task_vars: dict[str, Any]) -> str:
        """What the device is called that the task runs on."""
        return visible(self._task.delegate_to or task_vars.get("inventory_hostname", "the device"), most=100)

    @contextlib.contextmanager
    def _patient(self, arguments: dict[str, Any], task_vars: dict[str, Any]) -> Iterator[None]:
        """All that is asked of the device in here, however often, takes its :meth:`patience` together at most."""
        begin = time.monotonic()
        try:
            with self._waiting(task_vars, self.patience(arguments, task_vars), spent=self._spent):
                yield
        finally:
            self._spent += time.monotonic() - begin

    @contextlib.contextmanager
    def _waiting(self, task_vars: dict[str, Any], seconds: float, *, spent: float = 0) -> Iterator[None]:
        """All that is asked of the device in here takes *seconds* together at most, of which some are *spent*."""
        self._host, self._seconds, self._end = self._named(task_vars), seconds, time.monotonic() + seconds - spent
        try:
            yield
            return
        except _GivenUpError:
            raise
        except AnsibleError as error:
            # It may quote the device, whose lines must not pass for Ansible's; the last is the one that tells.
            kind = AnsibleConnectionFailure if isinstance(error, AnsibleConnectionFailure) else AnsibleActionFail
            first, *more = visible_lines(error.message, most=300)
            words = "\n".join([first, *("| " + line for line in more[-10:])])
        finally:
            self._end = None
        raise kind(words)

    def _bounded(self, function: Callable[[], Any]) -> Any:
        """What *function* returns, which waits for the device; within the time that is left, and so much memory."""
        if self._gave_up is not None:
            # What is to be cleaned up there has to wait as well.
            raise self._gave_up
        seconds = MARGIN if self._end is None else max(self._end - time.monotonic(), 0.1)
        try:
            # What runs on this very machine is no stranger, and works, as apt does, as a child of this process.
            here = self._connection.transport == "local"
            memory = None if here else MOST_MEMORY
            return bounded(function, seconds=seconds, memory=memory, leaving=self._leaving)
        except LeftError:
            raise _LeftAloneError("") from None
        except TooLateError:
            words = (
                f"gave no answer within {self._seconds:g} s. Look whether it hangs, and power-cycle it; a TPM that is "
                "only slow gets more time by tpmfleet_tpm_timeout"
            )
        except TooMuchError:
            words = f"sent more than fits into {told_size(MOST_MEMORY)}, where {told_size(MOST_BYTES)} are the most"
        raise self._given_up(words)

    def _given_up(self, words: str) -> _GivenUpError:
        pull = "" if "no answer" in words else f" {PULL_IT}"
        self._gave_up = _GivenUpError(f"{self._host}: {words}.{pull}")
        return self._gave_up

    def _look_before(self, task_vars: dict[str, Any]) -> None:
        """A part of a step is used in a play of the user's own, or begins in the middle: nothing has looked before."""
        wrong = list(facts_stay_facts(task_vars))
        if wrong:
            raise AnsibleActionFail(" ".join([*wrong, "Nothing was changed."]), result=failure(SETUP))

    def failure(self, words: str) -> dict[str, Any]:
        """The result of a task that failed, told in *words* to follow the device's name."""
        return {"failed": True, "changed": False, "msg": f"{self._host}: {words}"}

    def _keep_off_disks(self, secret: str) -> None:
        """Has Ansible pipeline, as else the module and *secret* lie in files on both machines; fails if it cannot."""
        if self._connection.has_pipelining and not self._is_pipelining_enabled("new"):
            # A connection plugin without the option has another way of its own, or none.
            with contextlib.suppress(AnsibleError, KeyError):
                self._connection.set_option("pipelining", True)
        if self._is_pipelining_enabled("new"):
            return
        if C.DEFAULT_KEEP_REMOTE_FILES:
            reason, cure = "ANSIBLE_KEEP_REMOTE_FILES leaves modules on its disk", "Run without it."
        elif not self._connection.has_pipelining:
            reason = f"the connection plugin {self._connection.transport} cannot pipeline"
            cure = "Use ansible.builtin.ssh."
        else:
            reason = f"the become method {self._play_context.become_method} cannot pipeline"
            cure = "Use ansible.builtin.sudo, or log in as the user that may use the TPM."
        raise AnsibleActionFail(
            f"{secret} would be written to a file on the device, since {reason}. {cure}", result=failure(SETUP)
        )


def _setting(name: str, variables: dict[str, Any]) -> Any:
    """What Ansible's configuration says, or a variable in its place."""
    return C.config.get_config_value(name, variables=variables)


def without_secrets(value: Any, secrets: list[str]) -> Any:
    """*value* without the *secrets* that the device was sent: it may say them again where everybody reads."""
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, "********")
        return value
    if isinstance(value, dict):
        return {name: without_secrets(one, secrets) for name, one in value.items()}
    return [without_secrets(one, secrets) for one in value] if isinstance(value, list) else value
