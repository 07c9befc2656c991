# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Two ledgers that learn from one another: nothing is lost, conflicts are named, a second time changes nothing."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.judgement import Step
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.orders import (
    orders_in,
    spent_key_version,
    with_order,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.policy import CertificatePolicy

PLAYBOOK = Path(__file__).resolve().parents[4] / "playbooks" / "device_records_import.yml"
EARLY, MIDDLE, LATE = (f"2026-0{month}-01T08:00:00Z" for month in (1, 2, 3))


class Site:
    """A ledger, and what is done at it."""

    def __init__(self, path, run_module, url=None) -> None:
        self.path = path
        self.ledger = url or str(path)
        self._run = run_module

    def take(self, step, at, *records):
        with opened(self.ledger, Access.WRITE) as connection:
            policy = CertificatePolicy("ignored")
            verdicts = Step(
                connection, step=step, station=self.path.stem, at=at, list_policy="ignored", certificates=policy
            ).take(records)
        assert not [one.reasons for one in verdicts.values() if one.reasons]

    def export(self):
        dest = self.path.with_suffix(".jsonl")
        assert "failed" not in self._run("device_records_export", ledger=self.ledger, dest=str(dest))
        return dest

    def take_in(self, src, **options):
        check = options.pop("check", False)
        diff = options.pop("diff", False)
        return self._run("device_records_import", ledger=self.ledger, src=str(src), check=check, diff=diff, **options)

    def record(self, **named):
        with opened(self.ledger, Access.READ) as connection:
            devices = Devices(connection)
            return devices.record(devices.row_of(named))

    def history(self, **named):
        with opened(self.ledger, Access.READ) as connection:
            devices = Devices(connection)
            return devices.history(devices.row_of(named))


@pytest.fixture
def here(tmp_path, run_module):
    return Site(tmp_path / "here.sqlite", run_module)


@pytest.fixture
def there(tmp_path, run_module):
    return Site(tmp_path / "there.sqlite", run_module)


@pytest.fixture
def office(tmp_path, run_module, postgresql):
    """A site whose ledger is in PostgreSQL."""
    return Site(tmp_path / "office.sqlite", run_module, url=postgresql.ledger())


@pytest.fixture
def unit(make_ek):
    def one(number, **more):
        known = {"host": f"slot{number}", "serial_number": f"TF-{number}", "registration_id": f"unit-{number}"}
        return {**known, "endorsement_key": make_ek(number), "outcome": {"ownership": "done"}, **more}

    return one


def test_a_ledger_that_is_carried_over_is_the_same_ledger(here, there, unit):
    there.take("tpm_install", EARLY, *map(unit, range(600)))
    src = there.export()
    planned = here.take_in(src, check=True, diff=True)
    assert planned["changed"] and planned["added"] == planned["total"] == 600 and not here.path.exists()
    done = here.take_in(src, diff=True)
    assert done["diff"] == planned["diff"] and done["added"] == 600 and done["conflicts"] == []
    assert here.export().read_bytes() == src.read_bytes()
    again = here.take_in(src)
    assert not again["changed"] and again["unchanged"] == 600
    assert [one["state"] for one in here.history(serial_number="TF-0")] == ["imported"]


def test_each_side_keeps_what_only_it_knew_and_both_end_up_equal(here, there, unit):
    here.take("tpm_install", EARLY, unit(1, tpm_model="Old", tpm_manufacturer="IBM"))
    there.take("warehouse", LATE, unit(1, tpm_model="New", maker="Maker A", outcome={"client": "done"}))
    done = here.take_in(there.export())
    assert (done["updated"], done["conflicts"]) == (1, [])
    both = here.record(serial_number="TF-1")
    assert set(both["steps"]) == {"tpm_install", "warehouse"} and both["steps"]["warehouse"]["station"] == "there"
    assert (both["tpm_model"], both["tpm_manufacturer"], both["maker"]) == ("New", "IBM", "Maker A")
    event = here.history(serial_number="TF-1")[-1]
    assert (event["step"], event["state"]) == ("import", "imported") and event["superseded"] == {"tpm_model": "Old"}
    there.take_in(here.export())
    assert there.record(serial_number="TF-1") == both
    assert not here.take_in(there.export())["changed"]


def test_an_older_word_replaces_nothing(here, there, unit):
    there.take("tpm_install", EARLY, unit(1, tpm_model="Old", outcome={"a": "old", "b": "old"}))
    here.take("tpm_install", MIDDLE, unit(1, tpm_model="New", outcome={"a": "new"}))
    here.take_in(there.export())
    both = here.record(serial_number="TF-1")
    assert both["tpm_model"] == "New"
    assert both["steps"]["tpm_install"] == {"at": MIDDLE, "station": "here", "outcome": {"a": "new", "b": "old"}}
    assert not here.take_in(there.export())["changed"]


def test_a_step_that_was_done_again_there_has_the_parts_of_both(here, there, unit):
    here.take("tpm_install", EARLY, unit(1, outcome={"a": "old", "b": "old"}))
    there.take("tpm_install", MIDDLE, unit(1, outcome={"a": "new"}))
    done = here.take_in(there.export())
    assert (done["updated"], done["conflicts"]) == (1, [])
    both = here.record(serial_number="TF-1")["steps"]["tpm_install"]
    assert both == {"at": MIDDLE, "station": "there", "outcome": {"a": "new", "b": "old"}}
    event = here.history(serial_number="TF-1")[-1]
    assert event["superseded"]["steps"]["tpm_install"]["outcome"] == {"a": "old", "b": "old"}
    again = here.take_in(there.export())
    assert not again["changed"] and again["conflicts"] == []
    there.take_in(here.export())
    assert there.record(serial_number="TF-1") == here.record(serial_number="TF-1")


def test_a_unit_that_was_decommissioned_there_is_so_here_and_one_that_is_used_again_here_stays_so(here, there, unit):
    there.take("tpm_install", EARLY, unit(1), unit(2))
    here.take_in(there.export())
    there.take("decommission", MIDDLE, unit(1), unit(2))
    here.take("warehouse", LATE, unit(2))
    done = here.take_in(there.export())
    assert done["conflicts"] == [], done
    assert here.record(serial_number="TF-1")["decommission"]["done"] == MIDDLE
    assert "decommission" not in here.record(serial_number="TF-2")
    assert not here.take_in(there.export())["changed"]


def test_what_conflicts_is_named_and_left_and_the_others_are_taken_in(here, there, unit, make_ek):
    here.take("tpm_install", EARLY, *map(unit, range(1, 6)))
    before = {number: here.record(serial_number=f"TF-{number}") for number in range(1, 6)}
    there.take(
        "tpm_install",
        EARLY,
        unit(1, endorsement_key=make_ek(91), registration_id="unit-1"),
        unit(2, registration_id="other"),
        unit(93, endorsement_key=make_ek(3), registration_id="more"),
        unit(4, tpm_model="Another"),
        unit(5, outcome={"ownership": "verified"}),
        unit(6),
    )
    here.take("tpm_install", EARLY, unit(4, tpm_model="One"))
    before[4] = here.record(serial_number="TF-4")
    done = here.take_in(there.export())
    told = {one["device"].split()[0]: " ".join(one["reasons"]) for one in done["conflicts"]}
    assert set(told) == {"TF-1", "TF-2", "TF-93", "TF-4", "TF-5"}
    assert "endorsement key" in told["TF-1"] and "unit-2 here and other there" in told["TF-2"]
    assert "serial number is TF-3 here and TF-93 there" in told["TF-93"]
    assert "tpm_model is another one" in told["TF-4"] and "step tpm_install" in told["TF-5"]
    assert done["added"] == 1 and here.record(serial_number="TF-6")
    assert {number: here.record(serial_number=f"TF-{number}") for number in before} == before
    again = here.take_in(there.export())
    assert not again["changed"] and again["conflicts"] == done["conflicts"]


@pytest.mark.parametrize("here_has_it", [False, True])
def test_a_registration_id_that_stands_in_for_a_device_id_is_no_other_devices(here, there, unit, here_has_it):
    sites = (there, here) if here_has_it else (here, there)
    sites[0].take("tpm_install", EARLY, unit(1))
    sites[1].take("tpm_install", EARLY, unit(2, device_id="unit-1"))
    [conflict] = here.take_in(there.export())["conflicts"]
    assert len(conflict["reasons"]) == 1 and "its device ID is that of TF-" in conflict["reasons"][0], conflict


def test_a_unit_that_had_no_serial_number_here_gets_it(here, there, unit):
    nameless = unit(1)
    del nameless["serial_number"]
    here.take("tpm_install", EARLY, nameless)
    there.take("warehouse", LATE, unit(1, host="store"))
    done = here.take_in(there.export())
    assert (done["updated"], done["added"], done["conflicts"]) == (1, 0, [])
    assert set(here.record(serial_number="TF-1")["steps"]) == {"tpm_install", "warehouse"}


WRONG = {
    "no json": "is not JSON",
    "[]": "is no object",
    '{"record_version": 2, "host": "a"}': "record_version 2",
    '{"record_version": true, "host": "a"}': "record_version True",
    '{"host": "a"}': "record_version None",
    '{"record_version": 1, "host": "a", "owner_auth": "x"}': "owner_auth, which no record has",
    '{"record_version": 1, "maker": "a"}': "names no device",
    '{"record_version": 1, "host": 7}': "host is no text",
    '{"record_version": 1, "serial_number": 7}': "no serial_number of 1 to 255",
    json.dumps({"record_version": 1, "host": "a" * 256}): "no host of 1 to 255",
    '{"record_version": 1, "host": "a", "steps": {"x": {"at": "2026-01-01T00:00:00Z"}}}': "a step x",
    '{"record_version": 1, "host": "a", "steps": {"warehouse": {"at": "soon"}}}': "that says no time",
    '{"record_version": 1, "host": "a", "steps": []}': "steps is no object",
    '{"record_version": 1, "host": "a", "places": [1]}': "no list of places",
    '{"record_version": 1, "host": "a", "endorsement_key": "AAAA", "endorsement_key_sha256": "aa"}': "is wrong",
    '{"record_version": 1, "host": "a", "host": "b"}': "",
    '{"record_version": 1, "host": "a", "of_a_later_release": 1}': "update the collection where a later one wrote",
    '{"record_version": 1, "host": "a", "ownership": {"owner_auth": "secret"}}': "has owner_auth in ownership",
    '{"record_version": 1, "host": "a", "ownership": {"key_version": "1"}}': "has key_version of another type",
    '{"record_version": 1, "host": "a", "ownership": {"key_version": true}}': "has key_version of another type",
    '{"record_version": 1, "host": "a", "decommission": {"done": "2026", "by": "x"}}': "has by in decommission",
    '{"record_version": 1, "host": "a", "certified_tpm": {"software": "no"}}': "has software of another type",
    '{"record_version": 1, "host": "a", "steps": {"warehouse": {"at": "2026-01-01T00:00:00Z", "x": 1}}}': "has x in",
    '{"record_version": 1, "host": "a", "iot_edge": "yes"}': "has iot_edge of another type",
    '{"record_version": 1, "host": "a", "tpm_model": 7}': "has tpm_model of another type",
    '{"record_version": 1, "host": "a", "work_order": {"state": "done", "at": "2026"}}': "it has no number",
    '{"record_version": 1, "host": "a", "work_order": {"number": "1", "state": "sold", "at": "2026"}}': "in no state",
    '{"record_version": 1, "host": "a", "work_order": {"number": "1", "state": "done", "at": "2", "x": 1}}': "has x in",
    '{"record_version": 1, "host": "a", "earlier_work_orders": [7]}': "are no list of orders",
    '{"record_version": 1, "host": "a", "earlier_work_orders": [{"number": "1"}]}': "work order is wrong",
}


@pytest.mark.parametrize("line", list(WRONG), ids=range(len(WRONG)))
def test_a_line_that_is_no_record_refuses_the_file(here, there, unit, line):
    there.take("tpm_install", EARLY, unit(1))
    src = there.export()
    src.write_text(src.read_text() + line + "\n")
    failed = here.take_in(src)
    assert failed["failed"] and failed["msg"].startswith("Line 2 of ") and WRONG[line] in failed["msg"], failed["msg"]
    assert here.take_in(there.export())["added"] == 1


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe\n"])
def test_what_is_no_file_of_records_is_told(here, tmp_path, content):
    src = tmp_path / "other"
    if content is not None:
        src.write_bytes(content)
    failed = here.take_in(src)
    assert failed["failed"] and str(src) in failed["msg"]


@pytest.mark.parametrize(
    "written",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.encode() + b"\r\n\n  \n",
        lambda text: text.encode("utf-16"),
        lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
        lambda text: text.rstrip("\n").encode(),
    ],
    ids=["mark", "CRLF", "empty lines", "UTF-16", "UTF-16 BE", "no end"],
)
def test_a_file_that_went_through_mail_or_an_editor_is_the_same(here, there, unit, tmp_path, written):
    there.take("tpm_install", EARLY, unit(1, maker="Möller"), unit(2))
    src = there.export()
    src.write_bytes(written(src.read_text()))
    assert here.take_in(src)["added"] == 2 and here.record(serial_number="TF-1")["maker"] == "Möller"
    src.write_bytes(written("junk\n"))
    assert here.take_in(src)["msg"].startswith("Line 1 of ")


