# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Programs of the station that read what came from outside: each has a time, and room for what it writes."""

from __future__ import annotations

import resource
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

from .findings import TrustError


def run_program(
    name: str,
    *arguments: str,
    missing: str,
    seconds: int,
    stdin: Any = subprocess.DEVNULL,
    largest_file: int | None = None,
) -> subprocess.CompletedProcess[bytes]:
    """What *name* printed, on its two ways, and how it ended.

    *missing* says what it does, and what to do where it is not there; *largest_file* bounds, in bytes, each file it
    writes. TrustError where it is not there, or not done within *seconds*.
    """
    program = shutil.which(name)
    if program is None:
        raise TrustError(f"{name} is not there, which {missing}")
    try:
        # run_command is a module's and knows no limit of time, and an action checks signatures too.
        return subprocess.run(  # pylint: disable=ansible-bad-function
            [program, *arguments],
            stdin=stdin,
            capture_output=True,
            check=False,
            timeout=seconds,
            preexec_fn=_bound(seconds, largest_file),
        )
    except subprocess.TimeoutExpired:
        raise TrustError(f"{name} was not done within {seconds} s.") from None


def _bound(seconds: int, largest_file: int | None) -> Callable[[], None]:
    def bound() -> None:
        # Also where nobody is left who waits for it.
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return bound
