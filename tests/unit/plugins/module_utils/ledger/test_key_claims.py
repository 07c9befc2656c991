# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whose an endorsement key is: who reports it claims it, who proves it has it, and who claims wrongly stops alone."""

from __future__ import annotations

import base64
import hashlib

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates

VICTIM, IMPOSTOR = "slot1", "slot2"
SRK = base64.b64encode(templates.with_unique(templates.srk_public_template(), b"\xc1" * 256)).decode()
SCOPE = "0neOURS"


@pytest.fixture
def unit(key):
    """What is found on the unit in a slot, which reports the key of that number, by default the victim's."""

    def found(host=VICTIM, number=1, **fields):
        return {"host": host, "serial_number": f"TF-{host}", **key(number), **fields}

    return found


@pytest.fixture
def proven(key):
    """The proof of a key."""
    return lambda number=1: {"proven": key(number)["endorsement_key_sha256"]}


@pytest.fixture
def record(sqlite):
    """What the ledger knows of the unit in a slot, and the states of its history."""

    def read(host=VICTIM, ledger=sqlite):
        with opened(ledger, Access.READ) as connection:
            devices = Devices(connection)
            row = devices.row_of({"serial_number": f"TF-{host}"})
            return devices.record(row), [event["state"] for event in devices.history(row)]

    return read


# One key, two units.


def test_two_units_of_a_batch_that_report_one_key_are_asked_and_neither_binds_the_other(take, unit):
    verdicts = take(unit(), unit(IMPOSTOR), unit("slot3", 3))
    assert {host: one.contested for host, one in verdicts.items()} == {VICTIM: True, IMPOSTOR: True, "slot3": False}
    assert verdicts[VICTIM].reasons == [
        f"its endorsement key was also found on TF-{IMPOSTOR} ({IMPOSTOR}); this one has not proven it"
    ]
    assert verdicts["slot3"].reasons == []


@pytest.mark.parametrize("order", [1, -1])
def test_who_proves_it_passes_and_the_other_is_stopped_alone(take, unit, proven, record, order):
    victim = unit(enrolling=SCOPE, **proven())
    impostor = unit(IMPOSTOR, enrolling=SCOPE, not_proven="the TPM could not open the challenge")
    verdicts = take(*[victim, impostor][::order])
    assert verdicts[VICTIM].reasons == []
    assert verdicts[IMPOSTOR].reasons == [
        f"its endorsement key was also found on TF-{VICTIM} ({VICTIM}), which has proven that its TPM holds it; "
        "this one did not prove it: the TPM could not open the challenge"
    ]
    assert not any(one.contested for one in verdicts.values())
    known, _history = record()
    assert known["endorsement_key_proven"] == "2026-11-24T12:00:00Z"
    assert [place["endorsement_key"] for place in known["places"]] == [unit()["endorsement_key"]]


def test_who_was_asked_and_did_not_prove_it_counts_as_that_from_then_on(take, unit, sqlite):
    """Also where another one beside it did not either, so that it is stopped before its work begins."""
    take(unit())
    take(unit(), unit(IMPOSTOR))
    take(unit(not_proven="no"), unit(IMPOSTOR, not_proven="no"))
    with opened(sqlite, Access.READ) as connection:
        devices = Devices(connection)
        history = devices.history(devices.row_of({"serial_number": f"TF-{VICTIM}"}))
    told = [(event["state"], event.get("not_proven")) for event in history[1:]]
    assert told == [("stopped", None), ("stopped", True)]


def test_where_none_proves_it_all_are_stopped(take, unit):
    verdicts = take(unit(not_proven="no"), unit(IMPOSTOR, not_proven="no"))
    assert all(one.reasons and not one.contested for one in verdicts.values())


