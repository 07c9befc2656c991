# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The work orders that a device is or was on, as its record has them: the last one, and those before it.

None is ever forgotten. A line whose order was revoked keeps what it was given, and a late report may be of any of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ..outside.visible import visible

LAST = "work_order"
EARLIER = "earlier_work_orders"
ORDERED, DONE, FAILED, REVOKED = "ordered", "done", "failed", "revoked"
# For this unit: its owner did it otherwise meanwhile, and nothing more is taken in of it.
CLOSED = "closed"
_DIGESTS = ("content_sha256", "file_sha256", "master_key_check")
_TEXTS = ("written", "expires", "customer", "id_scope", "profile", "reason", *_DIGESTS)
# By which a failure of a unit is found that may be on no record, and what the order that was opened calls that.
IN_EVENTS = {"order": "number", "customer": "customer", "endorsement_key": "endorsement_key"}
_OF_A_FAILURE = ("at", "station", "reason", "not_proven", "answer")
# Of why a unit failed, in characters.
MOST_REASON = 1000
# What a line may still work on.
OPEN = (ORDERED, FAILED)
# What was never taken in, and is taken back with the whole order.
NOT_BACK = (*OPEN, CLOSED)
# An order goes from one of these to a later one and never back, whatever the clocks of line and owner say.
_COURSE = {ORDERED: 0, FAILED: 1, CLOSED: 2, DONE: 3, REVOKED: 3}


