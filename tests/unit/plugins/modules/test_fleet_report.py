# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The report's bytes: what is in its data and its table, that equal ledgers give equal ones, and that nothing in it is
markup, program or formula, whoever chose it."""

from __future__ import annotations

import base64
import collections
import csv
import gzip
import hashlib
import io
import json
import re
import stat
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.fleet_report import gathered
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.causes import NO_REASON, cause, causes
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import DEVICES, EVENTS, Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.devices import Devices
from cryptography.hazmat.primitives.serialization import Encoding

PARTS = str(Path(gathered.__file__).parent)
HOSTILE = [
    "<img src=x onerror=alert(1)>", "</script><script>alert(1)</script>", "<!--program-->", "<!--", "]]>", "\x1b[31m",
    "\u202eabc", "a\nb", '"', "\\", "\u2028", "x" * 255,
]  # fmt: skip
FORMULAS = ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", " =1", "\r=1", "=cmd|' /C calc'!A0", "＝1"]


def event(step, state, at, station="line-1", **more):
    return {"at": at, "step": step, "station": station, "what": {"state": state, **more}}


@pytest.fixture
def ledger(tmp_path):
    """A function: makes a ledger of units, each a record and its events; its path."""

    def fill(units, nobodys=()):
        path = str(tmp_path / "ledger.sqlite")
        with opened(path, Access.WRITE) as connection:
            devices = Devices(connection)
            for record, events in units:
                row = devices.save(None, record)
                for one in events:
                    devices.note(row, record.get("host"), **one)
            for one in nobodys:
                devices.note(None, "rack1-slot09", **one)
            devices.write()
        return path

    return fill


@pytest.fixture
def report(run_module, tmp_path):
    def run(ledger, **options):
        options = {"dest": str(tmp_path / "report.html"), "csv": str(tmp_path / "report.csv"), **options}
        return run_module("fleet_report", ledger=ledger, parts=PARTS, **options)

    return run


def data_of(path):
    packed = re.search(r'<script type="text/plain" id="data">([A-Za-z0-9+/=]+)</script>', path.read_text())[1]
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def table_of(path):
    return list(csv.DictReader(io.StringIO(path.read_bytes().decode(), newline="")))


def test_the_page_and_the_table_have_each_unit_with_how_far_it_came(ledger, report, tmp_path, tpm_maker, rsa_keys):
    certificate = tpm_maker.certify(rsa_keys[0])
    text = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
    stopped = event("tpm_install", "stopped", "2026-11-03T00:00:00Z", "line-2", reasons=["it says no key; ask"])
    units = [
        ({"serial_number": "TF-1", "host": "rack1-slot01", "endorsement_key_certificate": text},
         [event("tpm_install", "done", "2026-11-01T10:00:00Z", outcome={"enrollment": "done"}),
          event("tpm_install", "verified", "2026-11-02T10:00:00Z"),
          event("warehouse", "done", "2026-11-03T10:00:00Z")]),
        ({"serial_number": "TF-2", "host": "rack1-slot12"}, [stopped]),
        ({"serial_number": "TF-3", "host": "desk", "decommission": {"done": "2026-11-04T00:00:00Z"}}, []),
    ]  # fmt: skip
    result = report(ledger(units, nobodys=[stopped]))
    assert (result["changed"], result["units"], result["damaged"]) == (True, 3, [])
    data = data_of(tmp_path / "report.html")
    assert data["names"]["serial_number"] == ["TF-1", "TF-2", "TF-3"]
    assert [data["states"][state] for state in data["units"]["state"]] == [
        "in the warehouse",
        "stopped",
        "decommissioned",
    ]
    # The first time that it reached the step, whatever came after.
    assert data["units"]["tpm_install"] == [1793527200, 0, 0]
    assert data["units"]["not_after"] == [int(certificate.not_valid_after_utc.timestamp()), 0, 0]
    assert [data["texts"]["rack"], data["units"]["rack"], data["units"]["slot"]] == [["rack1"], [0, 0, -1], [1, 12, 0]]
    assert data["units"]["events"] == [0, 3, 4] and len(data["events"]["at"]) == 4
    # That of a unit which the ledger refused counts too.
    assert data["causes"] == [["it says no key; ask", 2]]
    assert data["texts"]["station"] == ["line-2", "line-1"] and data["stations"] == [[0, 2, 2], [1, 3, 0]]
    rows = table_of(tmp_path / "report.csv")
    assert [row["state"] for row in rows] == ["in the warehouse", "stopped", "decommissioned"]
    assert rows[0]["warehouse"] == "2026-11-03T10:00:00Z" and rows[1]["last_failure"] == "it says no key; ask"


def test_equal_ledgers_give_equal_bytes_and_check_mode_says_so_before(ledger, report, tmp_path):
    path = ledger([({"serial_number": f"TF-{number}"}, []) for number in range(3)])
    assert report(path, check=True)["changed"] is True
    assert not (tmp_path / "report.html").exists() and not (tmp_path / "report.csv").exists()
    assert report(path)["changed"] is True
    before = [(tmp_path / name).read_bytes() for name in ("report.html", "report.csv")]
    assert report(path, check=True)["changed"] is report(path)["changed"] is False
    assert report(path, dest=str(tmp_path / "second.html"))["changed"] is True
    assert [(tmp_path / name).read_bytes() for name in ("second.html", "report.csv")] == before
    assert stat.S_IMODE((tmp_path / "report.html").stat().st_mode) == 0o640
    (tmp_path / "report.csv").write_bytes(before[1][:-1] + b"x")
    assert report(path, check=True)["changed"] is True
    assert report(path)["changed"] is True and (tmp_path / "report.csv").read_bytes() == before[1]


@pytest.mark.parametrize("text", HOSTILE)
def test_what_a_unit_is_called_is_no_markup_and_moves_nothing(ledger, report, tmp_path, text):
    reasons = [f"its {text} is wrong"]
    record = {"serial_number": text, "host": text, "device_id": text[:128], "tpm_model": text, "maker": text}
    stopped = event("tpm_install", "stopped", "2026-11-03T00:00:00Z", text, reasons=reasons)
    plain = [({"serial_number": "TF-1"}, [])]
    report(ledger(plain))
    frame = re.sub(r'id="data">[^<]*<', "<", (tmp_path / "report.html").read_text())
    (tmp_path / "ledger.sqlite").unlink()
    report(ledger([(record, [stopped])]))
    assert re.sub(r'id="data">[^<]*<', "<", (tmp_path / "report.html").read_text()) == frame
    shown = json.dumps(data_of(tmp_path / "report.html"), ensure_ascii=False)
    assert not re.search("[\x00-\x1f\x7f\u202e\u2028]", shown) and not re.search(
        r"\\[nrt]|\\u001b", shown.replace(r"\\", "")
    )
    (row,) = table_of(tmp_path / "report.csv")
    assert not re.search("[\x00-\x1f\u202e\u2028]", "".join(row.values()))


def test_what_stopped_a_unit_before_the_ledger_knew_it_is_in_its_story_and_counted_once(ledger, report, tmp_path):
    named = {"serial_number": "TF-2", "device_id": "pump-2"}
    early = event("tpm_install", "stopped", "2026-11-01T00:00:00Z", reasons=["no key"], **named)
    other = event("tpm_install", "failed", "2026-11-01T01:00:00Z", reasons=["it is mute"], serial_number="TF-9")
    later = event("tpm_install", "done", "2026-11-02T00:00:00Z")
    report(ledger([({"serial_number": "TF-1"}, []), ({**named}, [later])], nobodys=[early, other]))
    data = data_of(tmp_path / "report.html")
    assert data["units"]["events"] == [0, 0]
    assert [data["texts"]["said"][one] for one in data["events"]["said"]] == [
        "STOPPED, no key.",
        "It was read, and written down.",
    ]
    assert data["causes"] == [["it is mute", 1], ["no key", 1]]
    assert [data["states"][one] for one in data["units"]["state"]] == ["known only", "installed"]


def test_the_page_has_the_licence_of_what_it_is_made_of(ledger, report, tmp_path):
    report(ledger([]))
    page = (tmp_path / "report.html").read_text()
    licence = (Path(PARTS) / "uplot/LICENSE").read_text().strip()
    assert "Permission is hereby granted" in licence and f"\n{licence}\n-->\n<head>" in page
    # Nothing in it ends the comment that it stands in.
    assert "--" not in licence and ">" not in licence


def test_a_title_is_text_too(ledger, report, tmp_path):
    report(ledger([]), title="<b>&</title><script>alert(1)</script>")
    page = (tmp_path / "report.html").read_text()
    assert "<title>&lt;b&gt;&amp;&lt;/title&gt;&lt;script&gt;" in page and page.count("<script") == 2


@pytest.mark.parametrize("formula", FORMULAS)
def test_no_cell_is_a_formula(ledger, report, tmp_path, formula):
    stopped = event("tpm_install", "stopped", "2026-11-03T00:00:00Z", reasons=[formula])
    report(ledger([({"serial_number": formula, "host": formula, "tpm_model": formula}, [stopped])]))
    (row,) = table_of(tmp_path / "report.csv")
    assert all(row[name].startswith("'") for name in ("serial_number", "host", "tpm_model"))
    assert not any(cell.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "＝")) for cell in row.values())


def test_the_policy_names_what_is_there_and_allows_nothing_else(ledger, report, tmp_path):
    report(ledger([]))
    page = (tmp_path / "report.html").read_text()
    policy = dict(part.split(" ", 1) for part in re.search(r'Policy" content="([^"]+)"', page)[1].split("; "))
    style, program = (re.search(f"<{name}>(.*?)</{name}>", page, re.S)[1] for name in ("style", "script"))
    for name, text in (("style-src", style), ("script-src", program)):
        assert policy[name] == f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
    assert policy["default-src"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert not re.search(r'(?:src|href)="(?!#)', page) and "url(" not in style


def test_what_is_damaged_is_in_it_by_name_and_told(ledger, report, tmp_path):
    path = ledger([({"serial_number": f"TF-{number}"}, [event("warehouse", "done", "soon")]) for number in range(3)])
    with opened(path, Access.WRITE) as connection:
        connection.execute(DEVICES.update().where(DEVICES.c.serial_number == "TF-1").values(record="{"))
        connection.execute(EVENTS.update().where(EVENTS.c.device == 3).values(what="[]"))
    result = report(path)
    assert result["units"] == 3 and len(result["damaged"]) == 1 and "TF-1" in result["damaged"][0]
    data = data_of(tmp_path / "report.html")
    assert [data["states"][state] for state in data["units"]["state"]][1] == "damaged"
    assert any("cannot be read any more" in one for one in data["texts"]["said"])


def test_of_many_events_the_newest_are_kept_and_the_others_are_counted(ledger, report, tmp_path):
    events = [event("field_activation", "verified", f"2026-11-03T00:{minute:02}:00Z") for minute in range(50)]
    report(ledger([({"serial_number": "TF-1"}, events)]))
    data = data_of(tmp_path / "report.html")
    assert data["units"]["left_out"] == [50 - gathered.MOST_EVENTS]
    assert len(data["events"]["at"]) == gathered.MOST_EVENTS and data["texts"]["said"] == ["All was as recorded."]
    assert data["units"]["last"] == [data["events"]["at"][-1]]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dest": "/nowhere/report.html"}, "The directory /nowhere for the report is not there"),
        ({"csv": "/nowhere/report.csv"}, "The directory /nowhere for the report is not there"),
        ({"dest": "/tmp"}, "/tmp is no file"),
        ({"rack_pattern": "("}, "is no regular expression"),
        ({"rack_pattern": "rack"}, "has no groups rack and slot"),
    ],
)
def test_what_cannot_be_done_is_told_in_check_mode_too(ledger, report, options, words):
    path = ledger([])
    for check in (True, False):
        result = report(path, check=check, **options)
        assert result["failed"] and words in result["msg"]


@pytest.mark.parametrize(
    "what",
    [
        {}, {"state": None}, {"state": "stopped"}, {"state": "stopped", "reasons": 5}, {"state": [], "outcome": []},
        {"state": "stopped", "reasons": [{}, None, ""]}, {"rotation": {}}, {"outcome": {"a": {"b": 1}}},
        {"damaged": True}, {"state": "failed"}, {"state": "failed", "reasons": ["it is mute"], "serial_number": 5},
    ],
)  # fmt: skip
def test_every_event_is_counted_or_left(ledger, report, what):
    stopped = what.get("state") in ("stopped", "failed") and not what.get("damaged")
    assert bool(causes(what)) is stopped and all(causes(what))
    report(
        ledger([({"serial_number": "TF-1"}, [{**event("warehouse", "done", "2026-11-03T00:00:00Z"), "what": what}])])
    )


def test_what_was_told_late_is_not_where_a_unit_stands(ledger, report, tmp_path):
    events = [
        event("warehouse", "done", "2026-11-03T00:00:00Z"),
        event("software_install", "late", "2026-11-04T00:00:00Z", reasons=["no power"]),
    ]
    report(ledger([({"serial_number": "TF-1"}, events)]))
    [unit] = table_of(tmp_path / "report.csv")
    assert (unit["state"], unit["last_failure"]) == ("in the warehouse", "")
    assert unit["last_event"].startswith("2026-11-03")


@pytest.fixture
def judged(run_module, make_ek, tmp_path):
    """A function: what the ledger's judgement says to three units, each of which does the same wrong."""
    path = str(tmp_path / "judged.sqlite")

    def take(records, step="tpm_install", **policy):
        told = run_module("device_records", ledger=path, step=step, station="line-1", records=records, **policy)
        return [reason for verdict in told["verdicts"].values() for reason in verdict["reasons"]]

    def run(wrong, names):
        reasons = []
        for number, name in enumerate(names, 1):
            unit = {"host": f"rack1-slot{number:02}", "serial_number": name, "endorsement_key": make_ek(number)}
            reasons.append((name, wrong(take, unit, make_ek(number + 100))))
        return reasons

    return run