def test_who_has_it_not_is_told_from_who_did_not_answer_and_from_one_whose_key_another_has_proven(take, unit, proven):
    """Only of the first can it be said that nothing stands behind an enrollment with that key but his word."""
    refuted = {"not_proven": "the TPM could not open the challenge", "refuted": True}
    verdicts = take(unit(**refuted), unit(IMPOSTOR, not_proven="No route to host"))
    assert {host: one.not_proven for host, one in verdicts.items()} == {VICTIM: True, IMPOSTOR: False}
    assert "refuted" not in verdicts[VICTIM].record
    verdicts = take(unit(**proven()), unit(IMPOSTOR, **refuted))
    assert {host: one.not_proven for host, one in verdicts.items()} == {VICTIM: False, IMPOSTOR: False}
    # Nobody else claims it any more: what is asked then is the step's own proof.
    assert not take(unit(number=2, host="slot3", **refuted))["slot3"].not_proven


def test_where_two_prove_it_one_is_a_clone_and_both_are_stopped(take, unit, proven):
    verdicts = take(unit(**proven()), unit(IMPOSTOR, **proven()))
    tail = "; pull both, nobody can say which one is genuine"
    assert verdicts[VICTIM].reasons == [f"its endorsement key was also found on TF-{IMPOSTOR} ({IMPOSTOR}){tail}"]
    assert verdicts[IMPOSTOR].reasons == [f"its endorsement key was also found on TF-{VICTIM} ({VICTIM}){tail}"]


def test_an_impostor_who_came_first_makes_the_genuine_unit_no_twin(take, unit, proven, record):
    """It was accepted at step 2, where nothing is proven, and is enrolled there."""
    assert take(unit(IMPOSTOR, enrolling=SCOPE, dps_id_scope=SCOPE)).get(IMPOSTOR).reasons == []
    [asked] = take(unit()).values()
    assert asked.contested and f"TF-{IMPOSTOR}" in asked.reasons[0]
    [verdict] = take(unit(**proven())).values()
    assert verdict.reasons == []
    known, history = record(IMPOSTOR)
    # Neither the key nor its enrollment is the impostor's any more, so that no later step of it ends the other's.
    gone = {"endorsement_key", "endorsement_key_sha256", "endorsement_key_name", "places", "registration_id"}
    assert not gone & set(known)
    assert history[-1] == "withdrawn"
    # Whose the key is can end what was made in its name, wherever that is.
    [place] = record()[0]["places"]
    assert (place["dps_id_scope"], place["endorsement_key"]) == (SCOPE, unit()["endorsement_key"])
    [again] = take(unit(IMPOSTOR)).values()
    assert again.contested and "TF-slot1 (slot1), which has proven that its TPM holds it" in again.reasons[0]


def test_an_impostor_who_comes_later_is_asked_and_stopped_and_the_genuine_unit_is_as_before(take, unit, proven, record):
    take(unit())
    before, _history = record()
    [asked] = take(unit(IMPOSTOR)).values()
    assert asked.contested
    [stopped] = take(unit(IMPOSTOR, not_proven="no")).values()
    assert stopped.reasons and not stopped.contested
    assert record()[0] == before
    assert take(unit(**proven()))[VICTIM].reasons == []


def test_a_unit_that_has_proven_it_before_is_asked_again_beside_another(take, unit, proven):
    """So that a clone on the same rack is told. One that proves nothing now stays its own trouble."""
    take(unit(**proven()))
    verdicts = take(unit(), unit(IMPOSTOR))
    assert all(one.contested for one in verdicts.values())
    verdicts = take(unit(**proven()), unit(IMPOSTOR, not_proven="no"))
    assert (verdicts[VICTIM].reasons, bool(verdicts[IMPOSTOR].reasons)) == ([], True)
    # The genuine one does not answer: its clone does not take over what was proven before.
    verdicts = take(unit(not_proven="it gave no answer"), unit(IMPOSTOR, **proven()))
    assert all(one.reasons for one in verdicts.values())


def test_what_is_stopped_for_another_reason_is_asked_too(take, unit, proven):
    """Its own fate is sealed; that of the one beside it hangs on whether it has a clone."""
    verdicts = take(unit(), unit(IMPOSTOR, tpm_type="software"))
    assert all(one.contested for one in verdicts.values())
    verdicts = take(unit(**proven()), unit(IMPOSTOR, tpm_type="software", **proven()))
    assert all(one.reasons for one in verdicts.values())