def test_what_is_known_to_be_a_part_is_what_the_schema_has(record_schema):
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover import record_parts

    schema = record_schema.schema
    assert set(record_parts._PARTS) == set(schema["properties"])
    order = schema["$defs"]["work_order"]["properties"]
    assert set(record_parts._ORDER) == set(order) and set(record_parts._STEP) == set(
        schema["$defs"]["step"]["properties"]
    )
    for name, part in record_parts._PARTS.items():
        told = schema["properties"][name]
        told = told.get("items", told)
        inside = part[0] if isinstance(part, list) else part
        if isinstance(inside, dict) and "$ref" not in told:
            assert set(inside) == set(told["properties"]), name


def ordered(number, state="ordered", at=EARLY, **more):
    return {"number": number, "state": state, "at": at, "written": at, "key_version": 1, **more}


def have(site, *orders):
    """The unit TF-1 of *site* is on these orders."""
    with opened(site.ledger, Access.WRITE) as connection:
        devices = Devices(connection)
        row = devices.row_of({"serial_number": "TF-1"})
        record = devices.record(row)
        for one in orders:
            record = with_order(record, one)
        devices.save(row, record)
        devices.write()


def test_the_work_orders_of_both_sides_are_kept_and_of_one_the_later_word(here, there, unit):
    here.take("tpm_install", EARLY, unit(1))
    there.take_in(here.export())
    have(here, ordered("WO-1", "failed", MIDDLE, written=EARLY, reason="no power"), ordered("WO-3", at=LATE))
    have(there, ordered("WO-1", "revoked", LATE, written=EARLY), ordered("WO-2", "done", MIDDLE))
    done = here.take_in(there.export())
    assert (done["updated"], done["conflicts"]) == (1, [])
    both = here.record(serial_number="TF-1")
    assert [(one["number"], one["state"]) for one in orders_in(both)] == [
        ("WO-1", "revoked"),
        ("WO-2", "done"),
        ("WO-3", "ordered"),
    ]
    assert here.history(serial_number="TF-1")[-1]["superseded"]["work_orders"][0]["state"] == "failed"
    with opened(str(here.path), Access.READ) as connection:
        assert all(Devices(connection).rows_on(f"WO-{number}") for number in (1, 2, 3))
    assert not here.take_in(there.export())["changed"]
    there.take_in(here.export())
    assert there.record(serial_number="TF-1") == both and not here.take_in(there.export())["changed"]


