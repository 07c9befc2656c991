# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which devices of a ledger are meant, by what is known of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ..outside.moments import FORMS, moment_of, moment_or_age
from ..outside.visible import visible
from ..record.model import STEPS, last_step
from .database import FAILURES, STANDINGS, STEP_TIMES, LedgerError, sqlalchemy
from .indexed import LARGEST_INTEGER, moment_in_text, short

_STEPS = ("step", "last_step", "failed_step")
_MOMENTS = ("before", "after", "failed_before", "failed_after")
# Compared with the record's field of the same name.
_FIELDS = ("dps_id_scope", "maker", "batch", "tpm_type")


class SelectionError(LedgerError):
    """What is given makes no sense; it is in the option filters of whatever takes it."""

    def __init__(self, message: str) -> None:
        super().__init__(message, option="filters")


class Selection:
    """All that is *given* has to fit. :class:`SelectionError` where it makes no sense."""

    KEYS = (*_STEPS, "station", *_MOMENTS, "key_version", "decommissioned", *_FIELDS)

    def __init__(self, given: Mapping[str, Any], *, now: datetime) -> None:
        strange = [str(name) for name in given if name not in self.KEYS]
        if strange:
            raise SelectionError(
                f"filters has the unknown key {visible(strange[0], most=60)}. It knows {', '.join(self.KEYS)}."
            )
        said = {name: value for name, value in given.items() if value not in (None, "", [])}
        self.step, self.last_step, self.failed_step = (_texts(name, said, STEPS) for name in _STEPS)
        self.before, self.after, self.failed_before, self.failed_after = (_moment(name, said, now) for name in _MOMENTS)
        self.of_failures = any(name.startswith("failed_") for name in said)
        self._stations = _texts("station", said, None)
        self._fields = {name: _texts(name, said, None) for name in _FIELDS if name in said}
        self._key_versions = _versions(said.get("key_version"))
        self._decommissioned = said.get("decommissioned")
        if self._decommissioned not in (None, True, False):
            raise SelectionError("filters.decommissioned is neither true nor false.")

    def takes(self, record: Mapping[str, Any]) -> bool:
        """Whether the device as *record* has it is meant, as far as its record tells."""
        steps = record.get("steps") or {}
        last = last_step(record)
        if self.last_step and last not in self.last_step:
            return False
        name = last_step({"steps": {one: step for one, step in steps.items() if one in self.step or not self.step}})
        if not self._takes_step(steps.get(name)):
            return False
        ownership = record.get("ownership") or {}
        if self._key_versions and not _is_one(ownership.get("key_version"), self._key_versions):
            return False
        if self._decommissioned is not None and bool(record.get("decommission")) is not self._decommissioned:
            return False
        return all(_is_one(record.get(name), values) for name, values in self._fields.items())

    def narrowed(self) -> Any | None:
        """A statement for the rows of the devices that may be meant, in their order, by what is indexed; None where
        all may be. :meth:`takes` has the last word.
        """
        columns = STANDINGS.c
        wanted = [_among(columns[name], map(short, values)) for name, values in self._fields.items()]
        if self.last_step:
            wanted.append(_among(columns.last_step, self.last_step))
        if self._key_versions:
            wanted.append(_among(columns.key_version, [one for one in self._key_versions if _is_indexed(one)]))
        if self._decommissioned is not None:
            wanted.append(columns.decommissioned == int(self._decommissioned))
        wanted += [
            columns.device.in_(of_another)
            for of_another in (self._of_steps(), self._of_failures())
            if of_another is not None
        ]
        return sqlalchemy.select(columns.device).where(*wanted).order_by(columns.device) if wanted else None

    def _of_steps(self) -> Any | None:
        columns = STEP_TIMES.c
        wanted = _within(columns.at, self.after, self.before)
        if self._stations:
            wanted.append(_among(columns.station, map(short, self._stations)))
        if not wanted and not self.step:
            return None
        steps = self.step or self.last_step
        wanted += [_among(columns.step, steps)] if steps else []
        return sqlalchemy.select(columns.device).where(*wanted)

    def _of_failures(self) -> Any | None:
        return sqlalchemy.select(FAILURES.c.chain).where(*self.failed(FAILURES.c)) if self.of_failures else None

    def failed(self, columns: Any) -> list[Any]:
        """The conditions for a failure that is meant, whose step and time are among *columns*."""
        wanted = _within(columns.at, self.failed_after, self.failed_before)
        return [*wanted, _among(columns.step, self.failed_step)] if self.failed_step else wanted

    def _takes_step(self, step: Mapping[str, Any] | None) -> bool:
        if step is None:
            return not (self.step or self._stations or self.before or self.after)
        if self._stations and not _is_one(step.get("station"), self._stations):
            return False
        at = moment_of(str(step.get("at")))
        if at is None:
            return not (self.before or self.after)
        return (self.before is None or at < self.before) and (self.after is None or at >= self.after)


def _among(column: Any, values: Iterable[Any]) -> Any:
    return column.in_(sorted(values))


def _within(column: Any, after: datetime | None, before: datetime | None) -> list[Any]:
    """Times are text that is sorted as they are."""
    wanted = [] if after is None else [column >= moment_in_text(after)]
    return wanted if before is None else [*wanted, column < moment_in_text(before)]


def _is_indexed(number: int) -> bool:
    return -LARGEST_INTEGER <= number <= LARGEST_INTEGER


def _is_one(value: Any, values: frozenset[Any]) -> bool:
    # A ledger that was edited may have an object in its place.
    return isinstance(value, (str, int)) and value in values


def _texts(name: str, given: Mapping[str, Any], allowed: tuple[str, ...] | None) -> frozenset[str]:
    value = given.get(name, [])
    values = value if isinstance(value, (list, tuple)) else [value]
    for one in values:
        if not isinstance(one, str):
            raise SelectionError(f"filters.{name} has {visible(one, most=60)}, which is no text. Write it in quotes.")
        if allowed is not None and one not in allowed:
            raise SelectionError(f"filters.{name} has '{visible(one, most=60)}'. It is one of {', '.join(allowed)}.")
    return frozenset(values)


def _moment(name: str, given: Mapping[str, Any], now: datetime) -> datetime | None:
    if name not in given:
        return None
    moment = moment_or_age(given[name], now)
    if moment is None:
        raise SelectionError(
            f"filters.{name} is '{visible(given[name], most=60)}', which is neither a time nor an age. {FORMS}"
        )
    return moment


def _versions(value: Any) -> frozenset[int]:
    values = value if isinstance(value, (list, tuple)) else [] if value is None else [value]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, int):
            raise SelectionError(f"filters.key_version has {visible(one, most=60)}, which is no whole number.")
    return frozenset(values)
