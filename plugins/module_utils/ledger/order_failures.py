# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How units of a work order failed at this line, by the history of its journal.

Each failure is noted in the task in which it happens, also of a unit that failed before its key was read: no device of
the journal is that one, and which unit it was to be only the inventory has said. A run that is cut off leaves no other
word of it.
"""

from __future__ import annotations

import json
from typing import Any

from ..record.orders import FAILED, told_reason
from .causes import FAILURES, reasons
from .database import EVENTS, sqlalchemy
from .devices import event_of

_SAID = ("station", "not_proven", "answer")


def failures_on(connection: Any, number: str, customer: str | None) -> dict[str, list[dict[str, Any]]]:
    """Endorsement key to the failures of the unit of the order *number* that has it, the first one first, each as an
    order has it."""
    found: dict[str, list[dict[str, Any]]] = {}
    written = EVENTS.c.what.contains(json.dumps(number), autoescape=True)
    for event in connection.execute(sqlalchemy.select(EVENTS).where(written).order_by(EVENTS.c.id)):
        one = event_of(event)
        key = one.get("endorsement_key")
        # What a database compares may count small letters as capital ones.
        of_order = one.get("order") == number and customer in (None, one.get("customer"))
        if one.get("state") not in FAILURES or not key or not of_order:
            continue
        named = {"number": number, "customer": one.get("customer"), "state": FAILED, "at": one["at"]}
        failure = {**named, "reason": told_reason("; ".join(reasons(one))), **{name: one.get(name) for name in _SAID}}
        found.setdefault(key, []).append({name: value for name, value in failure.items() if value})
    return found
