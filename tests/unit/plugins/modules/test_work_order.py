# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The owner's half of a work order: what is in it, what is not, and what is refused before anything is written."""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

import jsonschema
import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.age_file import Reader
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.signature import fingerprint
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.work_order import Terms, content_sha256
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.judgement import Step
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.orders import order_in, with_order
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.hierarchy_auth import derive
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.policy import CertificatePolicy

COLLECTION = Path(__file__).resolve().parents[4]
MASTER_KEY = "a master key of the owner, 0123456789abcdef"
SCHEMA = json.loads((COLLECTION / "meta" / "work-order.schema.json").read_text())


def unit(make_ek, number, **more):
    return {
        "host": f"slot{number}",
        "serial_number": f"TF-{number}",
        "registration_id": f"unit-{number}",
        "endorsement_key": make_ek(number),
        **more,
    }


def take(ledger, *records, step="tpm_install"):
    with opened(str(ledger), Access.WRITE) as connection:
        policy = CertificatePolicy("ignored")
        verdicts = Step(
            connection, step=step, station="", at="2026-11-24T12:00:00Z", list_policy="ignored", certificates=policy
        ).take(records)
    assert not [one.reasons for one in verdicts.values() if one.reasons]


@pytest.fixture
def ledger(tmp_path, make_ek):
    path = tmp_path / "ledger.sqlite"
    take(path, *(unit(make_ek, number) for number in range(3)))
    return path


@pytest.fixture
def order(run_module, ledger, tmp_path, ssh_key):
    owner, line = ssh_key("owner"), ssh_key("line")

    def write(**options):
        given = {
            "ledger": str(ledger),
            "number": "WO-1",
            "owner": "Example Devices",
            "dest": str(tmp_path / "order.age"),
            "recipients": [line.with_suffix(".pub").read_text()],
            "expires": "2030-01-01",
            "signing_key": str(owner),
            "master_key": MASTER_KEY,
            "id_scope": "0ne00000A1B",
        }
        return run_module("work_order", **{**given, **options})

    write.owner, write.line = owner, line
    return write


def read(path, key):
    """(The signature's text, the document) of an order, opened as the line does."""
    content = Reader(str(key)).decrypted(Path(path).read_bytes())
    end = b"-----END SSH SIGNATURE-----\n"
    return content.partition(end)[0] + end, json.loads(content.partition(end)[2])


def states(ledger):
    with sqlite3.connect(ledger) as connection:
        records = [json.loads(one) for (one,) in connection.execute("SELECT record FROM devices ORDER BY id")]
    return [(one.get("work_order") or {}).get("state") for one in records]


def test_it_is_as_the_schema_has_it_and_the_ledger_knows_of_it(order, ledger, tmp_path, make_ek, record_schema):
    planned = order(check=True)
    assert planned["changed"] and planned["total"] == 3 and not (tmp_path / "order.age").exists(), planned
    assert states(ledger) == [None] * 3
    done = order(diff=True)
    assert done["changed"] and done["states"] == {"ordered": 3} and len(done["diff"]["after"]) == 3
    _signature, document = read(done["file"], order.line)
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert document["count"] == 3 and document["recipients"] == [
        " ".join(order.line.with_suffix(".pub").read_text().split()[:2])
    ]
    assert [one["serial_number"] for one in document["units"]] == ["TF-0", "TF-1", "TF-2"]
    assert [one["endorsement_key"] for one in document["units"]] == [make_ek(number) for number in range(3)]
    assert os.stat(tmp_path / "order.age").st_mode & 0o777 == 0o600
    assert states(ledger) == ["ordered"] * 3
    with sqlite3.connect(ledger) as connection:
        for (text,) in connection.execute("SELECT record FROM devices"):
            record_schema.validate(json.loads(text))
        events = [json.loads(one) for (one,) in connection.execute("SELECT what FROM events WHERE step = 'work_order'")]
    assert [one["order"] for one in events] == ["WO-1"] * 3


def test_nothing_secret_can_be_read_in_it_without_the_tpms(order, tmp_path):
    order()
    content = Reader(str(order.line)).decrypted((tmp_path / "order.age").read_bytes())
    _signature, document = read(tmp_path / "order.age", order.line)
    assert MASTER_KEY.encode() not in content
    with opened(str(tmp_path / "ledger.sqlite"), Access.READ) as connection:
        devices = Devices(connection)
        names = [devices.record(row)["endorsement_key_name"] for row in devices.rows(9)]
    auths = [derive(MASTER_KEY, name, one, 1) for name in names for one in ("owner", "lockout")]
    assert len(set(auths)) == 6 and not [one for one in auths if one.encode() in content]
    sealed = [one["challenge"]["sealed"] for one in document["units"]]
    assert len(set(sealed)) == 3


