# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The ledger's modules as they are called: what is predicted, what is changed, what is shown, and what is told."""

from __future__ import annotations

import json
import os
import re
from base64 import b64decode
from hashlib import sha256
from pathlib import Path

import pytest

PASSWORD = "geheim-5tz"


@pytest.fixture
def ledger(tmp_path):
    return str(tmp_path / "ledger.sqlite")


@pytest.fixture
def unit(make_ek):
    """What step 2 finds on the *number*-th unit."""

    def found(number=1, **fields):
        key = make_ek(number)
        return {
            "host": f"slot{number}",
            "serial_number": f"TF-{number}",
            "registration_id": f"unit-{number}",
            "endorsement_key": key,
            "endorsement_key_sha256": sha256(b64decode(key)).hexdigest(),
            **fields,
        }

    return found


@pytest.fixture
def take(run_module, ledger):
    def run(*records, **options):
        options = {"ledger": ledger, "step": "tpm_install", "station": "line-1", **options}
        return run_module("device_records", records=list(records), **options)

    return run


@pytest.fixture
def look_up(run_module, ledger):
    def run(**options):
        return run_module("device_records_info", ledger=ledger, **options)

    return run


# device_records


def test_who_goes_to_another_dps_is_told_before_it_does_and_once_for_a_batch(take, unit):
    """A wrong ID scope sends units there as a right one does."""
    here, there, end = "0ne0000000A", "0ne0000000B", {"outcome": {"enrollment": "done"}}
    four = [unit(number) for number in range(1, 5)]

    def told(records, **options):
        return re.findall(r"\d of \d devices are in the DPS.*?0ne0000000\w\.", json.dumps(take(*records, **options)))

    assert told({**one, "enrolling": here} for one in four) == []
    take(*({**one, "dps_id_scope": here, **end} for one in four))
    assert told(({**one, "enrolling": here} for one in four), step="warehouse") == []
    moved = [{**one, "enrolling": there} for one in four]
    for check in (True, False):
        (words,) = told([*moved, unit(5, enrolling=there)], step="warehouse", check=check)
        assert words.startswith(
            f"4 of 5 devices are in the DPS of the ID scope {here} by the ledger, and go to {there}: "
        )
        assert "slot1, slot2, slot3 and 1 more. " in words and words.endswith(f"set tpmfleet_dps_id_scope: {here}.")
    assert told(moved, step="reprovision") == []
    assert told(({**one, "dps_id_scope": there, **end} for one in four), step="warehouse") == []


def test_check_mode_predicts_what_a_run_returns_and_makes_no_file(take, unit, tmp_path):
    records = [unit(1, outcome={"enrollment": "done"}), unit(2), unit(3, registration_id="unit-2")]
    predicted = take(*records, check=True, diff=True)
    assert list(tmp_path.iterdir()) == []
    done = take(*records, diff=True)
    moments, heads = [], []
    for result in (predicted, done):
        # The one thing that cannot be foreseen, and the hash over it.
        moments.append(result["verdicts"]["slot1"]["record"]["steps"]["tpm_install"].pop("at"))
        assert result["diff"]["after"]["slot1"]["steps"]["tpm_install"].pop("at") == moments[-1]
        heads.append(result["ledger_head"].pop("head"))
        result.pop("invocation", None)
    assert all(moments) and (heads[0] == heads[1]) is (moments[0] == moments[1])
    assert predicted == done
    assert done["changed"]


def test_check_mode_writes_nothing_into_a_ledger(take, unit, ledger, look_up):
    take(unit(1))
    before = Path(ledger).read_bytes()
    assert take(unit(1, tpm_model="SLB9670"), unit(2), check=True)["changed"]
    assert Path(ledger).read_bytes() == before
    assert len(look_up()["records"]) == 1


def test_a_second_run_changes_nothing(take, unit):
    records = [unit(1, outcome={"enrollment": "done"}), unit(2)]
    assert take(*records)["changed"]
    verified = [unit(1, outcome={"enrollment": "verified"}), unit(2)]
    for check in (True, False):
        again = take(*verified, check=check, diff=True)
        assert again["changed"] is False
        assert again["diff"] == {"before": {}, "after": {}}
        assert {one["state"] for one in again["verdicts"].values()} == {"verified"}


