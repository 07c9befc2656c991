# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A work report from the line's journal to the owner's ledger: what is in it, what is believed, what is refused."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.filter.enrolled_records import enrolled_records
from ansible_collections.tpmfleet.azure_dps.plugins.filter.work_outcomes import work_outcomes
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.order_challenge import OrderedProof
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.signature import fingerprint
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.work_order import MOST_UNITS
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.work_report import RECORDED
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.judgement import Step
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.reading import each_record
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.verification import Proof
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.strict_json import MOST_VALUES
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.orders import order_in, with_orders
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import known_object
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.templates import name_of
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.hierarchy_auth import derive_order_secret
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.policy import CertificatePolicy
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.disabling_action import failure_of

COLLECTION = Path(__file__).resolve().parents[4]
MASTER_KEY = "a master key of the owner, 0123456789abcdef"
SCHEMA = json.loads((COLLECTION / "meta" / "work-report.schema.json").read_text())
END = "-----END SSH SIGNATURE-----\n"
# A module in a process of its own, which waits until it is told to go on.
STATION = """
import importlib, json, sys
from ansible_collections.tpmfleet.azure_dps.tests.module_arguments import module_arguments
module = importlib.import_module("ansible_collections.tpmfleet.azure_dps.plugins.modules." + sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
with module_arguments(json.loads(sys.argv[2])):
    module.main()
"""


def take(ledger, *records, step="tpm_install", at="2026-11-24T12:00:00Z"):
    with opened(str(ledger), Access.WRITE) as connection:
        policy = CertificatePolicy("ignored")
        about = {"station": "line-1", "at": at, "list_policy": "ignored"}
        verdicts = Step(connection, step=step, certificates=policy, **about).take(records)
    assert not [one.reasons for one in verdicts.values() if one.reasons]


class Firms:
    """An owner with three units on an order, a line, and TPMs that answer without being there."""

    def __init__(self, directory, run_module, make_ek, make_srk, ssh_key, allowed, ledger=None):
        self.directory, self.run, self.make_ek, self.make_srk = directory, run_module, make_ek, make_srk
        self.owners_key, self.lines_key, self.other = (ssh_key(name) for name in ("owner", "line", "other"))
        self.allowed = allowed(self.owners_key, self.lines_key)
        self.ledger, self.journal = ledger or directory / "ledger.sqlite", directory / "journal.sqlite"
        self.report = directory / "WO-1.report"
        take(self.ledger, *(self.unit(number, dps_id_scope="0ne00000A1B") for number in range(3)))
        done = self.order()
        assert done["changed"], done

    def unit(self, number, **more):
        known = {"host": f"slot{number}", "serial_number": f"TF-{number}", "registration_id": f"unit-{number}"}
        return {**known, "endorsement_key": self.make_ek(number), **more}

    def order(self, **options):
        given = {
            "number": "WO-1",
            "owner": "Example Devices",
            "dest": str(self.directory / "order.age"),
            "recipients": [self.lines_key.with_suffix(".pub").read_text()],
            "expires": "2030-01-01",
            "signing_key": str(self.owners_key),
            "master_key": MASTER_KEY,
            "id_scope": "0ne00000A1B",
        }
        return self.run("work_order", ledger=str(self.ledger), **{**given, **options})

    def opened(self, records=(), **options):
        given = {"decryption_key": str(self.lines_key), "allowed_signers": str(self.allowed)}
        orders = [str(self.directory / "order.age")]
        return self.run("work_order_units", orders=orders, records=list(records), **{**given, **options})

    def work(self, *numbers, number_of_order="WO-1"):
        """What the line has in its journal once it is done with units, and the outcomes for the report."""
        found = self.opened([self.unit(number) for number in numbers])["units"]
        outcomes = []
        for number in numbers:
            srk = self.make_srk(number)
            ownership = {
                "profile": "fleet",
                "key_version": 1,
                "owner_auth_set": True,
                "lockout_auth_set": True,
                "endorsement_auth_set": False,
            }
            done = {"ownership": "done", "possession": "verified", "dps_client": "done"}
            record = self.unit(number, storage_root_key=srk, ownership=ownership, outcome=done, tpm_model="SLB9670")
            take(self.journal, record, step="software_install")
            outcomes.append({**self.key(number), "state": "done", "answer": self.answer(found[f"slot{number}"])})
        return outcomes

    def key(self, number):
        digest = hashlib.sha256(base64.b64decode(self.make_ek(number))).hexdigest()
        return {"endorsement_key_sha256": digest, "number": "WO-1"}

    @staticmethod
    def answer(unit):
        """What the TPM of the unit answers; these tests know the master key and have no TPM."""
        proof = OrderedProof(unit["challenge"], unit["answer_sha256"])
        name = name_of(base64.b64decode(unit["endorsement_key"]))
        secret = derive_order_secret(MASTER_KEY, name.hex(), unit["number"])
        given = proof.challenge.answer(secret, endorsement_key_name=name, bound_to_name=known_object.NAME)
        proof.check_answer(given.hex())
        return proof.answer

    def export(self, *units, **options):
        given = {"numbers": ["WO-1"], "dest": str(self.directory), "signing_key": str(self.lines_key)}
        about = {"ledger": str(self.journal), "station": "line-1", "units": list(units)}
        return self.run("work_report_export", **{**given, **about, **options})

    def document(self):
        return json.loads(self.report.read_text().partition(END)[2])

    def forge(self, change, *, key=None, namespace="tpmfleet-work-report"):
        """The report with a *change* that the line itself, or whose *key* it is, has signed."""
        document = self.document()
        change(document)
        text = self.directory / "document"
        text.write_text(json.dumps(document))
        (self.directory / "document.sig").unlink(missing_ok=True)
        subprocess.run(
            ["ssh-keygen", "-q", "-Y", "sign", "-f", key or self.lines_key, "-n", namespace, text], check=True
        )
        self.report.write_text((self.directory / "document.sig").read_text() + text.read_text())

    def take_in(self, **options):
        given = {
            "ledger": str(self.ledger),
            "src": str(self.report),
            "allowed_signers": str(self.allowed),
            "master_key": MASTER_KEY,
            "id_scope": "0ne00000A1B",
        }
        return self.run("work_report_import", **{**given, **options})

    def finish(self, taken, action="created"):
        """What the role does with what was taken."""
        results = [{"registration_id": one["registration_id"], "action": action} for one in taken["enrollments"]]
        records = enrolled_records(taken["records"], {"results": results, "failed_records": []})
        return self.run(
            "device_records",
            ledger=str(self.ledger),
            step="software_install",
            station=taken["signed_by"],
            records=records,
        )

    def elsewhere(self):
        place = self.directory / "elsewhere"
        place.mkdir(exist_ok=True)
        return place

    def records(self, ledger=None):
        with opened(str(ledger or self.ledger), Access.READ) as connection:
            return {one["serial_number"]: one for _row, one in each_record(connection, [])}

    def states(self):
        return [one["work_order"]["state"] for one in self.records().values()]


@pytest.fixture(scope="session")
def make_srk(ek_of_modulus):
    """The TPM2B_PUBLIC of a storage root key, in base64, another one for each number."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import templates

    def make(number):
        modulus = hashlib.sha256(f"srk {number}".encode()).digest() * 8
        modulus = bytes([modulus[0] | 0x80]) + modulus[1:-1] + bytes([modulus[-1] | 1])
        return base64.b64encode(templates.with_unique(templates.srk_public_template(), modulus)).decode("ascii")

    return make


@pytest.fixture
def firms(tmp_path, run_module, make_ek, make_srk, ssh_key, allowed):
    return Firms(tmp_path, run_module, make_ek, make_srk, ssh_key, allowed)


@pytest.fixture
def firms_of_several_stations(tmp_path, run_module, make_ek, make_srk, ssh_key, allowed, postgresql):
    """The same, and the owner's ledger is in PostgreSQL."""
    return Firms(tmp_path, run_module, make_ek, make_srk, ssh_key, allowed, ledger=postgresql.ledger())


def test_a_report_is_as_the_schema_has_it_and_the_same_twice(firms):
    work = firms.work(0, 1)
    planned = firms.export(*work, check=True)
    assert planned["changed"] and not firms.report.exists()
    done = firms.export(*work)
    assert done["changed"] and done["reports"] == [
        {"number": "WO-1", "file": str(firms.report), "states": {"done": 2}}
    ], done
    document = firms.document()
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert [one["state"] for one in document["units"]] == ["done"] * 2 and document["count"] == 2
    assert os.stat(firms.report).st_mode & 0o777 == 0o600
    before = firms.report.read_bytes()
    assert not firms.export(*work)["changed"] and not firms.export()["changed"]
    assert firms.report.read_bytes() == before
    for spoilt in (before[:-1], before.replace(b"done", b"DONE"), b"", b"junk"):
        firms.report.write_bytes(spoilt)
        assert firms.export()["changed"] and firms.report.read_bytes() == before


def test_what_failed_is_reported_with_its_reason_and_what_was_done_stays_so(firms):
    done, other = firms.work(0, 1)
    failed = {**firms.key(1), "state": "failed", "reason": "it is\x1b[2J off", "not_proven": True}
    firms.export(done, failed)
    jsonschema.Draft202012Validator(SCHEMA).validate(firms.document())
    by_state = {one["state"]: one for one in firms.document()["units"]}
    assert by_state["failed"]["not_proven"] is True
    assert by_state["failed"]["reason"] == r"it is\x1b[2J off" and "answer" not in by_state["failed"]
    assert not firms.export(failed)["changed"]
    firms.export({**firms.key(0), "state": "failed", "reason": "pulled out"}, other)
    assert [one["state"] for one in firms.document()["units"]] == ["done"] * 2
    # The task in which a unit fails has noted that.
    assert not [one for one in events(firms.journal) if one["state"] in ("stopped", "failed")]


