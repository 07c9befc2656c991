# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A claim takes no key version that a line of a revoked order was given, whichever of the unit's orders that was."""

from __future__ import annotations

import pytest


def order(number, state, version):
    return {"number": number, "state": state, "at": "2026-11-24T12:00:00Z", "key_version": version}


FIRST, SECOND = order("WO-1", "revoked", 1), order("WO-2", "ordered", 2)
# What the ledger has of the unit, the version that it is claimed with, and the order that is named, if one is.
CASES = {
    "on_none": ({}, 1, None),
    "on_an_open_one": ({"work_order": order("WO-1", "ordered", 1)}, 1, None),
    "revoked": ({"work_order": FIRST}, 1, "WO-1"),
    "revoked_before": ({"work_order": SECOND, "earlier_work_orders": [FIRST]}, 1, "WO-1"),
    "later_version": ({"work_order": SECOND, "earlier_work_orders": [FIRST]}, 2, None),
    "both_revoked": ({"work_order": order("WO-2", "revoked", 2), "earlier_work_orders": [FIRST]}, 2, "WO-2"),
    "the_earlier_of_a_later_version": (
        {"work_order": order("WO-2", "revoked", 1), "earlier_work_orders": [order("WO-1", "revoked", 3)]},
        2,
        "WO-1",
    ),
    "done_before": ({"work_order": SECOND, "earlier_work_orders": [order("WO-1", "done", 2)]}, 2, None),
    "of_an_unknown_version": (
        {"work_order": {"number": "WO-1", "state": "revoked", "at": "2026-11-24T12:00:00Z"}},
        1,
        None,
    ),
}


@pytest.fixture(scope="module")
def told(refusals):
    """Why nothing is done, by case."""
    return refusals({name: dict(zip(("device_record", "ownership_key_version"), case)) for name, case in CASES.items()})


@pytest.mark.parametrize("case", CASES)
def test_what_a_revoked_line_was_given_is_never_used_again(told, case):
    number = CASES[case][2]
    if number is None:
        assert told[case] == []
    else:
        assert len(told[case]) == 1 and f"it was on the work order {number}, which was revoked" in told[case][0]
