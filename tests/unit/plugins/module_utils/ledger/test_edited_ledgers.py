# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A record in the ledger is edited, field by field: whatever it says then, it stops nobody but its own device."""

from __future__ import annotations

import json

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import DEVICES, Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import identity
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.judgement import Step
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.policy import CertificatePolicy

GONE = object()
VALUES = (GONE, None, 5, "", [{"a": "x"}])
COLUMNS = ("serial_number", "device_id", "host", "registration_id", "endorsement_key_sha256")
HONEST = "slot3"


def unit(number, fields, **more):
    return {"host": f"slot{number}", "serial_number": f"TF-{number}", **fields, **more}


def paths(value, path=()):
    """The place of each value in *value*, its own left out."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        yield (*path, name)
        yield from paths(one, (*path, name))


def edited(record, path, value):
    """A copy of *record* with *value* at *path*."""
    copied = json.loads(json.dumps(record))
    inside = copied
    for name in path[:-1]:
        inside = inside[name]
    if value is GONE:
        del inside[path[-1]]
    else:
        inside[path[-1]] = value
    return copied


@pytest.fixture
def met(key):
    """What a step meets, each beside an honest unit: (what it is, the step, the record of a unit)."""
    first, proven = key(1), {"proven": key(1)["endorsement_key_sha256"]}
    place = {"dps_id_scope": "0neA", **{name: first[name] for name in ("registration_id", "endorsement_key")}}
    away = ["tpm_replacement", "recommission"]
    return [
        (
            "itself with news",
            "warehouse",
            unit(1, first, **proven, ownership={"key_version": 2}, outcome={"ownership": "done"}, dps_id_scope="0neB"),
        ),
        ("another TPM", "replace_tpm", unit(1, key(7), exceptions=away, enrolling="0neB")),
        ("its end", "decommission", unit(1, first, outcome={"ownership": "done"}, disenrolled=[place], **proven)),
        ("a lost unit", "decommission", {"host": "slot1", "serial_number": "TF-1"}),
        ("its key elsewhere", "tpm_install", unit(9, first, **proven)),
    ]


def test_an_edited_record_stops_nobody_but_its_own_device(take, key, met, sqlite):
    more = {"ownership": {"profile": "fleet", "key_version": 1}, "certified_tpm": {"maker": "M"}, "device_id": "d-1"}
    done = {"outcome": {"ownership": "done"}, "dps_id_scope": "0neA", "enrolling": "0neA"}
    proven = {"proven": key(1)["endorsement_key_sha256"]}
    take(unit(1, key(1), **more, **done, **proven), unit(3, key(3)))
    with opened(sqlite, Access.WRITE) as connection:
        first = DEVICES.c.serial_number == "TF-1"
        record = json.loads(connection.execute(DEVICES.select().where(first)).first().record)
        record["decommission"] = {"done": "2026-11-24T12:00:00Z"}
        tried = 0
        for path in paths(record):
            for value in VALUES:
                news = edited(record, path, value)
                found_by = {name: identity(name, news.get(name)) for name in COLUMNS}
                for what, step, said in met:
                    tried += 1
                    with connection.begin_nested() as savepoint:
                        columns = {**found_by, "serial_number": "TF-1"}
                        connection.execute(DEVICES.update().where(first).values(record=json.dumps(news), **columns))
                        verdicts = judged(connection, step, said, unit(3, key(3)))
                        assert not verdicts[HONEST].reasons, (path, value, what, verdicts[HONEST].reasons)
                        json.dumps(verdicts[said["host"]].as_result())
                        savepoint.rollback()
    assert tried > 500


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize(
    ("news", "words"),
    [
        ({"serial_number": "TF\ud800"}, "holds half a character"),
        ({"serial_number": "TF\x00"}, "holds a NUL"),
        ({"tpm_model": "\x00"}, "holds a NUL"),
        ({"initial_twin": {"a": 2**70}}, "has a number that needs more than 64 bits"),
        ({"initial_twin": {"a": float("nan")}}, "has NaN"),
        ({"initial_twin": json.loads("[" * 40 + "]" * 40)}, "is nested deeper than"),
        ({"outcome": ["ownership"]}, "its outcome is no object"),
    ],
)
def test_what_could_not_be_read_again_is_not_written(take, key, request, database, news, words):
    """Else the ledger would call it damaged at the next step; or the database refuses the whole batch."""
    ledger = request.getfixturevalue(database)
    ledger = ledger if database == "sqlite" else ledger.ledger()
    verdicts = take({**unit(1, key(1)), **news}, unit(3, key(3)), ledger=ledger)
    [reason] = verdicts["slot1"].reasons
    assert reason.startswith("what is said of it is no record: ") and words in reason
    assert verdicts[HONEST].reasons == []
    assert take(unit(1, key(1)), unit(3, key(3)), ledger=ledger)["slot1"].reasons == []


def judged(connection, step, *records):
    policy = CertificatePolicy("ignored")
    at_work = Step(connection, step=step, station="", at="2026-11-25", list_policy="ignored", certificates=policy)
    return at_work.take(records)