def orders_in(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The orders of *record*, the last one at the end."""
    earlier, last = record.get(EARLIER), record.get(LAST)
    found = [one for one in earlier if isinstance(one, Mapping)] if isinstance(earlier, (list, tuple)) else []
    return [dict(one) for one in (*found, *([last] if isinstance(last, Mapping) else []))]


def own_orders_in(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those that the owner of the ledger wrote. A line's journal names the customer of each, and may be taken in."""
    return [one for one in orders_in(record) if not one.get("customer")]


def order_in(record: Mapping[str, Any], number: str | None = None, customer: str | None = None) -> dict[str, Any]:
    """What *record* says of the order *number* of *customer*, or of the last one that fits, its owner's before those of
    customers; empty where none does."""
    wanted = {name: value for name, value in (("number", number), ("customer", customer)) if value is not None}
    orders = orders_in(record) if number is None else [*_of_customers(record), *own_orders_in(record)]
    found = [one for one in orders if all(one.get(name) == value for name, value in wanted.items())]
    return found[-1] if found else {}


def with_order(record: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    """*record* with *order* in the place of what it has of that one, or as its last one."""
    orders = orders_in(record)
    places = [place for place, one in enumerate(orders) if _key(one) == _key(order)]
    if places:
        orders[places[-1]] = dict(order)
    else:
        orders.append(dict(order))
    return with_orders(record, orders)


def with_news_of_order(record: Mapping[str, Any], order: Mapping[str, Any]) -> dict[str, Any]:
    """The same where *order* was looked at some time ago: one that was revoked or closed meanwhile stays so."""
    known = [one for one in orders_in(record) if _key(one) == _key(order)]
    return dict(record) if known and known[-1].get("state") in (REVOKED, CLOSED) else with_order(record, order)


def with_orders(record: Mapping[str, Any], orders: list[dict[str, Any]]) -> dict[str, Any]:
    """*record* with *orders* and no others, the last one at the end."""
    rest = {name: value for name, value in record.items() if name not in (LAST, EARLIER)}
    said = {EARLIER: orders[:-1], LAST: orders[-1]} if orders else {}
    return {**rest, **{name: value for name, value in said.items() if value}}


def told_reason(reason: object) -> str:
    """*reason* as it is noted of a unit that failed, however often it goes through here."""
    shown = visible(" ".join(str(reason).split())) or "no reason was given"
    return shown if len(shown) <= MOST_REASON else f"{shown[: MOST_REASON - 1]}…"


def failure_after(before: Mapping[str, Any], news: Mapping[str, Any]) -> dict[str, Any]:
    """What is told of a unit that failed as *before* and then as *news* has it, each as in an order; *before* may be
    empty.

    Only an answer of its TPM undoes that the TPM did not prove itself: a unit that could not even be asked again is
    told with the graver failure, and one that answered, and failed for something else, with that. An answer stays until
    the TPM owes one.
    """
    if news.get("not_proven") or news.get("answer"):
        told = dict(news)
    elif before.get("not_proven"):
        return dict(before)
    else:
        told = {**news, **({"answer": before["answer"]} if before.get("answer") else {})}
    # One that came again is told with the time when it came first.
    return dict(before) if before and _without_when(before) == _without_when(told) else told


def failure_of_all(failures: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The same of any number of *failures*; empty for none. Those of one second are in their order."""
    told: dict[str, Any] = {}
    for one in sorted(failures, key=lambda one: str(one["at"])):
        told = failure_after(told, one)
    return told


def without_failure(order: Mapping[str, Any]) -> dict[str, Any]:
    """*order* without what it has of a failure, or of how a unit came to be where it is."""
    return {name: value for name, value in order.items() if name not in _OF_A_FAILURE}


def with_failure(order: Mapping[str, Any], failure: Mapping[str, Any]) -> dict[str, Any]:
    """*order* of a unit that has failed, as *failure* has it, too; whichever was later, the one that counts is told."""
    names = ("state", *_OF_A_FAILURE)
    both = [{name: one[name] for name in names if one.get(name)} for one in (order, failure)]
    return {**without_failure(order), **failure_of_all(both if order.get("state") == FAILED else both[1:])}


def orders_of_both(
    mine: list[dict[str, Any]], others: list[dict[str, Any]]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[str]]:
    """(The orders that either of two sides knows, those of mine that a later word replaces, the numbers of those on
    which they say contrary things).

    A unit that one side has revoked or closed and the other has taken in is for people to look at.
    """
    found = {_key(one): one for one in mine}
    replaced, contrary = [], []
    for other in others:
        known = found.get(_key(other))
        if known is None or known == other:
            found[_key(other)] = other
            continue
        # Each writing of the file has another digest.
        both = {**other, **known, "file_sha256": max(str(one.get("file_sha256", "")) for one in (known, other))}
        both = {name: value for name, value in both.items() if value != ""}
        same = all(both[name] == value for name, value in other.items() if name != "file_sha256")
        ended = {known["state"], other["state"]} in ({DONE, REVOKED}, {DONE, CLOSED})
        mine_is, other_is = ((_COURSE[one["state"]], one["at"]) for one in (known, other))
        if same:
            found[_key(other)] = both
        elif ended or mine_is == other_is:
            contrary.append(str(other["number"]))
        elif known["state"] == other["state"] == FAILED:
            told = with_failure({**without_failure(other), **known}, other)
            replaced += [known] if told["at"] != known["at"] else []
            found[_key(other)] = told
        elif other_is > mine_is:
            replaced.append(known)
            found[_key(other)] = {**without_failure(known), **other}
    ordered = sorted(found.values(), key=lambda one: (str(one.get("written") or one["at"]), str(one["number"])))
    return ordered, replaced, contrary


def spent_key_version(record: Mapping[str, Any]) -> tuple[int, str]:
    """(The highest key version that a revoked order of the device has, the number of that order); (0, "") for none."""
    spent = [
        (_whole(one.get("key_version")), str(one.get("number")))
        for one in orders_in(record)
        if one.get("state") == REVOKED
    ]
    return max(spent, default=(0, ""))


def fault_of_order(order: Mapping[str, Any]) -> str | None:
    """What of *order* is not of its type, as the end of "it …"; None where all of it is."""
    texts = {name: order.get(name, " ") for name in _TEXTS}
    texts.update({name: order.get(name, "") for name in ("number", "at")})
    wrong = [name for name, value in texts.items() if not isinstance(value, str) or not value]
    if wrong:
        return f"it has no {wrong[0]}"
    if order.get("state") not in _COURSE:
        return "it is in no state"
    version = order.get("key_version", 1)
    if isinstance(version, bool) or not isinstance(version, int):
        return "its key_version is no number"
    signers = order.get("report_signers", [])
    if not isinstance(signers, list) or not all(isinstance(one, str) for one in signers):
        return "its report_signers are no list of texts"
    return None


def _of_customers(record: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [one for one in orders_in(record) if one.get("customer")]


def _key(order: Mapping[str, Any]) -> tuple[Any, Any]:
    # Two customers of a line may call an order the same.
    return order.get("number"), order.get("customer")


def _without_when(failure: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in failure.items() if name not in ("at", "station")}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
