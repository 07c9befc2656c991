# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service's enrollments and their registration states, for an inventory.

The list of enrollments is cheap, a call for each page. It holds no registration states and cannot be narrowed
(Azure/azure-iot-sdk-csharp#3478, #794), so every state costs a call of its own and every filter is ours. States are
therefore read within a budget, the ones that were never read first, then the oldest; what could not be read keeps what
was known, with its age, or says that it was not checked.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from ..outside.moments import FORMS, moment_of, moment_or_age
from ..outside.progress import Progress
from ..outside.visible import visible
from .apply import in_threads
from .enrollment import PROVISIONING_STATUSES, as_result, registration_result
from .errors import DpsError
from .selector import KEYS as SELECTOR_KEYS
from .selector import Selector
from .service import Service

NOT_CHECKED = "not_checked"
STATUSES = ("unassigned", "assigning", "assigned", "failed", "disabled", "not_found")


def unit_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """An enrollment as an inventory has it: the fields of the modules, and the key by its digest only."""
    unit = as_result(document)
    del unit["registration"], unit["endorsement_key"]
    unit["attestation_type"] = (document.get("attestation") or {}).get("type")
    return unit


def is_unit(value: Any) -> bool:
    """Whether *value*, which a cache had, is what :func:`unit_of` gives."""
    if not isinstance(value, Mapping) or not isinstance(value.get("registration_id"), str):
        return False
    return isinstance(value.get("device_id"), (str, type(None))) and set(unit_of({})) <= set(value)


class Filters:
    """Which units are wanted. All that is given has to fit. DpsError where *given* makes no sense."""

    KEYS = (*SELECTOR_KEYS, "provisioning_status", "status", "assigned_hub", "not_seen_since")

    def __init__(self, given: Mapping[str, Any], *, now: datetime) -> None:
        strange = [str(name) for name in given if name not in self.KEYS]
        if strange:
            raise DpsError(f"filters has the unknown key {strange[0]}.", hint=f"It knows {', '.join(self.KEYS)}.")
        selected = {name: given[name] for name in SELECTOR_KEYS if given.get(name)}
        self._selector = Selector(selected) if selected else None
        self._provisioning = _names("provisioning_status", given, PROVISIONING_STATUSES)
        self._statuses = _names("status", given, STATUSES)
        self._hubs = {name.lower() for name in _names("assigned_hub", given, None)}
        since = given.get("not_seen_since")
        self._seen_before = None if since in (None, "") else _not_seen_since(since, now)

    @property
    def need_registration(self) -> bool:
        """Whether they can be answered by the registration state only."""
        return bool(self._statuses or self._hubs or self._seen_before)

    def take_enrollment(self, unit: Mapping[str, Any]) -> bool:
        """Whether *unit* fits, as far as its enrollment tells."""
        if self._provisioning and unit["provisioning_status"] not in self._provisioning:
            return False
        return self._selector is None or self._selector.matches(unit["registration_id"], unit)

    def take_registration(self, registration: Mapping[str, Any]) -> bool:
        """Whether a registration state that was checked fits. A device that never registered was not seen."""
        if self._statuses and registration["status"] not in self._statuses:
            return False
        if self._hubs and str(registration["assigned_hub"]).lower() not in self._hubs:
            return False
        seen = moment_of(str(registration["last_updated"]))
        return self._seen_before is None or seen is None or seen < self._seen_before


class Registrations:
    """Registration states, each with the time at which it was read; *known* is what an earlier run kept."""

    def __init__(self, known: Mapping[str, Mapping[str, Any]], *, now: datetime, max_age: float) -> None:
        # A cache is a file, in which anything may stand.
        self._known = {key: one for key, one in known.items() if _is_known(one)}
        self._now = now.replace(microsecond=0)
        # With no age at all nothing is taken from an earlier run, not even from one of the same second.
        self._oldest = self._now - timedelta(seconds=max_age) if max_age > 0 else _NEVER_AGAIN
        self._just_read: set[str] = set()
        # Why reading ended before the budget did, None where it did not.
        self.stopped: str | None = None

    def read(
        self,
        service: Service,
        units: Iterable[Mapping[str, Any]],
        *,
        budget: int,
        progress: Progress,
        concurrency: int = 8,
    ) -> None:
        """Reads the states that are missing or too old, at most *budget* of them, each a step of *progress*."""
        due = [(self._checked(unit), unit) for unit in units if not self._is_current(unit)]
        # Of equals the order of the service says nothing, and changes.
        due.sort(key=lambda one: (one[0], _key(one[1])))

        def ask(unit: Mapping[str, Any]) -> tuple[Mapping[str, Any], dict[str, Any]]:
            registration_id = unit["registration_id"]
            return unit, registration_result(service.registration(registration_id), registration_id)

        progress.begin("read", min(len(due), budget))
        try:
            for unit, state in in_threads(ask, (unit for _checked, unit in due[:budget]), concurrency):
                self._known[_key(unit)] = {
                    "enrolled": unit["created"],
                    "state": {**state, "checked": self._now.isoformat()},
                }
                self._just_read.add(_key(unit))
                progress.step()
        except DpsError as error:
            if error.status != 429:
                raise
            self.stopped = str(error)

    def of(self, unit: Mapping[str, Any]) -> dict[str, Any]:
        """What is known of one; with the status NOT_CHECKED where that is nothing."""
        if not self.is_checked(unit):
            nothing = registration_result({"status": NOT_CHECKED}, unit["registration_id"])
            return {**nothing, "checked": None}
        return dict(self._known[_key(unit)]["state"])

    def is_checked(self, unit: Mapping[str, Any]) -> bool:
        """Whether its state was read, however long ago."""
        return self._checked(unit) != _NEVER

    def is_outdated(self, unit: Mapping[str, Any]) -> bool:
        """Whether its state was read, and longer ago than it should have been."""
        return self.is_checked(unit) and not self._is_current(unit)

    def kept_for(self, units: Iterable[Mapping[str, Any]]) -> dict[str, Mapping[str, Any]]:
        """What a later run should know: the states of *units*, not those of enrollments that are gone."""
        return {_key(unit): self._known[_key(unit)] for unit in units if self.is_checked(unit)}

    def _is_current(self, unit: Mapping[str, Any]) -> bool:
        return _key(unit) in self._just_read or self._checked(unit) >= self._oldest

    def _checked(self, unit: Mapping[str, Any]) -> datetime:
        known = self._known.get(_key(unit))
        # The state of an earlier enrollment with the same ID says nothing.
        if known is None or known["enrolled"] != unit["created"]:
            return _NEVER
        checked = moment_of(known["state"]["checked"])
        # A clock that was ahead must not keep a state from being read again.
        return checked if checked is not None and checked <= self._now else _NEVER


def _is_known(one: Any) -> bool:
    state = one.get("state") if isinstance(one, Mapping) else None
    return (
        isinstance(state, Mapping)
        and "enrolled" in one
        and isinstance(state.get("checked"), str)
        and set(registration_result(None, "")) <= set(state)
    )


_NEVER = datetime.min.replace(tzinfo=timezone.utc)
_NEVER_AGAIN = datetime.max.replace(tzinfo=timezone.utc)


def _key(unit: Mapping[str, Any]) -> str:
    return unit["registration_id"].lower()


def host_names(units: Iterable[Mapping[str, Any]], by: str) -> tuple[dict[str, str], list[str]]:
    """(registration ID to host name, the names that several enrollments would have had).

    *by* is registration_id or device_id. A device without a device ID is known to its hub by its registration ID.
    Several enrollments with one device ID are named by their registration IDs, so that none hides another.
    """
    names = {}
    for unit in units:
        registration_id = unit["registration_id"]
        names[registration_id] = (unit["device_id"] if by == "device_id" else None) or registration_id
    holders: dict[str, list[str]] = {}
    for registration_id, name in names.items():
        holders.setdefault(name, []).append(registration_id)
    shared: list[str] = []
    due = [name for name, ids in holders.items() if len(ids) > 1]
    while due:
        name = due.pop()
        moved = [one for one in holders[name] if one != name]
        shared.append(name)
        holders[name] = [one for one in holders[name] if one == name]
        for one in moved:
            names[one] = one
            # Another may be called so by its device ID.
            holders.setdefault(one, []).append(one)
            if len(holders[one]) == 2:
                due.append(one)
    return names, sorted(shared)


def _names(key: str, given: Mapping[str, Any], allowed: tuple[str, ...] | None) -> set[str]:
    value = given.get(key)
    values = [] if value in (None, "") else [value] if isinstance(value, str) else value
    if not isinstance(values, (list, tuple)) or not all(isinstance(one, str) for one in values):
        raise DpsError(f"filters.{key} is not a name or a list of names.", hint="Nothing was read.")
    wrong = [one for one in values if allowed is not None and one not in allowed]
    if wrong:
        raise DpsError(f"filters.{key} has {wrong[0]}.", hint=f"It knows {', '.join(allowed or ())}.")
    return set(values)


def _not_seen_since(value: Any, now: datetime) -> datetime:
    moment = moment_or_age(value, now)
    if moment is None:
        raise DpsError(
            f"filters.not_seen_since is '{visible(value, most=60)}', which is neither a time nor an age.",
            hint=FORMS,
        )
    return moment
