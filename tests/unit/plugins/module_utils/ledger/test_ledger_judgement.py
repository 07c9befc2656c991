# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who may go on, who is stopped, with every reason; and what the ledger then knows."""

from __future__ import annotations

import json

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import LISTED_KEYS, Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.ek_list import ListedKeys
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.judgement import Step
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.policy import CertificatePolicy


@pytest.fixture
def unit(key):
    """What is found on the *number*-th unit of a rack."""

    def found(number=1, /, **fields):
        named = {"host": f"slot{number}", "serial_number": f"TF-{number}", "device_id": f"pump-{number}"}
        return {**named, **key(number), **fields}

    return found


@pytest.fixture
def listed(sqlite):
    """Takes keys in as on a maker's list."""

    def take_in(*records):
        with opened(sqlite, Access.WRITE) as connection:
            entries = [{"maker": "Maker", "batch": "2026-11", **record} for record in records]
            ListedKeys(connection).add(entries, taken_in="2026-11-24T12:00:00Z")

    return take_in


@pytest.fixture
def history(sqlite):
    """The story of a device."""

    def read(record):
        with opened(sqlite, Access.READ) as connection:
            devices = Devices(connection)
            return devices.history(devices.row_of(record))

    return read


@pytest.fixture
def known(sqlite):
    """The serial numbers of all devices that the ledger knows."""

    def read():
        with opened(sqlite, Access.READ) as connection:
            devices = Devices(connection)
            return [devices.record(row).get("serial_number") for row in devices.rows(100)]

    return read


def reasons(verdicts, host="slot1"):
    return verdicts[host].reasons


# Accepted.


def test_a_new_device_goes_on_and_is_known_from_then_on(take, unit, history):
    [verdict] = take(unit()).values()
    assert (verdict.reasons, verdict.changed, verdict.known) == ([], True, {})
    assert verdict.record == {"record_version": 1, **unit()}
    assert verdict.as_result()["state"] == "done"
    assert history(unit()) == [
        {"at": "2026-11-24T12:00:00Z", "step": "tpm_install", "station": "line-1", "state": "done"}
    ]


def test_what_is_found_again_is_verified(take, unit, history):
    take(unit())
    [verdict] = take(unit(), at="2026-11-25T12:00:00Z").values()
    assert (verdict.reasons, verdict.changed) == ([], False)
    assert verdict.as_result()["state"] == "verified"
    # The call is told in the history all the same.
    assert [event["state"] for event in history(unit())] == ["done", "verified"]
    assert history(unit())[1]["verified"] == "endorsement_key"


def test_a_rotation_is_told_with_both_versions(take, unit, history):
    """And no other event is one."""
    for version in (1, 1, 2):
        said = {**unit(), "ownership": {"profile": "fleet", "key_version": version}, "outcome": {"ownership": "done"}}
        take(said, step="warehouse")
    assert [event.get("rotation") for event in history(unit())] == [None, None, {"from": 1, "to": 2}]


def test_what_a_step_does_not_mention_stays(take, unit):
    take(unit(tpm_manufacturer="IFX"))
    [verdict] = take({"host": "slot1", "serial_number": "TF-1", "tpm_manufacturer": None}).values()
    assert not verdict.changed
    assert verdict.record["tpm_manufacturer"] == "IFX"


def test_an_outcome_is_noted_with_its_step(take, unit, history):
    done = {"ownership": "done", "enrollment": "verified"}
    [verdict] = take(unit(outcome=done), step="software_install").values()
    assert verdict.record["steps"] == {
        "software_install": {"at": "2026-11-24T12:00:00Z", "station": "line-1", "outcome": done}
    }
    assert "outcome" not in verdict.record
    assert verdict.as_result()["state"] == "done"
    assert verdict.as_result()["outcome"] == done
    assert history(unit())[0]["outcome"] == done


def test_a_key_on_a_list_brings_its_maker_and_shipment(take, unit, listed):
    listed(unit())
    [verdict] = take(unit(), policy="required").values()
    assert (verdict.record["maker"], verdict.record["batch"]) == ("Maker", "2026-11")


# Shared within the batch.


@pytest.mark.parametrize(
    ("shared", "words"),
    [
        ("registration_id", "registration ID"),
        ("serial_number", "serial number"),
        ("device_id", "device ID"),
    ],
)
def test_what_two_units_of_a_batch_share_stops_both_and_names_both(take, unit, known, shared, words):
    first, second, third = unit(1), unit(2), unit(3)
    second[shared] = first[shared]
    verdicts = take(first, second, third)
    name = {1: "TF-1 (pump-1, slot1)", 2: "TF-2 (pump-2, slot2)"}
    if shared == "serial_number":
        name[2] = "TF-1 (pump-2, slot2)"
    elif shared == "device_id":
        name[2] = "TF-2 (pump-1, slot2)"
    tail = "; pull both, nobody can say which one is genuine"
    assert reasons(verdicts, "slot1") == [f"its {words} was also found on {name[2]}{tail}"]
    assert reasons(verdicts, "slot2") == [f"its {words} was also found on {name[1]}{tail}"]
    assert reasons(verdicts, "slot3") == []
    assert known() == ["TF-3"]


