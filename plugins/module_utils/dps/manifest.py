# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wanted of a list of enrollments: an index of its good records, and every problem of the others.

A file is read once to check every record and to note where each one begins, and again record by record when it is
its turn. So memory holds a small index and never the fleet.
"""

from __future__ import annotations

import base64
import hashlib
from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Callable

from ..lists.reader import MOST_PROBLEMS, Reader
from ..module.failure_kind import SETUP, failure
from ..outside.visible import visible
from .endorsement_key import EndorsementKeyError, decode_endorsement_key
from .enrollment import Wanted, wanted_of
from .errors import DpsError

# What no two devices may share, beside their registration ID and their TPM. Both are case-sensitive.
_IDENTITIES = ("device_id", "serial_number")
# So much of what is wrong, or of the name of a field, is shown.
_MOST_SHOWN = 400


@dataclass(frozen=True)
class Problem:
    """Why a record is refused. *place* is its line in a file or its place in a list, both from 1.

    *where* is what its place is called, where that is not its number.
    """

    place: int
    registration_id: str | None
    field: str
    reason: str
    where: str | None = None

    def as_result(self) -> dict[str, Any]:
        """As a module returns it."""
        return {
            "place": self.place,
            "registration_id": None if self.registration_id is None else _shown(self.registration_id),
            "field": _shown(self.field),
            "reason": _shown(self.reason),
            **({"where": _shown(self.where)} if self.where else {}),
        }

    def told(self, word: str) -> str:
        """As a sentence; *word* is what a place is called."""
        where = _shown(self.where) if self.where else f"{word} {self.place}"
        return f"{where}: {_shown(self.field)} {_shown(self.reason)}".replace("  ", " ")


def _shown(text: str) -> str:
    return visible(text, most=_MOST_SHOWN)


# So many bad records stand in the message itself; all of them are in problems.
_PROBLEMS_IN_MESSAGE = 10


def refusal(problems: Sequence[Problem], *, total: int, word: str, name: str, option: str) -> dict[str, Any]:
    """The failure of a module for a list called *name* of *total* records, each called a *word*, some of them bad.

    *option* is the module's that has the list.
    """
    places = len({problem.place for problem in problems})
    told = [problem.told(word) for problem in problems[:_PROBLEMS_IN_MESSAGE]]
    if len(problems) > len(told):
        told.append(f"and {len(problems) - len(told)} more, see problems")
    return {
        "failed": True,
        "msg": f"{places} of {total} {word}s of {name} are wrong, so nothing was written: {'; '.join(told)}.",
        "problems": [problem.as_result() for problem in problems],
        **failure(SETUP, option),
    }


class Index:
    """What memory holds of a manifest: for each good record its ID and where it is; and every problem.

    Two records with one registration ID, endorsement key, device ID or serial number are both refused: nobody can say
    which is right. *template* is what keys are completed with of which a record has the modulus only.
    """

    def __init__(
        self, source: Reader, *, template: str | None = None, on_record: Callable[[], None] = lambda: None
    ) -> None:
        self.source = source
        self.problems: list[Problem] = []
        self._template = template
        self._positions = array("Q")
        self._places = array("L")
        self._numbers: dict[str, int] = {}
        self._holders: dict[str, dict[bytes, int]] = {name: {} for name in ("endorsement_key", *_IDENTITIES)}
        self._hub_names: set[int] = set()
        self._spoiled: set[int] = set()
        self.total = 0
        self._read(on_record)
        # Once each record was held against the others they are of no use.
        self._holders.clear()
        self._hub_names.clear()

    def __len__(self) -> int:
        """How many records may be applied."""
        return len(self._numbers)

    def number_of(self, registration_id: str) -> int | None:
        """The number of the record with this ID, in any case of letters; None where there is none."""
        return self._numbers.get(registration_id.lower())

    def numbers(self) -> Iterator[int]:
        """The numbers of all good records, in their order."""
        return iter(sorted(self._numbers.values()))

    def capacity(self) -> int:
        """One more than the highest number."""
        return len(self._positions)

    def place(self, number: int) -> int:
        """The line or place of a record, for people."""
        return self._places[number]

    def wanted(self, number: int) -> Wanted:
        """The record itself, read again. Safe for use by several threads."""
        try:
            wanted, problems = wanted_of(self.source_record(number))
        except (ValueError, StopIteration):
            wanted, problems = None, []
        if wanted is None or problems or self.number_of(wanted.registration_id) != number:
            raise DpsError(
                f"The manifest changed while it was read ({self.source.word} {self.place(number)}).",
                hint="Run again once nobody writes it; what was done so far stands.",
            )
        return wanted

    def _read(self, on_record: Callable[[], None]) -> None:
        for position, place, record, wrong in self.source.scan():
            self.total += 1
            on_record()
            if record is None:
                # JSON's null is no record either.
                wrong = wrong or [("", "is not an object")]
                self.problems += [Problem(place, None, *pair) for pair in wrong]
            else:
                record = self._completed(record)
                wanted, more = wanted_of(record)
                wrong = [*wrong, *(pair for pair in more if pair[0] not in {field for field, _reason in wrong})]
                registration_id = wanted.registration_id if wanted else _id_of(record)
                self.problems += [Problem(place, registration_id, *pair) for pair in wrong]
                if wanted is not None:
                    self._add(wanted, record, position, place, good=not wrong)
            if len(self.problems) >= MOST_PROBLEMS:
                told = f"is the last one that was read: the list has {MOST_PROBLEMS:,} problems"
                self.problems.append(Problem(place, None, "", told))
                break
        self._take_lost()
        self._take_shared_hub_names()
        for registration_id, number in [*self._numbers.items()]:
            if number in self._spoiled:
                del self._numbers[registration_id]

    def _add(self, wanted: Wanted, record: Any, position: int, place: int, *, good: bool) -> None:
        number = len(self._positions)
        self._positions.append(position)
        self._places.append(place)
        lower = wanted.registration_id.lower()
        other = self._numbers.setdefault(lower, number)
        if not good:
            # Kept in the index all the same, so that a second record with its ID or key is found out.
            self._spoiled.add(number)
        if other != number:
            self._refuse_both("registration_id", other, number, wanted.registration_id)
        key = wanted.fields.get("endorsement_key")
        values = {name: record.get(name) for name in _IDENTITIES}
        identities = {name: str(value).encode() for name, value in values.items() if _is_identity(value)}
        if key:
            identities["endorsement_key"] = base64.b64decode(key)
        if "device_id" in identities:
            self._hub_names.add(hash(str(record["device_id"]).lower()))
        for name, value in identities.items():
            holder = self._holders[name].setdefault(_digest(value), number)
            if holder not in (number, other):
                self._refuse_both(name, holder, number, wanted.registration_id)

    def _take_lost(self) -> None:
        """What only the whole list tells of its records."""
        for place, field, reason in self.source.lost():
            number = self._number_at(place)
            if number is not None:
                self._spoiled.add(number)
            name = None if number is None else _id_of(self.source_record(number))
            self.problems.append(Problem(place, name, field, reason))

    def _take_shared_hub_names(self) -> None:
        """A device without a device ID has its registration ID for one, which no other may have."""
        if not self._hub_names:
            return
        for registration_id, number in [*self._numbers.items()]:
            if hash(registration_id) not in self._hub_names:
                continue
            record = self.source_record(number)
            name = _id_of(record) or ""
            holder = self._holders["device_id"].get(_digest(name.encode()), number)
            if holder != number and not record.get("device_id"):
                self._refuse_both("device_id", holder, number, name)

    def _number_at(self, place: int) -> int | None:
        at = bisect_left(self._places, place)
        return at if at < len(self._places) and self._places[at] == place else None

    def _refuse_both(self, field: str, first: int, second: int, registration_id: str) -> None:
        holder = _id_of(self.source_record(first)) or registration_id
        for number, name, other, other_name in (
            (first, holder, second, registration_id),
            (second, registration_id, first, holder),
        ):
            reason = f"is also that of {self.source.word} {self._places[other]}"
            if field == "device_id":
                reason += f" ({other_name}): a hub would take the two devices for one"
            if field == "endorsement_key":
                reason += f" ({other_name}): two devices with one TPM, or one device listed twice"
            self._spoiled.add(number)
            self.problems.append(Problem(self._places[number], name, field, reason))

    def source_record(self, number: int) -> Any:
        """The record as it was written."""
        return self._completed(self.source.at(self._positions[number]))

    def _completed(self, record: Any) -> Any:
        """*record* with its whole endorsement key, where it may have the modulus only."""
        if self._template is None or not isinstance(record, dict) or "endorsement_key" not in record:
            return record
        try:
            key = decode_endorsement_key(record["endorsement_key"], self._template)
        except EndorsementKeyError:
            # It is told where the record is read.
            return record
        return {**record, "endorsement_key": base64.b64encode(key).decode("ascii")}


def _is_identity(value: Any) -> bool:
    """A serial number may be a number in JSON."""
    return isinstance(value, (str, int)) and not isinstance(value, bool) and value != ""


def _digest(value: bytes) -> bytes:
    return hashlib.blake2b(value, digest_size=16).digest()


def _id_of(record: Any) -> str | None:
    if not isinstance(record, dict):
        return None
    wanted, _problems = wanted_of(record)
    value = wanted.registration_id if wanted else record.get("registration_id")
    return value if isinstance(value, str) else None