def events(ledger):
    with sqlite3.connect(ledger) as connection:
        return [json.loads(one) for (one,) in connection.execute("SELECT what FROM events ORDER BY id")]


def fail(firms, number, reason, **more):
    """What the task notes in which a unit fails before it is known, by what the inventory calls it."""
    order = {"order": "WO-1", "customer": "owner@example.org", "endorsement_key": firms.make_ek(number)}
    said = {"host": f"slot{number}", "failed": {"reason": reason, **order, **more}}
    return firms.run("device_records", ledger=str(firms.journal), step="software_install", station="", records=[said])


def test_a_unit_that_failed_before_it_was_known_is_reported_by_the_history(firms):
    firms.export(*firms.work(0))
    fail(firms, 1, "it is off")
    firms.export()
    document = firms.document()
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    [failed] = [one for one in document["units"] if one["state"] == "failed"]
    assert failed == {"endorsement_key": firms.make_ek(1), "state": "failed", "reason": "it is off", "at": failed["at"]}
    before = firms.report.read_bytes()
    time.sleep(1.1)
    fail(firms, 1, "it is off")
    assert not firms.export()["changed"] and firms.report.read_bytes() == before
    fail(firms, 1, "no answer", not_proven=True)
    done = firms.export()
    assert done["reports"][0]["states"] == {"done": 1, "failed": 1}
    [failed] = [one for one in firms.document()["units"] if one["state"] == "failed"]
    assert failed["reason"] == "no answer" and failed["not_proven"] is True
    fail(firms, 1, "it is off", unreachable=True)
    assert not firms.export()["changed"]
    # Another customer's order of that number is told nothing of it, and a unit that is done by now is done.
    assert firms.export(customers={"WO-1": "other"}, dest=str(firms.elsewhere()))["reports"][0]["states"] == {}
    firms.export(*firms.work(1))
    assert [one["state"] for one in firms.document()["units"]] == ["done"] * 2
    assert not firms.take_in()["refused"]


def test_a_report_that_has_what_the_journal_has_not_is_left_alone(firms):
    """The journal was lost, or two stations write to one place."""
    firms.export(*firms.work(0), {**firms.key(1), "state": "failed", "reason": "no power"})
    fail(firms, 1, "no power")
    firms.export()
    before = firms.report.read_bytes()
    firms.journal.rename(firms.directory / "lost.sqlite")
    fail(firms, 2, "it is off")
    for work in ([], firms.work(1), [{**firms.key(0), "state": "failed", "reason": "x"}]):
        failed = firms.export(*work)
        assert failed["failed"] and "is left alone: it has" in failed["msg"] and "TF-" in failed["msg"], failed
        assert firms.report.read_bytes() == before
    moved = firms.directory / "moved.report"
    firms.report.rename(moved)
    assert firms.export()["reports"][0]["states"] == {"done": 1, "failed": 1}
    for report in (moved, firms.report):
        firms.finish(firms.take_in(src=str(report)))
    assert firms.states() == ["done", "done", "failed"]


def test_a_report_of_units_that_are_otherwise_in_the_journal_is_left_alone_and_says_how(firms):
    """Another station's, in the same directory, or of a journal that was lost."""
    firms.export(*firms.work(0), {**firms.key(1), "state": "failed", "reason": "no power"})
    take(firms.journal, firms.unit(1), step="software_install")
    firms.export({**firms.key(1), "state": "failed", "reason": "it holds no key", "not_proven": True})
    before = firms.report.read_bytes()
    firms.journal.rename(firms.directory / "lost.sqlite")
    again = firms.work(0)
    fail(firms, 1, "it is off", unreachable=True)
    failed = firms.export(*again, station="line-2")
    assert failed["failed"] and "has 1 units" in failed["msg"], failed
    assert "which did not prove itself" in failed["msg"] and firms.report.read_bytes() == before
    fail(firms, 1, "it holds no key", not_proven=True)
    make_srk = firms.make_srk
    firms.make_srk = lambda number: make_srk(number + 50)
    firms.work(0)
    failed = firms.export(station="line-2")
    words = "which was done with another storage root key there than here"
    assert (
        failed["failed"]
        and "has 1 units" in failed["msg"]
        and "such as TF-0 (" in failed["msg"]
        and words in failed["msg"]
    ), failed
    assert firms.report.read_bytes() == before
    # What the same journal says later is its own word.
    (firms.directory / "lost.sqlite").rename(firms.journal)
    firms.work(0)
    assert firms.export()["changed"] and firms.document()["count"] == 2


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("first", ["line-1", "line-2"])
def test_two_stations_report_one_order_and_the_owner_takes_both_in_any_order(firms, first, copied):
    """A unit that was at both is taken in once, also where one began with a copy of the other's journal."""
    firms.export(*firms.work(0))
    firms.export(*firms.work(1))
    reports = {"line-1": firms.report, "line-2": firms.elsewhere() / "WO-1.report"}
    journal = firms.elsewhere() / "journal.sqlite"
    if copied:
        shutil.copy(firms.journal, journal)
    firms.journal = journal
    firms.export(*firms.work(1, 2), dest=str(firms.elsewhere()), station="line-2")
    taken = {name: [] for name in reports}
    for name in (first, *(one for one in reports if one != first), first):
        done = firms.take_in(src=str(reports[name]))
        assert not done["refused"] and not done["unexpected"], done
        taken[name].append((len(done["records"]), done["known"], len(done["missing"])))
        if done["records"]:
            firms.finish(done)
    assert firms.states() == ["done"] * 3
    twice = {"line-1": [(2, 0, 1), (0, 2, 0)], "line-2": [(3, 0, 0), (0, 3, 0)] if copied else [(2, 0, 1), (0, 2, 0)]}
    once = {"line-1": (0 if copied else 1, 2 if copied else 1, 0), "line-2": (1, 2 if copied else 1, 0)}
    other = next(one for one in reports if one != first)
    assert taken == {first: twice[first], other: [once[other]]}


EXPORT = """
import json, os, sys
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.in_worker import run_here
said = run_here("work_report_export", json.loads(sys.argv[1]), {})
assert said["rc"] == 0, said
os.write(1, b"done")
"""


def test_a_power_cut_leaves_journal_and_report_as_they_were_or_as_they_came_to_be(firms, power_cut):
    firms.export(*firms.work(0))
    work = firms.work(1)
    place = firms.elsewhere()
    for path in (firms.journal, firms.report):
        path.rename(place / path.name)
    journal, report = place / firms.journal.name, place / firms.report.name
    given = {"numbers": ["WO-1"], "dest": str(place), "signing_key": str(firms.lines_key), "ledger": str(journal)}
    before = report.read_bytes()
    program = [sys.executable, "-c", EXPORT, json.dumps({**given, "units": work})]
    recording = power_cut.record(program, roots=[place], cwd=firms.directory)
    assert recording.done.returncode == 0, recording.done.stderr
    assert recording.unsynced(when_said="done") == []
    found = set()
    after = report.read_bytes()
    boot = firms.directory / "boot"
    boot.mkdir()
    for cut in recording.cuts():
        cut.lay_out(place, boot)
        states = [one.get("work_order", {}).get("state") for one in firms.records(boot / journal.name).values()]
        found.add((tuple(states), (boot / report.name).read_bytes()))
    # The report is written once the journal has what it says.
    assert found == {(("done", None), before), (("done", "done"), before), (("done", "done"), after)}


def test_a_unit_is_meant_by_its_key_or_by_what_the_inventory_calls_it(firms):
    stranger = firms.unit(1, endorsement_key=firms.make_ek(9), registration_id="of-its-key")
    unread = {"host": "dark", "serial_number": "tf-2"}
    known = [firms.unit(0, serial_number="TF-9"), stranger, unread, {"host": "nameless"}]
    meant = firms.opened(known)["meant"]
    assert {host: one["endorsement_key"] for host, one in meant.items()} == {
        "slot0": firms.make_ek(0),
        "slot1": firms.make_ek(1),
        "dark": firms.make_ek(2),
    }
    assert meant["dark"]["number"] == "WO-1" and meant["dark"]["customer"] == "owner@example.org"
    # It is called as two units are.
    assert firms.opened([{"host": "two", "serial_number": "TF-1", "registration_id": "unit-2"}])["meant"] == {}


def test_an_order_that_has_ended_tells_what_is_to_be_reported(firms):
    firms.order(state="revoked")
    failed = firms.opened(revocations=[str(firms.directory / "order.age.revoked")])
    assert failed["failed"] and "was revoked by its owner" in failed["msg"]
    assert [(one["number"], one["signed_by"]) for one in failed["orders"]] == [("WO-1", "owner@example.org")]
    assert "orders" not in firms.opened(decryption_key=str(firms.other))


