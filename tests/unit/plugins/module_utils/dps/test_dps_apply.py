# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Plan and apply against the emulated service: cost, conflicts, faults half-way, and that a rerun converges."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import threading
import time

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps import apply
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.apply import Options, apply_plan, make_plan
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.errors import DpsError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.manifest import Index
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.pacing import Pacer
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.lists.reader import InMemory


@pytest.fixture
def records(make_ek):
    def make(count, first=0, device_id=None, **fields):
        # No two devices have one device ID.
        own = {} if device_id is None else {"device_id": device_id}
        return [
            {
                "registration_id": f"unit-{number}",
                "endorsement_key": make_ek(number),
                **{name: f"{value}-{number}" for name, value in own.items()},
                **fields,
            }
            for number in range(first, first + count)
        ]

    return make


@pytest.fixture
def run(service):
    """Plans and applies; (planned counts, outcome of each record)."""

    def do(records, options=None, *, between=lambda: None, **keywords):
        options = options or Options()
        index = Index(InMemory(records))
        steps, outcomes = [], []
        plan = make_plan(service, index, options, on_step=steps.append)
        between()
        apply_plan(service, index, plan, options, on_outcome=outcomes.append, **keywords)
        done = {step.registration_id: "unchanged" for step in steps if step.action == "unchanged"}
        done.update({outcome.step.registration_id: outcome.action for outcome in outcomes})
        run.reasons = {outcome.step.registration_id: outcome.reason for outcome in outcomes}
        assert len(done) == len(index)
        return plan.counts, done

    run = do
    return do


def counted(done):
    return {action: list(done.values()).count(action) for action in set(done.values())}


def test_create_then_nothing_then_update_then_delete(dps, run, records):
    assert counted(run(records(25))[1]) == {"created": 25}
    assert dps.calls()["enrollments.bulk"] == 3
    dps.control("DELETE", "stats")
    assert counted(run(records(25))[1]) == {"unchanged": 25}
    assert dps.calls() == {"enrollments.query": 1}
    mixed = records(10) + records(5, 10, device_id="d") + records(5, 100)
    assert counted(run(mixed)[1]) == {"unchanged": 10, "updated": 5, "created": 5}
    assert counted(run(records(30), Options(absent=True))[1]) == {"deleted": 25, "unchanged": 5}


def test_a_batch_costs_by_its_size_and_a_fleet_by_pages(dps, run, records, monkeypatch):
    monkeypatch.setattr(apply, "PAGE_SIZE", 50)
    run(records(300))
    dps.control("DELETE", "stats")
    run(records(8))
    assert dps.calls() == {"enrollment.get": 8}
    dps.control("DELETE", "stats")
    assert counted(run(records(300))[1]) == {"unchanged": 300}
    assert dps.calls() == {"enrollments.query": 6}


def test_a_large_service_is_not_read_to_its_end_for_a_smaller_batch(dps, run, records, monkeypatch):
    run(records(60))
    monkeypatch.setattr(apply, "PAGE_SIZE", 1)
    monkeypatch.setattr(apply, "SINGLE_READS", 5)
    monkeypatch.setattr(apply, "ONE_PAGE", 5)
    dps.control("DELETE", "stats")
    assert counted(run(records(5, 45) + records(5, 200))[1]) == {"unchanged": 5, "created": 5}
    assert dps.calls() == {"enrollments.query": 10, "enrollment.get": 10, "enrollments.bulk": 1}


def test_what_changed_since_the_plan_is_planned_anew(service, run, records):
    run(records(12, device_id="before"))

    def others():
        taken = service.enrollment("unit-0")
        service.put_enrollment({**taken, "optionalDeviceInformation": {"theirs": 1}}, etag=taken["etag"])
        service.delete_enrollment("unit-1")
        same = service.enrollment("unit-2")
        service.put_enrollment({**same, "deviceId": "after-2"}, etag=same["etag"])

    _counts, done = run(records(12, device_id="after"), between=others)
    assert done == {**{f"unit-{n}": "updated" for n in range(12)}, "unit-1": "created", "unit-2": "unchanged"}
    after = service.enrollment("unit-0")
    assert (after["deviceId"], after["optionalDeviceInformation"]) == ("after-0", {"theirs": 1})


def test_what_appeared_since_the_plan_is_not_overwritten(service, run, records):
    def others():
        run_other = records(3)
        index = Index(InMemory(run_other))
        for number in index.numbers():
            step = apply.plan_record(number, index.wanted(number), None, Options())
            service.put_enrollment({**step.document, "deviceId": "theirs"}, etag=None)

    _counts, done = run(records(3, iot_edge=True), between=others)
    assert counted(done) == {"updated": 3}
    assert service.enrollment("unit-0")["deviceId"] == "theirs"