def test_it_is_written_once_and_again_where_its_file_is_gone_or_another(order, ledger, tmp_path, make_ek):
    order()
    path = tmp_path / "order.age"
    first = path.read_bytes()
    again = order()
    assert not again["changed"] and path.read_bytes() == first
    take(ledger, unit(make_ek, 7))
    assert not order()["changed"]
    path.write_bytes(first + b"x")
    assert order(check=True)["changed"] and order()["changed"] and not order()["changed"]
    assert path.read_bytes() != first
    path.unlink()
    assert order()["changed"] and path.exists()


@pytest.mark.parametrize(
    ("other", "told"),
    [
        ({"expires": "2031-01-01"}, "with other terms"),
        ({"id_scope": "0ne00000B2C"}, "with other terms"),
        ({"number": "WO-2", "dest": "other.age"}, "is on the work order WO-1, which is open"),
        ({"number": "WO-2", "key_version": 2}, "is on the work order WO-1, which is open"),
    ],
)
def test_an_order_that_is_out_is_not_written_otherwise(order, ledger, tmp_path, other, told):
    order()
    before = (tmp_path / "order.age").read_bytes(), ledger.read_bytes()
    failed = order(**{**other, **({"dest": str(tmp_path / other["dest"])} if "dest" in other else {})})
    assert failed["failed"] and told in failed["msg"], failed
    assert ((tmp_path / "order.age").read_bytes(), ledger.read_bytes()) == before
    assert not (tmp_path / "other.age").exists()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"number": "../WO"}, "is no number of a work order"),
        ({"number": ""}, "is no number of a work order"),
        ({"expires": "tomorrow"}, "which is no time"),
        ({"expires": "30d"}, "which is no time. Write 2027-01-31, or 2027-01-31T18:00:00Z."),
        ({"expires": "2020-01-31"}, "which is over"),
        ({"recipients": []}, "nobody can read it"),
        ({"recipients": ["ecdsa-sha2-nistp256 AAAA"]}, "is no recipient"),
        ({"recipients": ["ssh-ed25519 AAAA"]}, "is no recipient"),
        ({"recipients": ["age1qqqq\x1b[2J"]}, r"\x1b"),
        ({"master_key": "short"}, "has 5 characters"),
        ({"client": "aziot"}, "Order with the ownership profile 'sdk'"),
        ({"signing_key": "/nowhere"}, "makes no signature"),
        ({"key_version": 0}, "it has to be 1 to"),
        ({"owner": " "}, "owner is empty"),
        ({"ca_file": "/nowhere"}, "is not there"),
        ({"filters": {"batch": "none"}}, "no unit is meant"),
        ({"filters": {"colour": "red"}}, "unknown key colour"),
        ({"dest": "/nowhere/order.age"}, "could not be written"),
    ],
)
def test_what_makes_no_order_is_told_and_nothing_is_written(order, ledger, tmp_path, wrong, told):
    before = ledger.read_bytes()
    failed = order(**wrong)
    assert failed["failed"] and told in failed["msg"] and "Traceback" not in failed["msg"], failed
    assert not (tmp_path / "order.age").exists() and ledger.read_bytes() == before
    assert MASTER_KEY not in json.dumps(failed)


@pytest.mark.parametrize("filters", [{"colour": "red"}, {"failed_after": "2026-01-01"}])
def test_a_wrong_filter_is_told_as_one_and_not_as_the_ledgers_fault(order, filters):
    assert order(filters=filters)["failure"]["option"] == "filters"


def test_a_file_that_is_there_is_not_written_over(order, tmp_path):
    (tmp_path / "order.age").write_text("another order")
    failed = order()
    assert failed["failed"] and "already" in failed["msg"]
    assert (tmp_path / "order.age").read_text() == "another order"


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"ownership": {"profile": "fleet", "key_version": 2}}, "is owned with key version 2"),
        (
            {"ownership": {"profile": "fleet", "key_version": 1, "endorsement_auth_set": True}},
            "which no work order carries",
        ),
        ({"endorsement_key": None, "registration_id": "x"}, "has no endorsement key"),
    ],
)
def test_a_unit_that_no_order_helps_is_named(order, ledger, make_ek, known, told):
    take(ledger, {**unit(make_ek, 8), **known})
    failed = order(filters={"last_step": []})
    if known.get("endorsement_key", "") is None:
        # It is not meant at all.
        assert failed["total"] == 3
        return
    assert failed["failed"] and any("TF-8" in one and told in one for one in failed["problems"]), failed