@pytest.mark.parametrize("state", ["failed", "closed"])
def test_no_clock_of_a_line_brings_a_revoked_order_back(here, there, unit, state):
    """When a unit failed is the line's word, and its clock may be years ahead."""
    here.take("tpm_install", EARLY, unit(1))
    there.take_in(here.export())
    have(here, ordered("WO-1", state, "2036-01-01T00:00:00Z", written=EARLY, reason="no power"))
    have(there, ordered("WO-1", "revoked", LATE, written=EARLY))
    revoked = here.take_in(there.export())
    assert revoked["conflicts"] == [] and here.record(serial_number="TF-1")["work_order"]["state"] == "revoked"
    have(there, ordered("WO-1", state, "2036-01-01T00:00:00Z", written=EARLY, reason="no power"))
    assert not here.take_in(there.export())["changed"]


@pytest.mark.parametrize(
    ("mine", "other"),
    [
        (ordered("WO-1", "done", MIDDLE), ordered("WO-1", "revoked", LATE)),
        (ordered("WO-1", "revoked", MIDDLE), ordered("WO-1", "done", LATE)),
        (ordered("WO-1", "closed", MIDDLE), ordered("WO-1", "done", LATE)),
        (ordered("WO-1", "done", MIDDLE), ordered("WO-1", "closed", LATE)),
        (ordered("WO-1", key_version=1), ordered("WO-1", key_version=2)),
        (ordered("WO-1", id_scope="0ne1"), ordered("WO-1", id_scope="0ne2")),
    ],
)
def test_a_work_order_of_which_both_say_contrary_things_is_a_conflict(here, there, unit, mine, other):
    here.take("tpm_install", EARLY, unit(1))
    there.take_in(here.export())
    have(here, mine)
    have(there, other)
    before = here.record(serial_number="TF-1")
    done = here.take_in(there.export())
    assert [one["reasons"] for one in done["conflicts"]] == [["its work order WO-1 is another one here than there"]]
    assert here.record(serial_number="TF-1") == before