def test_an_enrollment_of_another_tpm_is_neither_taken_nor_removed(run, records):
    run(records(1))
    stranger = [{**records(1, 7)[0], "registration_id": "unit-0"}]
    for options in (Options(), Options(absent=True)):
        assert run(stranger, options)[1] == {"unit-0": "failed"}
    assert run(stranger, Options(replace_key=True))[1] == {"unit-0": "updated"}


def test_one_that_the_service_refuses_does_not_hold_up_the_others(run, records):
    batch = records(12)
    batch[4]["iot_hubs"] = ["unknown.azure-devices.example"]
    _counts, done = run(batch)
    assert counted(done) == {"created": 11, "failed": 1} and done["unit-4"] == "failed"


def test_a_key_that_another_enrollment_holds_is_told(dps, run, records):
    dps.settings(unique_endorsement_keys=True)
    run(records(1))
    batch = records(3, 5)
    batch[1]["endorsement_key"] = records(1)[0]["endorsement_key"]
    assert counted(run(batch)[1]) == {"created": 2, "failed": 1}


def test_a_call_that_is_refused_as_a_whole_is_tried_one_by_one(dps, run, records):
    dps.fault(method="POST", path="/enrollments$", status=400, error_code=400000)
    assert counted(run(records(5))[1]) == {"created": 5}
    assert dps.calls()["enrollment.put"] == 5


@pytest.mark.parametrize("drop", ["before", "after"])
def test_a_lost_answer_is_settled(dps, run, records, no_sleep, drop):
    dps.fault(method="POST", path="/enrollments$", drop=drop, count=2)
    assert counted(run(records(25))[1]) == {"created": 25}
    dps.fault(method="POST", path="/enrollments$", drop=drop, count=2)
    assert counted(run(records(25, device_id="d"))[1]) == {"updated": 25}
    dps.fault(method="POST", path="/enrollments$", drop=drop, count=2)
    assert counted(run(records(25), Options(absent=True))[1]) == {"deleted": 25}


def test_a_fault_that_stays_ends_the_apply_and_a_rerun_completes_it(dps, service, run, records, no_sleep):
    service._retry_budget = 3
    dps.fault(method="POST", path="/enrollments$", status=503, count=100)
    with pytest.raises(DpsError, match="answered 503"):
        run(records(50), concurrency=1)
    dps.control("DELETE", "faults")
    service._retry_budget = 20
    assert counted(run(records(50))[1]) == {"created": 50}