def test_a_list_of_units_that_nobody_knows_yet(order, ledger, tmp_path, make_ek):
    path = tmp_path / "list.jsonl"
    rows = [
        {"tray": "T-1", "position": "3", "endorsement_key": make_ek(11)},
        {"serial_number": "TF-12", "device_id": "pump-12", "endorsement_key": make_ek(12)},
        {"endorsement_key": make_ek(1)},
    ]
    path.write_text("".join(f"{json.dumps(one)}\n" for one in rows))
    done = order(src=str(path))
    assert done.get("changed") and done["total"] == 3, done
    _signature, document = read(done["file"], order.line)
    assert {one.get("serial_number") for one in document["units"]} == {None, "TF-12", "TF-1"}
    assert {one.get("device_id") for one in document["units"]} == {None, "pump-12"}
    assert states(ledger) == [None, "ordered", None, "ordered", "ordered"]
    assert not order(src=str(path))["changed"]
    path.write_text(path.read_text() + json.dumps({"endorsement_key": make_ek(13)}))
    failed = order(src=str(path))
    assert failed["failed"] and "is not on the work order WO-1, which is written" in failed["msg"]


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"serial_number": "TF-1", "endorsement_key": 20}, "is known with another endorsement key"),
        ({"serial_number": "TF-77", "endorsement_key": 1}, "is known with another serial number"),
        ({"registration_id": "unit-1", "endorsement_key": 20}, "has the registration ID of another device"),
        ({"device_id": "unit-1", "endorsement_key": 20}, "has the device ID of another device"),
        ({"endorsement_key": "AAAA"}, "endorsement_key"),
        ({"serial_number": "TF-9"}, "endorsement_key"),
    ],
)
def test_a_list_that_says_otherwise_than_the_ledger_is_refused(order, tmp_path, make_ek, row, told):
    key = row.get("endorsement_key")
    row = {**row, "endorsement_key": make_ek(key)} if isinstance(key, int) else row
    path = tmp_path / "list.jsonl"
    path.write_text(f"{json.dumps(row)}\n")
    failed = order(src=str(path))
    assert failed["failed"] and "line 1" in failed["msg"] and told in failed["msg"], failed
    assert len(failed["problems"]) == 1, failed
    assert not (tmp_path / "order.age").exists()


@pytest.mark.parametrize("first_has_it", [False, True])
def test_two_of_a_list_that_a_hub_would_take_for_one_are_refused(order, ledger, tmp_path, make_ek, first_has_it):
    """A registration ID stands in for a device ID that is not there."""
    rows = [
        {"serial_number": "TF-20", "registration_id": "pump-x", "endorsement_key": make_ek(20)},
        {"serial_number": "TF-21", "device_id": "pump-x", "endorsement_key": make_ek(21)},
    ]
    rows = rows[::-1] if first_has_it else rows
    path = tmp_path / "list.jsonl"
    path.write_text("".join(f"{json.dumps(one)}\n" for one in rows))
    failed = order(src=str(path))
    assert failed["failed"] and "have the same device_id" in failed["msg"] and len(failed["problems"]) == 1, failed
    take(ledger, {"host": "slot22", **rows[0]})
    path.write_text(f"{json.dumps(rows[1])}\n")
    assert "has the device ID of another device" in order(src=str(path))["msg"]
    assert not (tmp_path / "order.age").exists()


def test_a_revoked_order_is_told_to_both_and_asks_for_the_next_key_version(order, ledger, tmp_path):
    order()
    planned = order(state="revoked", check=True)
    assert planned["changed"] and states(ledger) == ["ordered"] * 3
    done = order(state="revoked")
    assert done["changed"] and done["states"] == {"revoked": 3} and done["revoked"] == ["unit-0", "unit-1", "unit-2"]
    assert states(ledger) == ["revoked"] * 3 and done["file"] == str(tmp_path / "order.age.revoked")
    notice = Path(done["file"]).read_bytes()
    assert not order(state="revoked")["changed"]
    Path(done["file"]).unlink()
    assert order(state="revoked")["changed"] and Path(done["file"]).read_bytes() == notice
    assert "was revoked" in order()["msg"]
    other = {"number": "WO-2", "dest": str(tmp_path / "other.age")}
    assert "is of key version 1, so take a later one" in order(**other)["msg"]
    assert order(**other, key_version=2)["changed"] and states(ledger) == ["ordered"] * 3


