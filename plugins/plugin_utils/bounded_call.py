# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A call that waits for a device, bounded in time and memory: one that never answers or never ends harms nobody else.

A connection plugin reads all that a device sends before it returns, for as long as it sends. So the call is made under
two limits of the operating system: an alarm, and a limit to the memory of this process, which is a fork that Ansible
made for this one task. Both end the call where it is and leave the process as it was.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

# An answer needs 1 MB, and comes in through a few copies of itself. Measured over ssh: a process of Ansible's that is
# answered as it should be has 57 MB, and one that is sent zeros without an end 66 MB before it is ended.
MOST_MEMORY = 16 << 20
# Seconds between two looks whether to leave.
_ASKED_AGAIN = 0.25


class TooLateError(Exception):
    """The call did not return in time."""


class TooMuchError(Exception):
    """What came did not fit into the memory."""


class LeftError(Exception):
    """The call is waited for no longer, since there is something else to do."""


class _ExpiredError(BaseException):
    """Not an Exception: connection plugins take those for faults of the connection, and try again."""


class _LeavingError(BaseException):
    """As that."""


def bounded(
    function: Callable[[], Any],
    *,
    seconds: float,
    memory: int | None = MOST_MEMORY,
    leaving: Callable[[], bool] | None = None,
) -> Any:
    """What *function* returns. TooLateError after *seconds*, TooMuchError where it takes more than *memory* bytes.

    LeftError once *leaving* is true, which is asked again and again meanwhile, in a handler of signals.
    Processes that it started and that still run are ended then, as they are where anything else is raised. They begin
    with the same limit to their memory, which is plenty for ssh, and may be too little for who does work of his own:
    None sets no limit.
    """
    before = _children()
    failure: Exception
    try:
        with _memory(memory), _deadline(seconds, leaving):
            return function()
    except MemoryError:
        failure = TooMuchError()
    except _ExpiredError:
        failure = TooLateError()
    except _LeavingError:
        failure = LeftError()
    except BaseException:
        _end(_children() - before)
        raise
    # Here and not above: as long as the error is handled, its traceback keeps what was read in memory.
    _end(_children() - before)
    raise failure


@contextlib.contextmanager
def _deadline(seconds: float, leaving: Callable[[], bool] | None) -> Iterator[None]:
    """Raises :class:`_ExpiredError` after *seconds*, unless an earlier alarm is set: the task's own timeout.

    Raises :class:`_LeavingError` as soon as *leaving* is true.
    """
    left = signal.getitimer(signal.ITIMER_REAL)[0]
    if 0 < left <= seconds or threading.current_thread() is not threading.main_thread():
        yield
        return
    armed = True
    started = time.monotonic()

    def expired(_number: int, _frame: Any) -> None:
        if not armed:
            return
        if leaving is None or time.monotonic() - started >= seconds:
            raise _ExpiredError
        if leaving():
            raise _LeavingError

    handler = signal.signal(signal.SIGALRM, expired)
    first = seconds if leaving is None else min(seconds, _ASKED_AGAIN)
    signal.setitimer(signal.ITIMER_REAL, max(first, 0.001), 0 if leaving is None else _ASKED_AGAIN)
    try:
        yield
    finally:
        # The alarm may come in here; then it is too late for it to mean anything.
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), 0.001))


@contextlib.contextmanager
def _memory(most: int | None) -> Iterator[None]:
    """Has what would take *most* more bytes than there are now raise MemoryError, where the system can tell (Linux).

    The limit is to data and not to the address space, of which threads reserve a good deal that they never use.
    """
    if most is None:
        yield
        return
    try:
        with open("/proc/self/statm", "rb") as sizes:
            limit = int(sizes.read().split()[5]) * resource.getpagesize() + most
    except OSError:
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limits = [one for one in (soft, hard, limit) if one != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_DATA, (min(limits), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _children() -> set[int]:
    """The processes that this one has started and that are not reaped; none where the system does not tell."""
    own = os.getpid()
    try:
        with open(f"/proc/{own}/task/{own}/children", "rb") as children:
            return set(map(int, children.read().split()))
    except OSError:
        return set()


def _end(processes: set[int]) -> None:
    for process in processes:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)