def test_two_at_once_on_the_same_records_end_whole(dps, service, run, records):
    dones = []

    def one(value):
        index = Index(InMemory(records(60, device_id=value)))
        outcomes = []
        plan = make_plan(service, index, Options())
        barrier.wait()
        apply_plan(service, index, plan, Options(), on_outcome=outcomes.append, concurrency=4)
        dones.append([outcome.action for outcome in outcomes])

    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=one, args=(value,)) for value in ("a", "b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(dones) == 2 and all(len(done) == 60 and "failed" not in done for done in dones)
    assert sum(done.count("created") for done in dones) == 60


def test_a_large_enrollment_shares_its_call_with_few(dps, run, records):
    assert counted(run(records(10, optional_device_information={"text": "x" * 30_000}))[1]) == {"created": 10}
    assert dps.calls()["enrollments.bulk"] + dps.calls().get("enrollment.put", 0) == 5


def test_only_the_documented_bulk_size_is_sent(dps, run, records):
    dps.settings(bulk_max=10)
    assert counted(run(records(101))[1]) == {"created": 101}


def test_an_update_without_a_key_is_one_and_a_creation_is_not(run, records):
    run(records(1))
    change = [{"registration_id": "unit-0", "iot_edge": True}, {"registration_id": "unit-1", "iot_edge": True}]
    assert run(change)[1] == {"unit-0": "updated", "unit-1": "failed"}


APPLY = """
import sys
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps import apply, credentials, manifest, service
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.lists import source
client = service.Service(credentials.parse_connection_string(sys.argv[1]), ca_file=sys.argv[2])
index = manifest.Index(source.FileSource(sys.argv[3]))
plan = apply.make_plan(client, index, apply.Options())
print("planned", flush=True)
outcomes = []
apply.apply_plan(client, index, plan, apply.Options(), on_outcome=outcomes.append)
print(*(f"{one.step.registration_id}={one.action}" for one in outcomes), flush=True)
"""


def apply_command(dps, path, records):
    """The command of a process that applies *records*, by way of the file *path*."""
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return [sys.executable, "-c", APPLY, dps.where["connection_string"], dps.where["ca_file"], str(path)]


def test_a_run_that_is_killed_anywhere_is_completed_by_the_next(dps, service, run, records, tmp_path):
    wanted = records(1500, device_id="d")
    run(records(300))
    command = apply_command(dps, tmp_path / "manifest.jsonl", wanted)
    # So slow that no run comes to its end: 150 calls, eight at a time, take two seconds.
    dps.fault(method="POST", path="/enrollments$", delay=0.1, count=10_000)
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    for _kill in range(4):
        written = dps.control("GET", "stats")["enrollments"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            process.stdout.readline()
            # Not by the clock, which a busy machine stretches.
            while process.poll() is None and dps.control("GET", "stats")["enrollments"] <= written:
                time.sleep(0.01)
            time.sleep(chance.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
    dps.control("DELETE", "faults")
    before = dps.control("GET", "stats")["enrollments"]
    assert 300 < before < 1500, f"seed {seed}: no run was killed half-way"
    done_before = {
        one["registrationId"]: one["etag"] for page in service.pages() for one in page if one.get("deviceId")
    }
    counts, done = run(wanted)
    assert counts["create"] == 1500 - before, f"seed {seed}"
    assert "failed" not in counted(done)
    # Nothing is done twice.
    assert counts["unchanged"] == len(done_before)
    assert all(service.enrollment(one)["etag"] == done_before[one] for one in list(done_before)[::50])
    assert counted(run(wanted)[1]) == {"unchanged": 1500}
    found = [document for page in service.pages() for document in page]
    assert len(found) == 1500 and all(one["deviceId"] == f"d-{one['registrationId'][5:]}" for one in found)


def test_two_processes_at_once_on_overlapping_sets_end_whole(dps, service, run, records, tmp_path):
    run(records(100, 400))
    first, second = records(500, device_id="a"), records(500, 250, device_id="b")
    commands = [
        apply_command(dps, tmp_path / f"{name}.jsonl", wanted) for name, wanted in (("a", first), ("b", second))
    ]
    dps.fault(method="POST", path="/enrollments$", delay=0.05, count=10_000)
    processes = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]
    ends = [process.communicate(timeout=120)[0].split() for process in processes]
    dps.control("DELETE", "faults")
    assert [process.returncode for process in processes] == [0, 0]
    outcomes = [dict(one.rsplit("=", 1) for one in told[1:]) for told in ends]
    assert all(len(one) == 500 and "failed" not in one.values() for one in outcomes)
    created = [one for done in outcomes for one, action in done.items() if action == "created"]
    assert len(created) == len(set(created)) == 650
    found = {one["registrationId"]: one for page in service.pages() for one in page}
    assert len(found) == 750
    keys = [record["endorsement_key"] for record in records(750)]
    for number in range(750):
        one = found[f"unit-{number}"]
        both = ("a", "b") if 250 <= number < 500 else ("a",) if number < 250 else ("b",)
        assert (
            one["deviceId"] in [f"{which}-{number}" for which in both]
            and one["attestation"]["tpm"]["endorsementKey"] == keys[number]
        )
    # Whoever comes last has his way, and leaves the rest alone.
    assert "failed" not in counted(run(first)[1])
    assert {service.enrollment(f"unit-{number}")["deviceId"] for number in (250, 499)} == {"a-250", "a-499"}
    assert service.enrollment("unit-500")["deviceId"] == "b-500"


def test_a_share_of_the_quota_leaves_the_rest_to_the_devices(dps, service, records):
    # Forty operations in two seconds, and half of them for the apply; devices take eight a second.
    dps.settings(throttle=True, operations_per_window=40, window_seconds=2.0)
    dps.control("DELETE", "quotas")
    service.pacer = Pacer(0.5)
    index = Index(InMemory(records(900)))
    plan = make_plan(service, index, Options())
    ended = threading.Event()
    answers = []
    url = f"{dps.where['endpoint']}/registrations/unit-0?api-version=2021-10-01"
    headers = {"Authorization": service._access.authorization()}

    def devices():
        while not ended.wait(1 / 8):
            answers.append(dps.session.get(url, headers=headers, timeout=10).status_code)

    thread = threading.Thread(target=devices)
    thread.start()
    begun = time.monotonic()
    outcomes = []
    try:
        apply_plan(service, index, plan, Options(), on_outcome=outcomes.append)
    finally:
        ended.set()
        thread.join()
    seconds = time.monotonic() - begun
    assert {outcome.action for outcome in outcomes} == {"created"} and len(outcomes) == 900
    # 90 calls: at first as many as the quota takes, since it was not known; then twenty in two seconds.
    assert seconds > 2.0 * (90 - 40) / 20 - 1
    assert len(answers) > 8 * 2
    # Those that met the first calls.
    assert answers.count(429) <= 8 * 2
    assert answers[8 * 2 + 4 :].count(429) <= 1