def test_a_diff_shows_what_is_new_of_those_that_changed(take, unit):
    take(unit(1), unit(2))
    result = take(unit(1, tpm_model="SLB9670"), unit(2), diff=True)
    assert list(result["diff"]["before"]) == list(result["diff"]["after"]) == ["slot1"]
    before, after = (result["diff"][side]["slot1"] for side in ("before", "after"))
    assert after == {**before, "tpm_model": "SLB9670"}
    assert "diff" not in take(unit(1))


def test_stopped_devices_are_told_and_fail_nothing(take, unit):
    result = take(unit(1), unit(2, **{name: unit(1)[name] for name in ("endorsement_key", "endorsement_key_sha256")}))
    assert not result.get("failed")
    assert result["changed"] is False
    assert [one["accepted"] for one in result["verdicts"].values()] == [False, False]
    assert {one["state"] for one in result["verdicts"].values()} == {"stopped"}


def test_records_without_a_host_are_refused_and_nothing_is_written(take, unit, ledger):
    nameless = {**unit(2), "host": ""}
    result = take(unit(1), nameless)
    assert result["failed"]
    assert result["msg"] == "1 of 2 records have no host."
    assert take(unit(1), check=True)["changed"]


def test_a_ledger_that_cannot_be_made_is_told(take, unit, tmp_path):
    (tmp_path / "file").write_text("")
    for check in (True, False):
        result = take(unit(1), ledger=f"{tmp_path}/file/ledger", check=check)
        assert f"The ledger {tmp_path}/file/ledger cannot be made" in result["msg"]


def test_a_password_in_the_url_is_shown_nowhere(take, unit):
    result = take(unit(1), ledger=f"postgresql+psycopg://line:{PASSWORD}@127.0.0.1:1/ledger")
    assert result["failed"]
    assert "ledger on 127.0.0.1 cannot be used" in result["msg"]
    # Which not every release of ansible-core returns.
    assert "invocation" not in result or "127.0.0.1:1/ledger" in json.dumps(result["invocation"])
    assert PASSWORD not in json.dumps(result)


# device_records_info


def test_all_devices_are_looked_up_in_the_order_in_which_they_became_known(take, unit, look_up):
    take(*(unit(number) for number in (3, 1, 2)))
    result = look_up()
    assert [record["serial_number"] for record in result["records"]] == ["TF-3", "TF-1", "TF-2"]
    assert (result["complete"], result["unknown"], result.get("changed", False)) == (True, [], False)
    assert "history" not in result["records"][0]
    cut = look_up(limit=2)
    assert [record["serial_number"] for record in cut["records"]] == ["TF-3", "TF-1"]
    assert cut["complete"] is False
    assert look_up(limit=3)["complete"] is True


def test_devices_are_looked_up_by_what_is_known_of_them(take, unit, look_up):
    take(unit(1), unit(2))
    asked = [{"serial_number": "TF-2", "host": "warehouse-7"}, {"registration_id": "UNIT-1"}, {"host": "slot9"}]
    result = look_up(devices=asked)
    assert [(record["serial_number"], record["host"]) for record in result["records"]] == [
        ("TF-2", "warehouse-7"),
        ("TF-1", "slot1"),
    ]
    assert result["unknown"] == [{"host": "slot9"}]


def test_the_story_of_a_device(take, unit, look_up):
    take(unit(1))
    take(unit(1, outcome={"ownership": "done"}), step="software_install")
    [record] = look_up(devices=[{"serial_number": "TF-1"}], history=True)["records"]
    assert [(event["step"], event["state"]) for event in record["history"]] == [
        ("tpm_install", "done"),
        ("software_install", "done"),
    ]
    assert record["history"][1]["outcome"] == {"ownership": "done"}


def test_looking_makes_no_ledger(look_up, ledger):
    result = look_up(devices=[{"serial_number": "TF-1"}])
    assert result["unknown"] == [{"serial_number": "TF-1"}]
    assert not os.path.exists(ledger)


# A list that is planned in the same run


def test_a_check_of_several_steps_holds_devices_against_the_list_that_is_not_taken_in_yet(
    run_module, take, unit, tmp_path, ledger
):
    path = tmp_path / "list.csv"
    path.write_text(f"EK_PUB\n{unit(1)['endorsement_key']}\n")
    options = {"columns": {"endorsement_key": "EK_PUB"}, "maker": "M", "batch": "1"}
    planned = run_module("ek_list", check=True, ledger=ledger, src=str(path), **options)["ek_list"]
    found = {"format": "auto", "delimiter": None, "endorsement_key_template": None}
    assert planned == {"src": str(path), **found, **options}
    held = {"ek_list_policy": "required", "planned_ek_list": planned}
    verdicts = take(unit(1), unit(2), check=True, **held)["verdicts"]
    assert [one["accepted"] for one in verdicts.values()] == [True, False]
    assert (verdicts["slot1"]["record"]["maker"], verdicts["slot1"]["record"]["batch"]) == ("M", "1")
    assert not os.path.exists(ledger)
    # A run believes what is in the ledger, and nothing else.
    assert not any(one["accepted"] for one in take(unit(1), unit(2), **held)["verdicts"].values())
    assert run_module("ek_list", ledger=ledger, src=str(path), **options)["added"] == 1
    assert take(unit(1), ek_list_policy="required")["verdicts"]["slot1"]["accepted"]


