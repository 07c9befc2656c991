# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that are none, files without end, and files that are too large: each told at once, and nothing hangs."""

from __future__ import annotations

import os
import socket
import time

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.files import (
    FileError,
    lines_of,
    open_file,
    read_file,
)


def make_fifo(path):
    os.mkfifo(path)


def make_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def make_device(path):
    path.symlink_to("/dev/zero")


def make_loop(path):
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (make_fifo, "is a FIFO (a named pipe), not a file"),
        (make_socket, "is a socket, not a file"),
        (make_device, "is a device, not a file"),
        (os.mkdir, "is a directory, not a file"),
        (make_loop, "cannot be read: Too many levels of symbolic links"),
        (lambda path: None, "is not there"),
    ],
)
def test_what_is_no_file_is_told_at_once(tmp_path, make, words):
    make(tmp_path / "it")
    begun = time.monotonic()
    for read in (open_file, lambda path: read_file(path, most=10)):
        with pytest.raises(FileError) as told:
            read(tmp_path / "it")
        assert str(told.value) == words
    assert time.monotonic() - begun < 1


def test_a_name_with_a_nul_is_told():
    with pytest.raises(FileError, match="its name holds a NUL"):
        open_file("a\0b")


def test_a_file_is_read_up_to_its_limit(tmp_path):
    path = tmp_path / "it"
    path.write_bytes(b"x" * 10)
    assert read_file(path, most=10) == b"x" * 10
    with pytest.raises(FileError, match=r"is larger than 9 bytes"):
        read_file(path, most=9)
    # 20 GB that are no bytes on the disk.
    os.truncate(path, 20 << 30)
    with pytest.raises(FileError, match=r"is larger than 1 MB"):
        read_file(path, most=1 << 20)


def test_lines_come_until_one_is_too_long(tmp_path):
    path = tmp_path / "it"
    path.write_bytes(b"one\ntwo\n" + b"x" * 100)
    with open_file(path) as file:
        assert list(lines_of(file, most=100)) == [b"one\n", b"two\n", b"x" * 100]
    os.truncate(path, 20 << 30)
    with open_file(path) as file:
        lines = lines_of(file, most=1 << 20)
        assert [next(lines), next(lines)] == [b"one\n", b"two\n"]
        with pytest.raises(FileError, match=r"is longer than 1 MB; it and what follows was not read"):
            next(lines)
