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
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.judgement import Step
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
    for spoilt in ("", "junk", told[:-20], told.replace("WO-1", "WO-2")):
        notice.write_text(spoilt)
        assert order(state="revoked")["changed"] and not order(state="revoked")["changed"]
        assert notice.read_text().partition("-----END")[2] == told.partition("-----END")[2]


def test_an_order_that_nobody_knows_is_not_revoked(order, tmp_path):
    failed = order(state="revoked", number="WO-9")
    assert failed["failed"] and "knows no work order WO-9" in failed["msg"]
    assert not list(tmp_path.glob("*.revoked"))


def test_a_ledger_that_is_not_there_has_no_units(order, tmp_path):
    failed = order(ledger=str(tmp_path / "other.sqlite"))
    assert failed["failed"] and "The ledger is not there" in failed["msg"]
