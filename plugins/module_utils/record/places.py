# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a device is enrolled, or may be.

A place is a mapping of C(dps_id_scope), C(registration_id) and C(endorsement_key). A record notes it before the
enrollment is made, and drops it once the enrollment was seen gone. So whatever was cut off in between, the record knows
every service that may still let the device in.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

PLACE = ("dps_id_scope", "registration_id", "endorsement_key")
# In a place: when its enrollment was disabled, because who was enrolled in this name did not prove its key.
DISABLED = "disabled"


def own_place(record: Mapping[str, Any], id_scope: str) -> dict[str, str] | None:
    """The place that the device as *record* has it takes in the DPS *id_scope*, None where too little is known."""
    place = {**{name: record.get(name) for name in PLACE}, "dps_id_scope": id_scope}
    return {name: str(value) for name, value in place.items()} if all(place.values()) else None


def with_place(record: Mapping[str, Any], id_scope: str) -> dict[str, Any]:
    """*record* with the note that the device is about to be enrolled in the DPS *id_scope*."""
    place = own_place(record, id_scope)
    return with_places(record, [] if place is None else [place])


def with_places(record: Mapping[str, Any], more: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """*record* with the places of *more* that it does not have yet."""
    noted = list(record.get("places") or [])
    for place in more:
        if _key(place) not in map(_key, noted):
            noted.append(place)
        elif place.get(DISABLED):
            noted = [{**one, DISABLED: place[DISABLED]} if _key(one) == _key(place) else one for one in noted]
    return {**record, "places": noted} if noted else dict(record)


def without_places(record: Mapping[str, Any], gone: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """*record* without the places that were seen to be *gone*."""
    keys = {_key(place) for place in gone}
    rest = dict(record)
    noted = rest.pop("places", None) or []
    left = [place for place in noted if _key(place) not in keys]
    return {**rest, "places": left} if left else rest


def with_disabled(record: Mapping[str, Any], id_scope: str, at: str) -> dict[str, Any]:
    """*record* with the note that its enrollment in the DPS *id_scope* was disabled, until it proves its key."""
    own = own_place(record, id_scope)
    return dict(record) if own is None else with_places(with_place(record, id_scope), [{**own, DISABLED: at}])


def is_disabled(record: Mapping[str, Any], id_scope: str) -> bool:
    """Whether that is noted."""
    return record != without_disabled(record, id_scope)


def without_disabled(record: Mapping[str, Any], id_scope: str) -> dict[str, Any]:
    """*record* without that note."""
    own = own_place(record, id_scope)
    if own is None or not record.get("places"):
        return dict(record)
    rest = [
        {name: value for name, value in place.items() if name != DISABLED} if _key(place) == _key(own) else place
        for place in record["places"]
    ]
    return {**record, "places": rest}


def places_left(record: Mapping[str, Any], id_scope: str) -> list[dict[str, str]]:
    """The places of *record* other than its own in the DPS *id_scope*: those that the device leaves behind there."""
    own = own_place(record, id_scope)
    return [place for place in record.get("places") or [] if own is None or _key(place) != _key(own)]


def _key(place: Mapping[str, Any]) -> tuple[str, str, str]:
    # Registration IDs are case-insensitive.
    return str(place["dps_id_scope"]), str(place["registration_id"]).lower(), str(place["endorsement_key"])
