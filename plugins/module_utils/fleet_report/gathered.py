# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the report shows of a ledger, gathered in one pass over its devices and its events, in the order of devices.

Kept is what the page shows, in columns of numbers into tables of texts. What is read of a device is dropped before the
next one is read.
"""

from __future__ import annotations

import base64
import binascii
import re
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from itertools import groupby
from typing import Any, NamedTuple

from ..ledger.causes import FAILURES, causes, is_unproven, names_in, reasons, tells_less
from ..ledger.database import DEVICES, EVENTS, LISTED_KEYS, sqlalchemy
from ..ledger.devices import event_of
from ..ledger.stored import DamagedRecord, stored_record
from ..ledger.story import step_called, what_happened
from ..outside.visible import visible
from ..record.model import called
from ..trust.certificate import CertificateError, read_certificate

# Of the five, the first is of TPMs on lists, which are no units yet.
STEPS = ("tpm_install", "software_install", "warehouse", "field_activation")
STATES = ("known only", "installed", "software on it", "in the warehouse", "in the field", "stopped", "decommissioned",
          "damaged")  # fmt: skip
_STOPPED, _DECOMMISSIONED, _DAMAGED = 5, 6, 7
DEFAULT_RACK_PATTERN = r"^(?P<rack>.+?)[-_.]slot[-_.]?(?P<slot>[0-9]+)$"
# What a page shows of one unit; a unit that is asked for its state each day has more, and the newest tell most.
MOST_EVENTS = 40
# The rarest of more causes are counted together.
MOST_CAUSES = 200
OTHER_CAUSES = "other causes, each of them rarer or as rare"
# What an event says of where and by whom, of which many events say the same.
_OF_AN_EVENT = ("step", "station", "operator", "run_id")
# What an event says of a unit that the ledger does not know yet.
_NAMES_IN_EVENTS = ("serial_number", "device_id")
ROWS = 2000
_MOST_OF_A_NAME = 128
_MOST_SLOT = 9999
_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


class Unit(NamedTuple):
    """One unit as the table of units has it: times in seconds since 1970, 0 where there is none."""

    record: Mapping[str, Any]
    state: int
    reached: tuple[int, ...]
    not_before: int
    not_after: int
    issuer: str
    last_at: int
    failure: str


class Event(NamedTuple):
    """One event: *at* in seconds since 1970, 0 where that is no time; *what* is as ``Devices.history`` has it."""

    at: int
    host: str
    what: Mapping[str, Any]


class Texts:
    """A table of texts: each has a number, by the order in which it came."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._said: dict[str, int] = {}

    def number(self, text: str) -> int:
        """The number of *text*."""
        return self._numbers.setdefault(text, len(self._numbers))

    def number_of_said(self, said: object) -> int:
        """The number of what somebody *said*, made visible; for what is said again and again."""
        text = "" if said is None else str(said)
        if text not in self._said:
            self._said[text] = self.number(visible(text, most=_MOST_OF_A_NAME))
        return self._said[text]

    def listed(self) -> list[str]:
        """All of them, in the order of their numbers."""
        return list(self._numbers)


