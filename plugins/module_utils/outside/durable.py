# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Names on a disk, made, changed and removed for good: a power cut after any of these functions takes nothing back.

A name belongs to its directory, so it is on the disk when the directory was synced and not when the file was
(fsync(2)). Each function syncs before it returns, so that what comes later never reaches the disk first.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterable


def sync(path: str) -> None:
    """Has the kernel write the file or directory at *path*: its content, or the names in it, and its attributes."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # A file system that cannot do it for a directory has no names that could be lost.
        if error.errno != errno.EINVAL:
            raise
    finally:
        os.close(descriptor)


def sync_name(path: str) -> None:
    """Has the kernel write that *path* is there, or is gone."""
    sync(os.path.dirname(path) or ".")


def make_directory(path: str, mode: int, owner: tuple[int, int] | None) -> None:
    """Makes *path*, an absolute one, and what is missing above it; with an *owner*, one that is there gets it and the
    *mode*.
    """
    missing = []
    above = path
    while not os.path.isdir(above):
        missing.append(above)
        above = os.path.dirname(above)
    for one in reversed(missing):
        # Somebody else may be making it too.
        with contextlib.suppress(FileExistsError):
            os.mkdir(one, mode)
        if one != path or owner is None:
            # Whatever the umask took.
            os.chmod(one, mode)
        sync_name(one)
    if owner is not None:
        os.chown(path, *owner)
        os.chmod(path, mode)
        sync(path)


def replace_file(path: str, content: bytes | Iterable[bytes], mode: int, owner: tuple[int, int] | None = None) -> None:
    """Replaces *path* in one step that a power cut cannot halve; its *content* may come in parts."""
    temporary = _free(f"{path}.new.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.writelines((content,) if isinstance(content, bytes) else content)
            stream.flush()
            if owner is not None:
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.rename(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
    sync_name(path)


def replace_link(path: str, target: str) -> None:
    """Has the symbolic link at *path* lead to *target*, in one step."""
    make_directory(os.path.dirname(path), 0o755, None)
    temporary = _free(f"{path}.new.{os.getpid()}")
    os.symlink(target, temporary)
    os.rename(temporary, path)
    sync_name(path)


def remove(path: str) -> None:
    """Removes a file or link, if it is there."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
        sync_name(path)


def remove_empty_directory(path: str) -> None:
    """Removes a directory that is there and has nothing in it; else leaves it."""
    with contextlib.suppress(OSError):
        os.rmdir(path)
        sync_name(path)


def remove_tree(path: str) -> None:
    """Removes a directory, if it is there, with all that is in it."""
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(path)
        sync_name(path)


def _free(temporary: str) -> str:
    """*temporary*, without what a process that had the same number left when its power was cut."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    return temporary
