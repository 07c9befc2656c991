# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that somebody else made: opened without hanging, read without running out of memory.

A path from a user or in a directory may be a FIFO that nobody writes, a device that never ends, or a file that is one
line of 20 GB. Here only regular files are read, and only as much of one as its reader can use.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import BinaryIO

_KINDS = (
    (stat.S_ISDIR, "is a directory, not a file"),
    (stat.S_ISFIFO, "is a FIFO (a named pipe), not a file"),
    (stat.S_ISCHR, "is a device, not a file"),
    (stat.S_ISBLK, "is a device, not a file"),
    (stat.S_ISSOCK, "is a socket, not a file"),
)


class FileError(ValueError):
    """Why a file is not read, as the end of a sentence about it: "is a directory, not a file"."""


def open_file(path: str | os.PathLike[str]) -> BinaryIO:
    """The regular file at *path*, open for reading. FileError where it is none, or may not be read."""
    try:
        # What kind it is has to be asked of what was opened; until that is known nothing may be waited for.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    except FileNotFoundError:
        raise FileError("is not there") from None
    except OSError as error:
        # A socket cannot even be opened.
        raise FileError(kind_at(path) or f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise FileError("cannot be read: its name holds a NUL") from None
    fault = _kind(os.fstat(descriptor).st_mode)
    if fault:
        os.close(descriptor)
        raise FileError(fault)
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


def read_file(path: str | os.PathLike[str], *, most: int) -> bytes:
    """The whole content of the regular file at *path*. FileError where it has more than *most* bytes."""
    with open_file(path) as file:
        try:
            # A size that is too large is believed, and nothing is read for it. Any other may be wrong, as in /proc.
            too_large = os.fstat(file.fileno()).st_size > most
            content = b"" if too_large else file.read(most + 1)
        except OSError as error:
            raise FileError(f"cannot be read: {error.strerror}") from None
    if too_large or len(content) > most:
        raise FileError(f"is larger than {told_size(most)}, which is more than it can have")
    return content


def lines_of(file: BinaryIO, *, most: int) -> Iterator[bytes]:
    """The lines of an open file with their ends, as far as none has more than *most* bytes.

    FileError at the first one that has more, whose rest is not read.
    """
    while True:
        try:
            line = file.readline(most + 1)
        except OSError as error:
            raise FileError(f"cannot be read: {error.strerror}") from None
        if len(line) > most:
            raise FileError(f"is longer than {told_size(most)}; it and what follows was not read")
        if not line:
            return
        yield line


def told_size(size: int) -> str:
    """A number of bytes for people."""
    for unit, name in ((1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "kB")):
        if size >= unit:
            return f"{size / unit:.3g} {name}"
    return f"{size} bytes"


def _kind(mode: int) -> str | None:
    return next((words for test, words in _KINDS if test(mode)), None)


def kind_at(path: str | os.PathLike[str]) -> str | None:
    """What is at *path* instead of a file, as the end of a sentence about it; None for a file, and for nothing."""
    try:
        return _kind(os.stat(path).st_mode)
    except OSError:
        return None
