# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Units of a work order that failed at this line before their keys were read, by the history of its journal.

No device of the journal is one of them: which unit it was to be only the inventory has said.
"""

from __future__ import annotations

import json
from typing import Any

from ..record.orders import MOST_REASON
from .causes import FAILED, FAILURES, reasons
from .database import EVENTS, sqlalchemy
from .devices import event_of


def failed_unread(connection: Any, number: str, customer: str | None) -> dict[str, dict[str, Any]]:
    """Endorsement key to the last failure of the unit of the order *number* that has it.

    One that came again for the same reason is told with the time when it came first. That a unit did not prove itself
    is its last word here, whatever else it failed for since.
    """
    found: dict[str, dict[str, Any]] = {}
    written = EVENTS.c.what.contains(json.dumps(number), autoescape=True)
    for event in connection.execute(sqlalchemy.select(EVENTS).where(written).order_by(EVENTS.c.id)):
        one = event_of(event)
        key = one.get("endorsement_key")
        # What a database compares may count small letters as capital ones.
        of_order = one.get("order") == number and customer in (None, one.get("customer"))
        if one.get("state") not in FAILURES or not key or not of_order:
            continue
        why = ("; ".join(reasons(one))[:MOST_REASON], one.get("not_proven"))
        before = found.get(key, {})
        if before.get("not_proven") and not why[1]:
            continue
        if why != (before.get("reason"), before.get("not_proven")):
            news = {"state": FAILED, "at": one["at"], "station": one["station"], "reason": why[0], "not_proven": why[1]}
            found[key] = {name: value for name, value in news.items() if value}
    return found
