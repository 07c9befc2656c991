# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The chain of each device's events, in both kinds of database: whatever is done to one of them by hand is named."""

from __future__ import annotations

import json

import pytest
import sqlalchemy
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.chain import hash_of, text_of
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import (
    EVENTS,
    Access,
    LedgerError,
    opened,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices

STEPS = ("tpm_install", "software_install", "warehouse", "field_activation")


@pytest.fixture
def line(take, ledger, units):
    """Two devices with four events each (IDs 1, 3, 5, 7 and 2, 4, 6, 8), and one that was stopped unknown (9)."""
    for step in STEPS:
        take(*units(1, 2, outcome={"ownership": "done"}), ledger=ledger, step=step)
    take({"host": "slot9", "outcome": 5}, ledger=ledger)
    return ledger


def what_of(ledger, event):
    with opened(ledger, Access.READ, cut=True) as connection:
        return json.loads(connection.execute(sqlalchemy.select(EVENTS.c.what).where(EVENTS.c.id == event)).scalar())


def test_a_ledger_that_nobody_touched_is_proven(line, proof_of):
    proof, findings = proof_of(line)
    assert (findings, proof.count, proof.events, proof.unchained, proof.devices) == ([], 0, 9, 0, 2)
    assert proof.head[0] == 9 and len(proof.head[1]) == 64


def test_both_databases_have_the_same_hashes(take, sqlite, postgresql, units, proof_of):
    heads = []
    for ledger in (sqlite, postgresql.ledger()):
        for step in STEPS:
            take(
                {**units(1)[0], "serial_number": "TÜ-1 \U0001f600", "outcome": {"ownership": 1.5}},
                ledger=ledger,
                step=step,
            )
        heads.append(proof_of(ledger)[0].head)
    assert heads[0] == heads[1]


@pytest.mark.parametrize("event", [1, 3, 7, 9])
@pytest.mark.parametrize(
    "news",
    [
        "what = replace(what, 'done', 'verified')",
        "what = replace(what, 'stopped', 'verified')",
        "what = what || ' '",
        "what = 'x'",
        "what = '{}'",
        "at = '2025-01-01T00:00:00Z'",
        "step = 'decommission'",
        "station = 'line-9'",
        "host = NULL",
    ],
)
def test_an_event_that_was_changed_is_named(line, event, news, proof_of, change):
    before = what_of(line, event)
    change(line, f"UPDATE events SET {news} WHERE id = {event}")
    findings = [one for one in proof_of(line)[1] if one["kind"] != "ledger"]
    if "replace" in news and json.dumps(what_of(line, event), sort_keys=True) == json.dumps(before, sort_keys=True):
        assert findings == []
        return
    assert [(one["kind"], one["number"]) for one in findings] == [("changed", {1: 1, 3: 2, 7: 4, 9: 1}[event])], (
        findings
    )
    assert f"number {event} in the table) was changed" in findings[0]["words"]
    assert findings[0]["serial_number"] == (None if event == 9 else "TF-1")


def test_of_several_that_were_changed_the_first_is_told_first(line, proof_of, change):
    change(line, *(f"UPDATE events SET station = 'line-9' WHERE id = {event}" for event in (7, 5, 4)))
    findings = proof_of(line)[1]
    assert [(one["serial_number"], one["number"]) for one in findings] == [("TF-2", 2), ("TF-1", 3), ("TF-1", 4)]


@pytest.mark.parametrize("event", [1, 3, 5, 7])
def test_an_event_that_was_changed_with_its_hash_is_named_by_the_next_one(line, event, proof_of, change):
    said = {**what_of(line, event), "state": "verified"}
    del said["hash"]
    with opened(line, Access.READ) as connection:
        row = connection.execute(sqlalchemy.select(EVENTS).where(EVENTS.c.id == event)).one()._mapping
        said["hash"] = hash_of(row, said, said["previous"])
    change(line, EVENTS.update().where(EVENTS.c.id == event).values(what=text_of(said)))
    number = (event + 1) // 2
    first = proof_of(line)[1][0]
    assert (first["kind"], first["number"], first["serial_number"]) == ("changed", number, "TF-1")
    assert first["words"].endswith("was changed, and its hash with it")


@pytest.mark.parametrize(("event", "number"), [(1, 1), (3, 2), (5, 3), (7, 4), (9, 1)])
def test_an_event_that_was_taken_out_is_named(line, event, number, proof_of, change):
    change(line, f"DELETE FROM events WHERE id = {event}")
    findings = [one for one in proof_of(line)[1] if one["kind"] != "ledger"]
    assert [(one["kind"], one["number"]) for one in findings] == [("taken_out", number)]
    assert f"event {number} was taken out" in findings[0]["words"]


def test_all_events_of_a_device_that_were_taken_out_are_named(line, proof_of, change):
    change(line, "DELETE FROM events WHERE device = 1")
    [finding] = [one for one in proof_of(line)[1] if one["kind"] != "ledger"]
    assert finding["words"] == "TF-1 (slot1): events 1 to 4 were taken out at the end"


@pytest.mark.parametrize("place", ["at the end", "in between"])
@pytest.mark.parametrize("how", ["without a chain", "as a copy", "with a hash of its own"])
def test_an_event_that_was_put_in_is_named(line, place, how, proof_of, change):
    with opened(line, Access.READ) as connection:
        third = dict(connection.execute(sqlalchemy.select(EVENTS).where(EVENTS.c.id == 5)).one()._mapping)
    said = json.loads(third["what"])
    if how == "without a chain":
        third["what"] = '{"state": "verified"}'
    elif how == "with a hash of its own":
        forged = {name: value for name, value in said.items() if name != "hash"} | {"state": "verified"}
        third["what"] = text_of({**forged, "hash": hash_of(third, forged, forged["previous"])})
    if place == "in between":
        # Before the genuine one, in the order of the table.
        change(line, "UPDATE events SET id = id + 100 WHERE id >= 5")
    else:
        third["id"] = 50
    change(line, EVENTS.insert().values(**third))
    findings = [one for one in proof_of(line)[1] if one["kind"] != "ledger"]
    assert [one["kind"] for one in findings] == ["put_in"], findings
    if how != "as a copy":
        assert f"number {third['id']} in the table) was put in" in findings[0]["words"]


def test_events_that_changed_places_are_told(line, proof_of, change):
    change(line, *(f"UPDATE events SET id = {new} WHERE id = {old}" for old, new in ((3, 99), (5, 3), (99, 5))))
    assert proof_of(line)[1]


def test_an_event_that_became_another_devices_is_told_at_both(line, proof_of, change):
    change(line, "UPDATE events SET device = 2 WHERE id = 3")
    kinds = {(one["serial_number"], one["kind"]) for one in proof_of(line)[1]}
    assert {("TF-1", "taken_out"), ("TF-2", "put_in")} <= kinds


@pytest.mark.parametrize("news", ["events = 3", "events = 5", f"head = '{'0' * 64}'"])
def test_a_head_that_was_changed_is_told(line, news, proof_of, change):
    change(line, f"UPDATE heads SET {news} WHERE device = 1")
    assert any(one["serial_number"] == "TF-1" for one in proof_of(line)[1])


def test_a_head_that_is_gone_is_told(line, proof_of, change):
    change(line, "DELETE FROM heads WHERE device = 1")
    assert "the head of its chain is gone" in proof_of(line)[1][0]["words"]


def test_heads_that_are_gone_altogether_are_a_ledger_that_was_cut(line, proof_of, change):
    change(line, "DROP TABLE heads")
    for access in Access:
        with (
            pytest.raises(LedgerError, match="has no table heads: it is none, or was cut"),
            opened(line, access),
        ):
            pass
    assert len(proof_of(line)[1]) == 3


def test_who_makes_all_hashes_anew_is_told_by_a_head_that_was_kept_elsewhere(line, take, units, proof_of, change):
    events, head = proof_of(line)[0].head
    anchor = {"events": events, "head": head}
    take(*units(1), ledger=line)
    assert proof_of(line, anchor)[1] == []
    with opened(line, Access.READ) as connection:
        rows = [dict(one._mapping) for one in connection.execute(sqlalchemy.select(EVENTS).order_by(EVENTS.c.id))]
    change(line, "DELETE FROM events", "DELETE FROM heads", "DELETE FROM marks")
    with opened(line, Access.WRITE) as connection:
        devices = Devices(connection)
        for row in rows:
            what = {
                name: one for name, one in json.loads(row["what"]).items() if name not in ("number", "previous", "hash")
            }
            named = {name: row[name] for name in ("at", "step", "station")}
            devices.note(row["device"], row["host"], **named, what={**what, "state": "verified"})
        devices.write()
    assert proof_of(line)[1] == []
    [finding] = proof_of(line, anchor)[1]
    assert finding["kind"] == "anchor" and "the first 9 events have not the head" in finding["words"]


def test_the_story_says_nothing_of_hashes(line):
    with opened(line, Access.READ) as connection:
        told = Devices(connection).history(1)
    assert [set(one) for one in told] == [{"at", "step", "station", "state", "outcome"}] * 4


def test_the_module_says_it(run_module, line, take, key, change):
    assert run_module("ledger_verify_info", ledger=line)["intact"]
    change(line, "UPDATE events SET station = 'line-9' WHERE id = 4")
    told = run_module("ledger_verify_info", ledger=line)
    assert not told["intact"] and told["count"] == 1
    assert told["first"].startswith("TF-2 (slot2): event 2 (software_install on ")


def test_events_say_who_and_which_run(run_module, sqlite, units):
    options = {"ledger": sqlite, "step": "warehouse", "records": units(1)}
    told = run_module("device_records", **options, operator="ada", run_id="night-7")
    assert told["run_id"] == "night-7"
    [record] = run_module("device_records_info", ledger=sqlite, history=True)["records"]
    assert (record["history"][0]["operator"], record["history"][0]["run_id"]) == ("ada", "night-7")
    assert told["ledger_head"] == run_module("ledger_verify_info", ledger=sqlite)["head"]
