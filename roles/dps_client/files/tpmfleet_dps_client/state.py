# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the client remembers over a power cut, in one directory.

``assignment.json``   the assignment with its wrapped hub key, and the one before it
``registering``       exists from before the service rolls the hub key until the new one is kept
``status.json``       what is going on, in words
``time-floor``        its modification time: a moment that is certainly past
``lock``              held while a registration runs

The new assignment is written over ``registering``, which was made with room for it, and that file is then renamed to
``assignment.json``: one step that keeps the new key and says that the registration is over, and that a full disk cannot
stop. Where the power is cut before it, ``registering`` is still there and the next boot registers again.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import ClientError

# An assignment with the one before it takes 3 KiB.
RESERVE = 16384


class State:
    """The state directory *path*, which exists. Methods that write raise :class:`ClientError` where they cannot."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def time_floor_file(self) -> Path:
        """Holds no content; see :mod:`clock`."""
        return self.path / "time-floor"

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Alone in this directory; waits for another process of the client."""
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._cannot("lock", error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
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
        return document if document is not None and _is_whole(document) else None

    def status(self) -> dict[str, Any]:
        """What :meth:`write_status` wrote last."""
        return self._read("status.json") or {}

    @property
    def registering(self) -> bool:
        """Whether a registration began of which the end was not seen."""
        return (self.path / "registering").exists()

    def begin_registering(self) -> None:
        """Notes that from now on the kept hub key may be refused, and reserves the room for the new one."""
        self._write("registering.new", b" " * RESERVE, into="registering")

    def keep_assignment(self, assignment: dict[str, Any]) -> None:
        """Ends what :meth:`begin_registering` began."""
        content = json.dumps(assignment, indent=1).encode() + b"\n"
        try:
            descriptor = os.open(self.path / "registering", os.O_WRONLY | os.O_CLOEXEC)
            try:
                _write_all(descriptor, content)
                os.ftruncate(descriptor, len(content))
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(self.path / "registering", self.path / "assignment.json")
            self._sync_directory()
        except OSError as error:
            raise self._cannot("assignment.json", error) from error

    def forget(self) -> None:
        """Removes the assignment, for a unit that ships unassigned."""
        try:
            for name in ("assignment.json", "registering", "status.json"):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(self.path / name)
            self._sync_directory()
        except OSError as error:
            raise self._cannot("assignment.json", error) from error

    def write_status(self, status: dict[str, Any]) -> None:
        """Replaces the status."""
        self._write("status.json.new", json.dumps(status, indent=1).encode() + b"\n", into="status.json")

    def touch_time_floor(self, moment: float) -> None:
        """Notes *moment*, seconds since the epoch."""
        try:
            descriptor = os.open(self.time_floor_file, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            os.close(descriptor)
            os.utime(self.time_floor_file, (moment, moment))
        except OSError as error:
            raise self._cannot("time-floor", error) from error

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            document = json.loads((self.path / name).read_bytes())
        except (FileNotFoundError, ValueError):
            return None
        except OSError as error:
            raise ClientError(f"cannot read {self.path / name}: {error.strerror}") from error
        return document if isinstance(document, dict) else None

    def _write(self, temporary: str, content: bytes, *, into: str) -> None:
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            descriptor = os.open(self.path / temporary, flags, 0o600)
            try:
                _write_all(descriptor, content)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.rename(self.path / temporary, self.path / into)
            self._sync_directory()
        except OSError as error:
            with contextlib.suppress(OSError):
                os.unlink(self.path / temporary)
            raise self._cannot(into, error) from error

    def _sync_directory(self) -> None:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def _cannot(self, name: str, error: OSError) -> ClientError:
        return ClientError(f"cannot write {self.path / name}: {error.strerror}")


def _is_whole(assignment: dict[str, Any]) -> bool:
    """Whether a damaged disk left in it what the client goes on with."""
    key = assignment.get("key")
    texts = [assignment.get("assigned_hub"), assignment.get("device_id")]
    texts += [key.get("public"), key.get("private")] if isinstance(key, dict) else [None]
    if not all(text and isinstance(text, str) for text in texts) or not isinstance(assignment.get("assigned_at"), int):
        return False
    try:
        return all(base64.b64decode(text, validate=True) for text in texts[2:])
    except ValueError:
        return False


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