def test_a_ledger_that_never_took_in_a_list_is_told_from_a_unit_that_is_on_none(
    run_module, take, unit, tmp_path, ledger
):
    """A new ledger, in a mistyped place, says nothing of the units of a rack; see judge.yml of the role."""
    told = take(unit(1), unit(2), ek_list_policy="required")
    assert told["without_list"] and told["failure"]["kind"] == "setup"
    assert told["msg"].startswith(f"No list of a TPM maker was ever taken in to the ledger {ledger}, and ")
    assert [one["accepted"] for one in told["verdicts"].values()] == [False, False]
    for policy in ("preferred", "ignored"):
        assert not take(unit(1), unit(2), ek_list_policy=policy)["without_list"]
    path = tmp_path / "list.csv"
    path.write_text(f"EK_PUB\n{unit(1)['endorsement_key']}\n")
    run_module("ek_list", ledger=ledger, src=str(path), columns={"endorsement_key": "EK_PUB"}, maker="M", batch="1")
    told = take(unit(1), unit(2), ek_list_policy="required")
    assert not told["without_list"] and "failure" not in told
    assert [one["accepted"] for one in told["verdicts"].values()] == [True, False]


def test_an_enrollment_is_looked_after_whose_unit_has_not_its_key_and_is_known_by_more_than_its_slot(take, unit):
    """Anybody stands in a slot: what he cannot prove says nothing of the unit that stood in it before."""
    refuted = {"not_proven": "the TPM could not open the challenge", "refuted": True, "enrolling": "0neOURS"}
    nameless = {"serial_number": None}
    take(unit(1), unit(3, **nameless))

    def judged(*records):
        return take(*records, step="software_install", station="line-2")

    def beside(number):
        return unit(number, host="other", serial_number="TF-other", registration_id="other", not_proven="no answer")

    [told] = judged(unit(1, **refuted), beside(1))["unproven"]
    assert told["unit"] == "slot1" and told["id_scope"] == "0neOURS"
    assert (told["record"]["serial_number"], told["record"]["host"]) == ("TF-1", "slot1")
    assert told["event"] == {"step": "software_install", "station": "line-2", "is_new": False}
    assert judged(unit(3, **nameless, **refuted), beside(3))["unproven"] == []
    # Another key than the one that it was enrolled with, and one of which nobody was asked.
    assert judged(unit(2, host="slot1", serial_number="TF-1", **refuted), beside(2))["unproven"] == []
    assert judged(unit(1), beside(1))["unproven"] == []


def test_a_batch_of_which_none_is_on_a_list_is_told_of_the_list_and_not_of_its_units(
    run_module, take, unit, tmp_path, ledger
):
    path = tmp_path / "list.csv"
    path.write_text(f"EK_PUB\n{unit(1)['endorsement_key']}\n")
    run_module("ek_list", ledger=ledger, src=str(path), columns={"endorsement_key": "EK_PUB"}, maker="M", batch="1")
    for policy in ("required", "preferred"):
        told = take(unit(2), unit(3), {**unit(4), "tpm_type": "software"}, ek_list_policy=policy)
        assert told["without_list"] and told["failure"] == {
            "kind": "setup",
            "option": None,
            "variable": "tpmfleet_ek_list",
        }
        assert told["msg"].startswith("Of the 3 devices held against the lists none is on one: ")
        assert told["stopped"] == ["slot2", "slot3", "slot4"]
        # What else is wrong with one stays its own.
        assert ["software TPM" in str(one["reasons"]) for one in told["verdicts"].values()] == [False, False, True]
    for units in ([2, 3], [1, 2, 3, 4]):
        told = take(*map(unit, units), ek_list_policy="required")
        assert not told["without_list"] and "failure" not in told and "msg" not in told
    assert not take(unit(2), unit(3), unit(4))["without_list"]