def test_what_a_revoked_line_was_given_elsewhere_is_spent_here(here, there, unit):
    there.take("tpm_install", EARLY, unit(1))
    have(there, ordered("WO-1", "revoked", MIDDLE), ordered("WO-2", "done", LATE, key_version=2))
    here.take_in(there.export())
    assert spent_key_version(here.record(serial_number="TF-1")) == (1, "WO-1")


def test_an_older_record_with_a_newer_step_and_another_key_version_or_dps(here, there, unit):
    """The word of who did something last counts, field by field, and what it replaced is told."""
    owned = {"profile": "fleet", "owner_auth_set": True, "lockout_auth_set": True, "endorsement_auth_set": False}
    here.take("software_install", EARLY, unit(1, dps_id_scope="0ne1", ownership={**owned, "key_version": 1}))
    there.take("warehouse", MIDDLE, unit(1, dps_id_scope="0ne2", ownership={**owned, "key_version": 2}))
    done = here.take_in(there.export())
    assert done["conflicts"] == [] and here.record(serial_number="TF-1")["ownership"]["key_version"] == 2
    superseded = here.history(serial_number="TF-1")[-1]["superseded"]
    assert (superseded["ownership"]["key_version"], superseded["dps_id_scope"]) == (1, "0ne1")
    # Nothing takes the later word back.
    src = here.export()
    src.write_text(src.read_text().replace('"key_version": 2', '"key_version": 1'))
    done = here.take_in(src)
    assert not done["changed"] and "its ownership is another one here than there" in done["conflicts"][0]["reasons"][0]


