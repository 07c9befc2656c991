# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An open TPM: one exception type with sentences for people, a limit to waiting, and nothing left behind.

Response codes: TPM 2.0 part 2, 6.6; layers of the software stack: TCG TSS 2.0 Overview and Common Structures, 2.4.
"""

from __future__ import annotations

import contextlib
import functools
import grp
import os
import queue
import threading
import time
from collections.abc import Iterator
from typing import Any, Callable

from .library import LibraryError, load

_MANAGED = "/dev/tpmrm0"
DEFAULT_TCTI = f"device:{_MANAGED}"
# Discrete TPMs look for the primes of a key for up to minutes; Linux waits 300 s for such a command.
DEFAULT_TIMEOUT = 300
NO_LIBRARY = "The Python library tpm2-pytss is missing or unusable on this device; the role tpm_runtime installs it."

RC_VALUE = 0x084
RC_HANDLE = 0x08B
RC_AUTH_FAIL = 0x08E
RC_SIZE = 0x095
RC_INTEGRITY = 0x09F
RC_BAD_AUTH = 0x0A2
RC_FAILURE = 0x101
RC_NV_LOCKED = 0x148
RC_NV_AUTHORIZATION = 0x149
RC_LOCKOUT = 0x921
_RC_INITIALIZE = 0x100
_RC_NEEDS_TEST = 0x153

_LAYER = 0xFF0000
_LAYER_TCTI = 0x0A0000
_LAYERS_WITH_TPM_CODES = (0x000000, 0x090000, 0x0B0000, 0x0C0000)  # TPM, resource managers
_FORMAT_ONE = 0x080
_OF_A_PARAMETER = 0x040
_NUMBER = 0xF00
_TCTI_IO_ERROR = 0x0A000A

# TPM_RC_YIELDED, TPM_RC_TESTING, TPM_RC_NV_RATE, TPM_RC_RETRY, TPM_RC_NV_UNAVAILABLE: the command had no effect.
_PASSING = (0x908, 0x90A, 0x920, 0x922, 0x923)

# TPM_RC_CONTEXT_GAP, the memories and the handles: another user without a resource manager may be about to make room.
_CROWDED = (0x901, 0x902, 0x903, 0x904, 0x905, 0x906)
_PATIENCE_WITH_OTHERS = 2.0
# Besides these, what a TPM says of itself, whatever it was asked: TPM_RC_INITIALIZE, TPM_RC_FAILURE, TPM_RC_UPGRADE,
# TPM_RC_REBOOT, TPM_RC_NEEDS_TEST, TPM_RC_CANCELED.
_OF_ITSELF = (*_PASSING, *_CROWDED, _RC_INITIALIZE, RC_FAILURE, 0x12D, 0x130, _RC_NEEDS_TEST, 0x909)
# The last of several tries gets this long, so that a TPM that says that it is busy is not told for one that hangs.
_SHORTEST_TRY = 1.0

_WORDS: dict[int, tuple[str, str | None]] = {
    RC_AUTH_FAIL: (
        "the authorization is not the right one, and the TPM counted it as an attack attempt",
        "Do not repeat it with guessed values: the TPM goes into lockout.",
    ),
    RC_BAD_AUTH: (
        "the authorization is not the right one",
        "Give the authorization that this TPM's owner has set.",
    ),
    0x082: ("the object's attributes do not allow it", None),
    0x084: ("a value is out of range or not right for this TPM", None),
    0x085: ("the hierarchy is disabled or not right for it", "Look whether the firmware setup has the TPM enabled."),
    RC_HANDLE: ("there is nothing at that handle", None),
    0x095: ("a value has a size that this TPM does not take", None),
    0x09D: ("the policy of the key was not satisfied", None),
    RC_INTEGRITY: ("it was made for another key, or changed on the way", None),
    _RC_INITIALIZE: (
        "the TPM has not been started, and TPM2_Startup did not start it",
        "Power-cycle the device; if it stays so, its firmware or kernel does not start the TPM.",
    ),
    RC_FAILURE: ("the TPM is in failure mode", "Power-cycle the device; if it stays so, the chip is defective."),
    0x120: ("the command is disabled", "TPM2_Clear and others can be disabled by firmware or by the owner."),
    0x125: ("it takes an authorization that was not sent", None),
    0x12D: ("the TPM is in the middle of a firmware upgrade", "Finish the upgrade first."),
    0x12F: ("the authorization cannot be used that way", None),
    0x130: ("the TPM has to be started anew", "Power-cycle the device."),
    0x143: ("this TPM does not have the command", None),
    0x146: ("that is not within the NV index", None),
    0x147: ("the NV index has no such size", None),
    RC_NV_LOCKED: (
        "the NV index is locked",
        "A read or write lock ends with the next power cycle, unless it is for good.",
    ),
    RC_NV_AUTHORIZATION: ("the NV index belongs to somebody else", "Only what its attributes name may use it."),
    0x14A: ("the NV index was never written", None),
    0x14B: ("the TPM has no room left in its NV memory", "Remove persistent keys or NV indices that nobody needs."),
    0x14C: ("the handle is occupied", None),
    _RC_NEEDS_TEST: (
        "the TPM has not tested itself, and TPM2_SelfTest did not have it do so",
        "Power-cycle the device; if it stays so, the chip is defective (tpm2_gettestresult says more).",
    ),
    0x901: (
        "a saved session is too old for another one to be numbered",
        "Something left saved sessions in the TPM: power-cycle, or tpm2_flushcontext -s.",
    ),
    0x902: (
        "the TPM has no room for another key",
        "Something left keys in it: use the resource manager (/dev/tpmrm0), power-cycle, or tpm2_flushcontext -t.",
    ),
    0x903: (
        "the TPM has no room for another session",
        "Something left sessions in it: use the resource manager (/dev/tpmrm0), power-cycle, or tpm2_flushcontext -l.",
    ),
    0x904: ("the TPM is out of memory", "Use the resource manager (/dev/tpmrm0), or power-cycle."),
    0x905: ("the TPM has no session handle left", "Power-cycle, or tpm2_flushcontext -s and -l."),
    0x906: ("the TPM has no object handle left", "Power-cycle, or tpm2_flushcontext -t."),
    0x907: ("the locality is not right", None),
    0x909: ("the command was canceled", "Run it again."),
    0x920: ("the TPM limits how often its NV memory is written, and stayed so", "Run it again later."),
    RC_LOCKOUT: (
        "the TPM is in dictionary attack lockout",
        "Wait for the recovery time that tpm_info shows, or have it reset with the lockout authorization.",
    ),
    0x922: ("the TPM stayed busy", "Run it again later."),
    0x908: ("the TPM stayed busy", "Run it again later."),
    0x90A: ("the TPM did not finish testing itself", "Run it again later."),
    0x923: ("the TPM's NV memory stayed unavailable", "Run it again later."),
}

_DOING = {
    "activate_credential": "open what was encrypted to its endorsement key",
    "clear": "clear the TPM",
    "context_load": "take a key up again",
    "context_save": "save a key for later",
    "create_primary": "make a primary key",
    "dictionary_attack_parameters": "set the dictionary attack parameters",
    "dictionary_attack_lock_reset": "end the lockout",
    "evict_control": "persist or remove a key",
    "flush_context": "flush a key or session",
    "get_capability": "read what the TPM is",
    "hierarchy_change_auth": "change the authorization of a hierarchy",
    "make_credential": "encrypt to a key of its own",
    "nv_read": "read NV memory",
    "nv_read_public": "look at an NV index",
    "policy_secret": "use the authorization of a hierarchy",
    "read_public": "read a public key",
    "self_test": "have the TPM test itself",
    "start_auth_session": "start a session",
    "startup": "start the TPM",
    "tr_from_tpmpublic": "look at a handle",
}

# Commands with which a TPM that refuses for want of them begins to work: TPM2_Startup(TPM_SU_CLEAR), which firmware and
# kernel give where they know the TPM, and TPM2_SelfTest of all that was not tested yet (part 3, 9.3 and 10.2).
_CURES: dict[int, tuple[str, Callable[[Any], Any]]] = {
    _RC_INITIALIZE: (_DOING["startup"], lambda esapi: esapi.startup(0)),
    _RC_NEEDS_TEST: (_DOING["self_test"], lambda esapi: esapi.self_test(False)),
}

# What a call leaves in the TPM: its result, or the first of it.
_LEAVES = frozenset(
    (
        "context_load",
        "create_loaded",
        "create_primary",
        "hash_sequence_start",
        "hmac_start",
        "load",
        "load_external",
        "start_auth_session",
    )
)
_TAKES_AWAY = frozenset(("event_sequence_complete", "flush_context", "sequence_complete"))

# Connections whose TPM never answered. Their thread still waits in the C library, so they must not be freed.
_abandoned: list[Any] = []

# (seconds, what is called), of whoever has something else to do while a command is under way for longer than that.
_impatient: list[tuple[float, Callable[[], None]]] = []


class TpmError(Exception):
    """The TPM did not do it: a sentence, the response code where there was one, and what to do next.

    *needs* is the option without which it cannot be done, where that is all there is to it.
    """

    needs: str | None = None

    def __init__(self, message: str, rc: int | None = None, hint: str | None = None) -> None:
        super().__init__(message if hint is None else f"{message} {hint}")
        self.message = message
        self.rc = rc
        self.hint = hint

    @property
    def code(self) -> int | None:
        """The response code without the number of the handle, parameter or session that it is about."""
        return None if self.rc is None else plain_code(self.rc)

    @property
    def is_of_the_tpm(self) -> bool:
        """Whether it tells of the TPM's own state or of the way to it, and so says nothing of what was asked."""
        return self.rc is None or self.rc & _LAYER == _LAYER_TCTI or self.code in _OF_ITSELF

    @property
    def is_of_what_was_given(self) -> bool:
        """Whether the TPM objects to a value that it was given, and to no handle and no session (part 2, 6.6.2)."""
        rc = self.rc or 0
        if rc & _LAYER not in _LAYERS_WITH_TPM_CODES or not rc & _FORMAT_ONE:
            return False
        return bool(rc & _OF_A_PARAMETER) or not rc & _NUMBER


