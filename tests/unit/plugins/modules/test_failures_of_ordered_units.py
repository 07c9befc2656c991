# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is told of a unit after any runs over it: a graver failure is not hidden by a later lesser one, and none sticks
to a unit that was mended. Only an answer of its TPM undoes that the TPM did not prove itself."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import sqlite3
from typing import NamedTuple

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.fleet_report.gathered import Gathered
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import Access, opened
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.orders import orders_of_both, with_failure

NUMBER = "WO-1"
CUSTOMER = "owner@example.org"
ANSWER = {"answer": "ab" * 32, "nonce": "cd" * 32, "digests": "ef" * 96}
PROVEN, UNPROVEN, UNREACHABLE, BEFORE, AFTER = "proven", "not proven", "unreachable", "before proof", "after proof"
RUNS = (PROVEN, UNPROVEN, UNREACHABLE, BEFORE, AFTER)
SEQUENCES = list(itertools.product(RUNS, repeat=3))
FAILED = {
    UNPROVEN: {
        "reason": "The TPM in this device does not hold the endorsement key that it reports.",
        "not_proven": True,
    },
    UNREACHABLE: {"reason": "No route to host", "unreachable": True},
    BEFORE: {"reason": "Missing sudo password"},
    AFTER: {"reason": "This TPM has an owner", "proven": True, "answer": ANSWER},
}


def expected(sequence):
    """(state, the run whose reason is told, whether it is unproven, whether it has answered)."""
    if PROVEN in sequence:
        return ("done", None, False, True)
    asked = [place for place, run in enumerate(sequence) if run in (UNPROVEN, AFTER)]
    unproven = bool(asked) and sequence[asked[-1]] == UNPROVEN
    told = asked[-1] if unproven else len(sequence) - 1
    return ("failed", sequence[told], unproven, bool(asked) and not unproven)


class Unit(NamedTuple):
    number: int
    sequence: tuple
    # The journal knows it before; or it fails each time before it is read; or each run is cut off before its report.
    known: bool
    reported: bool


@pytest.fixture
def clock(monkeypatch):
    """A minute goes by from run to run, also where a machine is quick."""
    from ansible_collections.tpmfleet.azure_dps.plugins.modules import device_records, work_report_export

    moments = iter(f"2026-11-27T10:{minute:02}:00Z" for minute in range(60))

    def go_on():
        moment = next(moments)
        for module in (device_records, work_report_export):
            monkeypatch.setattr(module, "now", lambda: moment)
        return moment

    return go_on


@pytest.fixture
def line(run_module, make_ek, tmp_path, ssh_key):
    class Line:
        journal = str(tmp_path / "journal.sqlite")
        key = ssh_key("line")

        def record(self, unit, **more):
            named = {"host": f"slot{unit.number}", "serial_number": f"TF-{unit.number}"}
            return {**named, "endorsement_key": make_ek(unit.number), **more}

        def sha256(self, unit):
            return hashlib.sha256(base64.b64decode(make_ek(unit.number))).hexdigest()

        def take(self, records):
            said = run_module(
                "device_records", ledger=self.journal, step="software_install", station="line-1", records=records
            )
            assert not said.get("failed"), said
            return said

        def run(self, units, runs):
            """What the step notes of *units* in one run, and what it reports."""
            records, outcomes = [], []
            for unit, run in zip(units, runs):
                about = {"endorsement_key_sha256": self.sha256(unit), "number": NUMBER, "customer": CUSTOMER}
                if run == PROVEN:
                    outcome = {"ownership": "done", "possession": "verified", "dps_client": "done"}
                    records.append(self.record(unit, outcome=outcome, proven=self.sha256(unit)))
                    outcomes.append({**about, "state": "done", "answer": ANSWER})
                    continue
                order = {"order": NUMBER, "customer": CUSTOMER, "endorsement_key": make_ek(unit.number)}
                named = {"host": f"slot{unit.number}", "serial_number": f"TF-{unit.number}"}
                records.append({**named, "failed": {**FAILED[run], **order}})
                said = {name: one for name, one in FAILED[run].items() if name in ("reason", "not_proven", "answer")}
                outcomes.append({**about, "state": "failed", **said})
            self.take(records)
            self.export([one for unit, one in zip(units, outcomes) if unit.reported])

        def export(self, units=()):
            done = run_module(
                "work_report_export",
                ledger=self.journal,
                numbers=[NUMBER],
                dest=str(tmp_path),
                signing_key=str(self.key),
                station="line-1",
                units=list(units),
            )
            assert not done.get("failed"), done
            return done

        def told(self):
            content = (tmp_path / f"{NUMBER}.report").read_text()
            document = json.loads(content.partition("-----END SSH SIGNATURE-----\n")[2])
            return {one["endorsement_key"]: one for one in document["units"]}

    return Line()