@pytest.mark.parametrize("option", ["decryption_key", "allowed_signers"])
def test_what_keeps_an_order_shut_names_the_option_that_is_to_be_mended(firms, option):
    failed = firms.opened(**{option: f"{firms.directory}/a-directory-of-keys-that/is-not-there"})
    assert failed["failure"]["option"] == option


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"numbers": ["../x"]}, "is no number"),
        ({"dest": "/nowhere-at-all"}, "is not there: make it"),
        ({"signing_key": "/nowhere-at-all"}, "is no"),
        ({"units": [{"state": "sold"}]}, "neither done nor failed"),
    ],
)
def test_a_report_that_cannot_be_written_is_told(firms, wrong, told):
    firms.export(*firms.work(0))
    before = firms.report.read_bytes()
    failed = firms.export(**wrong)
    if "signing_key" in wrong:
        failed = firms.export({**firms.key(0), "state": "failed", "reason": "x"}, **wrong)
    assert failed["failed"] and firms.report.read_bytes() == before, failed


def test_units_are_found_by_their_keys_and_strangers_are_not(firms):
    found = firms.opened([firms.unit(0), firms.unit(7), firms.unit(1, serial_number="TF-9"), {"host": "dark"}])
    assert list(found["units"]) == ["slot0"] and found["units"]["slot0"]["serial_number"] == "TF-0"
    assert "is on none of the work orders WO-1" in found["refused"]["slot7"]
    assert "its serial number is TF-9 here, and the work order WO-1 has TF-1" in found["refused"]["slot1"]
    assert found["refused"]["dark"] == "it says no endorsement key"
    [order] = found["orders"]
    assert (order["number"], order["count"], order["signed_by"]) == ("WO-1", 3, "owner@example.org")
    failed = firms.opened(signer="line@example.org")
    assert failed["failed"] and "and not that of line@example.org" in failed["msg"]


def test_outcomes_are_those_of_units_on_an_order():
    unit = {"endorsement_key_sha256": "aa", "number": "WO-1", "customer": "owner", "endorsement_key": "AAAA"}
    units = {"meant": dict.fromkeys(("good", "bad", "copied", "stopped", "off"), unit)}
    batch = {"verdicts": {"stopped": {"reasons": ["a twin", "on no list"]}}}
    host = {"units": units, "batch": batch}
    hostvars = {
        "good": {**host, "done": {"order": {"number": "WO-1", "answer": {"answer": "00"}}}},
        "bad": {**host, "done": {"failed": True, "msg": "bad: no\nTPM\x1b"}},
        "copied": {**host, "done": {"failed": True, "msg": "first", "reason": "no key", "not_proven": True}},
        "stopped": {**host, "done": {"failed": True, "msg": "stopped"}},
        "off": host,
        "unread": {"opened": {"meant": {"unread": unit}}, "read": {"failed": True, "msg": "no TPM there"}},
        "stranger": {**host, "done": {"failed": True, "msg": "on none"}},
        "skipped": {"units": {"skipped": True}},
    }
    told = work_outcomes(list(hostvars), hostvars, "opened", "read", "units", "batch", "done")
    assert [(one["state"], one.get("reason"), one.get("not_proven")) for one in told] == [
        ("done", None, None),
        ("failed", r"bad: no TPM\x1b", None),
        ("failed", "no key", True),
        ("failed", "a twin; on no list", None),
        ("failed", "no TPM there", None),
    ]


def test_the_owner_takes_in_what_is_proven_once(firms, record_schema):
    firms.export(*firms.work(0, 1), {**firms.key(1), "state": "failed", "reason": "no power"})
    firms.export({**firms.key(1), "state": "failed", "reason": "no power"})
    document = firms.document()
    assert [one["state"] for one in document["units"]] == ["done"] * 2
    planned = firms.take_in(check=True)
    assert planned["changed"] and firms.states() == ["ordered"] * 3
    taken = firms.take_in()
    assert len(taken["records"]) == 2 and taken["missing"] == ["TF-2 (slot2)"] and not taken["refused"], taken
    assert taken["signed_by"] == "line@example.org"
    # Cut off here, nothing is done yet, and all of it is done again.
    assert firms.states() == ["ordered"] * 3
    assert [one["places"][0]["registration_id"] for one in taken["enrollments"]] == ["unit-0", "unit-1"] or set(
        one["places"][0]["registration_id"] for one in taken["enrollments"]
    ) == {"unit-0", "unit-1"}
    taken = firms.take_in()
    assert len(taken["records"]) == 2 and firms.finish(taken)["changed"]
    assert firms.states() == ["done", "done", "ordered"]
    record = firms.records()["TF-0"]
    record_schema.validate(record)
    assert record["endorsement_key_proven"] and record["tpm_model"] == "SLB9670"
    assert record["steps"]["software_install"]["station"] == "line@example.org"
    again = firms.take_in()
    assert not again["changed"] and again["known"] == 2 and again["records"] == []
    assert not firms.order()["changed"] and firms.order()["states"] == {"done": 2, "ordered": 1}


def test_failures_are_noted_and_a_unit_can_be_done_later(firms):
    firms.work(0)
    firms.export({**firms.key(0), "state": "failed", "reason": "no\x1b power"})
    taken = firms.take_in()
    assert taken["failed_units"] == [{"unit": "TF-0 (slot0)", "reason": r"no\x1b power"}] and taken["changed"]
    assert firms.states() == ["failed", "ordered", "ordered"] and not firms.take_in()["changed"]
    old = firms.report.read_bytes()
    firms.export(*firms.work(0))
    firms.finish(firms.take_in())
    assert firms.states() == ["done", "ordered", "ordered"]
    firms.report.write_bytes(old)
    assert firms.take_in()["known"] == 1 and firms.states() == ["done", "ordered", "ordered"]


def put(*path, value):
    def change(document):
        for name in path[:-1]:
            document = document[name]
        document[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (put("work_report_version", value=2), "of version 2"),
        (lambda one: one.pop("work_report_version"), "is no work report"),
        (put("number", value="WO-9"), "of the work order WO-9, which the ledger does not know"),
        (put("number", value="\x1b"), "is no number"),
        (put("count", value=3), "as many units as it says"),
        (lambda one: one["units"].pop(), "as many units as it says"),
        (put("units", value={}), "as many units as it says"),
        (lambda one: one.update(units=[one["units"][0]] * 2), "twice"),
        (put("more", value=1), "which is not known here"),
        (put("units", 0, "more", value=1), "which is not known here"),
        (put("units", 0, value=7), "is no object"),
        (put("units", 0, "state", value="sold"), "neither done nor failed"),
        (put("units", 0, "at", value="today"), "time is none"),
        (put("units", 0, "at", value=None), "time is none"),
        (put("units", 0, "at", value=f"2026-11-27T00:00:00.{'1' * (9 << 20)}"), "time is none"),
        (put("units", 0, "station", value=7), "station is no text"),
        (put("units", 0, "not_proven", value="yes"), "not_proven is neither true nor false"),
        (put("units", 0, "serial_number", value=[]), "serial_number is no text"),
        (put("units", 0, "tpm_model", value={}), "tpm_model is no text of 255 characters"),
        (put("units", 0, "tpm_type", value="quantum"), "tpm_type is none of hardware, software"),
        (put("units", 0, "endorsement_key_template", value=["tcg"]), "unit 1"),
        (put("units", 0, "endorsement_key_certificate", value="A" * (65 << 10)), "no text of 65,536 characters"),
        (put("units", 0, "endorsement_key_certificate_chain", value=["A" * (33 << 10)] * 2), "chain of certificates"),
        (put("units", 0, "outcome", value={"enrollment": "done"}), "outcome is none"),
        (put("units", 0, "outcome", value={"ownership": "stolen"}), "outcome is none"),
        (put("units", 0, "outcome", value=[]), "outcome is none"),
        (put("units", 0, "outcome", value=["x"]), "outcome is none"),
        (put("units", 0, "ownership", value={"key_version": True}), "ownership is none"),
        (put("units", 0, "ownership", value={"owner_auth": "x"}), "ownership is none"),
        (put("units", 0, "ownership", value=7), "ownership is no object"),
        (put("units", 0, "endorsement_key", value="AAAA"), "unit 1"),
        (put("units", 0, "endorsement_key", value=None), "no endorsement key"),
        (put("units", 0, "storage_root_key", value="AAAA"), "unit 1"),
        (put("units", 0, "endorsement_key_certificate_chain", value=[7]), "chain of certificates"),
        (put("units", 0, "endorsement_key_certificate", value=7), "unit 1"),
    ],
)
def test_what_is_no_report_is_refused_whole_even_where_the_line_signed_it(firms, change, told):
    firms.export(*firms.work(0, 1))
    firms.forge(change)
    before = firms.ledger.read_bytes()
    failed = firms.take_in()
    assert failed.get("failed") and told in failed["msg"] and "Nothing was taken in" in failed["msg"], failed
    assert firms.ledger.read_bytes() == before and "\x1b" not in failed["msg"]


