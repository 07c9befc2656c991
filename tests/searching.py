# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Searches files, process lists and output for secrets, however they are written there."""

from __future__ import annotations

import base64
import os
import threading
import time
from pathlib import Path

LARGEST = 64 << 20


def ways_to_write(secret):
    """*secret* as it is, in hexadecimal, and in base64 at any place of a longer text."""
    data = secret.encode()
    ways = {data, data.hex().encode()}
    for before in range(3):
        written = base64.b64encode(b"\0" * before + data)
        # The ends depend on what is beside it.
        ways.add(written[4 if before else 0 : -4])
    return ways


class Watch:
    """Reads what changes below *places* and every command line, until it ends, and notes where a secret is."""

    def __init__(self, secrets_, places):
        self._ways = {way for secret in secrets_ for way in ways_to_write(secret)}
        self._places = places
        self._started = time.time()
        self._done = threading.Event()
        self._read = {}
        self._thread = threading.Thread(target=self._watch)
        self.found = set()

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_exception):
        self._done.set()
        self._thread.join()

    def _watch(self):
        while not self._done.is_set():
            self._command_lines()
            for place in self._places():
                self.search(place)
            time.sleep(0.03)

    def _command_lines(self):
        for process in Path("/proc").glob("[0-9]*"):
            try:
                self.look(f"process list: {process}", (process / "cmdline").read_bytes())
            except OSError:
                continue

    def look(self, where, content):
        """Notes *where* if a secret is in *content*."""
        if any(way in content for way in self._ways):
            self.found.add(where)

    def search(self, place, everything=False):
        """Looks into each file below *place* that changed since the beginning."""
        for directory, _directories, names in os.walk(place):
            for name in names:
                path = os.path.join(directory, name)
                self.look(f"file name: {path}", path.encode())
                try:
                    about = os.lstat(path)
                    known = (about.st_mtime_ns, about.st_size)
                    if not os.path.isfile(path) or os.path.islink(path) or about.st_size > LARGEST:
                        continue
                    if not everything and (about.st_ctime < self._started or self._read.get(path) == known):
                        continue
                    self._read[path] = known
                    self.look(f"file: {path}", Path(path).read_bytes())
                except OSError:
                    continue