def other_key(take, unit, key):
    take([unit])
    return take([{**unit, "endorsement_key": key}])


def name_of_another(take, unit, key):
    take([{**unit, "device_id": f"pump-{unit['host']}"}])
    other = {"host": f"x-{unit['host']}", "endorsement_key": key, "registration_id": unit["serial_number"]}
    take([{**unit, "registration_id": unit["host"]}])
    return take([{**other, "registration_id": unit["host"]}])


def twin_in_the_batch(take, unit, key):
    other = {"host": f"x-{unit['host']}", "endorsement_key": key, "serial_number": unit["serial_number"]}
    return take([unit, other])[:1]


def same_key(take, unit, key):
    take([unit])
    return take([{**unit, "host": f"x-{unit['host']}", "serial_number": f"x-{unit['serial_number']}"}])


def not_listed(take, unit, key):
    return take([unit], ek_list_policy="required")


def number_for_a_name(take, unit, key):
    return take([{**unit, "serial_number": int(unit["host"][-2:])}])


def decommissioned(take, unit, key):
    take([unit])
    take([{**unit, "outcome": {"ownership": "done"}}], step="decommission")
    return take([unit])


@pytest.mark.parametrize("names", [("TF-1", "TF-2", "TF-3"), ("a; b", "TF (9), which is", "x; pull both, y on 1; z")])
@pytest.mark.parametrize(
    ("wrong", "ends"),
    [
        (other_key, "set tpmfleet_replace_tpm for this host"),
        (name_of_another, "pull both, one is not what it seems"),
        (twin_in_the_batch, "pull both, nobody can say which one is genuine"),
        (same_key, "this one has not proven it"),
        (not_listed, "is on no list of a TPM maker that was taken in (step 1)"),
        (number_for_a_name, "write it in quotes in the inventory, or zeros are lost"),
        (decommissioned, "set tpmfleet_recommission for this host"),
    ],
)
def test_what_the_ledger_says_to_many_units_is_one_cause_with_its_remedy(judged, wrong, ends, names):
    found = [(name, one) for name, reasons in judged(wrong, names) for one in reasons]
    assert len(found) == 3
    shared = {cause(one, [name]) for name, one in found}
    assert len(shared) == 1
    (told,) = shared
    assert told.endswith(ends) and not any(name in told for name in names)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("it was refused (no root of its maker)", "it was refused (it has ended)"),
        ("it was refused; take another one", "it was refused; ask its maker"),
        ("the TPM answered 0x98e", "the TPM answered 0x921"),
        ("the service answered 401002", "the service answered 409201"),
        ("handle 0x81010001 holds another key", "handle 0x81000001 holds another key"),
        ("'ima' is not there", "'tcti' is not there"),
    ],
)
def test_causes_that_differ_stay_two(one, other):
    assert cause(one) == one and cause(other) == other