def test_a_second_run_writes_over_no_other_file(order, ledger, tmp_path, make_ek):
    order()
    take(ledger, unit(make_ek, 7, maker="Other"))
    second = tmp_path / "second.age"
    done = order(number="WO-2", dest=str(second), filters={"maker": "Other"})
    assert done.get("total") == 1, done
    junk = tmp_path / "junk"
    junk.write_text("a private key")
    for path, told in ((second, "is the work order WO-2"), (junk, "is no work order")):
        before = path.read_bytes()
        failed = order(dest=str(path))
        assert failed["failed"] and told in failed["msg"] and path.read_bytes() == before, failed
    junk.write_text("")
    assert order(dest=str(junk))["changed"]


def test_a_unit_of_the_ledger_without_a_registration_id_is_ordered_with_that_of_its_key(order, ledger, make_ek):
    take(ledger, {"host": "slot7", "serial_number": "TF-7", "endorsement_key": make_ek(7)})
    done = order()
    _signature, document = read(done["file"], order.line)
    assert len({one["registration_id"] for one in document["units"]}) == 4
    assert not order()["changed"]


def test_a_notice_that_is_cut_or_of_another_order_is_none(order, ledger, tmp_path):
    order()
    order(state="revoked")
    notice = tmp_path / "order.age.revoked"
    told = notice.read_text()
    assert not order(state="revoked")["changed"]
    for spoilt in ("", "junk", told[:-20], told.replace("WO-1", "WO-2"), told.replace("2", "3")):
        notice.write_text(spoilt)
        assert order(state="revoked")["changed"] and not order(state="revoked")["changed"]
        assert notice.read_text().partition("-----END")[2] == told.partition("-----END")[2]


def test_a_notice_stands_beside_its_own_order_and_takes_no_others_place(order, ledger, tmp_path, make_ek):
    """A wrong dest would have the line of another order miss that it was revoked."""
    order()
    take(ledger, unit(make_ek, 7, maker="Other"))
    second = {"number": "WO-2", "dest": str(tmp_path / "second.age")}
    order(**second, filters={"maker": "Other"})
    failed = order(state="revoked", dest=second["dest"])
    assert failed["failed"] and "is the work order WO-2" in failed["msg"] and states(ledger) == ["ordered"] * 4
    assert not (tmp_path / "second.age.revoked").exists()
    notice = Path(order(state="revoked", **second)["file"])
    told = notice.read_bytes()
    (tmp_path / "second.age").unlink()
    failed = order(state="revoked", dest=second["dest"])
    assert "is that of the work order WO-2: give as dest the file of WO-1" in failed["msg"], failed
    assert notice.read_bytes() == told and states(ledger) == ["ordered"] * 3 + ["revoked"]


def test_an_order_that_nobody_knows_is_not_revoked(order, tmp_path):
    failed = order(state="revoked", number="WO-9")
    assert failed["failed"] and "knows no work order WO-9" in failed["msg"]
    assert not list(tmp_path.glob("*.revoked"))


def test_a_ledger_that_is_not_there_has_no_units(order, tmp_path):
    failed = order(ledger=str(tmp_path / "other.sqlite"))
    assert failed["failed"] and "The ledger is not there" in failed["msg"]


def records(ledger):
    """Those of the ledger, by serial number."""
    with sqlite3.connect(ledger) as connection:
        found = [json.loads(one) for (one,) in connection.execute("SELECT record FROM devices ORDER BY id")]
    connection.close()
    return {one["serial_number"]: one for one in found}


def damage(ledger, number):
    with sqlite3.connect(ledger) as connection:
        connection.execute("UPDATE devices SET record = '{' WHERE serial_number = ?", (f"TF-{number}",))
    connection.close()