def spoil(text, at):
    return text[:at] + ("0" if text[at] != "0" else "1") + text[at + 1 :]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda one, other: one.pop("answer"), "the answer is not that of its TPM to this work order: there is none"),
        (
            lambda one, other: one.update(answer=other["answer"]),
            "the answer is not that of its TPM to this work order: it is that of the TPM of TF-",
        ),
        (
            lambda one, other: one.update(answer="00"),
            "the answer is not that of its TPM to this work order: it was made up",
        ),
        (
            lambda one, other: one["answer"].update(answer=spoil(one["answer"]["answer"], 5)),
            "the answer is not that of its TPM",
        ),
        (
            lambda one, other: one["answer"].update(digests=spoil(one["answer"]["digests"], 70)),
            "the answer is not that of its TPM",
        ),
        (lambda one, other: one.pop("storage_root_key"), "no storage root key of it"),
        (lambda one, other: one["ownership"].update(key_version=2), "the line says key version 2"),
        (lambda one, other: one.update(serial_number="TF-9"), "its serial number is TF-"),
        (lambda one, other: one.update(registration_id="unit-9"), "its registration ID is unit-"),
    ],
)
def test_a_unit_that_is_not_proven_is_refused_by_name_and_the_others_are_taken(firms, change, told):
    firms.export(*firms.work(0, 1))
    bad = firms.document()["units"][0]["serial_number"]
    firms.forge(lambda document: change(document["units"][0], document["units"][1]))
    taken = firms.take_in()
    assert [one["unit"] for one in taken["refused"]] == [f"{bad} (slot{bad[-1]})"] and told in taken["refused"][0][
        "reason"
    ]
    assert len(taken["records"]) == 1 and taken["records"][0]["serial_number"] != bad
    # It is noted once it is known what became of its enrollment.
    unproven = [[one["reason"]] for one in taken["unproven"] if one["event"]["is_new"]]
    assert stopped(firms) + unproven == [[taken["refused"][0]["reason"]]] and bool(unproven) == ("answer" in told)
    refused = firms.records()[bad]
    assert (
        "storage_root_key" not in refused and "ownership" not in refused and not refused.get("endorsement_key_proven")
    )


def test_a_unit_that_is_not_on_the_order_is_unexpected(firms):
    firms.export(*firms.work(0))
    firms.forge(lambda document: document["units"][0].update(endorsement_key=firms.make_ek(9)))
    taken = firms.take_in()
    assert [one["unit"] for one in taken["unexpected"]] == ["TF-0 (unit-0)"] and taken["records"] == []
    assert taken["missing"] == ["TF-0 (slot0)", "TF-1 (slot1)", "TF-2 (slot2)"]


def test_a_report_is_of_a_line_that_counts(firms, allowed):
    firms.export(*firms.work(0))
    before = firms.ledger.read_bytes()
    firms.forge(lambda document: None, key=firms.other)
    assert "has no signature of anybody in" in firms.take_in()["msg"]
    firms.forge(lambda document: None, namespace="file")
    assert "has no signature that is good" in firms.take_in()["msg"]
    firms.forge(lambda document: None)
    assert "and not that of owner@example.org" in firms.take_in(signer="owner@example.org")["msg"]
    assert firms.ledger.read_bytes() == before
    assert firms.take_in(signer="line@example.org")["records"]
    assert firms.take_in(allowed_signers=None)["signed_by"] == fingerprint(str(firms.lines_key))


def test_a_report_that_another_key_signed_than_the_order_is_for_is_refused(firms, allowed):
    """Also that of another line of the owner's, whose reports count for orders of its own."""
    firms.export(*firms.work(0))
    before = firms.ledger.read_bytes()
    firms.forge(lambda document: None, key=firms.other)
    everybody = str(allowed(firms.owners_key, firms.lines_key, firms.other))
    for lines in (everybody, None):
        failed = firms.take_in(allowed_signers=lines)
        keys = [fingerprint(str(one)) for one in (firms.other, firms.lines_key)]
        assert f"is signed by the key {keys[0]}" in failed["msg"] and f"signs with {keys[1]}" in failed["msg"], failed
    firms.forge(lambda document: None, namespace="file")
    assert "has no signature that is good over what it says" in firms.take_in(allowed_signers=None)["msg"]
    firms.report.write_text(firms.report.read_text().replace("done", "dome", 1))
    assert "has no signature that is good over what it says" in firms.take_in(allowed_signers=None)["msg"]
    assert firms.ledger.read_bytes() == before


def test_an_order_that_does_not_say_who_signs_needs_the_lines_to_be_named(firms):
    with sqlite3.connect(firms.ledger) as connection:
        for name, record in firms.records().items():
            del record["work_order"]["report_signers"]
            text = json.dumps(record, sort_keys=True)
            connection.execute("UPDATE devices SET record = ? WHERE serial_number = ?", (text, name))
    connection.close()
    firms.export(*firms.work(0))
    assert "name the lines whose reports count in allowed_signers" in firms.take_in(allowed_signers=None)["msg"]
    assert len(firms.take_in()["records"]) == 1


def test_every_changed_byte_of_a_report_is_noticed(firms):
    firms.export(*firms.work(0))
    content, before = firms.report.read_bytes(), firms.ledger.read_bytes()
    for at in [*range(0, len(content), 97), len(content) - 1]:
        spoilt = bytearray(content)
        spoilt[at] ^= 1
        firms.report.write_bytes(spoilt)
        assert "Nothing was taken in" in firms.take_in()["msg"], at
    for size in (0, 10, len(content) - 1):
        firms.report.write_bytes(content[:size])
        assert "Nothing was taken in" in firms.take_in()["msg"], size
    assert firms.ledger.read_bytes() == before


def test_a_report_is_taken_in_for_the_dps_that_was_ordered(firms):
    firms.export(*firms.work(0))
    before = firms.ledger.read_bytes()
    failed = firms.take_in(id_scope="0ne00000B2C")
    assert failed["failed"] and "has the ID scope 0ne00000A1B, and id_scope is 0ne00000B2C" in failed["msg"], failed
    assert firms.ledger.read_bytes() == before


def test_another_master_key_takes_nothing(firms):
    firms.export(*firms.work(0))
    other = "another master key of the owner, 01234567"
    before = firms.ledger.read_bytes()
    failed = firms.take_in(master_key=other)
    assert failed["failed"] and "was written with another master key than this one" in failed["msg"], failed
    assert firms.ledger.read_bytes() == before and other not in json.dumps(failed)
    # Of an order that is older nobody can tell.
    for number in range(3):
        edit(firms, number, lambda order: order.pop("master_key_check"))
    taken = firms.take_in(master_key=other)
    assert taken["records"] == [] and len(taken["refused"]) == 1
    failed = firms.take_in(master_key="short")
    assert failed["failed"] and "has 5 characters" in failed["msg"]


def test_a_revoked_order_takes_nothing_more(firms):
    firms.export(*firms.work(0, 1))
    firms.forge(lambda document: document.update(units=document["units"][:1], count=1))
    firms.finish(firms.take_in())
    firms.export()
    assert firms.order(state="revoked")["states"] == {"done": 1, "revoked": 2}
    taken = firms.take_in()
    assert taken["known"] == 1 and taken["records"] == [] and "was revoked on" in taken["refused"][0]["reason"]


def test_a_unit_whose_record_was_damaged_when_its_order_was_revoked_is_not_taken_in_once_it_is_back(firms):
    firms.export(*firms.work(0, 1))
    with opened(str(firms.ledger), Access.WRITE) as connection:
        devices = Devices(connection)
        row = devices.row_of({"serial_number": "TF-1"})
        record = devices.record(row)
    assert firms.order(state="revoked")["states"] == {"revoked": 3}
    with opened(str(firms.ledger), Access.WRITE) as connection:
        devices = Devices(connection)
        devices.save(row, record)
        devices.write()
    assert firms.states() == ["revoked", "ordered", "revoked"]
    taken = firms.take_in()
    assert taken["records"] == [] and len(taken["refused"]) == 2
    assert all("was revoked on" in one["reason"] for one in taken["refused"])


def test_a_journal_of_a_line_that_the_owner_takes_in_is_no_report(firms):
    """It names the customer of each order, and says done or failed of orders with the numbers of the owner's."""
    failed = {**firms.key(1), "state": "failed", "reason": "no power", "customer": "owner@example.org"}
    firms.export(*({**one, "customer": "owner@example.org"} for one in firms.work(0, 1)[:1]), failed)
    journal = firms.directory / "journal.jsonl"
    assert not firms.run("device_records_export", ledger=str(firms.journal), dest=str(journal)).get("failed")
    imported = firms.run("device_records_import", ledger=str(firms.ledger), src=str(journal))
    assert imported.get("updated") == 2, imported
    assert firms.order()["states"] == {"ordered": 3}
    taken = firms.take_in()
    assert [one["serial_number"] for one in taken["records"]] == ["TF-0"], taken
    assert taken["records"][0]["work_order"]["report_signers"]
    revoked = firms.order(state="revoked")
    assert revoked["states"] == {"revoked": 3}, revoked
    anew = firms.order(number="WO-2", dest=str(firms.directory / "second.age"), key_version=2)
    assert not [one for one in anew.get("problems", []) if "which is open" in one], anew


def test_two_customers_may_call_an_order_the_same_and_neither_is_told_of_the_others_units(firms):
    mine, others = ({**one, "customer": name} for one, name in zip(firms.work(0, 1), ("owner@example.org", "other")))
    assert firms.opened([firms.unit(0)])["units"]["slot0"]["customer"] == "owner@example.org"
    firms.export(mine, others, customers={"WO-1": "other"})
    assert [one["serial_number"] for one in firms.document()["units"]] == ["TF-1"]
    failed = firms.export(customers={"WO-1": "owner@example.org"})
    assert failed["failed"] and "that of another customer" in failed["msg"]
    firms.report.unlink()
    firms.export(customers={"WO-1": "owner@example.org"})
    assert [one["serial_number"] for one in firms.document()["units"]] == ["TF-0"]
    failed = firms.export()
    assert failed["failed"] and "of several customers" in failed["msg"]


