# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Long work in this process or in one on this machine, told to people while it goes on."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.progress import Progress, read_progress, told


@contextlib.contextmanager
def following(path: str, interval: float, name: str, display) -> Iterator[None]:
    """Tells *display*, every *interval* seconds, what the file at *path* says of *name*, while the context lasts."""
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(min(interval, threading.TIMEOUT_MAX)):
            state = read_progress(path)
            if state is not None:
                # On the error output, where it disturbs nobody who reads results.
                display(f"{name}: {told(state, time.time())}", stderr=True)

    follower = threading.Thread(target=follow, name="progress", daemon=True)
    follower.start()
    try:
        yield
    finally:
        ended.set()
        follower.join()


@contextlib.contextmanager
def told_of(interval: float, name: str, display) -> Iterator[Progress]:
    """What counts work in this process; *display* is told of it as above, and of nothing where *interval* is 0."""
    if not interval:
        yield Progress(None)
        return
    with tempfile.TemporaryDirectory(prefix="tpmfleet-progress-") as directory:
        path = os.path.join(directory, "progress.json")
        with following(path, interval, name, display):
            yield Progress(path)
