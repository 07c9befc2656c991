# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The module in a process of its own, by the benchmark's means: what a fleet costs, and that killing it does no harm.

Seconds of processor and not of the clock, so that a busy machine changes nothing. ``make bench-enrollments`` has the
whole figures.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).resolve().parents[4] / "tests" / "bench" / "bench_enrollments.py"
# What two processors have in the 100 s that 100,000 creations may take, client and service together.
SECONDS_PER_CREATION = 2 / 1000
SECONDS_PER_COMPARISON = 2 * 60 / 100_000


@pytest.fixture
def command(dps):
    """The command of a process that runs the module with these options."""

    def make(**options):
        return [sys.executable, str(BENCHMARK), "--one", json.dumps(dps.connection(**options))]

    return make


@pytest.fixture
def run_apart(dps, command):
    """Runs the module over a manifest; what it returned and used, and seconds of processor of both sides."""

    def emulator_seconds():
        fields = Path(f"/proc/{dps.where['pid']}/stat").read_text().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def run(path, **options):
        before = emulator_seconds()
        printed = subprocess.run(command(manifest=str(path), **options), check=True, stdout=subprocess.PIPE, text=True)
        done = json.loads(printed.stdout)
        return done, done["cpu_seconds"] + emulator_seconds() - before

    return run


@pytest.fixture
def manifest(tmp_path, ek_of_modulus):
    def write(count, change=lambda number, record: record):
        path = tmp_path / f"{count}.jsonl"
        with path.open("w") as file:
            for number in range(1, count + 1):
                key = ek_of_modulus((1 << 63 | 2 * number + 1).to_bytes(8, "big") * 32)
                record = {"registration_id": f"unit-{number:07}", "endorsement_key": key}
                file.write(json.dumps(change(number, record)) + "\n")
        return path

    return write


def test_creations_and_comparisons_are_cheap_enough_and_cost_grows_in_a_straight_line(run_apart, manifest):
    small, large = manifest(1000), manifest(6000)
    run_apart(small)
    _done, compare_small = run_apart(small)
    done, create = run_apart(large)
    assert done["result"]["counts"]["created"] == 5000
    assert create < 5000 * SECONDS_PER_CREATION
    done, compare_large = run_apart(large)
    assert done["result"]["counts"]["unchanged"] == 6000
    assert compare_large < 6000 * SECONDS_PER_COMPARISON
    # Six times the records for no more than six times the cost; starting is in the small one too.
    assert compare_large < 6 * compare_small
    assert done["peak_mb"] < 120


def test_seven_bad_lines_of_300_000_are_told_before_anything_is_written(dps, run_apart, manifest):
    bad = {
        7: {"endorsement_key": "%"},
        60_000: {"registration_id": "unit 60000"},
        120_000: {"provisioning_status": "on"},
        180_000: {"registration_id": "unit-0000001"},
        240_000: {"iot_edge": "yes"},
        300_000: {"color": "red"},
    }
    path = manifest(300_000, lambda number, record: {**record, **bad.get(number, {})})
    done, seconds = run_apart(path)
    assert dps.calls() == {} and done["result"]["failed"]
    assert "7 of 300000 lines" in done["result"]["msg"]
    told = [(one["place"], one["field"]) for one in done["result"]["problems"]]
    assert sorted(told) == [
        (1, "registration_id"),
        (7, "endorsement_key"),
        (60_000, "registration_id"),
        (120_000, "provisioning_status"),
        (180_000, "registration_id"),
        (240_000, "iot_edge"),
        (300_000, "color"),
    ]
    assert done["peak_mb"] < 200 and seconds < 60


def test_an_approved_apply_that_is_killed_anywhere_is_completed_under_its_approval(
    dps, command, run_apart, manifest, tmp_path, service
):
    plan = str(tmp_path / "plan.jsonl")
    # 300 to be removed, 300 to be changed, 900 to be made.
    run_apart(manifest(600))
    wanted = manifest(1500, lambda number, record: {**record, "iot_edge": True})
    lines = wanted.read_text().splitlines(keepends=True)
    wanted.write_text("".join(lines[300:]))
    options = {"state": "exact", "prune_limit": {"count": 300, "percent": 60}}
    predicted, _seconds = run_apart(wanted, plan_file=plan, on_conflict="fail", _ansible_check_mode=True, **options)
    counts = {"created": 900, "updated": 300, "deleted": 300, "unchanged": 0, "failed": 0, "total": 1500}
    assert predicted["result"]["counts"] == counts
    dps.fault(path="/enrollments", delay=0.05, count=10**6)
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    for _kill in range(4):
        dps.control("DELETE", "stats")
        approved = command(manifest=str(wanted), approved_plan=plan, **options)
        with subprocess.Popen(approved, stdout=subprocess.DEVNULL) as process:
            while process.poll() is None and not set(dps.calls()) & {"enrollments.bulk", "enrollment.delete"}:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.7))
            process.send_signal(signal.SIGKILL)
    dps.control("DELETE", "faults")
    left, _seconds = run_apart(wanted, approved_plan=plan, **options)
    assert "failed" not in left["result"], f"seed {seed}: {left['result']['msg']}"
    counts = left["result"]["counts"]
    done_now = counts["created"] + counts["updated"] + counts["deleted"]
    assert 0 < done_now < 1500, f"seed {seed}: no run was killed half-way"
    found = [one for page in service.pages() for one in page]
    assert len(found) == 1200 and all(one["capabilities"]["iotEdge"] for one in found)
    again, _seconds = run_apart(wanted, approved_plan=plan, **options)
    assert not again["result"]["changed"]