def test_units_of_a_list_without_serial_numbers_are_told_apart(firms):
    """Also where it says the tray only, or a later shipment has trays of the same names."""
    for number, units in (("WO-2", (20, 21)), ("WO-3", (22, 23))):
        listed = firms.directory / "list.jsonl"
        listed.write_text(
            "".join(json.dumps({"tray": "T-1", "endorsement_key": firms.make_ek(one)}) + "\n" for one in units)
        )
        dest = str(firms.directory / f"{number}.age")
        done = firms.order(number=number, dest=dest, src=str(listed))
        assert done.get("total") == 2, done
        opened = firms.run(
            "work_order_units",
            orders=[dest],
            records=[{"host": f"slot{one}", "endorsement_key": firms.make_ek(one)} for one in units],
            decryption_key=str(firms.lines_key),
            allowed_signers=str(firms.allowed),
        )["units"]
        outcomes = []
        for one in units:
            unit = opened[f"slot{one}"]
            record = {
                "host": f"slot{one}",
                "registration_id": unit["registration_id"],
                "endorsement_key": firms.make_ek(one),
            }
            more = {"storage_root_key": firms.make_srk(one), "ownership": {"profile": "fleet", "key_version": 1}}
            take(firms.journal, {**record, **more, "outcome": {"ownership": "done"}}, step="software_install")
            about = {**firms.key(one), "number": number}
            outcomes.append({**about, "state": "done", "answer": firms.answer(unit)})
        firms.export(*outcomes, numbers=[number])
        taken = firms.take_in(src=str(firms.directory / f"{number}.report"))
        assert len(taken["records"]) == 2 and not taken["refused"], taken
        firms.finish(taken)
    with sqlite3.connect(firms.ledger) as connection:
        found = [json.loads(one) for (one,) in connection.execute("SELECT record FROM devices ORDER BY id")]
    assert [one["work_order"]["state"] for one in found] == ["ordered"] * 3 + ["done"] * 4


def test_no_other_order_has_the_number_of_one_whose_units_are_on_a_later_one(firms):
    """The answers to the earlier one would be answers to it."""
    firms.export(*firms.work(0, 1, 2))
    firms.finish(firms.take_in())
    later = firms.order(number="WO-2", dest=str(firms.directory / "later.age"))
    assert later["states"] == {"ordered": 3}
    again = {"dest": str(firms.directory / "again.age"), "expires": "2031-01-01"}
    firms.order(number="WO-2", dest=str(firms.directory / "later.age"), state="revoked")
    failed = firms.order(**again, key_version=2)
    assert failed["failed"] and "The work order WO-1 was written with other terms" in failed["msg"], failed
    assert not (firms.directory / "again.age").exists()


def test_a_report_on_as_many_units_as_an_order_has_can_be_read(firms):
    work = firms.work(0)
    about = {name: "x" for name in ("device_id", "tpm_manufacturer", "tpm_firmware_version")}
    about["tpm_type"] = "hardware"
    certificates = {
        "endorsement_key_certificate": "AAAA",
        "endorsement_key_certificate_chain": ["AAAA", "BBBB", "CCCC"],
    }
    take(firms.journal, firms.unit(0, endorsement_key_template="tcg", **about, **certificates))
    firms.export(*work)
    [unit] = firms.document()["units"]
    assert not {*RECORDED, "answer", "outcome"} - set(unit)
    assert sum(map(json.dumps(unit).count, "[{,")) < MOST_VALUES // MOST_UNITS


def stopped(firms):
    """Why units were stopped, by the ledger's events."""
    with sqlite3.connect(firms.ledger) as connection:
        events = [json.loads(one) for (one,) in connection.execute("SELECT what FROM events ORDER BY id")]
    return [one["reasons"] for one in events if one["state"] == "stopped"]


def unnamed(firms, number):
    """The ledger knows no serial number of the unit."""
    with sqlite3.connect(firms.ledger) as connection:
        text = json.dumps({**firms.records()[f"TF-{number}"], "serial_number": None})
        named = f"WHERE serial_number = 'TF-{number}'"
        connection.execute(f"UPDATE devices SET record = ?, serial_number = NULL {named}", (text,))
    connection.close()


def test_a_line_gives_no_unit_the_place_of_another_device(firms):
    unnamed(firms, 0)
    firms.export(*firms.work(0))
    genuine = firms.report.read_bytes()
    firms.forge(lambda document: document["units"][0].update(serial_number="tf-1"))
    taken = firms.take_in()
    assert taken["records"] == [] and "tf-1, which is another device's" in taken["refused"][0]["reason"], taken
    assert stopped(firms) == [[taken["refused"][0]["reason"]]]
    firms.report.write_bytes(genuine)
    firms.forge(lambda document: document["units"][0].update(device_id="unit-1", at="2026-11-27 09:00:00.5+01:00"))
    taken = firms.take_in()
    assert [one.get("device_id") for one in taken["enrollments"]] == [None]
    assert [one["serial_number"] for one in taken["records"]] == ["TF-0"]
    assert taken["records"][0]["work_order"]["at"] == "2026-11-27T08:00:00Z"


def test_a_device_that_says_too_much_spoils_no_report(firms):
    work = firms.work(0, 1)
    more = {"tpm_model": "x" * 300, "endorsement_key_certificate": "A" * (65 << 10), "tpm_manufacturer": ["x"]}
    take(firms.journal, firms.unit(0, **more), step="software_install")
    firms.export(*work)
    assert len(firms.take_in()["records"]) == 2


def test_what_came_later_overwrites_nothing(firms):
    firms.export(*firms.work(0))
    firms.finish(firms.take_in())
    firms.forge(lambda document: document["units"][0].update(storage_root_key=firms.make_srk(9)))
    taken = firms.take_in()
    assert "taken in with another storage root key" in taken["refused"][0]["reason"] and taken["records"] == []


def test_a_disabled_enrollment_is_enabled_unless_it_is_not_to_be(firms):
    take(firms.ledger, firms.unit(0, provisioning_status="disabled"))
    firms.export(*firms.work(0, 1))
    status = {one["registration_id"]: one.get("provisioning_status") for one in firms.take_in()["enrollments"]}
    assert status == {"unit-0": "enabled", "unit-1": None}


def test_it_stays_disabled_where_it_is_to(firms):
    take(firms.ledger, firms.unit(0, provisioning_status="disabled"))
    firms.export(*firms.work(0))
    [wanted] = firms.take_in(enabled=False)["enrollments"]
    assert wanted["provisioning_status"] == "disabled"


def test_a_twin_of_another_device_is_stopped_as_at_step_3(firms, make_ek):
    firms.work(0)
    with sqlite3.connect(firms.ledger) as connection:
        text = json.dumps({**firms.records()["TF-0"], "serial_number": None, "device_id": None})
        connection.execute("UPDATE devices SET record = ?, serial_number = NULL WHERE serial_number = 'TF-0'", (text,))
    connection.close()
    take(firms.ledger, firms.unit(5, serial_number="TF-0", host="slot5"))
    firms.export(*firms.work(0))
    taken = firms.take_in()
    assert taken["records"] == [] and "which is another device's" in taken["refused"][0]["reason"], taken
    assert len(stopped(firms)) == 1


def test_a_report_of_which_no_unit_is_on_a_list_tells_of_the_list(firms, run_module, make_ek):
    firms.export(*firms.work(0, 1, 2))
    told = firms.take_in(ek_list_policy="required")
    assert told["without_list"] and told["msg"].startswith("No list of a TPM maker was ever taken in"), told
    taken_in = {"maker": "M", "columns": {"endorsement_key": "EK_PUB"}}
    for number, refused in ((7, 3), (1, 2)):
        path = firms.directory / f"list{number}.csv"
        path.write_text(f"EK_PUB\n{make_ek(number)}\n")
        run_module("ek_list", ledger=str(firms.ledger), src=str(path), batch=str(number), **taken_in)
        told = firms.take_in(ek_list_policy="required")
        # Where one of them is on a list, the others are those that are not.
        assert told["without_list"] == (refused == 3) == ("failure" in told), told
        assert told.get("msg", "").startswith("Of the 3 devices held against the lists none" if refused == 3 else "")
        assert len(told["refused"]) == refused and len(told["records"]) == 3 - refused


def test_a_damaged_record_stops_its_own_unit_and_no_report(firms):
    firms.export(*firms.work(0, 1))
    with sqlite3.connect(firms.ledger) as connection:
        connection.execute("UPDATE devices SET record = '[]' WHERE serial_number IN ('TF-1', 'TF-2')")
    connection.close()
    taken = firms.take_in()
    assert [one["serial_number"] for one in taken["records"]] == ["TF-0"] and taken["missing"] == []
    [refused] = taken["refused"]
    assert refused["unit"].startswith("TF-1") and "the record of TF-1 (slot1) in the ledger" in refused["reason"]
    assert [one.split(" in the ledger")[0] for one in taken["damaged"]] == [
        "the record of TF-1 (slot1)",
        "the record of TF-2 (slot2)",
    ]


def test_a_damaged_record_of_the_journal_stops_no_report_of_the_others(firms):
    work = firms.work(0, 1)
    firms.export(*work)
    with sqlite3.connect(firms.journal) as connection:
        connection.execute("UPDATE devices SET record = '{' WHERE serial_number = 'TF-1'")
    connection.close()
    done = firms.export(*work)
    assert [one["serial_number"] for one in firms.document()["units"]] == ["TF-0"], done
    assert "The report has no word of a unit: the record of TF-1" in str(done["warnings"])