class Gathered:
    """The data of a report. :meth:`units` is to be run to its end, after which :meth:`data` has all."""

    def __init__(self, connection: Any, rack_pattern: str) -> None:
        self._connection = connection
        self._rack = re.compile(rack_pattern)
        self._names: dict[str, list[str]] = {
            name: [] for name in ("serial_number", "device_id", "registration_id", "host")
        }
        self._columns = {
            name: array("q")
            for name in (
                "id", "state", *STEPS, "not_before", "not_after", "issuer", "certified", "tpm", "shipment", "rack",
                "slot", "last", "events", "left_out",
            )
        }  # fmt: skip
        self._events = {name: array("q") for name in ("at", *_OF_AN_EVENT, "said", "stopped")}
        self._texts = {name: Texts() for name in ("issuer", "tpm", "shipment", "rack", *_OF_AN_EVENT, "said")}
        self._causes: Counter[str] = Counter()
        # Of each station, by the number of its name, the events and those that stopped somebody.
        self._at_stations: Counter[int] = Counter()
        self._stopped_at: Counter[int] = Counter()
        self.damaged: list[str] = []
        self.count = 0

    def units(self) -> Iterator[Unit]:
        """Each unit, in the order in which they became known."""
        events = _grouped_events(self._connection)
        device, waiting = next(events, (None, iter(())))
        # Events of units that were refused before the ledger took them in come first, and say what those are called.
        earlier: dict[tuple[str, str], list[Event]] = {}
        while device == 0:
            for event in waiting:
                self._count(event, set())
                for name in _NAMES_IN_EVENTS:
                    said = event.what.get(name)
                    if isinstance(said, str) and said:
                        earlier.setdefault((name, said), []).append(event)
            device, waiting = next(events, (None, iter(())))
        found = sqlalchemy.select(DEVICES).order_by(DEVICES.c.id).execution_options(yield_per=ROWS)
        for row in self._connection.execute(found):
            while device is not None and device < row.id:
                device, waiting = next(events, (None, iter(())))
            history: list[Event] = []
            if device == row.id:
                history = list(waiting)
                device, waiting = next(events, (None, iter(())))
            named = [earlier.get((name, getattr(row, name)), ()) for name in _NAMES_IN_EVENTS]
            yield self._unit(row, history, sorted({id(one): one for some in named for one in some}.values(), key=_time))

    def data(self) -> dict[str, Any]:
        """What the page is made of."""
        listed = sqlalchemy.func.substr(LISTED_KEYS.c.taken_in, 1, 10)
        days = sqlalchemy.select(listed, sqlalchemy.func.count()).group_by(listed).order_by(listed)
        return {
            "states": list(STATES),
            "listed": [[_seconds(f"{day}T00:00:00Z"), count] for day, count in self._connection.execute(days)],
            "names": self._names,
            "units": {name: column.tolist() for name, column in self._columns.items()},
            "events": {name: column.tolist() for name, column in self._events.items()},
            "texts": {
                **{name: texts.listed() for name, texts in self._texts.items()},
                "step": list(map(step_called, self._texts["step"].listed())),
            },
            "causes": self._commonest_causes(),
            "stations": [[number, count, self._stopped_at[number]] for number, count in self._at_stations.items()],
        }

    def _commonest_causes(self) -> list[tuple[str, int]]:
        """(cause, how often), the commonest first."""
        found = sorted(self._causes.items(), key=lambda one: (-one[1], one[0]))
        others = sum(count for _cause, count in found[MOST_CAUSES:])
        return found[:MOST_CAUSES] + ([(OTHER_CAUSES, others)] if others else [])

    def _unit(self, row: Any, history: list[Event], earlier: list[Event]) -> Unit:
        names = {name: getattr(row, name) for name in ("serial_number", "device_id", "host", "registration_id")}
        try:
            record = stored_record(row.record, f"the record of {called(names)} in the ledger (device {row.id})")
        except DamagedRecord as error:
            self.damaged.append(str(error))
            record, damaged = {name: value for name, value in names.items() if value is not None}, True
        else:
            damaged = False
        failure = ""
        # As the ledger looks for them, and as they are written.
        own = names_in(names, record)
        first: dict[str, int] = {}
        last, unproven = Event(0, "", {}), False
        for event in history:
            less = tells_less(unproven, event.what)
            unproven = is_unproven(unproven, event.what)
            last = last if less else event
            if self._count(event, own):
                failure = failure if less else "; ".join(reasons(event.what))
            elif not event.what.get("damaged") and event.what.get("state") in ("done", "verified"):
                first.setdefault(str(event.what["step"]), event.at)
        for step, said in (record.get("steps") or {}).items():
            if step in STEPS:
                first.setdefault(step, _seconds(said.get("at")))
        reached = tuple(first.get(step, 0) for step in STEPS)
        state = max((number for number, at in enumerate(reached, 1) if at), default=0)
        if damaged:
            state = _DAMAGED
        elif (record.get("decommission") or {}).get("done"):
            state = _DECOMMISSIONED
        elif last.what.get("state") in FAILURES:
            state = _STOPPED
        not_before, not_after, issuer = _certificate(record.get("endorsement_key_certificate"))
        last_at = last.at or max(reached)
        unit = Unit(record, state, reached, not_before, not_after, issuer, last_at, failure)
        self._keep(row.id, unit, [*earlier, *history])
        return unit

    def _keep(self, number: int, unit: Unit, history: list[Event]) -> None:
        record, texts = unit.record, self._texts
        for name, column in self._names.items():
            column.append(visible(record.get(name) or "", most=_MOST_OF_A_NAME))
        tpm = " ".join(_said(record, name) for name in ("tpm_manufacturer", "tpm_model", "tpm_firmware_version"))
        shipment = ", ".join(filter(None, (_said(record, name) for name in ("maker", "batch"))))
        found = self._rack.search(str(record.get("host") or "")[:_MOST_OF_A_NAME])
        parts = found.groupdict() if found else {}
        rack, slot = visible(parts.get("rack") or ""), parts.get("slot") or ""
        placed = bool(rack) and slot.isascii() and slot.isdigit() and int(slot) <= _MOST_SLOT
        values = {
            "id": number,
            "state": unit.state,
            **dict(zip(STEPS, unit.reached)),
            "not_before": unit.not_before,
            "not_after": unit.not_after,
            "issuer": texts["issuer"].number(unit.issuer),
            "certified": int(bool(record.get("certified_tpm"))),
            "tpm": texts["tpm"].number(tpm.strip()),
            "shipment": texts["shipment"].number(shipment),
            "rack": texts["rack"].number(rack) if placed else -1,
            "slot": int(slot) if placed else 0,
            "last": unit.last_at,
            "events": len(self._events["at"]),
            "left_out": max(0, len(history) - MOST_EVENTS),
        }
        for name, value in values.items():
            self._columns[name].append(value)
        for event in history[-MOST_EVENTS:]:
            self._events["at"].append(event.at)
            for name in _OF_AN_EVENT:
                self._events[name].append(texts[name].number_of_said(event.what.get(name)))
            self._events["said"].append(texts["said"].number(what_happened(event.what)))
            self._events["stopped"].append(int(bool(reasons(event.what))))
        self.count += 1

    def _count(self, event: Event, names: set[str]) -> bool:
        """Counts *event*, of a unit with these *names*. Whether it stopped the unit."""
        # One that the ledger does not know says in the event itself what it is called.
        found = causes(event.what, names | names_in({"host": event.host}, event.what)) if reasons(event.what) else []
        self._causes.update(found)
        station = self._texts["station"].number_of_said(event.what.get("station"))
        self._at_stations[station] += 1
        self._stopped_at[station] += bool(found)
        return bool(found)


