# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the ledger remembers of moved, repaired and decommissioned devices: where each is enrolled, and what it was."""

from __future__ import annotations

import base64
import hashlib

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.filter.device_records import device_records
from ansible_collections.tpmfleet.azure_dps.plugins.filter.enrollment_places import enrollment_places

OLD, NEW = "0neOLD", "0neNEW"


@pytest.fixture
def ledger(tmp_path):
    return str(tmp_path / "ledger.sqlite")


@pytest.fixture
def take(run_module, ledger):
    """One step over records; the verdicts."""

    def run(step, *records, check=False):
        result = run_module("device_records", check=check, ledger=ledger, step=step, records=list(records))
        return {**result["verdicts"], "changed": result["changed"]}

    return run


@pytest.fixture
def story(run_module, ledger):
    """The history of the device with a serial number."""

    def run(serial_number="SN-1"):
        asked = {"ledger": ledger, "devices": [{"serial_number": serial_number}], "history": True}
        return run_module("device_records_info", **asked)["records"][0]["history"]

    return run


@pytest.fixture
def said(make_ek):
    """What a step says of a device whose TPM has the key of that number."""

    def make(number=1, **fields):
        key = make_ek(number)
        digest = hashlib.sha256(base64.b64decode(key)).hexdigest()
        own = {"endorsement_key": key, "endorsement_key_sha256": digest, "registration_id": f"reg-{number}"}
        return {"host": "slot1", "serial_number": "SN-1", **own, **fields}

    return make


@pytest.fixture
def place(make_ek):
    def make(id_scope, number=1):
        return {"dps_id_scope": id_scope, "registration_id": f"reg-{number}", "endorsement_key": make_ek(number)}

    return make


@pytest.fixture
def installed(take, said):
    """A device that was installed and enrolled in the old DPS."""
    take("software_install", said(enrolling=OLD))
    proven = said()["endorsement_key_sha256"]
    done = said(outcome={"enrollment": "done"}, dps_id_scope=OLD, proven=proven)
    return take("software_install", done)["slot1"]["record"]


def test_a_place_is_noted_before_and_forgotten_when_it_was_seen_gone(take, said, place, installed):
    assert installed["places"] == [place(OLD)]
    assert not take("software_install", said(enrolling=OLD))["changed"]
    bound = take("reprovision", said(enrolling=NEW))
    assert bound["slot1"]["record"]["places"] == [place(OLD), place(NEW)]
    assert enrollment_places(["slot1"], bound, NEW) == [{"host": "slot1", **place(OLD)}]
    outcome = {"enrollment": "done", "disenrollment": "done"}
    moved = take("reprovision", said(dps_id_scope=NEW, outcome=outcome, disenrolled=[place(OLD)]))["slot1"]
    assert moved["record"]["places"] == [place(NEW)] and moved["outcome"] == outcome
    assert enrollment_places(["slot1"], {"slot1": moved}, NEW) == []
    assert enrollment_places(["slot1"], {"slot1": moved}, NEW, own=True) == [{"host": "slot1", **place(NEW)}]


def test_a_move_that_is_given_up_half_way_is_remembered(take, said, place, installed):
    """Bound for the new DPS, cut off, and then left where it is: what was made there has to go all the same."""
    take("reprovision", said(enrolling=NEW))
    back = take("warehouse", said(enrolling=OLD))
    assert enrollment_places(["slot1"], back, OLD) == [{"host": "slot1", **place(NEW)}]


def test_what_is_left_behind_is_said_by_every_step_until_it_is_gone(take, said, place, installed):
    moved = take("reprovision", said(enrolling=NEW, dps_id_scope=NEW, outcome={"enrollment": "done"}))["slot1"]
    assert moved["outcome"] == {"enrollment": "done", "disenrollment": "left"}
    later = take("warehouse", said(dps_id_scope=NEW, outcome={"enrollment": "verified"}))["slot1"]
    assert later["outcome"]["disenrollment"] == "left"


def test_an_enrollment_that_the_line_did_not_make_is_left_behind_too(take, said, place):
    """The ledger says only where the device stood."""
    take("warehouse", said(dps_id_scope=OLD, outcome={"dps_client": "done"}))
    bound = take("reprovision", said(enrolling=NEW))
    assert enrollment_places(["slot1"], bound, NEW) == [{"host": "slot1", **place(OLD)}]


def test_check_mode_predicts_a_move_and_notes_nothing(take, said, place, installed, story):
    before = story()
    assert take("reprovision", said(enrolling=NEW), check=True)["slot1"]["record"]["places"] == [place(OLD), place(NEW)]
    assert story() == before


def test_a_device_that_is_stopped_gets_no_place(take, said, installed):
    stopped = take("reprovision", said(2, enrolling=NEW))
    assert not stopped["slot1"]["accepted"] and enrollment_places(["slot1"], stopped, NEW) == []


def test_a_new_tpm_takes_the_device_id_and_leaves_the_old_enrollment(take, said, place, installed, story, make_ek):
    new = take("replace_tpm", said(2, enrolling=OLD, exceptions=["tpm_replacement"]))
    record = new["slot1"]["record"]
    assert (record["registration_id"], record["device_id"]) == ("reg-2", "reg-1")
    assert enrollment_places(["slot1"], new, OLD) == [{"host": "slot1", **place(OLD)}]
    assert story()[-1]["replaced_endorsement_key"] == make_ek(1)
    # Cut off, and begun again: the old enrollment is still to be ended.
    again = take("replace_tpm", said(2, enrolling=OLD, exceptions=["tpm_replacement"]))
    assert enrollment_places(["slot1"], again, OLD) == [{"host": "slot1", **place(OLD)}] and not again["changed"]


