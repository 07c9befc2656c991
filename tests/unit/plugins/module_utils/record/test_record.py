# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The device record: what a step's news do to it, and what a device is called."""

from __future__ import annotations

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.model import (
    called,
    merged,
    outcome_state,
    with_step,
)

FIRST, LATER = "2026-11-24T12:00:00Z", "2026-12-24T12:00:00Z"


@pytest.mark.parametrize(
    ("record", "name"),
    [
        ({"serial_number": "TF-1", "device_id": "pump-1", "host": "slot1"}, "TF-1 (pump-1, slot1)"),
        ({"device_id": "pump-1", "host": "slot1"}, "pump-1 (slot1)"),
        ({"host": "slot1", "serial_number": None}, "slot1"),
        ({"serial_number": "TF-1"}, "TF-1"),
        ({}, "an unnamed device"),
    ],
)
def test_a_device_is_called_by_what_people_look_for(record, name):
    assert called(record) == name


def test_news_win_and_silence_says_nothing():
    known = {"host": "slot1", "tpm_model": "A", "maker": "M"}
    said = {"tpm_model": "B", "maker": None, "iot_edge": False}
    assert merged(known, said) == {
        "record_version": 1,
        "host": "slot1",
        "tpm_model": "B",
        "maker": "M",
        "iot_edge": False,
    }
    assert known == {"host": "slot1", "tpm_model": "A", "maker": "M"}


def test_what_is_of_one_call_is_not_kept():
    said = {"host": "slot1", "outcome": {"ownership": "done"}, "exceptions": ["software_tpm"], "station": "line-1"}
    assert merged({}, said) == {"record_version": 1, "host": "slot1"}


@pytest.mark.parametrize(
    ("known", "said", "kept"),
    [
        (None, ["QUJD", "REVG"], ["QUJD", "REVG"]),
        (["QUJD"], None, ["QUJD"]),
        (["QUJD"], ["REVG", "QUJD"], ["QUJD", "REVG"]),
        (["QUJD"], [None, {"a": "b"}, "no base64!", "x" * 70000], ["QUJD"]),
        (["QUJD"], 7, ["QUJD"]),
        (None, "QUJD", None),
    ],
)
def test_the_chain_that_a_tpm_brought_along_is_kept_whatever_it_says_later(known, said, kept):
    name = "endorsement_key_certificate_chain"
    before = {name: known} if known else {}
    assert merged(before, {name: said}).get(name) == kept


def test_a_template_that_could_not_be_found_out_takes_nothing_back():
    known = {"endorsement_key_sha256": "a", "endorsement_key_template": "nv"}
    said = {"endorsement_key_sha256": "a", "endorsement_key_template": "other"}
    assert merged(known, said)["endorsement_key_template"] == "nv"
    assert merged(known, {**said, "endorsement_key_sha256": "b"})["endorsement_key_template"] == "other"


def noted(record, step, outcome, at=LATER):
    return with_step(record, step, outcome, at=at, station="line-2")["steps"][step]


@pytest.fixture
def installed():
    outcome = {"ownership": "done", "enrollment": "verified"}
    return with_step({"host": "slot1"}, "software_install", outcome, at=FIRST, station="line-1")


def test_a_step_is_noted_when_and_where_it_was_done(installed):
    assert installed["steps"] == {
        "software_install": {
            "at": FIRST,
            "station": "line-1",
            "outcome": {"ownership": "done", "enrollment": "verified"},
        }
    }


def test_a_step_that_only_verified_keeps_its_time(installed):
    verified = {"ownership": "verified", "enrollment": "verified"}
    assert with_step(installed, "software_install", verified, at=LATER, station="line-2") == installed


def test_a_part_that_is_done_again_has_a_new_time(installed):
    step = noted(installed, "software_install", {"ownership": "verified", "enrollment": "done"})
    assert step == {"at": LATER, "station": "line-2", "outcome": {"ownership": "done", "enrollment": "done"}}
    assert noted(installed, "software_install", {"ownership": "done"})["at"] == LATER


def test_a_part_that_is_new_is_noted_although_it_was_only_verified(installed):
    step = noted(installed, "software_install", {"possession": "verified"})
    assert step["at"] == LATER
    assert step["outcome"] == {"ownership": "done", "enrollment": "verified", "possession": "verified"}


def test_a_value_worth_keeping_is_noted_when_it_is_another_one(installed):
    first = with_step(installed, "field_activation", {"assigned_hub": "eu"}, at=FIRST, station="office")
    assert noted(first, "field_activation", {"assigned_hub": "eu"})["at"] == FIRST
    assert noted(first, "field_activation", {"assigned_hub": "us"})["at"] == LATER


def test_steps_do_not_disturb_each_other(installed):
    later = with_step(installed, "warehouse", {}, at=LATER, station="line-2")
    assert later["steps"]["software_install"] == installed["steps"]["software_install"]
    assert later["steps"]["warehouse"]["outcome"] == {}
    assert "warehouse" not in installed["steps"]


@pytest.mark.parametrize(
    ("outcome", "state"),
    [
        ({"ownership": "verified"}, "verified"),
        ({"ownership": "verified", "enrollment": "done"}, "done"),
        ({"assigned_hub": "eu"}, "done"),
        ({}, "verified"),
    ],
)
def test_an_outcome_is_done_if_anything_was(outcome, state):
    assert outcome_state(outcome) == state