def plain_code(rc: int) -> int:
    """*rc* without layer and, in a format-one code, without the number of what it is about (part 2, 6.6.2)."""
    code = rc & 0xFFFF
    return code & 0x0BF if code & _FORMAT_ONE else code


def told(rc: int, doing: str) -> TpmError:
    """The error for response code *rc* while *doing* something."""
    if rc & _LAYER in _LAYERS_WITH_TPM_CODES:
        words, hint = _WORDS.get(plain_code(rc), ("the TPM refused it", None))
        return TpmError(f"The TPM could not {doing}: {words} (code 0x{rc:x}).", rc, hint)
    if rc & _LAYER == _LAYER_TCTI:
        return TpmError(
            f"The connection to the TPM broke while it was to {doing} (code 0x{rc:x}).",
            rc,
            "Look whether the TPM is still there, then run again.",
        )
    return TpmError(f"The TPM software stack could not {doing} (code 0x{rc:x}).", rc)


def tell_when_slow(seconds: float, function: Callable[[], None]) -> None:
    """Has *function* called, once, when a command has been under way for so many *seconds*."""
    _impatient.append((seconds, function))


def _get(answers: queue.Queue[Any], timeout: float) -> Any:
    """What comes into *answers* within *timeout* seconds; queue.Empty where nothing does."""
    while _impatient and _impatient[0][0] < timeout:
        seconds, function = _impatient[0]
        with contextlib.suppress(queue.Empty):
            return answers.get(timeout=seconds)
        del _impatient[0]
        timeout -= seconds
        function()
    return answers.get(timeout=timeout)