def test_what_was_known_of_the_old_tpm_is_not_said_of_the_new_one(take, said):
    of_old = {"storage_root_key_name": "000b", "endorsement_key_certificate": "MIID", "ownership": {"key_version": 1}}
    take("software_install", said(**of_old))
    record = take("replace_tpm", said(2, exceptions=["tpm_replacement"]))["slot1"]["record"]
    assert not set(of_old) & set(record)


def test_a_device_id_of_its_own_stays(take, said, installed):
    named = said(device_id="pump-1", outcome={"enrollment": "done"}, dps_id_scope=OLD)
    take("warehouse", named)
    record = take("replace_tpm", said(2, exceptions=["tpm_replacement"]))["slot1"]["record"]
    assert record["device_id"] == "pump-1"


def test_a_tpm_that_was_taken_out_is_told_where_it_turns_up(take, said, installed):
    take("replace_tpm", said(2, exceptions=["tpm_replacement"]))
    other = said(1, host="slot2", serial_number="SN-2", registration_id="other")
    stopped = take("tpm_install", other)["slot2"]
    assert not stopped["accepted"]
    assert "is that of a TPM that was taken out of SN-1 (reg-1, slot1)" in stopped["reasons"][0]
    # Back into the same device, on purpose, it may go.
    assert take("replace_tpm", said(1, exceptions=["tpm_replacement"]))["slot1"]["accepted"]
    assert take("warehouse", said(1))["slot1"]["accepted"]


def test_a_repaired_board_may_be_used_where_that_is_said(take, said, installed):
    take("replace_tpm", said(2, exceptions=["tpm_replacement"]))
    other = said(1, host="slot2", serial_number="SN-2", exceptions=["recommission"])
    # The registration ID of its key would be its device ID, which the first device goes on using.
    assert "its device ID is already that of SN-1" in take("tpm_install", other)["slot2"]["reasons"][0]
    other["device_id"] = "pump-2"
    assert take("tpm_install", other)["slot2"]["accepted"]
    assert take("software_install", {**other, "exceptions": []})["slot2"]["accepted"]


def test_decommissioning_is_known_from_its_first_moment(take, said, place, installed, story):
    begun = take("decommission", said())
    assert begun["slot1"]["accepted"] and "done" not in begun["slot1"]["record"]["decommission"]
    assert enrollment_places(["slot1"], begun, OLD, own=True) == [{"host": "slot1", **place(OLD)}]
    stopped = take("warehouse", said())["slot1"]
    assert "it is half decommissioned" in stopped["reasons"][0]
    outcome = {"ownership": "done", "disenrollment": "done"}
    done = take("decommission", said(outcome=outcome, disenrolled=[place(OLD)]))["slot1"]["record"]
    assert done["decommission"]["done"] and "places" not in done and "dps_id_scope" not in done
    assert story()[-1]["outcome"] == outcome
    again = {part: "verified" for part in outcome}
    assert not take("decommission", said())["changed"]
    assert not take("decommission", said(outcome=again, disenrolled=[place(OLD)]))["changed"]


@pytest.mark.parametrize(("device", "words"), [("SN-1", "it was decommissioned"), ("SN-2", "which was decommissioned")])
def test_a_decommissioned_key_that_is_seen_again_is_told(take, said, installed, device, words):
    take("decommission", said(outcome={"ownership": "done"}))
    reasons = take("tpm_install", said(serial_number=device, host="slot2"))["slot2"]["reasons"]
    assert words in " ".join(reasons)


def test_a_decommissioned_device_is_taken_up_again_where_that_is_said(take, said, installed, story):
    take("decommission", said(outcome={"ownership": "done"}))
    record = take("software_install", said(exceptions=["recommission"]))["slot1"]["record"]
    assert "decommission" not in record and story()[-1]["taken_up_again"]
    assert take("warehouse", said())["slot1"]["accepted"]


def test_a_lost_device_has_to_be_known(take, installed):
    lost = {"host": "slot1", "serial_number": "SN-1"}
    assert take("decommission", lost)["slot1"]["record"]["registration_id"] == "reg-1"
    unknown = take("decommission", {"host": "slot9", "serial_number": "SN-9"})["slot9"]
    assert "the ledger does not know it" in unknown["reasons"][0]


def test_decommissioning_asks_for_no_list_and_no_allowed_software_tpm(take, said, installed):
    assert take("decommission", said(tpm_type="software"))["slot1"]["accepted"]
    assert not take("decommission", said(2))["slot1"]["accepted"]


def test_the_filter_says_what_was_ended_and_where_it_is_bound(place):
    ended = {"results": [{"host": "slot1", **place(OLD), "action": "disenrolled", "done": ["x"], "reason": None}]}
    missed = {"results": [{"host": "slot1", **place(OLD), "action": "absent", "done": [], "reason": None}]}
    refused = {"results": [{"host": "slot1", **place(OLD), "action": "failed", "done": [], "reason": "no"}]}
    hostvars = {"slot1": {"tpmfleet_dps_id_scope": NEW, "ended": ended, "missed": missed, "refused": refused}}

    def made(*names, **options):
        return device_records(["slot1"], hostvars, disenrollments=names, **options)[0]

    assert made("ended", "nothing")["outcome"] == {"disenrollment": "done"}
    assert made("ended")["disenrolled"] == [place(OLD)]
    assert made("missed")["outcome"] == {"disenrollment": "not found"}
    assert made("refused")["disenrolled"] == []
    assert made(remarks={"device": "lost"})["outcome"] == {"device": "lost"}
    bound = made(enrolling=True)
    assert bound["enrolling"] == NEW and "outcome" not in bound