@pytest.mark.parametrize(
    "form",
    [
        "{0} is not the host of {1}", "its key {2} is unknown", "it ended on 2026-11-0{3}T00:00:00Z",
        "nothing was heard for {3} s", "connect to host 10.0.0.{3} port 2200{3}: Connection refused",
    ],
)  # fmt: skip
def test_what_is_one_unit_s_own_makes_no_cause(form):
    said = set()
    for number in range(1, 8):
        names = [f"rack1-slot{number:02}", f"TF-{number}"]
        said.add(cause(form.format(*names, hashlib.sha256(b"%d" % number).hexdigest(), number), names))
    assert len(said) == 1 and NO_REASON not in said


@pytest.mark.parametrize(
    "form",
    [
        "ssh: connect to host {0} port 22: No route to host", "Connection to {0} port 22 timed out",
        "kex_exchange_identification: read: Connection reset by peer Connection reset by {0} port 22",
        "Connection closed by {0} port 22", "Shared connection to {0} closed.", "Timeout, server {0} not responding.",
        "Received disconnect from {0} port 22:2: Too many authentication failures",
        "Warning: Permanently added '{0}' (ED25519) to the list of known hosts. Connection closed by {0} port 22",
    ],
)  # fmt: skip
def test_where_a_unit_was_to_be_reached_makes_no_cause(form):
    places = ("10.0.0.5", "10.0.0.16", "fe80::1%eth0", "unit-a.lan")
    said = {cause(form.format(one), ["rack1-slot01"]) for one in places}
    assert len(said) == 1 and "22" not in said.pop()