def test_two_stations_report_their_parts_and_the_order_is_complete_over_both(firms):
    one = firms.work(0)
    firms.export(*one, {**firms.key(1), "state": "failed", "reason": "no power"})
    firms.work(1)
    firms.export({**firms.key(1), "state": "failed", "reason": "no power"})
    first = firms.report.read_bytes()
    taken = firms.take_in()
    assert taken["states"] == {"done": 1, "failed": 1, "ordered": 1} and taken["missing"] == ["TF-2 (slot2)"], taken
    firms.finish(taken)
    for path in (firms.journal, firms.report):
        path.unlink()
    firms.export(*firms.work(2))
    second = firms.report.read_bytes()
    taken = firms.take_in()
    assert taken["states"] == {"done": 2, "failed": 1} and taken["missing"] == [], taken
    firms.finish(taken)
    for report in (first, second, first):
        firms.report.write_bytes(report)
        again = firms.take_in()
        assert not again["changed"] and again["states"] == {"done": 2, "failed": 1} and again["records"] == [], again


def test_of_two_words_on_a_failure_the_later_one_is_kept(firms):
    firms.work(0)
    firms.export({**firms.key(0), "state": "failed", "reason": "the later one"})
    assert firms.take_in()["changed"]
    firms.forge(lambda document: document["units"][0].update(at="2020-01-01T00:00:00Z", reason="an earlier one"))
    assert firms.take_in()["changed"] and events(firms.ledger)[-1]["state"] == "late"
    assert not firms.take_in()["changed"]
    assert firms.records()["TF-0"]["work_order"]["reason"] == "the later one"


def said_by(firms, station, **said):
    """The report of a station that has failed to do the unit 0."""
    firms.journal = firms.elsewhere() / f"{station}.sqlite"
    take(firms.journal, firms.unit(0), step="software_install")
    firms.export({**firms.key(0), "state": "failed", **said}, dest=str(firms.elsewhere()), station=station)
    report = firms.elsewhere() / "WO-1.report"
    return report.rename(firms.elsewhere() / f"{station}.report")


@pytest.mark.parametrize("first", [0, 1])
def test_that_a_unit_did_not_prove_itself_stays_until_it_answers_at_another_station(firms, first):
    """In whichever order the reports come; and only a right answer counts."""
    [done] = firms.work(0)
    unproven = said_by(firms, "line-1", reason="it holds no key", not_proven=True)
    time.sleep(1.1)
    unreachable = said_by(firms, "line-2", reason="No route to host")
    time.sleep(1.1)
    answered = said_by(firms, "line-3", reason="This TPM has an owner", answer=done["answer"])
    for report in (unproven, unreachable) if first == 0 else (unreachable, unproven):
        taken = firms.take_in(src=str(report))
        note_unproven(firms, taken)
        assert bool(taken["unproven"]) == (report == unproven), taken
    order = firms.records()["TF-0"]["work_order"]
    assert (order["reason"], order["not_proven"], order["station"]) == ("it holds no key", True, "line-1")
    taken = firms.take_in(src=str(answered))
    assert taken["changed"] and not taken["unproven"] and not taken["refused"], taken
    order = firms.records()["TF-0"]["work_order"]
    assert order["reason"] == "This TPM has an owner" and order["answer"] and "not_proven" not in order
    assert order["written"] and order["key_version"] == 1
    # Both others are known to have been before that.
    for report in (unproven, unreachable):
        firms.take_in(src=str(report))
        assert firms.records()["TF-0"]["work_order"] == order
    # A line that makes its answer up is not believed, nor that the unit has failed for anything else.
    firms.report = answered
    firms.report.write_bytes(firms.report.read_bytes())
    firms.forge(lambda document: document["units"][0]["answer"].update(answer="00" * 32))
    taken = firms.take_in()
    assert [one["reason"] for one in taken["unproven"]] == [one["reason"] for one in taken["refused"]]
    assert "the answer is not that of its TPM" in taken["refused"][0]["reason"]
    firms.forge(lambda document: document["units"][0].update(not_proven=True))
    assert "and it has proven itself" in firms.take_in()["msg"]
    # Done at last, nothing of it is left.
    firms.journal = firms.directory / "journal.sqlite"
    firms.report = firms.directory / "WO-1.report"
    firms.export(done)
    firms.finish(firms.take_in())
    order = firms.records()["TF-0"]["work_order"]
    assert order["state"] == "done" and not {"reason", "not_proven", "answer"} & set(order)


def test_what_was_done_after_the_order_had_expired_is_taken_and_told(firms):
    """Its proof is as good. A report that comes late about what was done in time is as any other."""
    firms.export(*firms.work(0, 1))
    firms.forge(lambda document: document["units"][0].update(at="2030-01-01T00:00:01Z"))
    late = firms.document()["units"][0]["serial_number"]
    taken = firms.take_in()
    assert len(taken["records"]) == 2 and taken["late"] == [f"{late} (slot{late[-1]})"], taken


def keep(document, name, **more):
    units = [one for one in document["units"] if one["serial_number"] == name]
    document.update(units=units, count=len(units), **more)


def test_a_late_report_of_an_earlier_order_is_told_from_that_of_the_later_one(firms):
    firms.export(*firms.work(0, 1))
    first = firms.report.read_bytes()
    firms.forge(lambda document: keep(document, "TF-0"))
    firms.finish(firms.take_in())
    firms.order(state="revoked")
    second = {"number": "WO-2", "dest": str(firms.directory / "order2.age"), "key_version": 2}
    only = firms.directory / "one.jsonl"
    only.write_text(json.dumps({"endorsement_key": firms.make_ek(1)}))
    assert firms.order(**second, src=str(only))["states"] == {"ordered": 1}
    firms.report.write_bytes(first)
    taken = firms.take_in()
    assert taken["known"] == 1 and taken["records"] == [] and taken["states"] == {"done": 1, "revoked": 2}
    assert "the work order was revoked on" in taken["refused"][0]["reason"] and taken["unproven"] == []
    # The answers to the first one answer nothing of the second.
    firms.forge(lambda document: keep(document, "TF-1", number="WO-2"))
    taken = firms.take_in()
    assert "it is the one to the work order WO-1" in taken["refused"][0]["reason"] and taken["records"] == []
    assert [one["work_order"]["number"] for one in firms.records().values()] == ["WO-1", "WO-2", "WO-1"]


def test_an_order_that_is_revoked_while_its_report_is_taken_in_stays_revoked(firms):
    firms.export(*firms.work(0))
    taken = firms.take_in()
    firms.order(state="revoked")
    firms.finish(taken)
    assert firms.states() == ["revoked"] * 3


def test_a_unit_that_was_taken_in_and_rotated_since_is_known_by_its_report_still(firms):
    firms.export(*firms.work(0))
    firms.finish(firms.take_in())
    rotated = {"profile": "fleet", "key_version": 2, "owner_auth_set": True, "lockout_auth_set": True}
    take(firms.ledger, firms.unit(0, ownership=rotated), step="warehouse")
    again = firms.take_in()
    assert again["known"] == 1 and again["refused"] == [] and not again["changed"]


@pytest.mark.parametrize(
    ("step", "since", "told"),
    [
        ("software_install", {"ownership": {"profile": "fleet", "key_version": 2}}, "the key version 2"),
        ("reprovision", {"dps_id_scope": "0ne00000B2C"}, "the ID scope 0ne00000B2C"),
        ("warehouse", {"storage_root_key": "another"}, "the storage root key 000b"),
    ],
)
def test_a_report_undoes_nothing_that_the_owner_did_with_a_unit_meanwhile(firms, step, since, told):
    firms.export(*firms.work(0, 1))
    if "storage_root_key" in since:
        since = {"storage_root_key": firms.make_srk(9)}
    with_step(firms, 0, step, **since)
    before, stood = firms.records()["TF-0"], standing(firms.ledger)[0]
    taken = firms.take_in()
    firms.finish(taken)
    [refused] = taken["refused"]
    assert f"it went through {step} here on 2036-" in refused["reason"] and told in refused["reason"], refused
    assert [one["serial_number"] for one in taken["records"]] == ["TF-1"]
    after = firms.records()["TF-0"]
    assert {**after, "work_order": None} == {**before, "work_order": None} and standing(firms.ledger)[0] == stood


def closed(firms):
    """The first unit was rotated by the owner while it was ordered, and the line reported it."""
    firms.export(*firms.work(0, 1))
    rotated = {"owner_auth_set": True, "lockout_auth_set": True, "endorsement_auth_set": False}
    with_step(firms, 0, "software_install", ownership={"profile": "fleet", "key_version": 2, **rotated})
    firms.finish(firms.take_in())


def test_a_unit_that_the_owner_did_otherwise_is_closed_on_its_order_and_refused_once(firms, record_schema):
    closed(firms)
    assert firms.states() == ["closed", "done", "ordered"]
    record = firms.records()["TF-0"]
    record_schema.validate(record)
    again = firms.take_in()
    assert not again["changed"] and again["refused"] == [] and again["records"] == [], again
    assert again["closed"] == [{"unit": "TF-0 (slot0)", "reason": record["work_order"]["reason"]}]
    assert again["states"] == {"closed": 1, "done": 1, "ordered": 1} and again["missing"] == ["TF-2 (slot2)"]
    # A failure that comes later still, and another answer, do not open it again; that is told by name.
    firms.forge(lambda document: [one.update(state="failed", at="2037-01-01T00:00:00Z") for one in document["units"]])
    assert len(firms.take_in()["closed"]) == 1
    firms.forge(lambda document: [one.update(state="done", answer=None) for one in document["units"]])
    forged = firms.take_in()
    assert len(forged["refused"]) == 2 and forged["unproven"] == [] and firms.states()[0] == "closed"
    assert not firms.order()["changed"]