def _grouped_events(connection: Any) -> Iterator[tuple[int, Iterator[Event]]]:
    """(row of the device, its events, the oldest first); row 0 has those of no device."""
    nobody = sqlalchemy.select(EVENTS).where(EVENTS.c.device.is_(None)).order_by(EVENTS.c.id)
    found = sqlalchemy.select(EVENTS).where(EVENTS.c.device.is_not(None)).order_by(EVENTS.c.device, EVENTS.c.id)
    for statement in (nobody, found):
        rows = connection.execute(statement.execution_options(yield_per=ROWS))
        for key, some in groupby(rows, key=lambda row: row.device or 0):
            yield key, map(_event, some)


def _time(event: Event) -> int:
    return event.at


def _event(row: Any) -> Event:
    return Event(_seconds(row.at), str(row.host or ""), event_of(row))


def _said(record: Mapping[str, Any], name: str) -> str:
    return visible(record.get(name) or "", most=_MOST_OF_A_NAME)


def _seconds(text: object) -> int:
    """A noted time in seconds since 1970; 0 where it is none."""
    said = str(text)
    if len(said) != len("2026-11-24T12:00:00Z") or said[10] != "T" or said[-1] != "Z":
        return 0
    try:
        return _since_epoch(datetime.fromisoformat(said[:-1]).replace(tzinfo=timezone.utc))
    except ValueError:
        return 0


def _since_epoch(moment: datetime) -> int:
    return int((moment - _EPOCH).total_seconds())


def _certificate(text: object) -> tuple[int, int, str]:
    """(valid from, valid until, issuer); the record's certificate may be none, and a damaged one tells nothing."""
    try:
        certificate = read_certificate(base64.b64decode(str(text or ""), validate=True)) if text else None
    except (binascii.Error, CertificateError):
        return 0, 0, ""
    if certificate is None:
        return 0, 0, ""
    return (
        _since_epoch(certificate.not_before),
        _since_epoch(certificate.not_after),
        visible(str(certificate.issuer), most=_MOST_OF_A_NAME),
    )