def test_a_proof_of_another_key_is_none(take, unit, proven):
    verdicts = take(unit(), unit(IMPOSTOR, **proven(2)))
    assert all(one.contested for one in verdicts.values())


def test_nobody_says_of_himself_that_he_has_proven_it(take, unit, record):
    take(unit(IMPOSTOR, endorsement_key_proven="2020-01-01T00:00:00Z"))
    assert "endorsement_key_proven" not in record(IMPOSTOR)[0]


def test_a_proof_is_noted_once(take, unit, proven, record):
    take(unit())
    take(unit(**proven()), at="2026-11-25T12:00:00Z")
    [verdict] = take(unit(**proven()), at="2026-11-26T12:00:00Z").values()
    assert not verdict.changed
    assert record()[0]["endorsement_key_proven"] == "2026-11-25T12:00:00Z"


@pytest.mark.parametrize("step", ["software_install", "warehouse", "replace_tpm"])
def test_an_old_ledger_counts_the_steps_that_prove(take, unit, step):
    take(unit(outcome={"ownership": "done", "possession": "verified"}), step=step)
    [verdict] = take(unit(IMPOSTOR)).values()
    assert "TF-slot1 (slot1), which has proven" in verdict.reasons[0]


def test_who_names_the_key_that_another_has_proven_is_asked_and_told_alone(take, unit, proven, record):
    """Nothing is wrong with the one who has proven it, unless the other proves it too."""
    take(unit(**proven()))
    before = record()
    [asked] = take(unit(IMPOSTOR)).values()
    holder = "its endorsement key was also found on TF-slot1 (slot1), which has proven that its TPM holds it; this one "
    assert (asked.reasons, asked.contested) == ([f"{holder}has not proven it"], True)
    [stopped] = take(unit(IMPOSTOR, not_proven="the TPM could not open the challenge")).values()
    told = [f"{holder}did not prove it: the TPM could not open the challenge"]
    assert (stopped.reasons, stopped.contested) == (told, False)
    [clone] = take(unit(IMPOSTOR, **proven())).values()
    told = ["its endorsement key is already that of TF-slot1 (slot1); pull both, one is not what it seems"]
    assert clone.reasons == told
    assert record() == before


def test_what_a_reason_quotes_is_made_visible(take, unit):
    """Ansible prints it as it is, where it says which task failed."""
    verdicts = take(unit(not_proven="\x1b[2J\u202e\nok: [slot3]" + "a" * 9000), unit(IMPOSTOR))
    [reason] = verdicts[VICTIM].reasons
    assert r"\x1b[2J\u202e\nok: [slot3]aaa" in reason and len(reason) < 2100


def test_an_old_ledgers_enrollment_proves_nothing(take, unit):
    take(unit(outcome={"enrollment": "done"}))
    assert take(unit(IMPOSTOR))[IMPOSTOR].contested


def test_a_tpm_that_was_never_proven_is_not_kept_as_taken_out(take, unit, proven):
    """Else who names another's key, and then has its TPM replaced, would retire it."""
    take(unit(IMPOSTOR))
    take(unit(IMPOSTOR, 2, exceptions=["tpm_replacement"]), step="replace_tpm")
    assert take(unit())[VICTIM].reasons == []


def test_a_decommissioning_of_what_was_never_proven_binds_nothing(take, unit, proven):
    take(unit(IMPOSTOR), step="decommission")
    assert take(unit())[VICTIM].contested
    assert take(unit(**proven()))[VICTIM].reasons == []