def test_a_closed_unit_is_ordered_anew_and_its_old_order_says_nothing_of_it(firms):
    closed(firms)
    report = firms.report.read_bytes()
    only = firms.directory / "one.jsonl"
    only.write_text(json.dumps({"endorsement_key": firms.make_ek(0)}))
    second = {"number": "WO-2", "dest": str(firms.directory / "order2.age"), "src": str(only), "key_version": 2}
    assert firms.order(**second)["states"] == {"ordered": 1}
    firms.report.write_bytes(report)
    taken = firms.take_in()
    assert len(taken["closed"]) == 1 and not taken["changed"] and not taken["refused"], taken
    assert firms.records()["TF-0"]["work_order"]["state"] == "ordered"


def test_a_closed_unit_is_revoked_with_its_order(firms):
    """What the line was given of it opens it no longer, however that came."""
    closed(firms)
    done = firms.order(state="revoked")
    assert done["states"] == {"revoked": 2, "done": 1} and firms.states() == ["revoked", "done", "revoked"]
    assert "the work order was revoked on" in firms.take_in()["refused"][0]["reason"]


def test_a_unit_that_is_closed_while_a_report_is_taken_in_stays_closed(firms):
    firms.export(*firms.work(0))
    taken = firms.take_in()
    with_step(firms, 0, "software_install", ownership={"profile": "fleet", "key_version": 2})
    assert firms.take_in()["refused"]
    firms.finish(taken)
    assert firms.states()[0] == "closed"


def test_what_a_unit_is_called_in_the_ledger_writes_nothing_on_the_terminal(firms):
    """In any list of what became of it, whatever an inventory or a maker's list has called it."""
    take(firms.ledger, *(firms.unit(number, host=f"slot{number}\x1b[2J") for number in range(3)))
    firms.work(0, 1)
    for number in (0, 1):
        firms.export({**firms.key(number), "state": "failed", "reason": "no power", "not_proven": True})
    with_step(firms, 1, "warehouse", host="slot1\x1b[2J")
    taken = firms.take_in()
    told = [one["unit"] for name in ("failed_units", "overtaken") for one in taken[name]] + taken["missing"]
    assert told == [rf"TF-{number} (slot{number}\x1b[2J)" for number in range(3)]
    firms.order(state="revoked")
    other = {"number": "WO-2", "dest": str(firms.directory / "other.age"), "key_version": 2}
    assert "\x1b" not in "".join(firms.order(**other, diff=True, check=True)["diff"]["after"])


def standing(ledger):
    with sqlite3.connect(ledger) as connection:
        return connection.execute("SELECT device, at, step, state, cause FROM standings ORDER BY device").fetchall()


def note_unproven(firms, taken):
    """What the action does where the service has no enrollment of theirs."""
    records = [failure_of(one) for one in taken["unproven"] if one["event"]["is_new"]]
    about = {"step": "software_install", "station": "line-1"}
    return firms.run("device_records", ledger=str(firms.ledger), **about, records=records)


@pytest.mark.parametrize("more", [{}, {"not_proven": True}])
def test_a_failure_from_before_the_owner_did_the_unit_is_noted_as_late_and_changes_nothing(firms, run_module, more):
    firms.work(0, 1)
    firms.export(*({**firms.key(number), "state": "failed", "reason": "no power", **more} for number in (0, 1)))
    with_step(firms, 0, "warehouse")
    with_step(firms, 1, "tpm_install")
    before, stood = firms.records(), standing(firms.ledger)
    taken = firms.take_in()
    late = {"unit": "TF-0 (slot0)", "reason": "no power", "since": "warehouse on 2036-01-01T00:00:00Z"}
    assert taken["changed"] and taken["overtaken"] == [late], taken
    # Step 2 is done before a line has the unit, and what came after the step is news.
    assert [one["unit"] for one in taken["failed_units"]] == ["TF-1 (slot1)"]
    assert [one["unit"] for one in taken["unproven"]] == (["TF-1 (slot1)"] if more else [])
    note_unproven(firms, taken)
    assert firms.records()["TF-0"] == before["TF-0"] and standing(firms.ledger)[0] == stood[0]
    assert standing(firms.ledger)[1] != stood[1] and firms.states() == ["ordered", "failed", "ordered"]
    again = firms.take_in()
    assert not again["changed"] and again["overtaken"] == [late]
    story = run_module("device_story_info", ledger=str(firms.ledger), serial_number="TF-0")["lines"]
    assert [one for one in story if "told late that it FAILED there on" in one and "no power" in one] == [story[-1]]
    assert run_module("fleet_info", ledger=str(firms.ledger))["states"].get("stopped") == 1
    firms.forge(lambda document: [one.update(at="2036-01-01T00:00:01Z") for one in document["units"]])
    assert len(firms.take_in()["failed_units"]) == 2 and firms.states()[0] == "failed"


def test_what_is_told_late_of_many_units_is_looked_up_at_once(firms, monkeypatch):
    """An order has up to 10,000 of them, and a trip to the database for each would hold the other stations up."""
    firms.work(0, 1, 2)
    firms.export(*({**firms.key(number), "state": "failed", "reason": "no power"} for number in range(3)))
    for number in range(3):
        with_step(firms, number, "warehouse")
    asked, histories = [], Devices.histories
    monkeypatch.setattr(Devices, "histories", lambda self, rows: asked.append(len(rows)) or histories(self, rows))
    assert len(firms.take_in()["overtaken"]) == 3
    assert [one for one in asked if one] == [3]


def test_a_unit_that_the_owner_did_as_it_was_ordered_is_taken_in(firms):
    firms.export(*firms.work(0))
    with_step(firms, 0, "software_install", storage_root_key=firms.make_srk(0), dps_id_scope="0ne00000A1B")
    assert len(firms.take_in()["records"]) == 1


def with_step(firms, number, step, **since):
    """The owner does *step* with a unit, long after it was ordered."""
    with opened(str(firms.ledger), Access.WRITE) as connection:
        about = {"station": "line-1", "at": "2036-01-01T00:00:00Z", "list_policy": "ignored"}
        took = Step(connection, step=step, certificates=CertificatePolicy("ignored"), **about)
        [verdict] = took.take([firms.unit(number, outcome={"ownership": "done"}, **since)]).values()
    assert not verdict.reasons


@pytest.mark.parametrize("said", [{"profile": "sdk"}, {}])
def test_a_line_gives_no_unit_another_profile_than_was_ordered(firms, said):
    firms.export(*firms.work(0, 1))
    firms.forge(lambda document: document["units"][0].update(ownership={"key_version": 1, **said}))
    name = firms.document()["units"][0]["serial_number"]
    taken = firms.take_in()
    [refused] = taken["refused"]
    assert refused["unit"].startswith(name) and "and the order has fleet" in refused["reason"], refused
    assert len(taken["records"]) == 1 and firms.records()[name]["work_order"]["state"] == "ordered"
    # The ledger's note of an order that is older has none.
    for number in (0, 1):
        edit(firms, number, lambda order: order.pop("profile"))
    firms.forge(lambda document: [one["ownership"].update(profile="sdk") for one in document["units"]])
    assert not firms.take_in()["refused"]


def edit(firms, number, change):
    """Changes what the owner's ledger has noted of the order of a unit."""
    with sqlite3.connect(firms.ledger) as connection:
        record = firms.records()[f"TF-{number}"]
        change(record["work_order"])
        named = f"WHERE serial_number = 'TF-{number}'"
        connection.execute(f"UPDATE devices SET record = ? {named}", (json.dumps(record),))
    connection.close()


def test_a_line_gives_no_unit_an_ownership_that_no_order_has(firms):
    firms.export(*firms.work(0))
    firms.forge(lambda document: document["units"][0]["ownership"].update(endorsement_auth_set=True))
    taken = firms.take_in()
    assert "its endorsement hierarchy has an authorization" in taken["refused"][0]["reason"] and taken["records"] == []


@pytest.mark.parametrize("spoil", [lambda text: text.replace(b"\n", b"\r\n"), lambda text: b"\xef\xbb\xbf" + text])
def test_what_mail_has_changed_is_said_to_be_that(firms, spoil):
    firms.export(*firms.work(0))
    firms.report.write_bytes(spoil(firms.report.read_bytes()))
    assert "as mail and editors make them: have it sent inside an archive" in firms.take_in()["msg"]


def test_an_intake_reads_the_units_of_its_order_and_no_others(firms, monkeypatch):
    """Of whom a million may be in the ledger."""
    take(firms.ledger, *(firms.unit(number) for number in range(10, 40)))
    firms.export(*firms.work(0, 1))
    rows = []
    known = Devices.record
    monkeypatch.setattr(Devices, "record", lambda self, row: rows.append(row) or known(self, row))
    assert len(firms.take_in()["records"]) == 2 and set(rows) == {1, 2, 3}