def without_time(unit):
    return {name: value for name, value in unit.items() if name != "at"}


def units_of(*, known, reported, without=()):
    wanted = [one for one in SEQUENCES if not set(one) & set(without)]
    return [Unit(number, one, known, reported) for number, one in enumerate(wanted)]


@pytest.mark.parametrize(
    ("known", "reported", "without", "ticks"),
    [
        # The journal knows it, also where all runs are in one second; it was never read; each run was cut off.
        (True, True, (), True),
        (True, True, (), False),
        (False, False, (PROVEN,), True),
        (True, False, (PROVEN,), True),
    ],
)
def test_after_each_run_the_report_tells_of_each_unit_what_counts(
    line, make_ek, clock, known, reported, without, ticks
):
    units = units_of(known=known, reported=reported, without=without)
    if known:
        line.take([line.record(unit) for unit in units])
    told = {}
    for runs in range(1, 4):
        moment, before = clock() if ticks else "", told
        line.run(units, [unit.sequence[runs - 1] for unit in units])
        told = line.told()
        for unit in units:
            state, why, unproven, answered = expected(unit.sequence[:runs])
            one = told[make_ek(unit.number)]
            found = (one["state"], one.get("reason"), one.get("not_proven", False), "answer" in one)
            reason = None if why is None else FAILED[why]["reason"]
            assert found == (state, reason, unproven, answered), (unit, one)
            if ticks:
                # What is told as before is told with the time when it came about.
                same = without_time(one) == without_time(before.get(make_ek(unit.number), {}))
                assert one["at"] == (before[make_ek(unit.number)]["at"] if same else moment), (unit, one)
    # Whoever looks, from now on it stays the same.
    before = told
    assert not line.export()["changed"] and line.told() == before


def test_a_unit_that_was_done_when_a_run_was_cut_off_is_done_once_it_is_run_again(line, make_ek):
    unit = Unit(0, (), known=True, reported=True)
    line.take([line.record(unit)])
    line.run([unit], [UNPROVEN])
    line.run([unit._replace(reported=False)], [PROVEN])
    line.run([unit], [PROVEN])
    assert line.told()[make_ek(0)]["state"] == "done" and "not_proven" not in line.told()[make_ek(0)]


def test_a_unit_that_the_lines_ledger_stops_is_reported_though_its_journal_never_took_it_in(line, make_ek):
    """Such as a software TPM, or one whose certificate is not trusted there."""
    unit = Unit(0, (), known=False, reported=False)
    ordered = {"order": NUMBER, "customer": CUSTOMER, "endorsement_key": make_ek(0)}
    said = line.take([line.record(unit, tpm_type="software", ordered=ordered)])
    assert said["stopped"] == ["slot0"]
    line.export()
    told = line.told()[make_ek(0)]
    assert told["state"] == "failed" and "software TPM" in told["reason"] and "not_proven" not in told
    assert "ordered" not in json.dumps(said["verdicts"])


