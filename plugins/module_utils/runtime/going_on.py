# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module that goes on after the call that began it has ended, and the call that takes its answer.

A chip can take minutes for a key, and a rack waits for each call. So the module runs in a process of its own, and where
its TPM takes its time, that process leaves a file with a lock in a directory of root's in /run, and the call ends. A
later call with the same name waits for the lock, and finds the module's answer in the file. What the module was given
stays in the memory of its process, and what it prints has no secrets (:mod:`.basic`).
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
import os
import re
import signal
import sys
import time
from typing import Any, Callable, NamedTuple, NoReturn

DIRECTORY = "/run/tpmfleet-going-on"
# How long a command of a TPM may be under way before its call ends, in seconds. Most of a rack's chips need less.
PATIENCE = 2.0
# Nobody comes any more for an answer of this age, in seconds.
KEPT = 3600
# Between the end of the time that a process has and its end.
_LAST_SECONDS = 10
_NAME = re.compile(r"[0-9a-f]{32}")
# From this exit code on a process was ended by a signal, as shells tell it.
_ENDED_BY_A_SIGNAL = 128

# What the call that ends early prints, and its exit code.
STILL_AT_WORK = {"still_at_work": True}
STILL_AT_WORK_CODE = 75


class Answer(NamedTuple):
    """What a module printed, and its exit code."""

    code: int
    out: str
    err: str


# Is given a number of seconds, and what to call once something takes longer.
WhenSlow = Callable[[float, Callable[[], None]], None]


def run(module: Callable[[], int], when_slow: WhenSlow, *, name: str, ends: bool, seconds: float) -> int:
    """Runs *module*, which prints and returns an exit code, or takes the answer of one that went on under this *name*.

    With *ends* this call ends before the module where *when_slow* finds that it takes long. Without, it waits, and
    takes the answer away. A module that goes on is ended after *seconds*.
    """
    if not _NAME.fullmatch(name) or os.geteuid() != 0:
        return module()
    _forget(but=name)
    answer = _answer(name, takes=not ends)
    if answer is None and ends:
        return _Apart(module, when_slow, name, seconds).code()
    return module() if answer is None else _say(answer)


def _pass_on(process: int, number: int, _frame: Any) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(process, number)


def _say(answer: Answer) -> int:
    sys.stdout.write(answer.out)
    sys.stderr.write(answer.err)
    return answer.code


class _Apart:
    """The module in a process of its own, which the call waits for until that process says that it goes on alone."""

    def __init__(self, module: Callable[[], int], when_slow: WhenSlow, name: str, seconds: float) -> None:
        self._module = module
        self._when_slow = when_slow
        self._name = name
        self._seconds = seconds
        self._told, self._tell = os.pipe()
        self._out, self._err = os.memfd_create("out"), os.memfd_create("err")
        self._lock = -1

    def code(self) -> int:
        """The exit code of the call; what was to be printed is."""
        child = os.fork()
        if child == 0:
            self._be()
        os.close(self._tell)
        # Whoever ends the call, or cuts its connection, ends the module as long as nobody was told that it goes on.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, functools.partial(_pass_on, child))
        if os.read(self._told, 1):
            sys.stdout.write("\n" + json.dumps(STILL_AT_WORK) + "\n")
            return STILL_AT_WORK_CODE
        status = os.waitpid(child, 0)[1]
        ended = os.WEXITSTATUS(status) if os.WIFEXITED(status) else _ENDED_BY_A_SIGNAL + os.WTERMSIG(status)
        return _say(self._answer(ended))

    def _be(self) -> NoReturn:
        """The other process."""
        code = 1
        try:
            os.setsid()
            # What the call passes on has to end it, whatever its own parents ignored.
            for ending in (signal.SIGTERM, signal.SIGHUP):
                signal.signal(ending, signal.SIG_DFL)
            os.close(self._told)
            nothing = os.open(os.devnull, os.O_RDONLY)
            for number, source in enumerate((nothing, self._out, self._err)):
                os.dup2(source, number)
            signal.signal(signal.SIGALRM, self._expired)
            signal.setitimer(signal.ITIMER_REAL, self._seconds)
            self._when_slow(PATIENCE, self._go_on)
            code = self._module()
            signal.setitimer(signal.ITIMER_REAL, 0)
            sys.stdout.flush()
            sys.stderr.flush()
            # One that was told to end, as a login manager does with what a user leaves, has no answer.
            if self._lock >= 0 and code < _ENDED_BY_A_SIGNAL:
                os.write(self._lock, json.dumps(self._answer(code)).encode())
        finally:
            # The lock ends with the process.
            os._exit(code)

    def _go_on(self) -> None:
        """Has the call end; it goes on waiting where that cannot be."""
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(DIRECTORY, 0o700)
            self._lock = os.open(
                _path(self._name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
            )
            fcntl.flock(self._lock, fcntl.LOCK_EX)
        except OSError:
            return
        # The call may have been cut off meanwhile.
        with contextlib.suppress(OSError):
            os.write(self._tell, b"!")

    def _expired(self, _number: int, _frame: Any) -> NoReturn:
        """Unwinds the stack, so that the TPM is left clean; a TPM that does not answer is not waited for."""
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_LAST_SECONDS)
        self._lock = -1
        raise SystemExit(_ENDED_BY_A_SIGNAL + signal.SIGALRM)

    def _answer(self, code: int) -> Answer:
        return Answer(code, _content(self._out), _content(self._err))


def _path(name: str) -> str:
    return os.path.join(DIRECTORY, name)


def _content(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    return os.pread(descriptor, size, 0).decode("utf-8", "replace")


def _answer(name: str, *, takes: bool) -> Answer | None:
    """What the module said that went on under *name*, which is waited for. None for none, and for one that died."""
    try:
        file = os.open(_path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_SH)
        answer = Answer(*json.loads(_content(file)))
    except (ValueError, TypeError):
        answer = None
    finally:
        os.close(file)
    if takes or answer is None:
        _remove(_path(name))
    return answer


def _forget(*, but: str) -> None:
    """Removes what nobody came for."""
    try:
        names = os.listdir(DIRECTORY)
    except OSError:
        return
    for name in names:
        if name != but and _NAME.fullmatch(name):
            with contextlib.suppress(OSError):
                file = os.open(_path(name), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
                try:
                    # Whoever is at work has the lock, for however long.
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    if time.time() - os.fstat(file).st_mtime > KEPT:
                        _remove(_path(name))
                finally:
                    os.close(file)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