@contextlib.contextmanager
def connect(tcti: str = DEFAULT_TCTI, timeout: float = DEFAULT_TIMEOUT) -> Iterator[Any]:
    """An open TPM with the methods of ``tpm2_pytss.ESAPI``, for as long as the context lasts.

    *timeout* is the longest that the TPM may take for one command, in seconds. A busy TPM is asked again for so long,
    and one that has not been started, or has not tested itself, is made to.
    Every failure of a method is a :class:`TpmError`. Keys and sessions that were loaded and not flushed are flushed at
    the end, also after an error, unless the TPM does not answer at all.
    """
    try:
        load()
    except LibraryError:
        raise TpmError(NO_LIBRARY) from None
    # The library writes each refused command to stderr, which is the user's terminal or a journal.
    os.environ.setdefault("TSS2_LOG", "all+none")
    esys = Esys(tcti, timeout)
    try:
        yield esys
    finally:
        esys.close()


class Esys:
    """ESAPI in a thread of its own: a command to a TPM that does not answer can be neither ended nor interrupted."""

    def __init__(self, tcti: str, timeout: float) -> None:
        self._tcti = tcti
        self._timeout = timeout
        self._calls: queue.Queue[Any] = queue.Queue()
        self._left: list[Any] = []
        self._silent = False
        # A daemon, so that the process can end while the thread still waits.
        self._thread = threading.Thread(target=self._serve, name="tpm", daemon=True)
        self._thread.start()
        _look_for_device(tcti)
        self._esapi = self._open()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._esapi, name)
        if not callable(method):
            return method

        def call(*args: Any, **kwargs: Any) -> Any:
            result = self._persistently(_DOING.get(name, "do " + name), lambda: method(*args, **kwargs))
            if name in _LEAVES:
                self._left.append(result[0] if isinstance(result, tuple) else result)
            elif name in _TAKES_AWAY:
                gone = args[0] if args else next(iter(kwargs.values()))
                self._left = [handle for handle in self._left if handle != gone]
            return result

        return call

    def close(self) -> None:
        """Flushes what is left, latest first, and closes."""
        if self._silent:
            return
        for handle in reversed(self._left):
            # TPM2_Clear and others take objects away by themselves, so a handle may be gone.
            with contextlib.suppress(TpmError, load().TSS2_Exception):
                self._in_thread("flush a key or session", functools.partial(self._esapi.flush_context, handle))
        if not self._silent:
            with contextlib.suppress(TpmError, load().TSS2_Exception):
                self._in_thread("close", self._esapi.close)
            self._calls.put(None)
            self._thread.join()

    def _serve(self) -> None:
        while True:
            call = self._calls.get()
            if call is None:
                return
            function, answer = call
            try:
                answer.put((True, function()))
            except BaseException as error:
                answer.put((False, error))

    def _in_thread(self, doing: str, function: Callable[[], Any], timeout: float | None = None) -> Any:
        """What *function* returns or raises, from the thread that owns the connection."""
        answer: queue.Queue[tuple[bool, Any]] = queue.Queue()
        self._calls.put((function, answer))
        try:
            succeeded, result = _get(answer, self._timeout if timeout is None else max(timeout, 0.001))
        except queue.Empty:
            self._silent = True
            _abandoned.append(self)
            raise TpmError(
                f"The TPM at {self._tcti} did not answer within {self._timeout:g} s when it was to {doing}.",
                hint="Either it hangs (power-cycle the device), another program holds it, or the timeout, on the line "
                "tpmfleet_tpm_timeout, is too short for this chip: making a key can take minutes.",
            ) from None
        if succeeded:
            return result
        raise result

    def _persistently(self, doing: str, function: Callable[[], Any], opening: bool = False) -> Any:
        """:meth:`_in_thread`, again while what the TPM says is not for good and the time lasts.

        A TPM that is busy is waited for; one that others crowd a short while; one that has not been started or tested
        is, once.
        """
        begin = time.monotonic()
        end = begin + self._timeout
        pause = 0.02
        cured: set[int] = set()
        busy: int | None = None
        while True:
            left = max(end - time.monotonic(), _SHORTEST_TRY)
            try:
                return self._in_thread(doing, function, left)
            except TpmError:
                # What said to come again, and had little time left when it was asked again, does not hang.
                if busy is None or left > self._timeout / 2:
                    raise
                raise told(busy, doing) from None
            except load().TSS2_Exception as error:
                rc = int(error.rc)
                code = plain_code(rc) if rc & _LAYER in _LAYERS_WITH_TPM_CODES else None
                if code is not None and code in _CURES and code not in cured and not opening:
                    cured.add(code)
                    self._cure(code, end)
                    continue
                until = begin
                if code in _PASSING or (opening and _device_is_busy(self._tcti)):
                    until = end
                    busy = rc if code in _PASSING else busy
                elif code in _CROWDED:
                    until = min(end, begin + _PATIENCE_WITH_OTHERS)
                if time.monotonic() + pause > until:
                    if opening:
                        raise _not_opened(self._tcti, rc) from error
                    raise told(rc, doing) from error
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _cure(self, code: int, end: float) -> None:
        """Does what the TPM wants before it takes commands; what comes of it, the command tells when it is repeated."""
        doing, cure = _CURES[code]
        pause = 0.02
        while True:
            try:
                self._in_thread(doing, functools.partial(cure, self._esapi), end - time.monotonic())
                return
            except load().TSS2_Exception as error:
                if plain_code(int(error.rc)) not in _PASSING or time.monotonic() + pause > end:
                    return
            time.sleep(pause)
            pause = min(2 * pause, 2.0)

    def _open(self) -> Any:
        try:
            return self._persistently("open the connection", lambda: load().ESAPI(self._tcti), opening=True)
        except TpmError:
            if not self._silent:
                self._calls.put(None)
            raise