def test_an_order_and_the_ledger_say_whose_key_signs_the_report(order, ledger, ssh_key, tmp_path):
    done = order()
    _signature, document = read(done["file"], order.line)
    assert document["report_signers"] == [fingerprint(str(order.line))] and document["work_order_version"] == 2
    assert records(ledger)["TF-0"]["work_order"]["report_signers"] == [fingerprint(str(order.line))]
    token = ssh_key("token", "-t", "ecdsa")
    public = token.with_suffix(".pub").read_text()
    assert "with other terms" in order(report_signers=[public])["msg"]
    order(state="revoked")
    other = order(number="WO-2", dest=str(tmp_path / "2.age"), key_version=2, report_signers=[public, f" {public}"])
    _signature, document = read(other["file"], order.line)
    assert document["report_signers"] == [fingerprint(str(token))]
    jsonschema.Draft202012Validator(SCHEMA).validate(document)


AGE = "age127yw6jf6wxe822r6yremaeh9xkzjr83qzqvvs23s2842a24ntd7qfulk2y"


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"recipients": [AGE]}, "give report_signers, the line's public key"),
        ({"report_signers": ["ssh-ed25519 AAAA"]}, "is no public key of SSH"),
        ({"report_signers": ["line@example.org"]}, "is no public key of SSH"),
        ({"report_signers": [" "]}, "is no public key of SSH"),
        ({"report_signers": [AGE]}, "is no public key of SSH"),
        ({"report_signers": ["\x1b[2J é"]}, r"\x1b"),
    ],
)
def test_an_order_whose_report_nobody_could_sign_is_not_written(order, tmp_path, wrong, told):
    failed = order(**wrong)
    assert failed["failed"] and told in failed["msg"] and not (tmp_path / "order.age").exists(), failed


def test_an_order_that_was_written_before_it_said_who_signs_is_still_one(order, ledger, tmp_path, make_ek):
    done = order()
    _signature, document = read(done["file"], order.line)
    fields = {name: document[name] for name in Terms._fields if name != "report_signers"}
    older = content_sha256(Terms(**fields), [{"endorsement_key": make_ek(number)} for number in range(3)])
    with sqlite3.connect(ledger) as connection:
        for name, record in records(ledger).items():
            del record["work_order"]["report_signers"]
            record["work_order"]["content_sha256"] = older
            text = json.dumps(record, sort_keys=True)
            connection.execute("UPDATE devices SET record = ? WHERE serial_number = ?", (text, name))
    connection.close()
    assert not order()["changed"]
    (tmp_path / "order.age").unlink()
    assert order()["changed"]
    _signature, document = read(done["file"], order.line)
    assert document["work_order_version"] == 1 and "report_signers" not in document
    jsonschema.Draft202012Validator(SCHEMA).validate(document)
    assert not order()["changed"]


OTHER_KEY = "another master key of the owner, 01234567"


def test_an_order_is_never_written_again_with_another_master_key(order, ledger, tmp_path):
    """The line's answers to the first file would be none to the second."""
    order()
    noted = [one["work_order"].pop("master_key_check") for one in records(ledger).values()]
    assert len(set(noted)) == 1 and noted[0] not in MASTER_KEY
    for gone in (False, True):
        if gone:
            (tmp_path / "order.age").unlink()
        before = ledger.read_bytes()
        failed = order(master_key=OTHER_KEY)
        assert failed["failed"] and "was written with another master key" in failed["msg"], failed
        assert OTHER_KEY not in json.dumps(failed) and ledger.read_bytes() == before
        assert (tmp_path / "order.age").exists() is not gone
    # A line end around it is none of the key, as everywhere.
    assert order(master_key=f"{MASTER_KEY}\n")["changed"] and not order()["changed"]
    # The note of an order that is older has none, and gets it where the file is written again.
    with sqlite3.connect(ledger) as connection:
        for name, record in records(ledger).items():
            del record["work_order"]["master_key_check"]
            connection.execute("UPDATE devices SET record = ? WHERE serial_number = ?", (json.dumps(record), name))
    connection.close()
    assert not order(master_key=OTHER_KEY)["changed"]
    (tmp_path / "order.age").unlink()
    assert order()["changed"]
    assert [one["work_order"]["master_key_check"] for one in records(ledger).values()] == noted


def test_a_damaged_record_stops_no_order_of_the_others(order, ledger, tmp_path):
    damage(ledger, 1)
    planned = order(check=True)
    assert planned["total"] == 2 and "record of TF-1 (slot1) in the ledger" in planned["damaged"][0], planned
    done = order()
    assert done["total"] == 2 and done["states"] == {"ordered": 2} and done["damaged"] == planned["damaged"]
    assert "Nothing is said of a device: the record of TF-1" in str(done["warnings"])
    assert not order()["changed"]


