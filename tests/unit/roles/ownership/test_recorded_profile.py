# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A profile that the inventory has and a claimed unit cannot get is the inventory's fault, and pulls no unit."""

from __future__ import annotations

import pytest


def owned(profile):
    return {"device_record": {"ownership": {"profile": profile, "key_version": 1}}}


SDK = {"ownership_profile": "sdk"}
# What is known of the unit and said of it, and whether its profile is the reason why nothing is done.
CASES = {
    "as_it_is": (owned("fleet"), False),
    "without_owner": ({**owned("fleet"), **SDK}, True),
    "as_it_is_without_owner": ({**owned("sdk"), **SDK}, False),
    # Who has no owner gets one, as any new TPM does.
    "with_owner": (owned("sdk"), False),
    "never_claimed": ({**SDK, "device_record": {}}, False),
    "of_an_unknown_profile": ({**SDK, "device_record": {"ownership": {"key_version": 1}}}, False),
    "of_a_later_release": ({**owned("other"), **SDK}, False),
    "claimed_by_a_stranger": ({**SDK, "device_record": {"ownership": {"profile": "fleet"}}}, False),
    "cleared_on_purpose": ({**owned("fleet"), **SDK, "tpmfleet_new_storage_root_key_allowed": True}, False),
    "another_tpm": ({**owned("fleet"), **SDK, "tpmfleet_replace_tpm": "yes"}, False),
    "released": ({**owned("fleet"), **SDK, "ownership_state": "released"}, False),
}


@pytest.fixture(scope="module")
def told(refusals):
    return refusals({name: said for name, (said, _refused) in CASES.items()})


@pytest.mark.parametrize("case", CASES)
def test_a_profile_that_a_claimed_unit_cannot_get_is_refused(told, case):
    if not CASES[case][1]:
        assert told[case] == []
    else:
        assert len(told[case]) == 1 and "set tpmfleet_ownership_profile: fleet." in told[case][0]
