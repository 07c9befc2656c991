# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the client remembers over a power cut, in one directory.

``assignment.json``   the assignment with its wrapped hub key, and the one before it
``registering``       exists from before the service rolls the hub key until the new one is kept
``status.json``       what is going on, in words
``time-floor``        a moment that is certainly past, and once more as its modification time
``lock``              held while a registration runs
``….damaged``         what lay in the place of one of these and was none, for a person to look at

The new assignment is written over ``registering``, which was made with room for it, and that file is then renamed to
``assignment.json``: one step that keeps the new key and says that the registration is over, and that a full disk cannot
stop. Where the power is cut before it, ``registering`` is still there and the next boot registers again.

Each name that is made, renamed or removed is on the disk before the method that did it returns, with what it is a name
of.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import math
import os
import shutil
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .assignment import is_whole
from .errors import ClientError
from .outside import strict_json
from .outside.files import FileError, read_file
from .outside.visible import visible

# An assignment with the one before it takes 3 KiB.
RESERVE = 16384
_MOST = 4 * RESERVE
_LONGEST_MESSAGE = 2000
_LONGEST_MOMENT = 20
_STATUS = {"state": str, "message": str, "failures": int, "updated_at": int, "next_attempt_at": int}


class State:
    """The state directory *path*, which exists. Methods that write raise :class:`ClientError` where they cannot."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def time_floor_file(self) -> Path:
        """See :mod:`clock`."""
        return self.path / "time-floor"

    def time_floor(self) -> float:
        """What :meth:`keep_time_floor` noted last; 0 where there is nothing, or what a damaged disk made of it.

        A moment that is to come would end all trust in certificates until then, so it has to stand there twice.
        """
        try:
            noted = int(read_file(self.time_floor_file, most=_LONGEST_MOMENT))
            status = os.lstat(self.time_floor_file)
        except (FileError, OSError, ValueError):
            return 0.0
        return float(noted) if stat.S_ISREG(status.st_mode) and noted == int(status.st_mtime) else 0.0

    @contextlib.contextmanager
    def locked(self, patience: float = math.inf) -> Iterator[None]:
        """Alone in this directory; waits *patience* seconds for another process of the client."""
        end = time.monotonic() + patience
        try:
            self._make_way("lock")
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._cannot("lock", error) from error
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if patience == math.inf else fcntl.LOCK_NB))
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise ClientError("another process of the client is registering this device") from None
                    time.sleep(0.1)
            yield
        finally:
            os.close(descriptor)

    def check(self) -> None:
        """Whether an assignment could be kept; changes nothing."""
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise ClientError(f"cannot write in {self.path}: it is not this user's")
        room = os.statvfs(self.path)
        if room.f_bavail * room.f_frsize < 2 * RESERVE:
            raise ClientError(f"cannot write in {self.path}: No space left on device")

    def assignment(self) -> dict[str, Any] | None:
        """The kept assignment, None where there is none that can be used."""
        document = self._read("assignment.json")
        return document if document is not None and is_whole(document) else None

    def set_damaged_aside(self) -> bool:
        """Takes what cannot be used out of the place of the assignment; whether there was something."""
        if not os.path.lexists(self.path / "assignment.json") or self.assignment() is not None:
            return False
        try:
            self._set_aside("assignment.json")
        except OSError as error:
            raise self._cannot("assignment.json", error) from error
        return True

    def status(self) -> dict[str, Any]:
        """What :meth:`write_status` wrote last, as far as a damaged disk left it."""
        try:
            found = self._read("status.json") or {}
        except ClientError:
            found = {}
        status = {name: found[name] for name, kind in _STATUS.items() if isinstance(found.get(name), kind)}
        # A truth value is a number in Python, and none here.
        status = {name: value for name, value in status.items() if not isinstance(value, bool)}
        for name, most in (("state", 40), ("message", _LONGEST_MESSAGE)):
            if name in status:
                status[name] = visible(status[name], most=most)
        if status:
            status.setdefault("next_attempt_at", None)
        return status

    @property
    def registering(self) -> bool:
        """Whether a registration began of which the end was not seen."""
        return os.path.lexists(self.path / "registering")

    def begin_registering(self) -> None:
        """Notes that from now on the kept hub key may be refused, and reserves the room for the new one."""
        self._write("registering.new", b" " * RESERVE, into="registering")

    def keep_assignment(self, assignment: dict[str, Any]) -> None:
        """Ends what :meth:`begin_registering` began."""
        content = json.dumps(assignment, indent=1).encode() + b"\n"
        try:
            descriptor = os.open(self.path / "registering", os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                _write_all(descriptor, content)
                os.ftruncate(descriptor, len(content))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._make_way("assignment.json")
            os.rename(self.path / "registering", self.path / "assignment.json")
            self._sync_directory()
        except OSError as error:
            raise self._cannot("assignment.json", error) from error

    def forget(self) -> None:
        """Removes the assignment, for a unit that ships unassigned."""
        others = [path.name for path in self.path.glob("*.damaged")]
        others += ["registering", "registering.new", "status.json", "status.json.new"]
        try:
            # First and alone: with the note gone and the assignment still there, one that may be void would count.
            for names in (["assignment.json"], others):
                for name in names:
                    _remove(self.path / name)
                self._sync_directory()
        except OSError as error:
            raise self._cannot("assignment.json", error) from error

    def write_status(self, status: dict[str, Any]) -> None:
        """Replaces the status."""
        self._write("status.json.new", json.dumps(status, indent=1).encode() + b"\n", into="status.json")

    def keep_time_floor(self, moment: float) -> None:
        """Notes *moment*, seconds since the epoch."""
        # Made anew, so that a power cut never leaves a file with the time of a clock that may be wrong.
        self._write("time-floor.new", b"%d\n" % moment, into="time-floor", moment=int(moment))

    def _read(self, name: str) -> dict[str, Any] | None:
        """The object in a file, None where there is none; what cannot be read is a :class:`ClientError`."""
        path = self.path / name
        try:
            document = strict_json.parse(read_file(path, most=_MOST), most=_MOST)
        except strict_json.JsonError:
            return None
        except FileError as error:
            # Only a file that is there, and may not be read or cannot be, is no damage that could be mended here.
            if not os.path.isfile(path) or os.path.getsize(path) > _MOST:
                return None
            raise ClientError(f"{path} {error}") from error
        return document if isinstance(document, dict) else None

    def _write(self, temporary: str, content: bytes, *, into: str, moment: float | None = None) -> None:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW
            self._make_way(temporary)
            descriptor = os.open(self.path / temporary, flags, 0o600)
            try:
                _write_all(descriptor, content)
                if moment is not None:
                    os.utime(descriptor, (moment, moment))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            self._make_way(into)
            os.rename(self.path / temporary, self.path / into)
            self._sync_directory()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(self.path / temporary)
            raise self._cannot(into, error) from error

    def _make_way(self, name: str) -> None:
        """Sets aside what is at *name* and no file, as a damaged file system may have it."""
        with contextlib.suppress(FileNotFoundError):
            if not stat.S_ISREG(os.lstat(self.path / name).st_mode):
                self._set_aside(name)

    def _set_aside(self, name: str) -> None:
        aside = self.path / f"{name}.damaged"
        _remove(aside)
        os.rename(self.path / name, aside)
        self._sync_directory()

    def _sync_directory(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _cannot(self, name: str, error: OSError) -> ClientError:
        return ClientError(f"cannot write {self.path / name}: {error.strerror}")


def _remove(path: Path) -> None:
    """Removes whatever is there."""
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path)
        else:
            os.unlink(path)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