def at_once(*calls):
    """What modules return that are called by several stations at the same moment."""
    stations = [
        subprocess.Popen(
            [sys.executable, "-c", STATION, name, json.dumps(options)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for name, options in calls
    ]
    assert [one.stdout.readline() for one in stations] == ["ready\n"] * len(calls)
    for one in stations:
        one.stdin.write("go\n")
        one.stdin.flush()
    return [json.loads(one.communicate(timeout=60)[0]) for one in stations]


def test_an_order_and_its_report_at_a_ledger_in_postgresql(firms_of_several_stations):
    firms = firms_of_several_stations
    assert not firms.order()["changed"] and firms.states() == ["ordered"] * 3
    firms.export(*firms.work(0, 1))
    assert firms.take_in(check=True)["changed"] and firms.states() == ["ordered"] * 3
    firms.finish(firms.take_in())
    assert firms.states() == ["done", "done", "ordered"]
    again = firms.take_in()
    assert not again["changed"] and again["known"] == 2 and again["states"] == {"done": 2, "ordered": 1}
    assert firms.order(state="revoked")["states"] == {"done": 2, "revoked": 1}
    assert firms.order(number="WO-2", dest=str(firms.directory / "2.age"), key_version=2)["failed"]
    only = firms.directory / "one.jsonl"
    only.write_text(json.dumps({"endorsement_key": firms.make_ek(2)}))
    second = firms.order(number="WO-2", dest=str(firms.directory / "2.age"), key_version=2, src=str(only))
    assert second["states"] == {"ordered": 1}, second
    assert [one["number"] for one in firms.records()["TF-2"]["earlier_work_orders"]] == ["WO-1"]


def test_two_stations_of_the_owner_take_in_one_report_at_once(firms_of_several_stations):
    firms = firms_of_several_stations
    firms.export(*firms.work(0, 1))
    options = {"ledger": firms.ledger, "src": str(firms.report), "master_key": MASTER_KEY, "id_scope": "0ne00000A1B"}
    taken = at_once(*[("work_report_import", options)] * 2)
    assert [len(one["records"]) for one in taken] == [2, 2] and not [one for one in taken if one["refused"]], taken
    calls = []
    for one, action in zip(taken, ("created", "unchanged")):
        results = [{"registration_id": unit["registration_id"], "action": action} for unit in one["enrollments"]]
        done = enrolled_records(one["records"], {"results": results, "failed_records": []})
        said = {"step": "software_install", "station": one["signed_by"], "records": done}
        calls.append(("device_records", {"ledger": firms.ledger, **said}))
    written = at_once(*calls)
    assert sum(one["changed"] for one in written) >= 1 and not [one for one in written if one.get("failed")], written
    assert firms.states() == ["done", "done", "ordered"] and firms.take_in()["known"] == 2
    record = firms.records()["TF-0"]
    assert len(record["places"]) == 1 and record["steps"]["software_install"]["outcome"]["ownership"] == "done"
    with opened(firms.ledger, Access.READ) as connection:
        assert Proof(connection).run() == []


def test_two_stations_of_the_owner_write_one_order_and_one_number_at_once(firms_of_several_stations):
    """Which of them comes second is told so, and no unit is on both."""
    firms = firms_of_several_stations
    take(firms.ledger, *(firms.unit(number, batch="B-2") for number in range(10, 14)))
    given = {
        "ledger": firms.ledger,
        "number": "WO-7",
        "owner": "Example Devices",
        "recipients": [firms.lines_key.with_suffix(".pub").read_text()],
        "expires": "2030-01-01",
        "signing_key": str(firms.owners_key),
        "master_key": MASTER_KEY,
        "id_scope": "0ne00000A1B",
        "filters": {"batch": "B-2"},
    }
    dest = [str(firms.directory / f"of-{station}.age") for station in range(2)]
    same = at_once(*[("work_order", {**given, "dest": one}) for one in dest])
    assert all(one["states"] == {"ordered": 4} for one in same), same
    others = [{**given, "number": f"WO-{number}", "dest": f"{dest[0]}.{number}"} for number in (8, 9)]
    for one in at_once(*[("work_order", one) for one in others]):
        assert "is on the work order WO-7, which is open" in one["msg"], one


def test_units_that_did_not_prove_themselves_are_told_apart(firms):
    """By their answers, and by what the line says of TPMs that could not open the challenge."""
    firms.export(*firms.work(0, 1))
    not_held = "The TPM in this device does not hold the endorsement key that it reports."

    def change(document):
        first, second = document["units"]
        first.pop("answer")
        second.update(state="failed", reason=not_held, not_proven=True)
        del second["answer"], second["outcome"]

    firms.forge(change)
    taken = firms.take_in()
    assert [one["unit"].partition(" ")[0] for one in taken["unproven"]] == [
        one["serial_number"] for one in firms.document()["units"]
    ]
    reasons = [one["reason"] for one in taken["unproven"]]
    assert reasons[0].endswith("how it came to that") and reasons[1] == not_held
    assert [one["event"].get("not_proven") for one in taken["unproven"]] == [True] * 2
    # One that was taken in stays proven, whatever a later report says.
    firms.export()
    firms.finish(firms.take_in())
    firms.forge(change)
    assert firms.take_in()["unproven"] == []


def play(firms, dps, callback="ansible.builtin.default", **said):
    """The owner's playbook at the emulated service; what it printed, in one line."""
    values = firms.directory / "values.json"
    given = {
        "tpmfleet_hosts": "localhost",
        "tpmfleet_ledger": str(firms.ledger),
        "tpmfleet_work_report": str(firms.report),
        "tpmfleet_master_key": MASTER_KEY,
        "tpmfleet_dps_id_scope": "0ne00000A1B",
        "tpmfleet_dps_connection_string": dps.where["connection_string"],
        "tpmfleet_dps_ca_file": dps.where["ca_file"],
        "tpmfleet_ek_list_policy": "ignored",
    }
    values.write_text(json.dumps({**given, **said}))
    command = [Path(sys.executable).with_name("ansible-playbook"), "-e", f"@{values}"]
    done = subprocess.run(
        [*command, COLLECTION / "playbooks" / "work_report.yml"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_NOCOLOR": "1", "ANSIBLE_STDOUT_CALLBACK": callback},
    )
    return done.returncode, " ".join((done.stdout + done.stderr).split())


def test_a_wrong_list_is_said_before_the_units_that_it_does_not_have(firms, dps):
    firms.export(*firms.work(0, 1, 2))
    code, printed = play(firms, dps, callback="tpmfleet.azure_dps.line", tpmfleet_ek_list_policy="required")
    assert code != 0 and "MEND the batch: No list of a TPM maker was ever taken in to the ledger" in printed, printed
    assert "PULL" not in printed and "(errors.md#ek-not-listed)" in printed
    assert firms.states() == ["ordered"] * 3


def test_the_enrollment_of_a_unit_that_did_not_prove_itself_is_disabled(firms, dps, run_module):
    service = {"connection_string": dps.where["connection_string"], "ca_file": dps.where["ca_file"]}
    firms.export(*firms.work(0, 1))
    bad, good = (one["serial_number"][-1] for one in firms.document()["units"])
    wanted = {"registration_id": f"unit-{bad}", "endorsement_key": firms.make_ek(int(bad))}
    run_module("dps_enrollments", **service, enrollments=[wanted])
    enrolled = firms.unit(int(bad), dps_id_scope="0ne00000A1B", outcome={"enrollment": "done"})
    take(firms.ledger, enrolled, at=datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))
    firms.forge(lambda document: document["units"][0].pop("answer"))
    # Where it cannot be done it is the first thing that is said.
    code, printed = play(firms, dps, tpmfleet_dps_connection_string="HostName=x.example;SharedAccessKeyName=a")
    assert code != 0 and "could not be seen" in printed, printed
    code, printed = play(firms, dps)
    assert code != 0 and f"Its enrollment unit-{bad} was disabled." in printed, printed
    assert "1 units of the report on the work order WO-1 were refused" in printed, printed
    listed = run_module("dps_enrollment_info", **service)["enrollments"]
    assert {one["registration_id"]: one["provisioning_status"] for one in listed} == {
        f"unit-{bad}": "disabled",
        f"unit-{good}": "enabled",
    }
    record = firms.records()[f"TF-{bad}"]
    assert record["places"][0]["disabled"] and firms.records()[f"TF-{good}"]["work_order"]["state"] == "done"
    # One event for each time that it was found out, with what became of its enrollment then.
    found = [one for one in events(firms.ledger) if one.get("not_proven")]
    assert [one.get("enrollment") for one in found] == ["not seen", "disabled"], found
    assert {one["state"] for one in found} == {"stopped"} and all(one["run_id"] and one["operator"] for one in found)
    # Disabled already, it is said no more.
    printed = play(firms, dps, callback="tpmfleet.azure_dps.line")[1]
    assert "Its enrollment" not in printed and "Work order WO-1, report of SHA256:" in printed, printed
    assert "1 missing. Of the order:" in printed and "Missing: TF-2 (slot2)." in printed, printed
    assert dps.where["connection_string"] not in printed and MASTER_KEY not in printed


def test_a_unit_whose_authorizations_a_revoked_line_of_another_site_was_given_is_refused(firms):
    """As the records of that site tell, which came in since the order was written."""
    with opened(str(firms.ledger), Access.WRITE) as connection:
        devices = Devices(connection)
        elsewhere = {"number": "WO-0", "state": "revoked", "at": "2026-11-24T12:00:00Z", "key_version": 1}
        record = devices.record(1)
        devices.save(1, with_orders(record, [elsewhere, order_in(record)]))
        devices.write()
    firms.export(*firms.work(0, 1))
    taken = firms.take_in()
    assert [one["serial_number"] for one in taken["records"]] == ["TF-1"], taken
    assert "the line of the work order WO-0, which was revoked, was given" in taken["refused"][0]["reason"]
