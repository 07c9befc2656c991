# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a step tells people: one line a device, and what comes next."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.filter.step_summary import NEXT, step_summary
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.model import STEPS

GOOD = {"accepted": True, "outcome": {"ownership": "done", "enrollment": "verified"}, "state": "done", "reasons": []}
BAD = {"accepted": False, "reasons": ["its name is \x1b[2J\u202e"], "state": "stopped"}


def test_one_line_a_device_and_what_comes_next():
    assert step_summary({"unit1": GOOD, "unit2": BAD}, "warehouse") == [
        "unit1: ownership done, enrollment verified",
        "unit2: STOPPED, its name is \\x1b[2J\\u202e",
        f"NEXT: {NEXT['warehouse']}",
    ]


def test_where_none_goes_on_nothing_comes_next():
    assert len(step_summary({"unit2": BAD}, "warehouse")) == 1


def test_a_step_may_say_itself_what_comes_next():
    assert step_summary({"unit1": GOOD}, "warehouse", then="set it")[-1] == "NEXT: set it"


@pytest.mark.parametrize("step", STEPS)
def test_every_step_says_what_comes_next(step):
    assert step_summary({"unit1": GOOD}, step)[-1].startswith("NEXT: ")


def test_a_device_for_which_nothing_was_to_be_done_is_verified():
    assert step_summary({"unit1": {**GOOD, "outcome": {}, "state": "verified"}}, "warehouse")[0] == (
        "unit1: warehouse verified"
    )
    assert step_summary({}, "warehouse") == []
