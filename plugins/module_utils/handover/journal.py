# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a line's journal, a ledger of its own, has of the units of work orders: what became of them, and for whom."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from ..ledger.devices import Devices
from ..ledger.order_failures import failures_on
from ..ledger.stored import DamagedRecord
from ..outside.visible import visible
from ..record.orders import DONE, FAILED, failure_of_all, order_in, orders_in, told_reason, with_order
from ..trust.findings import TrustError

_KEY = "endorsement_key_sha256"
# Of two devices that one run took for a unit, the graver word comes first: what undoes it comes after.
_GRAVEST_FIRST = ("not_proven", "", "answer", DONE)


def note(
    connection: Any, devices: Devices, units: Sequence[Mapping[str, Any]], *, station: str, at: str
) -> tuple[bool, list[str]]:
    """Has in the journal what became of *units*; (whether that was news, what is damaged there).

    A failure is in the history already, by the task in which the unit failed, and is told with those before it.
    TrustError for what is no outcome.
    """
    devices.expect([{_KEY: unit.get(_KEY)} for unit in units])
    changed, damaged = False, []
    noted = [(unit, {name: value for name, value in _news_of(unit, station).items() if value}) for unit in units]
    of_orders = {(news["number"], news.get("customer")) for _unit, news in noted if news["state"] == FAILED}
    histories = {order: failures_on(connection, *order) for order in of_orders}
    for unit, news in sorted(noted, key=_gravity):
        row = devices.other_row_with(_KEY, unit.get(_KEY), None)
        if row is None:
            # In check mode the journal does not know it yet; what failed unread has no record.
            changed = changed or news["state"] == DONE
            continue
        try:
            record = devices.record(row)
        except DamagedRecord as error:
            damaged.append(str(error))
            continue
        before = order_in(record, news["number"], news.get("customer"))
        if news["state"] == FAILED and before.get("state") == DONE:
            continue
        after = {**news, "at": at}
        if news["state"] == FAILED:
            known = histories[news["number"], news.get("customer")].get(str(record.get("endorsement_key")), [])
            after = failure_of_all([*([before] if before.get("state") == FAILED else []), *known, after])
        if _without(before, "at", "station") == _without(after, "at", "station"):
            continue
        changed = True
        devices.save(row, with_order(record, after))
    devices.write()
    return changed, damaged


def _gravity(noted: tuple[Mapping[str, Any], Mapping[str, Any]]) -> int:
    _unit, news = noted
    found = [name for name in ("not_proven", "answer") if news.get(name)]
    return _GRAVEST_FIRST.index(DONE if news["state"] == DONE else found[0] if found else "")


def of_customer(number: str, records: Collection[Mapping[str, Any]], customer: str | None) -> list[Mapping[str, Any]]:
    """Those of *records* that are on the order *number* of *customer*: another one may have an order of that number."""
    found = {one.get("customer") for record in records for one in orders_in(record) if one.get("number") == number}
    if customer is None and len(found) > 1:
        raise TrustError(f"The journal has orders {number} of several customers: say in customers whose is meant.")
    return [one for one in records if order_in(one, number, customer)]


def _news_of(unit: Mapping[str, Any], station: str) -> dict[str, Any]:
    """What is noted of a *unit*, without the time."""
    state = unit.get("state")
    news = {"number": str(unit.get("number")), "customer": unit.get("customer"), "state": state, "station": station}
    if state == DONE:
        return {**news, "answer": unit.get("answer")}
    if state == FAILED:
        not_proven = bool(unit.get("not_proven"))
        answer = None if not_proven else unit.get("answer")
        return {**news, "reason": told_reason(unit.get("reason") or ""), "not_proven": not_proven, "answer": answer}
    raise TrustError(f"units has the state {visible(state, most=40)}, which is neither {DONE} nor {FAILED}.")


def _without(said: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in said.items() if name not in names}