def _device(tcti: str) -> str | None:
    """The path of a device TCTI, None for another one."""
    name, _colon, path = tcti.partition(":")
    if tcti.startswith("/"):
        return tcti
    return (path or "/dev/tpmrm0") if name in ("device", "libtss2-tcti-device.so.0", "libtss2-tcti-device.so") else None


def _look_for_device(tcti: str) -> None:
    """The usual two mistakes, told before the library would say only that an I/O error occurred."""
    path = _device(tcti)
    if path is None:
        return
    if not os.path.exists(path):
        raise TpmError(
            f"There is no TPM at {path}.",
            hint="Look whether the firmware setup has the TPM enabled and the kernel has its driver, or set tcti, on "
            "the line tpmfleet_tcti.",
        )
    if not os.access(path, os.R_OK | os.W_OK):
        raise TpmError(f"No permission to use the TPM at {path}.", hint=_who_may_use(path))


def _who_may_use(path: str) -> str:
    """What to do, by the owner and mode of the node itself: distributions give the two nodes to different groups."""
    group = _group_of(path)
    if group:
        return f"Run as root (become), or as a member of the group {group}."
    group = _group_of(_MANAGED)
    also = f" Members of the group {group} may use {_MANAGED}." if path != _MANAGED and group else ""
    return f"Only root may use it: run with become.{also}"


