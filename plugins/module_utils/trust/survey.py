# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A store of trusted certificates as its owner may see it: each root with whom it vouches for, and what is not used."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from .certificate import Certificate
from .limits import MAXIMAL_STORE_CHECKS
from .makers import maker_name
from .path import PathFinder, check_authority, told
from .store import Store


def survey(store: Store, now: datetime) -> dict[str, Any]:
    """Roots, intermediates and unusable files of *store*, as a module returns them."""
    finder = PathFinder(store, checks=MAXIMAL_STORE_CHECKS)
    return {
        "roots": [_root(store, one, now) for one in _sorted(store.roots)],
        "intermediates": [_intermediate(store, finder, one, now) for one in _sorted(store.intermediates)],
        "unusable": [{"path": place, "reason": why} for place, why in store.unusable],
        "notes": store.notes(),
    }


def _root(store: Store, one: Certificate, now: datetime) -> dict[str, Any]:
    bound = store.bound.get(one.sha256)
    return {
        **_described(store, one, now),
        "makers": None if bound is None else sorted(bound),
        "maker_names": None if bound is None else sorted(str(maker_name(vendor) or vendor) for vendor in bound),
    }


def _intermediate(store: Store, finder: PathFinder, one: Certificate, now: datetime) -> dict[str, Any]:
    # Whether it is valid now is said beside it.
    way = finder.find(one, (), ())
    return {
        **_described(store, one, now),
        "issuer": str(one.issuer),
        "root": way.root.sha256 if way.root else None,
        "why_no_root": way.problem.message if way.problem else None,
    }


def _described(store: Store, one: Certificate, now: datetime) -> dict[str, Any]:
    problem = check_authority(one, (), (now,))
    return {
        "subject": str(one.subject),
        "sha256": one.sha256,
        "not_before": told(one.not_before),
        "not_after": told(one.not_after),
        "expired": now > one.not_after,
        "key_type": one.key.kind,
        "key_bits": one.key.bits,
        "paths": sorted(store.places[one.sha256]),
        "usable": problem is None,
        "why_not_usable": problem.message if problem else None,
    }


def _sorted(certificates: dict[str, Certificate]) -> list[Certificate]:
    return sorted(certificates.values(), key=lambda one: (str(one.subject), one.sha256))
