# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which unit of the opened orders a device is: by its endorsement key, or as far as the inventory tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ..outside.visible import visible
from ..record.model import IDENTITIES
from ..trust.derived import checked_record_fields
from .opened_orders import Opened

Unit = Mapping[str, Any]


class OrderedUnits:
    """The units of the orders that are *opened*."""

    def __init__(self, opened: Sequence[Opened]) -> None:
        self._numbers = ", ".join(one.order.terms.number for one in opened)
        self._by_key = {sha256: (one, unit) for one in opened for sha256, unit in one.order.units.items()}
        self._by_name: dict[tuple[str, str], list[tuple[Opened, Unit]]] = {}
        for one, unit in self._by_key.values():
            for name in IDENTITIES:
                if unit.get(name):
                    self._by_name.setdefault((name, unit[name].lower()), []).append((one, unit))

    def of(self, record: Mapping[str, Any]) -> tuple[dict[str, Any] | None, str]:
        """(What the orders have for the device of *record*, ""); or (None, why nothing)."""
        fields, wrong = checked_record_fields({"endorsement_key": record.get("endorsement_key")})
        sha256 = fields.get("endorsement_key_sha256")
        if sha256 is None:
            return None, (wrong or ["it says no endorsement key"])[0]
        if sha256 not in self._by_key:
            return None, f"its endorsement key of SHA-256 {sha256} is on none of the work orders {self._numbers}"
        opened, unit = self._by_key[sha256]
        terms = opened.order.terms
        for name, words in IDENTITIES.items():
            said, ordered = record.get(name), unit.get(name)
            # The default one follows from the key, and stands in every record that was read.
            if name == "registration_id" or said is None or ordered is None:
                continue
            if str(said) != ordered:
                return None, (
                    f"its {words} is {visible(said, most=100)} here, and the work order {terms.number} has "
                    f"{visible(ordered, most=100)} for its TPM"
                )
        common = {"key_version": terms.key_version, "install": dict(terms.install)}
        return {"number": terms.number, "customer": opened.signed_by, **common, **unit}, ""

    def meant_by(self, record: Mapping[str, Any]) -> dict[str, Any] | None:
        """Which unit of which order the device of *record* is meant to be; None where nothing tells."""
        found = self._found(record)
        if found is None:
            return None
        opened, unit = found
        named = {name: unit[name] for name in ("endorsement_key", "endorsement_key_sha256")}
        return {"number": opened.order.terms.number, "customer": opened.signed_by, **named}

    def _found(self, record: Mapping[str, Any]) -> tuple[Opened, Unit] | None:
        fields, _wrong = checked_record_fields({"endorsement_key": record.get("endorsement_key")})
        if fields.get("endorsement_key_sha256") in self._by_key:
            return self._by_key[fields["endorsement_key_sha256"]]
        said = [self._by_name.get((name, str(record[name]).lower()), []) for name in IDENTITIES if record.get(name)]
        units = {unit["endorsement_key_sha256"]: (one, unit) for some in said for one, unit in some}
        # Two customers may call their units alike.
        return next(iter(units.values())) if len(units) == 1 else None
