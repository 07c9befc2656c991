# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands on a label, of a unit or of a pallet of units, and the sizes that labels come in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..outside.visible import visible

# Width and height in mm, as the makers of label printers name their rolls.
SIZES = {"54x25": (54, 25), "62x29": (62, 29), "62x100": (62, 100), "100x50": (100, 50), "102x152": (102, 152)}
# The longest registration ID (concept page "Registration ID"); more in a code is too fine for the least size.
MOST_CODED = 128


class LabelError(Exception):
    """A label cannot be made; the message says for which unit, and what to do."""


@dataclass(frozen=True)
class Label:
    """*coded* is what a reader of the code gets; *heading* and *lines* are for people, wholly visible."""

    coded: str
    heading: str
    lines: tuple[str, ...]


def unit_label(record: Mapping[str, Any]) -> Label:
    """The label of the unit of a device record: its serial number, and its registration ID also as the code."""
    registration_id = record.get("registration_id")
    heading = next((record[name] for name in ("serial_number", "device_id", "host") if record.get(name)), None)
    if not registration_id:
        raise LabelError(f"{_shown(heading)} has no registration ID yet: its label can be made after step 2")
    return Label(coded=registration_id, heading=_shown(heading or registration_id), lines=(_shown(registration_id),))


def pallet_label(name: str, units: Sequence[Label]) -> Label:
    """The label of a pallet: its name, also as the code, how many units are on it, the first and the last of them."""
    if not name or len(name) > MOST_CODED or not name.isprintable():
        raise LabelError(
            f"a pallet cannot be called '{visible(name, most=MOST_CODED)}': take 1 to {MOST_CODED} letters"
        )
    headings = sorted(unit.heading for unit in units)
    span = (headings[0], f"to {headings[-1]}") if len(headings) > 1 else tuple(headings)
    return Label(coded=name, heading=name, lines=(f"{len(units)} unit{'' if len(units) == 1 else 's'}", *span))


def _shown(text: object) -> str:
    return visible(text, most=MOST_CODED)