def _group_of(path: str) -> str:
    """The group whose members may read and write the node at *path*; empty where it is root's, or there is none."""
    try:
        state = os.stat(path)
        name = grp.getgrgid(state.st_gid).gr_name
    except (OSError, KeyError):
        return ""
    return name if state.st_gid and state.st_mode & 0o060 == 0o060 else ""


def _device_is_busy(tcti: str) -> bool:
    """Whether the device of *tcti* takes one user at a time, as /dev/tpm0 does, and has one."""
    path = _device(tcti)
    if path is None:
        return False
    try:
        os.close(os.open(path, os.O_RDWR))
    except OSError as error:
        return error.errno == 16  # EBUSY
    return False


def _not_opened(tcti: str, rc: int) -> TpmError:
    if rc == _TCTI_IO_ERROR and _device(tcti) is None:
        return TpmError(
            f"No TPM answers at {tcti} (code 0x{rc:x}).",
            rc,
            "Look whether the TPM simulator or resource manager named there runs.",
        )
    if _device_is_busy(tcti):
        return TpmError(
            f"The TPM at {tcti} is used by another program.", rc, "Use /dev/tpmrm0, which takes many users."
        )
    if rc & _LAYER == _LAYER_TCTI and rc != _TCTI_IO_ERROR:
        return TpmError(
            f"No way to the TPM could be opened for the TCTI {tcti!r} (code 0x{rc:x}).",
            rc,
            "Look at its spelling (tcti, on the line tpmfleet_tcti, such as device:/dev/tpmrm0) and whether its "
            "library (libtss2-tcti) is installed.",
        )
    return TpmError(f"The connection to the TPM at {tcti} could not be opened (code 0x{rc:x}).", rc)