def test_the_same_twice_is_the_same_also_where_a_reason_is_long_or_strange(line, make_ek):
    unit = Unit(0, (), known=True, reported=True)
    line.take([line.record(unit)])
    for reason in ("x" * 3000, "a\tb  c\nd\x1b[2J", "\u202e" * 900):
        about = {"endorsement_key_sha256": line.sha256(unit), "number": NUMBER, "customer": CUSTOMER}
        order = {"order": NUMBER, "customer": CUSTOMER, "endorsement_key": make_ek(0)}
        # As the task in which it fails says it.
        reason = " ".join(reason.split())
        for _run in range(2):
            line.take([{"host": "slot0", "serial_number": "TF-0", "failed": {"reason": reason, **order}}])
            line.export([{**about, "state": "failed", "reason": reason}])
        before = line.told()
        line.take([{"host": "slot0", "serial_number": "TF-0", "failed": {"reason": reason, **order}}])
        assert not line.export([{**about, "state": "failed", "reason": reason}])["changed"]
        assert line.told() == before and len(before[make_ek(0)]["reason"]) <= 1000


def standing(ledger):
    with sqlite3.connect(ledger) as connection:
        rows = connection.execute(
            "SELECT serial_number, state, cause FROM standings JOIN devices ON devices.id = standings.device"
        )
        return {name: (state, cause) for name, state, cause in rows}


def test_the_owners_ledger_counts_and_shows_of_each_unit_what_counts(line, run_module):
    """In fleet_info, which counts by the rows that a writer keeps, and in the report, which reads all events."""
    units = units_of(known=True, reported=False)
    line.take([line.record(unit) for unit in units])
    for runs in range(1, 4):
        line.run(units, [unit.sequence[runs - 1] for unit in units])
        told = standing(line.journal)
        with opened(line.journal, Access.READ) as connection:
            shown = {one.record["serial_number"]: one for one in Gathered(connection, "^(?P<rack>x)$").units()}
        for unit in units:
            done = unit.sequence[:runs]
            asked = [run for run in done if run in (PROVEN, UNPROVEN, AFTER)]
            # Here what was proven is history once the unit is worked on again.
            last = UNPROVEN if asked and asked[-1] == UNPROVEN else done[-1]
            state, cause = told[f"TF-{unit.number}"]
            reason = FAILED.get(last, {}).get("reason")
            assert cause == reason and (state == "done") == (last == PROVEN), (unit, runs, state, cause)
            assert (shown[f"TF-{unit.number}"].state == 5) == (last != PROVEN), (unit, runs)
            assert last == PROVEN or shown[f"TF-{unit.number}"].failure == reason, (unit, runs)
    counted = run_module("fleet_info", ledger=line.journal)["states"]
    assert sum(counted.values()) == len(units) and counted.get("unreachable", 0) < len(units) / 3


def test_two_ledgers_that_come_together_tell_of_an_order_what_counts():
    """In either order; each side has one failure, or has taken the unit in."""

    def side(run, at):
        if run == PROVEN:
            return {"number": NUMBER, "state": "done", "at": at, "key_version": 1}
        said = {name: one for name, one in FAILED[run].items() if name in ("reason", "not_proven", "answer")}
        return {"number": NUMBER, "state": "failed", "at": at, "key_version": 1, **said}

    for first, second in itertools.product(RUNS, repeat=2):
        earlier, later = side(first, "2026-11-27T10:00:00Z"), side(second, "2026-11-27T11:00:00Z")
        for mine, other in ((earlier, later), (later, earlier)):
            [told], _replaced, contrary = orders_of_both([mine], [other])
            if (first, second) == (PROVEN, PROVEN):
                assert told["at"] == later["at"] and not contrary
                continue
            state, why, unproven, answered = expected((first, second))
            if state == "done":
                assert told in (earlier, later) and told["state"] == "done", (first, second, told)
                continue
            assert (told["reason"], told.get("not_proven", False)) == (FAILED[why]["reason"], unproven), (first, second)
            assert ("answer" in told) == answered and not contrary, (first, second, told)


def test_what_an_order_has_besides_its_failure_stays():
    ordered = {"number": NUMBER, "state": "ordered", "at": "2026-11-27T09:00:00Z", "written": "2026-11-27T09:00:00Z"}
    failed = with_failure(ordered, {"state": "failed", "at": "2026-11-27T08:00:00Z", "reason": "no power"})
    assert failed == {**ordered, "state": "failed", "at": "2026-11-27T08:00:00Z", "reason": "no power"}
