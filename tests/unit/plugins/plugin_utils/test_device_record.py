# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The record between the parts of a step: what is taken up of it, and of whom there is none."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.filter.device_records import device_records
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_record import is_of_the_record

RECORD = {"host": "slot1", "registration_id": "unit-1", "outcome": {"ownership": "done"}}


def records(said, **options):
    variables = {"slot1": {"done": said, "tpmfleet_dps_id_scope": "0ne0", **options.pop("variables", {})}}
    return device_records(["slot1"], variables, device="done", **options)


def test_what_a_device_returned_is_its_record():
    assert records({"changed": True, "record": RECORD}) == [{**RECORD, "dps_id_scope": "0ne0"}]
    # As long as nothing was done it stands where the ledger says.
    read = {name: value for name, value in RECORD.items() if name != "outcome"}
    assert records({"changed": False, "record": read}) == [read]


@pytest.mark.parametrize(
    "said", [None, {"skipped": True}, {"failed": True, "record": RECORD}], ids=["none", "skipped", "failed"]
)
def test_who_returned_none_has_none(said):
    assert records(said) == []


def test_who_was_stopped_or_refused_has_none():
    said = {"changed": True, "record": RECORD}
    assert records(said, batch="judged", variables={"judged": {"stopped": ["slot1"]}}) == []
    refused = {"results": [], "failed_records": [{"registration_id": "unit-1", "reason": "no room"}]}
    assert records(said, enrollments="enrolled", variables={"enrolled": refused}) == []


def test_what_was_done_later_is_added_to_what_was_done_before():
    enrolled = {"results": [{"registration_id": "unit-1", "action": "created"}], "failed_records": []}
    [record] = records({"record": RECORD}, enrollments="enrolled", variables={"enrolled": enrolled})
    assert record["outcome"] == {"ownership": "done", "enrollment": "done"}
    # And the device's own is as it was.
    assert RECORD["outcome"] == {"ownership": "done"}


def test_a_record_is_made_of_the_inventorys_own_variables():
    assert is_of_the_record("tpmfleet_serial_number") and is_of_the_record("tpmfleet_enrollment_line")
    assert not is_of_the_record("tpmfleet_master_key") and not is_of_the_record("tpmfleet_endorsement_auth")