def test_a_signature_is_checked_first(here, there, unit, tmp_path, run_module):
    key = tmp_path / "site"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", key], check=True)
    allowed = tmp_path / "allowed"
    allowed.write_text(f"there@example.org {key.with_suffix('.pub').read_text()}")
    there.take("tpm_install", EARLY, unit(1))
    src = there.path.with_suffix(".jsonl")
    signed = run_module("device_records_export", ledger=str(there.path), dest=str(src), signing_key=str(key))
    assert here.take_in(src, allowed_signers=str(allowed))["failed"]
    wanted = {"signature": signed["signature"], "allowed_signers": str(allowed)}
    done = here.take_in(src, **wanted)
    assert done["signed_by"] == "there@example.org" and done["added"] == 1
    assert here.history(serial_number="TF-1")[-1]["source"] == "there@example.org"
    src.write_text(src.read_text().replace("TF-1", "TF-2"))
    failed = here.take_in(src, **wanted)
    assert failed["failed"] and "no good signature" in failed["msg"]


def test_the_playbook_says_which_devices_conflict(here, there, unit, make_ek):
    here.take("tpm_install", EARLY, unit(1))
    there.take("tpm_install", EARLY, unit(1, endorsement_key=make_ek(9)), unit(2))
    src = there.export()
    command = ["ansible-playbook", str(PLAYBOOK), "-e", f"tpmfleet_ledger={here.path}"]
    done = subprocess.run(
        [*command, "-e", f"tpmfleet_records_import={src}"], capture_output=True, text=True, check=False
    )
    assert done.returncode != 0 and "TF-1" in done.stdout, done.stdout + done.stderr
    assert "2 records: 1 new, 0 with news, 0 known, 1 left as they were" in " ".join(done.stdout.split())
    assert here.record(serial_number="TF-2")["host"] == "slot2"
    # As each event says who it was and in which run.
    assert {"operator", "run_id"} <= set(here.history(serial_number="TF-2")[-1])


def test_records_go_from_one_kind_of_database_to_the_other_and_back(here, there, office, unit):
    there.take("tpm_install", EARLY, *map(unit, range(3)))
    there.take("warehouse", MIDDLE, unit(1, dps_id_scope="0ne1"))
    have(there, ordered("WO-1", "revoked", MIDDLE), ordered("WO-2", at=LATE))
    planned = office.take_in(there.export(), check=True)
    assert (planned["added"], planned["conflicts"]) == (3, [])
    assert office.take_in(there.export())["added"] == 3
    assert office.export().read_bytes() == there.export().read_bytes()
    assert not office.take_in(there.export())["changed"] and not there.take_in(office.export())["changed"]
    with opened(office.ledger, Access.READ) as connection:
        assert [len(Devices(connection).rows_on(number)) for number in ("WO-1", "WO-2", "WO-3")] == [1, 1, 0]
    have(office, ordered("WO-2", "done", "2026-04-01T08:00:00Z", written=LATE))
    assert there.take_in(office.export())["updated"] == 1
    assert there.record(serial_number="TF-1") == office.record(serial_number="TF-1")
    here.take("tpm_install", EARLY, {**unit(9), "endorsement_key": unit(2)["endorsement_key"]})
    done = office.take_in(here.export())
    assert "its serial number is TF-2 here and TF-9 there" in done["conflicts"][0]["reasons"], done