# What a record says of its keys.


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"endorsement_key_sha256": "11" * 32}, "it says endorsement_key_sha256 '1111"),
        ({"endorsement_key_name": "000b" + "11" * 32}, "it says endorsement_key_name '000b1111"),
        ({"endorsement_key": None}, "it says endorsement_key_sha256 and not the key that it is of"),
        ({"endorsement_key": "AToA"}, "its endorsement key is not a whole TPM2B_PUBLIC"),
        ({"endorsement_key": "?"}, "its endorsement key is not base64"),
        ({"storage_root_key": SRK, "storage_root_key_name": "000b" + "11" * 32}, "it says storage_root_key_name"),
        ({"storage_root_key": "AAEA"}, "what it reports is not an RSA-2048 storage root key"),
    ],
)
def test_a_digest_or_name_that_is_not_the_keys_stops_the_unit_alone(take, unit, wrong, words):
    verdicts = take(unit(), unit(IMPOSTOR, 2, **wrong))
    assert any(one.startswith(words) for one in verdicts[IMPOSTOR].reasons), verdicts[IMPOSTOR].reasons
    assert verdicts[VICTIM].reasons == []


def test_the_digest_of_a_listed_key_beside_another_key_passes_no_policy(take, unit, key, sqlite):
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.ek_list import ListedKeys

    with opened(sqlite, Access.WRITE) as connection:
        ListedKeys(connection).add([{"maker": "M", "batch": "1", **key(1)}], taken_in="2026-11-24T12:00:00Z")
    listed = {name: key(1)[name] for name in ("endorsement_key_sha256", "endorsement_key_name")}
    reasons = take(unit(IMPOSTOR, 2, **listed), policy="required")[IMPOSTOR].reasons
    assert "is on no list of a TPM maker" in reasons[-1] and "which is another key's" in reasons[0]
    assert take(unit(), policy="required")[VICTIM].reasons == []


def test_what_follows_from_a_key_is_computed_where_it_is_not_said(take, unit, record):
    follows = ("endorsement_key_sha256", "endorsement_key_name")
    bare = {name: value for name, value in unit().items() if name not in follows}
    take({**bare, "storage_root_key": SRK})
    known, _history = record()
    assert {name: known[name] for name in unit()} == unit()
    assert known["storage_root_key_name"] == "000b" + hashlib.sha256(base64.b64decode(SRK)[2:]).hexdigest()


SPELLED_OUT = (65537).to_bytes(4, "big")


@pytest.mark.parametrize(
    ("another_form", "words"),
    [
        (lambda public: public[:-262] + SPELLED_OUT + public[-258:], "type, attributes, policy or size are others"),
        (lambda public: public + b"\0", "not a whole TPM2B_PUBLIC"),
        (lambda public: with_size(public + b"\0"), "type, attributes, policy or size are others"),
        (lambda public: with_size(public[:-1]), "type, attributes, policy or size are others"),
        (lambda public: public[:-1] + b"\0", "its modulus is even, or shorter"),
        (lambda public: public[:-256] + bytes(255) + b"\1", "its modulus is even, or shorter"),
    ],
)
def test_another_form_of_a_key_is_no_second_key(take, unit, key, another_form, words):
    """An exponent that is spelled out, a size inside that is another: each has a digest of its own."""
    public = base64.b64encode(another_form(base64.b64decode(key(1)["endorsement_key"]))).decode()
    verdicts = take(unit(), {"host": IMPOSTOR, "serial_number": "TF-2", "endorsement_key": public})
    assert words in verdicts[IMPOSTOR].reasons[0] and not verdicts[IMPOSTOR].contested
    assert verdicts[VICTIM].reasons == []


@pytest.mark.parametrize("place", [0, 60])
def test_another_text_of_a_key_is_no_second_key(take, unit, key, place):
    public = key(1)["endorsement_key"]
    spaced = {"host": IMPOSTOR, "serial_number": "TF-2", "endorsement_key": f"{public[:place]}\n{public[place:]}"}
    verdicts = take(unit(), spaced)
    assert verdicts[IMPOSTOR].reasons[0] == "its endorsement key is not base64 as everybody writes it"
    assert verdicts[VICTIM].reasons == []


def with_size(public):
    """*public* with the size in front that it has."""
    return (len(public) - 2).to_bytes(2, "big") + public[2:]