def test_registration_ids_clash_in_any_case_of_letters(take, unit):
    verdicts = take(unit(1, registration_id="Pump-X"), unit(2, registration_id="pump-x"))
    assert [len(reasons(verdicts, host)) for host in ("slot1", "slot2")] == [1, 1]
    take(unit(3, registration_id="Pump-Y"))
    assert "registration ID is already that of TF-3" in reasons(take(unit(4, registration_id="pump-y")), "slot4")[0]


def test_a_third_twin_is_named_too(take, unit, key):
    others = [{**unit(number), **key(1)} for number in (2, 3)]
    verdicts = take(unit(1), *others)
    assert "TF-2 (pump-2, slot2), TF-3 (pump-3, slot3)" in reasons(verdicts)[0]
    assert all(one.reasons for one in verdicts.values())


def test_a_stopped_device_is_told_in_the_history_and_changes_nothing(take, unit, history):
    take(unit(1))
    verdicts = take(unit(1, tpm_manufacturer="IFX"), unit(2, registration_id="unit-1"))
    assert verdicts["slot1"].as_result()["state"] == "stopped"
    assert not any(one.changed for one in verdicts.values())
    assert history(unit(1))[-1] == {
        "at": "2026-11-24T12:00:00Z",
        "step": "tpm_install",
        "station": "line-1",
        "state": "stopped",
        "reasons": reasons(verdicts),
    }
    [verdict] = take(unit(1)).values()
    assert "tpm_manufacturer" not in verdict.record


# Known elsewhere.


def test_a_key_that_is_another_devices_is_stopped(take, unit, key, known):
    take(unit(1, proven=key(1)["endorsement_key_sha256"]))
    verdicts = take({**unit(2), **key(1)})
    # The registration ID that follows from the key is no second reason.
    assert reasons(verdicts, "slot2") == [
        "its endorsement key was also found on TF-1 (pump-1, slot1), which has proven that its TPM holds it; this one "
        "has not proven it"
    ]
    assert known() == ["TF-1"]
    # Nor does the other one's proof help: its TPM is then a clone.
    assert reasons(take({**unit(2), **key(1), "proven": key(1)["endorsement_key_sha256"]}), "slot2")
    assert known() == ["TF-1"]


@pytest.mark.parametrize(("name", "words"), [("registration_id", "registration ID"), ("device_id", "device ID")])
def test_an_id_that_is_another_devices_is_stopped(take, unit, name, words):
    take(unit(1))
    verdicts = take(unit(2, **{name: unit(1)[name]}))
    assert reasons(verdicts, "slot2")[0].startswith(f"its {words} is already that of TF-1 (pump-1, slot1)")


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("first_has_it", [False, True])
def test_a_registration_id_that_stands_in_for_a_device_id_is_no_other_devices(take, unit, first_has_it, together):
    """A hub would take the two for one, whichever came first."""
    without = unit(1, device_id=None)
    named = unit(2, device_id=without["registration_id"])
    one, other = (named, without) if first_has_it else (without, named)
    verdicts = take(one, other) if together else {**take(one), **take(other)}
    assert reasons(verdicts, one["host"]) == []
    assert reasons(verdicts, other["host"])[0].startswith(f"its device ID is already that of {one['serial_number']} ")
    # One that has another device ID is known to the hub by that, and letters of a device ID count in their case.
    assert reasons(take(unit(3), unit(4, device_id=unit(3)["registration_id"])), "slot4") == []
    assert reasons(take(unit(5, device_id=without["registration_id"].upper())), "slot5") == []


def test_every_reason_is_told(take, unit):
    take(unit(1))
    verdicts = take(unit(2, device_id="pump-1", registration_id="unit-1", tpm_type="software"), policy="required")
    assert [one.split(";")[0] for one in reasons(verdicts, "slot2")] == [
        "its registration ID is already that of TF-1 (pump-1, slot1)",
        "its device ID is already that of TF-1 (pump-1, slot1)",
        f"its endorsement key {unit(2)['endorsement_key_sha256'][:16]}… is on no list of a TPM maker that was taken in "
        "(step 1)",
        "it has a software TPM, which is refused in a production inventory",
    ]


# Another TPM than before.


def test_another_tpm_than_before_is_stopped(take, unit, key):
    take(unit(1))
    [reason] = reasons(take({**unit(1), **key(9)}))
    old, new = (key(number)["endorsement_key_sha256"][:16] for number in (1, 9))
    assert reason.startswith(f"its endorsement key {new}… is not the one that was read before, {old}…")
    assert "set tpmfleet_replace_tpm for this host" in reason
    assert "tpmfleet_serial_number" not in reason