def test_a_damaged_record_of_an_order_is_named_when_that_is_revoked(order, ledger, tmp_path):
    order()
    damage(ledger, 1)
    assert order()["damaged"] and not order()["changed"]
    (tmp_path / "order.age").rename(tmp_path / "kept")
    failed = order()
    assert "is not written again: the record of TF-1" in failed["msg"] and not (tmp_path / "order.age").exists()
    (tmp_path / "kept").rename(tmp_path / "order.age")
    done = order(state="revoked")
    assert done["states"] == {"revoked": 2} and "TF-1" in done["damaged"][0], done


def test_an_order_reads_its_own_units_and_no_others(order, ledger, tmp_path, make_ek, monkeypatch):
    """Of whom a million may be in the ledger."""
    order()
    take(ledger, *(unit(make_ek, number, batch="other") for number in range(3, 30)))
    read_rows = []
    known = Devices.record
    monkeypatch.setattr(Devices, "record", lambda self, row: read_rows.append(row) or known(self, row))
    assert not order()["changed"] and set(read_rows) == {1, 2, 3}
    del read_rows[:]
    assert order(state="revoked")["changed"] and set(read_rows) == {1, 2, 3}


def test_a_unit_that_is_ordered_anew_keeps_its_earlier_orders(order, ledger, tmp_path, record_schema):
    order()
    order(state="revoked")
    second = {"number": "WO-2", "dest": str(tmp_path / "2.age"), "key_version": 2}
    assert order(**second)["changed"]
    record = records(ledger)["TF-0"]
    record_schema.validate(record)
    assert [one["number"] for one in record["earlier_work_orders"]] == ["WO-1"]
    assert (record["earlier_work_orders"][0]["state"], record["work_order"]["number"]) == ("revoked", "WO-2")
    # The first one is known by its number still, and is not written again beside the second.
    assert order(state="revoked")["states"] == {"revoked": 3} and not order(state="revoked")["changed"]
    assert "was revoked" in order()["msg"]
    assert order(**second)["states"] == {"ordered": 3} and not order(**second)["changed"]
    # What the first line was given stays spent, whatever becomes of the second.
    assert order(**second, state="revoked")["states"] == {"revoked": 3}
    for version in (1, 2):
        third = order(number="WO-3", dest=str(tmp_path / "3.age"), key_version=version)
        assert "WO-2, which was revoked: what that line was given is of key version 2" in third["msg"], third
    assert order(number="WO-3", dest=str(tmp_path / "3.age"), key_version=3)["states"] == {"ordered": 3}


def test_an_order_whose_units_are_on_a_later_one_is_not_written_again(order, ledger, tmp_path):
    order()
    finish(ledger, "WO-1")
    second = order(number="WO-2", dest=str(tmp_path / "2.age"))
    assert second["states"] == {"ordered": 3}, second
    # It is as it was, and says so.
    first = order()
    assert not first["changed"] and first["states"] == {"done": 3}
    (tmp_path / "order.age").unlink()
    failed = order()
    assert "is not written again" in failed["msg"] and "is on a later one, WO-2." in failed["msg"], failed
    assert not (tmp_path / "order.age").exists()


def test_revoking_an_earlier_order_leaves_the_later_one_as_it_is(order, ledger, tmp_path):
    order()
    finish(ledger, "WO-1")
    order(number="WO-2", dest=str(tmp_path / "2.age"))
    done = order(state="revoked")
    assert done["states"] == {"done": 3} and done["revoked"] == [] and Path(done["file"]).exists()
    assert [one["work_order"]["state"] for one in records(ledger).values()] == ["ordered"] * 3


def finish(ledger, number):
    """Has the units of an order done, as their report does."""
    with opened(str(ledger), Access.WRITE) as connection:
        devices = Devices(connection)
        for row in devices.rows_on(number):
            record = devices.record(row)
            devices.save(row, with_order(record, {**order_in(record, number), "state": "done"}))
        devices.write()


def test_a_unit_on_two_open_orders_is_told_of_where_one_is_revoked(order, ledger, tmp_path):
    """As it may be where two sites have ordered, and one has taken in what the other knows."""
    order()
    with opened(str(ledger), Access.WRITE) as connection:
        devices = Devices(connection)
        record = devices.record(1)
        devices.save(1, with_order(record, {**order_in(record), "number": "WO-OF-SITE-2"}))
        devices.write()
    done = order(state="revoked")
    assert done["states"] == {"revoked": 3} and "TF-0 (slot0) is on the work order WO-OF-SITE-2 too" in str(
        done["warnings"]
    )
