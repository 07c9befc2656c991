# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Watching devices register, at a price that the service's quota can bear."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from ..outside.progress import Progress
from .apply import in_threads
from .pacing import DOCUMENTED_OPERATIONS
from .service import Service

# A device in one of these does not change by waiting.
SETTLED = ("assigned", "disabled")
FIRST_PAUSE = 1.0
LONGEST_PAUSE = 15.0
_CONCURRENCY = 8


def watch(
    service: Service,
    registration_ids: list[str],
    seconds: float,
    progress: Progress,
    names: Mapping[str, str] | None = None,
) -> tuple[dict[str, Any], list[str]]:
    """Asks until all are settled or *seconds* have passed; at least once. *progress* tells of devices by *names*.

    Returns (registration ID to the state as the service has it or None, the IDs that are not settled). Rounds come at
    growing intervals, and so that they take half of the documented quota at most.
    """
    until = time.monotonic() + seconds
    states: dict[str, Any] = {}
    waiting = list(registration_ids)
    pause = FIRST_PAUSE
    # The service takes letters of an ID for the same in both cases.
    called = {registration_id.lower(): str(name) for registration_id, name in (names or {}).items()}
    progress.begin("wait", len(registration_ids))
    while True:
        begun = time.monotonic()
        states.update(in_threads(lambda one: (one, service.registration(one)), iter(waiting), _CONCURRENCY))
        waiting = [one for one in waiting if (states[one] or {}).get("status") not in SETTLED]
        heard = [(states[one] or {}).get("status") for one in registration_ids]
        silent = [called.get(one.lower(), one) for one in waiting if not states[one]]
        progress.waiting(heard.count("assigned"), heard.count("failed"), silent)
        costs = len(waiting) * 60 / (DOCUMENTED_OPERATIONS / 2)
        rest = max(pause, begun + costs - time.monotonic())
        left = until - time.monotonic()
        if not waiting or left <= 0:
            return states, waiting
        time.sleep(min(rest, left))
        pause = min(pause * 1.5, LONGEST_PAUSE)
