# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which device of the ledger a record is about, and the device's story."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices, twins

SLOT = "rack1-slot01"


@pytest.fixture
def devices(ledger):
    with opened(ledger, Access.WRITE) as connection:
        yield Devices(connection)


def test_a_device_is_known_by_its_serial_number_wherever_it_is(devices):
    row = devices.save(None, {"host": SLOT, "serial_number": "TF-1", "device_id": "pump-1"})
    assert devices.row_of({"host": "warehouse-7", "serial_number": "TF-1"}) == row
    assert devices.row_of({"serial_number": "TF-1", "device_id": "pump-2"}) == row


def test_a_slot_that_has_another_unit_now_is_another_device(devices):
    first = devices.save(None, {"host": SLOT, "serial_number": "TF-1"})
    assert devices.row_of({"host": SLOT, "serial_number": "TF-2"}) is None
    second = devices.save(None, {"host": SLOT, "serial_number": "TF-2"})
    assert first != second
    assert devices.row_of({"host": SLOT, "serial_number": "TF-1"}) == first
    # Who is asked for by the slot alone is the unit that came last.
    assert devices.row_of({"host": SLOT}) == second


def test_a_device_id_identifies_where_there_is_no_serial_number(devices):
    row = devices.save(None, {"host": SLOT, "device_id": "pump-1"})
    assert devices.row_of({"host": "elsewhere", "device_id": "pump-1"}) == row
    assert devices.row_of({"host": SLOT, "device_id": "pump-2"}) is None
    # Device IDs are case-sensitive.
    assert devices.row_of({"host": SLOT, "device_id": "PUMP-1"}) is None


def test_a_host_name_identifies_where_there_is_nothing_better(devices):
    row = devices.save(None, {"host": SLOT})
    assert devices.row_of({"host": SLOT}) == row
    assert devices.row_of({"host": "rack1-slot02"}) is None


def test_a_registration_id_identifies_in_any_case_of_letters(devices):
    row = devices.save(None, {"host": SLOT, "registration_id": "Unit-1"})
    assert devices.row_of({"registration_id": "uNIT-1"}) == row
    assert devices.record(row)["registration_id"] == "Unit-1"
    assert devices.row_of({"registration_id": "unit-2"}) is None
    assert devices.row_of({}) is None


def test_a_serial_number_that_is_learnt_later_is_the_same_device(devices, key):
    row = devices.save(None, {"host": SLOT, **key(1)})
    named = {"host": SLOT, "serial_number": "TF-1", **key(1)}
    assert devices.row_of(named) == row
    devices.save(row, named)
    assert devices.row_of({**named, "device_id": "pump-1"}) == row
    # It has a serial number now: another one is another device, although all else is the same.
    assert devices.row_of({**named, "serial_number": "TF-2"}) is None


@pytest.mark.parametrize("others", [{"host": "rack1-slot02"}, {"number": 2}])
def test_a_serial_number_alone_does_not_adopt_a_device(devices, key, others):
    """Whether it is the same unit is told by its place and its endorsement key together."""
    devices.save(None, {"host": SLOT, **key(1)})
    found = {"host": others.get("host", SLOT), **key(others.get("number", 1))}
    assert devices.row_of({**found, "serial_number": "TF-1"}) is None
    assert devices.row_of({"host": SLOT, "serial_number": "TF-1"}) is None


def test_a_number_is_looked_for_as_text(devices):
    """Whatever the database's driver makes of a number in the place of a text."""
    row = devices.save(None, {"host": SLOT, "serial_number": "83"})
    assert devices.row_of({"host": SLOT, "serial_number": 83}) == row


def test_another_device_with_the_same_is_found(devices, key):
    row = devices.save(None, {"host": SLOT, "serial_number": "TF-1", **key(1)})
    digest = key(1)["endorsement_key_sha256"]
    assert devices.other_with("endorsement_key_sha256", digest, None)["serial_number"] == "TF-1"
    assert devices.other_with("endorsement_key_sha256", digest, row) is None
    assert devices.other_with("registration_id", "UNIT-1", None)["serial_number"] == "TF-1"
    assert devices.other_with("device_id", None, None) is None


def test_the_story_of_a_device_is_its_own_and_in_order(devices):
    row, other = (devices.save(None, {"host": SLOT, "serial_number": f"TF-{number}"}) for number in (1, 2))
    for step, where in (("tpm_install", row), ("warehouse", other), ("software_install", row), ("tpm_install", None)):
        devices.note(where, SLOT, at="2026-11-24T12:00:00Z", step=step, station="line-1", what={"state": "done"})
    devices.write()
    assert [event["step"] for event in devices.history(row)] == ["tpm_install", "software_install"]
    assert devices.history(row)[0] == {
        "at": "2026-11-24T12:00:00Z",
        "step": "tpm_install",
        "station": "line-1",
        "state": "done",
    }
    assert devices.rows(1) == [row]
    assert devices.rows(5) == [row, other]


def test_twins_of_a_batch_are_found_and_what_is_not_there_is_no_twin():
    records = [{"host": f"h{number}", "registration_id": name} for number, name in enumerate(["a", "A", "b", None, ""])]
    assert twins(records, "registration_id") == {"a": records[:2]}
    assert twins(records, "serial_number") == {}
