# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""When to try again. A fleet that is powered up together must not come back together."""

from __future__ import annotations

import random

from .configuration import Configuration
from .errors import ClientError


def delay(configuration: Configuration, failures: int, error: ClientError) -> float:
    """Seconds to wait after the *failures*-th failure in a row (1 is the first).

    Exponential with full jitter. What the service asks for in Retry-After is waited in any case, the jitter on top.
    After a refusal the wait is long from the start, as no number of attempts makes an enrollment.
    """
    if error.refused:
        return random.uniform(0.5, 1.5) * configuration.refused_delay
    ceiling = min(configuration.backoff_cap, configuration.backoff_base * 2.0 ** min(failures - 1, 30))
    if error.retry_after is not None:
        return error.retry_after + random.uniform(0, max(ceiling, error.retry_after))
    return random.uniform(0, ceiling)
