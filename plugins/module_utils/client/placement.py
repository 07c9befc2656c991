# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that belong together, placed together: planned first, each replaced in one step, put back when told.

A plan is a list of :class:`Placement`, made by comparing what is wanted with what is there; check mode ends with it,
and applying consumes it. Where a file's predecessor is to be kept, that is a file like the others, next to it under its
name with ``.previous``.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, replace

from ..outside import durable


class PlacementError(Exception):
    """A file could not be placed; the message names it."""


@dataclass(frozen=True)
class WantedFile:
    """One file: what it is a part of, its bytes, and whose it is. *content* None wants it gone."""

    part: str
    path: str
    content: bytes | None
    mode: int = 0o644
    owner: tuple[int, int] = (0, 0)
    secret: bool = False
    """The content is never shown."""
    keep_previous: bool = False


@dataclass(frozen=True)
class Placement:
    """A wanted file that is not as wanted, and what was there: None where nothing was."""

    wanted: WantedFile
    before: bytes | None
    before_mode: int = 0
    before_owner: tuple[int, int] = (0, 0)

    def shown(self) -> dict[str, str]:
        """The difference as Ansible shows it, without secrets and without programs."""
        return {
            "before_header": self.wanted.path,
            "after_header": self.wanted.path,
            "before": self._text(self.before, self.before_mode),
            "after": self._text(self.wanted.content, self.wanted.mode),
        }

    def _text(self, content: bytes | None, mode: int) -> str:
        if content is None:
            return ""
        head = f"mode {mode:04o}\n"
        if self.wanted.secret:
            return head + "(a secret)\n"
        try:
            return head + content.decode()
        except UnicodeDecodeError:
            return head + f"({len(content)} bytes)\n"


def plan(wanted: list[WantedFile]) -> list[Placement]:
    """What of *wanted* is not as wanted."""
    found: list[Placement] = []
    for each in wanted:
        planned = _look(each)
        if planned is None:
            continue
        if each.keep_previous and planned.before is not None:
            kept = _look(_previous(planned))
            found += [kept] if kept is not None else []
        found.append(planned)
    return found


def _previous(planned: Placement) -> WantedFile:
    path = planned.wanted.path + ".previous"
    mode, owner = planned.before_mode, planned.before_owner
    return replace(planned.wanted, path=path, content=planned.before, mode=mode, owner=owner, keep_previous=False)


def _look(wanted: WantedFile) -> Placement | None:
    try:
        status = os.lstat(wanted.path)
    except FileNotFoundError:
        return None if wanted.content is None else Placement(wanted, None)
    except OSError as error:
        raise PlacementError(f"cannot look at {wanted.path}: {error.strerror}") from error
    if not stat.S_ISREG(status.st_mode):
        raise PlacementError(f"{wanted.path} is there and is no regular file; it was left alone")
    with open(wanted.path, "rb") as stream:
        before = stream.read()
    mode, owner = stat.S_IMODE(status.st_mode), (status.st_uid, status.st_gid)
    if wanted.content is not None and (before, mode, owner) == (wanted.content, wanted.mode, wanted.owner):
        return None
    return Placement(wanted, before, mode, owner)


def apply(placements: list[Placement]) -> None:
    """Places all. Where one fails, those before it are put back and :class:`PlacementError` is raised."""
    done: list[Placement] = []
    for each in placements:
        try:
            if each.wanted.content is None:
                remove(each.wanted.path, shred=each.wanted.secret)
            else:
                durable.replace_file(each.wanted.path, each.wanted.content, each.wanted.mode, each.wanted.owner)
        except OSError as error:
            put_back(done)
            raise PlacementError(f"cannot place {each.wanted.path}: {error.strerror}") from error
        done.append(each)


def put_back(placements: list[Placement]) -> None:
    """Makes everything what it was before :func:`apply`."""
    for each in reversed(placements):
        if each.before is not None:
            durable.replace_file(each.wanted.path, each.before, each.before_mode, each.before_owner)
        else:
            durable.remove(each.wanted.path)


def remove(path: str, *, shred: bool) -> None:
    """Removes a file; to *shred* it, its content is overwritten first.

    Flash memory may write the new content elsewhere and keep the old one until it needs the room. What has to be gone
    for good has to be worthless without a key that can be destroyed, as what the TPM has wrapped is.
    """
    if shred:
        descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(os.urandom(os.fstat(descriptor).st_size))
            stream.flush()
            os.fsync(descriptor)
    os.unlink(path)
    durable.sync_name(path)
