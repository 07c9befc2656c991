# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A batch by its module: per-record results, partial failure, manifests, check mode, limits of what is listed."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def records(make_ek):
    def make(count, **fields):
        return [
            {"registration_id": f"unit-{number}", "endorsement_key": make_ek(number), **fields}
            for number in range(count)
        ]

    return make


@pytest.fixture
def enroll(dps, run_module):
    def run(records=None, **options):
        if records is not None:
            options["enrollments"] = records
        return run_module("dps_enrollments", **dps.connection(**options))

    return run


@pytest.fixture
def manifest(tmp_path):
    def write(records):
        path = tmp_path / "manifest.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return str(path)

    return write


def actions(result):
    return [one["action"] for one in result["results"]]


def test_check_mode_predicts_and_a_second_run_changes_nothing(dps, enroll, records):
    predicted = enroll(records(12, serial_number="SN"), check=True, diff=True)
    assert dps.control("GET", "stats")["enrollments"] == 0
    made = enroll(records(12, serial_number="SN"), diff=True)
    assert predicted == made and made["changed"]
    assert made["counts"] == {"created": 12, "updated": 0, "deleted": 0, "unchanged": 0, "failed": 0, "total": 12}
    assert [one["registration_id"] for one in made["results"]] == [f"unit-{number}" for number in range(12)]
    again = enroll(records(12), diff=True)
    assert not again["changed"] and actions(again) == ["unchanged"] * 12 and again["diff"]["after"] == {}
    gone = enroll(records(12), state="absent")
    assert gone["counts"]["deleted"] == 12 and not enroll(records(12), state="absent")["changed"]


def test_two_with_one_key_or_one_id_are_refused_and_the_others_applied(dps, enroll, records):
    batch = records(8)
    batch[3]["endorsement_key"] = batch[1]["endorsement_key"]
    batch[6]["registration_id"] = "unit-5"
    result = enroll(batch, fail_on_record_error=False)
    assert "failed" not in result
    assert actions(result) == ["created", "failed", "created", "failed", "created", "failed", "failed", "created"]
    assert [one["place"] for one in result["failed_records"]] == [2, 4, 6, 7]
    assert "unit-3" in result["failed_records"][0]["reason"] and "unit-1" in result["failed_records"][1]["reason"]
    assert dps.control("GET", "stats")["enrollments"] == 4


def test_partial_failure_fails_the_task_and_names_the_record(enroll, records):
    batch = records(12)
    batch[7]["iot_hubs"] = ["unknown.example"]
    batch[8]["colour"] = "red"
    result = enroll(batch)
    assert result["failed"] and "2 of 12 records were refused" in result["msg"]
    assert result["counts"]["created"] == 10
    first, second = result["failed_records"]
    assert first["registration_id"] == "unit-7" and "unknown.example is not linked" in first["reason"]
    assert second["reason"] == "colour is not a field of an enrollment or of a device record"
    del batch[7]["iot_hubs"], batch[8]["colour"]
    assert enroll(batch)["counts"]["created"] == 2


def test_a_manifest_with_bad_lines_is_told_whole_and_nothing_is_written(dps, enroll, manifest, records):
    batch = records(30)
    for number in range(0, 24, 2):
        batch[number]["registration_id"] = f"bad {number}"
    refused = enroll(manifest=manifest(batch))
    assert refused["failed"] and "12 of 30 lines" in refused["msg"] and "and 2 more" in refused["msg"]
    assert [problem["place"] for problem in refused["problems"]] == list(range(1, 24, 2))
    assert dps.calls() == {}


def test_a_manifest_is_applied_and_limits_bound_what_is_listed(enroll, manifest, records):
    path = manifest(records(150))
    made = enroll(manifest=path, results_limit=20, diff_limit=5, diff=True)
    assert made["counts"]["created"] == 150
    assert len(made["results"]) == 20 and made["results_omitted"] == 130
    assert len(made["diff"]["after"]) == 5 and "145 more" in made["diff"]["after_header"]
    assert enroll(manifest=path)["counts"]["unchanged"] == 150


def test_a_fault_in_the_middle_tells_what_is_left_and_a_rerun_completes(dps, enroll, records, no_sleep):
    dps.fault(method="POST", path="/enrollments$", delay=0.01, count=2)
    dps.fault(method="POST", path="/enrollments$", status=503, retry_after=9, count=50)
    result = enroll(records(50), concurrency=1, retry_budget=1)
    assert result["failed"] and result["status"] == 503 and "30 of 50 records were not settled" in result["msg"]
    assert result["counts"]["created"] == 20 and result["changed"]
    dps.control("DELETE", "faults")
    assert enroll(records(50))["counts"]["created"] == 30


def test_a_quota_is_waited_for(dps, enroll, records):
    dps.settings(throttle=True, operations_per_window=15, window_seconds=1.0)
    result = enroll(records(20))
    assert result["counts"]["created"] == 20


def test_an_empty_batch_is_nothing(dps, enroll):
    assert enroll([])["counts"]["total"] == 0
    assert dps.calls() == {}


def test_wrong_numbers_are_told(enroll, records):
    assert "quota_share is 0" in enroll(records(1), quota_share=0)["msg"]
    assert "concurrency is 0" in enroll(records(1), concurrency=0)["msg"]


def test_without_a_right_nothing_is_half_done(dps, enroll, records, run_module):
    import time

    dps.settings(policies={"reader": ["EnrollmentRead"]})
    key = dps.control("GET", "policies")["reader"]
    string = f"HostName={dps.host};SharedAccessKeyName=reader;SharedAccessKey={key}"
    begun = time.monotonic()
    options = {**dps.connection(), "connection_string": string}
    result = run_module("dps_enrollments", **options, enrollments=records(30))
    assert result["failed"] and result["status"] == 401 and result["counts"]["created"] == 0
    assert "EnrollmentWrite" in result["msg"] and time.monotonic() - begun < 10