def test_a_reason_that_is_a_name_is_shown():
    assert cause("TF-1", ["TF-1"]) == "TF-1"


def test_of_many_causes_the_commonest_are_named(ledger, report, tmp_path):
    often = [event("warehouse", "stopped", "2026-11-03T00:00:00Z", reasons=["the lid is open"])] * 3
    units = [({"serial_number": f"TF-{number}"}, [event(
        "warehouse", "stopped", "2026-11-03T00:00:00Z", reasons=[f"fault {'x' * number}"])])
        for number in range(1, gathered.MOST_CAUSES + 3)]  # fmt: skip
    report(ledger([*units, ({"serial_number": "TF-0"}, often)]))
    causes = data_of(tmp_path / "report.html")["causes"]
    assert causes[0] == ["the lid is open", 3] and len(causes) == gathered.MOST_CAUSES + 1
    assert causes[-1] == [gathered.OTHER_CAUSES, 3] and sum(count for _cause, count in causes) == len(units) + 3


def test_the_fleet_in_numbers_has_the_causes_of_the_report_and_their_counts(run_module, report, make_ek, tmp_path):
    """What names a unit, several reasons at once, a unit that nobody knows, and a reason longer than others."""
    ledger = str(tmp_path / "ledger.sqlite")
    told = "the TPM of {0} ({1}) refuses it; look at {0}"
    words = f"it says {'much and ' * 60}ask {{0}}'s maker"

    def take(step, *records, **options):
        run_module("device_records", ledger=ledger, step=step, station="line-1", records=list(records), **options)

    units = [
        {"host": f"rack1-slot{number}", "serial_number": f"TF-{number}", "registration_id": f"Unit-{number}"}
        for number in range(1, 5)
    ]
    take("tpm_install", *({**one, "endorsement_key": make_ek(number)} for number, one in enumerate(units[:3], 1)))
    for one in units:
        named = {name: one[name] for name in ("host", "serial_number")}
        for reason in (told.format(one["serial_number"], one["registration_id"].lower()), words.format(one["host"])):
            take("software_install", {**named, "failed": {"reason": reason}})
        take("warehouse", {**named, "failed": {"reason": "no route", "unreachable": True}})
    wrong = {"tpm_type": "software", "endorsement_key": make_ek(9)}
    take("warehouse", *({**one, **wrong} for one in units[:1]), ek_list_policy="required")
    report(ledger)
    of_the_report = dict(data_of(tmp_path / "report.html")["causes"])
    counted = collections.Counter()
    for one in run_module("fleet_info", ledger=ledger)["failures"]:
        counted[one["cause"]] += one["count"]
    assert counted == of_the_report
    # What is called TF-4 the ledger does not know, nor that Unit-4 is its name too.
    assert sorted(counted.values(), reverse=True)[:4] == [4, 4, 3, 1] and len(counted) > 5
    assert any(one.startswith("it says much") and one.endswith("ask …'s maker") and len(one) == 255 for one in counted)