def test_a_slot_without_serial_numbers_that_has_another_unit_is_told_what_helps(take, key):
    take({"host": "slot1", **key(1)})
    [reason] = reasons(take({"host": "slot1", **key(2)}))
    assert "if the slot has another unit now, give each its tpmfleet_serial_number" in reason


def test_a_tpm_that_was_replaced_on_purpose_goes_on_and_the_old_key_is_remembered(take, unit, key, history):
    take(unit(1))
    new = {**unit(1), **key(9), "exceptions": ["tpm_replacement"]}
    [verdict] = take(new).values()
    assert (verdict.reasons, verdict.changed) == ([], True)
    assert verdict.record["endorsement_key"] == key(9)["endorsement_key"]
    assert "exceptions" not in verdict.record
    assert history(unit(1))[-1]["replaced_endorsement_key"] == key(1)["endorsement_key"]
    # The exception is needed once.
    assert reasons(take({**unit(1), **key(9)})) == []


def test_a_step_that_read_no_key_is_not_held_against_one(take, unit):
    take(unit(1))
    assert reasons(take({"host": "slot1", "serial_number": "TF-1"}, policy="preferred")) == []


def test_where_a_listed_key_is_required_saying_none_helps_nobody(take, unit):
    take(unit(1))
    found = reasons(take({"host": "slot1", "serial_number": "TF-1"}, policy="required"))
    assert found == ["it says no endorsement key, and one that is trusted is required"]


# Lists.


@pytest.mark.parametrize(
    ("policy", "others_listed", "stopped"),
    [
        ("ignored", True, False),
        ("preferred", False, False),
        ("preferred", True, True),
        ("required", False, True),
        ("required", True, True),
    ],
)
def test_a_key_that_is_on_no_list(take, unit, listed, policy, others_listed, stopped):
    if others_listed:
        listed(unit(7))
    found = reasons(take(unit(1), policy=policy))
    assert bool(found) == stopped
    assert not stopped or "is on no list of a TPM maker that was taken in (step 1)" in found[0]


def test_many_of_which_none_is_on_a_list_are_told_from_strangers_among_others(sqlite, unit, listed):
    listed(unit(1))

    def unlisted(*units, policy="required", step="tpm_install"):
        about = {"step": step, "station": "line-1", "at": "2026-11-24T12:00:00Z", "list_policy": policy}
        with opened(sqlite, Access.WRITE) as connection:
            judging = Step(connection, **about, certificates=CertificatePolicy("ignored"))
            judging.take(units)
            assert not judging.missed_list()
            return judging.unlisted()

    strangers = [unit(number) for number in (2, 3, 4)]
    assert unlisted(*strangers) == unlisted(*strangers, policy="preferred") == 3
    assert unlisted(*strangers[:2]) == unlisted(*strangers, unit(1)) == unlisted(*strangers, policy="ignored") == 0
    assert unlisted(*strangers, step="decommission") == 0
    # Who was not read was held against nothing, either way.
    failed = {"host": "slot9", "failed": {"reason": "no power", "unreachable": True}}
    assert unlisted(*strangers, failed) == 3 and unlisted(*strangers[:2], failed) == 0


@pytest.mark.parametrize("policy", ["preferred", "required"])
def test_a_key_that_is_on_a_list(take, unit, listed, policy):
    listed(unit(1))
    assert reasons(take(unit(1), policy=policy)) == []


# Software TPMs.


@pytest.mark.parametrize(
    ("exceptions", "stopped"), [([], True), (["tpm_replacement"], True), (["software_tpm"], False)]
)
def test_a_software_tpm_needs_an_exception(take, unit, exceptions, stopped):
    found = reasons(take(unit(1, tpm_type="software", exceptions=exceptions)))
    assert bool(found) == stopped
    assert not stopped or "tpmfleet_software_tpm_allowed on this very host allows it" in found[0]


def test_a_chip_needs_none(take, unit):
    assert reasons(take(unit(1, tpm_type="discrete"))) == []


# What YAML does to numbers.


@pytest.mark.parametrize(("name", "words"), [("serial_number", "serial number"), ("device_id", "device ID")])
def test_a_number_for_a_name_is_stopped_because_its_zeros_are_lost(take, unit, name, words, known):
    [reason] = reasons(take(unit(1, **{name: 83})))
    assert reason == f"its {words} is 83, which is no text; write it in quotes in the inventory, or zeros are lost"
    assert known() == []


def test_an_entry_is_found_by_its_key_alone(sqlite, unit, listed):
    listed(unit(1, colour="blue"))
    with opened(sqlite, Access.READ) as connection:
        keys = ListedKeys(connection)
        assert keys.any()
        assert keys.entry(unit(1)["endorsement_key_sha256"])["colour"] == "blue"
        assert keys.entry(unit(2)["endorsement_key_sha256"]) is None
        assert keys.entry(None) is None
        [row] = connection.execute(LISTED_KEYS.select())
        assert json.loads(row.entry)["maker"] == row.maker == "Maker"
