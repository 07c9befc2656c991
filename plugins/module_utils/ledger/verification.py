# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Proves the chains of a ledger's events, and says which event was changed, taken out or put in.

What is not proven this way: somebody who may write the whole database can make every hash anew, and the heads too. Only
a head that was kept elsewhere tells of that.
"""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..outside.strict_json import JsonError, parse
from ..outside.visible import visible
from ..record.model import called
from .chain import HASH, NO_DEVICE, NOTHING, NUMBER, PREVIOUS, WHOLE_LEDGER, hash_of, text_of, whole_head
from .database import DEVICES, EVENTS, HEADS, chunks, has_heads, sqlalchemy
from .stored import MOST_OF_A_RECORD

CHANGED, TAKEN_OUT, PUT_IN, LEDGER, ANCHOR = "changed", "taken_out", "put_in", "ledger", "anchor"
# So many findings are told; the first one is always among them.
MOST_FINDINGS = 1000
# Rows that are read at a time.
_AT_A_TIME = 5000


@dataclass(frozen=True)
class Link:
    """An event as it is in the database. *number*, *previous* and *own* are what it says of the chain, if it does.

    *whole* is whether it is as it was when its own hash was made.
    """

    row: Any
    number: int | None
    previous: str | None
    own: str | None
    whole: bool
    is_text: bool

    @property
    def chained(self) -> bool:
        """Whether it says anything of a chain, or cannot be read, which no event of before the chain was."""
        return self.number is not None or self.previous is not None or self.own is not None or not self.is_text


@dataclass(frozen=True)
class Finding:
    """What is wrong. *place* is the ID of the first event that shows it, for the order of findings."""

    kind: str
    words: str
    place: float
    chain: int | None = None
    number: int | None = None
    row: Any = None


def link_of(row: Any) -> Link:
    """The event in *row* of the table of events."""
    said: Any = None
    with contextlib.suppress(JsonError):
        said = parse(row.what, most=MOST_OF_A_RECORD) if isinstance(row.what, str) else None
    if not isinstance(said, dict):
        return Link(row, None, None, None, whole=False, is_text=False)
    number, previous, own = (said.get(name) for name in (NUMBER, PREVIOUS, HASH))
    rest = {name: value for name, value in said.items() if name != HASH}
    # The text itself, since what is read from it might be the same of another one.
    whole = text_of(said) == row.what and hash_of(row._mapping, rest, str(previous)) == own
    return Link(row, number if isinstance(number, int) else None, previous, own, whole=whole, is_text=True)


def faults_of(chain: int, links: Sequence[Link], head: tuple[int, str] | None) -> Iterator[Finding]:
    """What is wrong in one chain, whose events are *links* in the order of their IDs, and whose end is *head*."""
    before = list(itertools.takewhile(lambda one: not one.chained, links))
    number, previous = 0, NOTHING
    for one in before:
        number, previous = number + 1, hash_of(one.row._mapping, one.row.what, previous)
    rest = links[len(before) :]
    first = next((one for one in rest if one.whole), None)
    if first is not None and before and first.previous != previous and first is rest[0]:
        yield _of_before(chain, before, first)
        number, previous = int(first.number or 1) - 1, str(first.previous)
    genuine = _genuine(rest, head)
    known: str | None = previous
    for place, one in enumerate(rest):
        if one.whole and genuine[one.number] is one and int(one.number or 0) > number:
            found = int(one.number or 0)
            if found > number + 1:
                yield _taken_out(chain, number + 1, found - 1, one.row.id)
            elif known is not None and one.previous != known:
                yield _replaced(chain, number, rest[place - 1] if place else None, one)
            number, known = found, one.own
        elif not one.whole and number < _next_number(rest[place + 1 :], genuine, head) - 1:
            number, known = number + 1, None
            yield Finding(CHANGED, _about(number, one.row, "was changed"), one.row.id, chain, number, one.row)
        else:
            yield Finding(PUT_IN, _about(None, one.row, "was put in"), one.row.id, chain, None, one.row)
    yield from _at_the_end(chain, links, number, known, head)


def _genuine(links: Sequence[Link], head: tuple[int, str] | None) -> dict[int | None, Link]:
    """Of whole events that claim one number, the one that its successor or the head knows, else the first."""
    known = {(int(one.number) - 1, one.previous) for one in links if one.whole and one.number is not None}
    known |= {head} if head else set()
    found: dict[int | None, Link] = {}
    for one in links:
        if one.whole and (one.number not in found or (one.number, one.own) in known):
            kept = found.get(one.number)
            if kept is None or (kept.number, kept.own) not in known:
                found[one.number] = one
    return found


def _next_number(links: Sequence[Link], genuine: Mapping[int | None, Link], head: tuple[int, str] | None) -> int:
    """The number of the next event that is as it was, else the one after the last."""
    numbers = (int(one.number or 0) for one in links if one.whole and genuine[one.number] is one)
    return next(numbers, head[0] + 1 if head else len(links) + 2**31)


def _at_the_end(
    chain: int, links: Sequence[Link], number: int, known: str | None, head: tuple[int, str] | None
) -> Iterator[Finding]:
    last = links[-1].row if links else None
    place = last.id if last is not None else float("inf")
    if head is None:
        if any(one.chained for one in links):
            words = f"the head of its chain is gone, so nobody can say whether events after number {number} are missing"
            yield Finding(LEDGER, words, place, chain, number, last)
    elif head[0] > number:
        yield _taken_out(chain, number + 1, head[0], place, at_the_end=True)
    elif head[0] < number:
        yield Finding(PUT_IN, _about(head[0] + 1, last, "was put in after the last one"), place, chain, number, last)
    elif known is not None and known != head[1] and last is not None:
        words = _about(number, last, "was changed, and its hash with it")
        yield Finding(CHANGED, words, place, chain, number, last)


def _of_before(chain: int, before: Sequence[Link], first: Link) -> Finding:
    missing = int(first.number or 1) - 1 - len(before)
    if len(before) == 1 and not missing:
        row = before[0].row
        return Finding(CHANGED, _about(1, row, "was changed"), row.id, chain, 1, row)
    kind, what = (
        (TAKEN_OUT, "taken out") if missing > 0 else (PUT_IN, "put in") if missing < 0 else (CHANGED, "changed")
    )
    words = f"one of the events before number {first.number}, which are from before there was a chain, was {what}"
    return Finding(kind, words, before[0].row.id, chain, None, before[0].row)


def _replaced(chain: int, number: int, before: Link | None, one: Link) -> Finding:
    if before is None:
        words = _about(one.number, one.row, "was changed, and its hash with it: it is the first one")
        return Finding(CHANGED, words, one.row.id, chain, one.number, one.row)
    words = _about(number, before.row, "was changed, and its hash with it")
    return Finding(CHANGED, words, before.row.id, chain, number, before.row)


def _taken_out(chain: int, first: int, last: int, place: float, *, at_the_end: bool = False) -> Finding:
    which = f"event {first} was" if first == last else f"events {first} to {last} were"
    words = f"{which} taken out" + (" at the end" if at_the_end else "")
    return Finding(TAKEN_OUT, words, place, chain, first)


def _about(number: int | None, row: Any, what: str) -> str:
    named = f"event {number}" if number else "an event"
    return f"{named} ({row.step} on {row.at}, number {row.id} in the table) {what}"


class Proof:
    """The proof of an open ledger."""

    def __init__(self, connection: Any, anchors: Iterable[Mapping[str, Any]] = ()) -> None:
        self._connection = connection
        self._anchors = [(int(one["events"]), str(one["head"]).lower()) for one in anchors]
        # How many events there are, how many of them are from before there was a chain, and the head of all.
        self.events, self.unchained = 0, 0
        self.head: tuple[int, str] = (0, NOTHING)
        self.devices = 0
        self.count = 0
        self._found: list[Finding] = []

    def run(self) -> list[dict[str, Any]]:
        """What is wrong, the first event first."""
        ended = self._heads()
        head = next(ended, None)
        for chain, links in self._chains():
            self.devices += chain != NO_DEVICE
            while head is not None and head.device < chain:
                self._note_gone(head)
                head = next(ended, None)
            known = head if head is not None and head.device == chain else None
            self._note(faults_of(chain, links, None if known is None else (known.events, known.head)))
            head = head if known is None else next(ended, None)
        while head is not None:
            self._note_gone(head)
            head = next(ended, None)
        self._walk_the_ledger()
        return self._told()

    def _note(self, findings: Iterable[Finding]) -> None:
        for one in findings:
            self.count += 1
            self._found.append(one)
        if len(self._found) > 2 * MOST_FINDINGS:
            self._found = sorted(self._found, key=lambda one: one.place)[:MOST_FINDINGS]

    def _note_gone(self, head: Any) -> None:
        """Of a chain of which there is its *head* alone."""
        if head.events:
            self._note([_taken_out(head.device, 1, head.events, float("inf"), at_the_end=True)])

    def _heads(self) -> Iterator[Any]:
        """The ends of the chains of devices, in the order of these."""
        if has_heads(self._connection):
            found = sqlalchemy.select(HEADS).where(HEADS.c.device >= NO_DEVICE).order_by(HEADS.c.device)
            yield from self._streamed(found)

    def _streamed(self, statement: Any) -> Iterator[Any]:
        options = {"stream_results": True, "yield_per": _AT_A_TIME}
        yield from self._connection.execute(statement.execution_options(**options))

    def _chains(self) -> Iterator[tuple[int, list[Link]]]:
        # By the index, where a database would else sort all events.
        events, device = sqlalchemy.select(EVENTS), EVENTS.c.device
        for found in (
            events.where(device.is_(None)).order_by(EVENTS.c.id),
            events.where(device.is_not(None)).order_by(device, EVENTS.c.id),
        ):
            for chain, rows in itertools.groupby(self._streamed(found), lambda row: row.device or NO_DEVICE):
                yield chain, [link_of(row) for row in rows]

    def _walk_the_ledger(self) -> None:
        """The head of all events, in the order in which they were written."""
        wanted = dict(self._anchors)
        kept = None
        if has_heads(self._connection):
            whole = sqlalchemy.select(HEADS.c.events, HEADS.c.head).where(HEADS.c.device == WHOLE_LEDGER)
            kept = self._connection.execute(whole).first()
        for row in self._streamed(sqlalchemy.select(EVENTS).order_by(EVENTS.c.id)):
            self.events += 1
            own = _own_hash(row.what)
            if own is None:
                self.unchained += 1
                continue
            self.head = whole_head(self.head, own)
            if wanted.get(self.head[0]) == self.head[1]:
                del wanted[self.head[0]]
        if kept is not None and tuple(kept) != self.head:
            words = (
                f"the ledger says that it has {kept[0]} events with the head {kept[1]}, and it has {self.head[0]} with "
                f"{self.head[1]}"
            )
            self._note([Finding(LEDGER, words, float("inf"))])
        for events, head in wanted.items():
            words = f"the first {events} events have not the head {visible(head, most=70)} that was kept of them"
            self._note([Finding(ANCHOR, words, float("inf"))])

    def _told(self) -> list[dict[str, Any]]:
        found = sorted(self._found, key=lambda one: one.place)[:MOST_FINDINGS]
        names = self._names({one.chain for one in found if one.chain and one.chain > 0})
        return [_as_result(one, names.get(one.chain)) for one in found]

    def _names(self, rows: set[int | None]) -> dict[int | None, dict[str, Any]]:
        names: dict[int | None, dict[str, Any]] = {}
        for some in chunks(sorted(one for one in rows if one)):
            for one in self._connection.execute(sqlalchemy.select(DEVICES).where(DEVICES.c.id.in_(some))):
                names[one.id] = {name: one._mapping[name] for name in ("serial_number", "device_id", "host")}
        return names


def _own_hash(text: Any) -> str | None:
    try:
        said = json.loads(text) if isinstance(text, str) else None
    except ValueError:
        return None
    own = said.get(HASH) if isinstance(said, dict) else None
    return own if isinstance(own, str) else None


def _as_result(one: Finding, names: Mapping[str, Any] | None) -> dict[str, Any]:
    who = (
        called(names) if names else "devices that were stopped before they were known" if one.chain == NO_DEVICE else ""
    )
    who = who or (f"device {one.chain}" if one.chain else "the ledger")
    row = one.row._mapping if one.row is not None else {}
    return {
        "kind": one.kind,
        "device": one.chain,
        **{name: (names or {}).get(name) for name in ("serial_number", "device_id", "host")},
        "number": one.number,
        **{name: row.get(name) for name in ("at", "step", "station")},
        "words": visible(f"{who}: {one.words}", most=600),
    }
