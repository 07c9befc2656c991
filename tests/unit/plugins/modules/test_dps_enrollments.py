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
    named = [{**record, "serial_number": f"SN-{number}"} for number, record in enumerate(records(12))]
    predicted = enroll(named, check=True, diff=True)
    assert dps.control("GET", "stats")["enrollments"] == 0
    made = enroll(named, diff=True)
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


@pytest.fixture
def team(records):
    """Records of one team out of the fleet."""

    def make(count, name="pumps", first=0):
        tagged = records(first + count, initial_twin={"tags": {"team": name}})
        return tagged[first:]

    return make


def test_exact_removes_what_is_not_listed_within_the_selector(dps, enroll, team):
    enroll(team(20) + team(5, "valves", 20))
    selector = {"tags": {"team": "pumps"}}
    options = {"state": "exact", "selector": selector, "prune_limit": {"percent": 20}}
    predicted = enroll(team(17), check=True, diff=True, **options)
    result = enroll(team(17), diff=True, **options)
    assert predicted == result
    assert result["counts"] == {"created": 0, "updated": 0, "deleted": 3, "unchanged": 17, "failed": 0, "total": 20}
    assert sorted(result["diff"]["before"]) == ["unit-17", "unit-18", "unit-19"]
    assert dps.control("GET", "stats")["enrollments"] == 22
    assert not enroll(team(17), **options)["changed"]


@pytest.mark.parametrize("limit", [{"count": 4, "percent": 100}, {"count": 100, "percent": 24}, {}])
def test_a_disaster_is_refused_whole(dps, enroll, team, limit):
    enroll(team(20))
    refused = enroll(team(15) + team(1, first=30), state="exact", prune_limit=limit)
    assert refused["failed"] and "5 of 20 enrollments (25 %)" in refused["msg"]
    assert dps.control("GET", "stats")["enrollments"] == 20
    assert enroll([], state="exact")["failed"]


def test_exact_with_a_wrong_record_changes_nothing(dps, enroll, team):
    enroll(team(20))
    batch = team(19)
    batch[3]["endorsement_key"] = "%"
    refused = enroll(batch, state="exact")
    assert refused["failed"] and refused["problems"][0]["place"] == 4
    assert dps.control("GET", "stats")["enrollments"] == 20


def test_a_record_outside_of_the_selector_is_refused(enroll, team):
    result = enroll(team(2) + team(1, "valves", 2), state="exact", selector={"tags": {"team": "pumps"}})
    assert result["counts"]["created"] == 2 and result["failed_records"][0]["registration_id"] == "unit-2"
    assert "selector" in enroll(team(1), selector={"registration_id": "a*"})["msg"]
    assert "nothing in it" in enroll(team(1), state="exact", selector={})["msg"]
    assert enroll(team(2), state="exact", selector={"registration_id": "UNIT-*"})["counts"]["unchanged"] == 2


def test_a_plan_is_reviewed_and_then_held_to(dps, enroll, team, tmp_path, service):
    plan = str(tmp_path / "plan.jsonl")
    enroll(team(5))
    wanted = [{**record, "iot_edge": True} for record in team(3)] + team(5, first=3)
    assert enroll(wanted, check=True, plan_file=plan)["counts"]["updated"] == 3
    header, *lines = map(json.loads, (tmp_path / "plan.jsonl").read_text().splitlines())
    assert header["counts"] == {"create": 3, "update": 3, "delete": 0, "unchanged": 2, "refuse": 0}
    (change,) = [line for line in lines if line["registration_id"] == "unit-1"]
    assert (change["before"], change["after"]) == ({"iot_edge": False}, {"iot_edge": True})
    assert dps.where["connection_string"].split("SharedAccessKey=")[1] not in (tmp_path / "plan.jsonl").read_text()

    theirs = service.enrollment("unit-1")
    moved = service.put_enrollment({**theirs, "deviceId": "theirs"}, etag=theirs["etag"])
    refused = enroll(wanted, approved_plan=plan)
    assert refused["failed"] and "world moved" in refused["msg"] and "run again" not in refused["msg"]
    assert "update unit-1 is not in it as now planned." in refused["msg"]
    assert service.enrollment("unit-1")["etag"] == moved["etag"] and service.enrollment("unit-6") is None
    enroll(wanted, check=True, plan_file=plan)
    other = enroll(wanted[:-1], approved_plan=plan)
    assert other["failed"] and "create unit-7 is in it and no longer to be done so" in other["msg"]
    more = enroll(wanted + team(4, first=8), approved_plan=plan)
    assert " and 1 more are not in it as now planned" in more["msg"]
    assert dps.control("GET", "stats")["enrollments"] == 5

    assert enroll(wanted, approved_plan=plan)["counts"]["updated"] == 3
    again = enroll(wanted, approved_plan=plan)
    assert "failed" not in again and not again["changed"]


def test_an_approved_apply_that_was_cut_short_is_completed_under_it(dps, enroll, team, tmp_path, no_sleep):
    plan = str(tmp_path / "plan.jsonl")
    enroll(team(30))
    options = {"state": "exact", "prune_limit": {"percent": 50}, "concurrency": 1}
    wanted = [{**record, "iot_edge": True} for record in team(25)] + team(30, first=30)
    assert enroll(wanted, check=True, plan_file=plan, **options)["counts"] == {
        "created": 30, "updated": 25, "deleted": 5, "unchanged": 0, "failed": 0, "total": 60
    }  # fmt: skip
    dps.fault(method="POST", path="/enrollments$", delay=0.01, count=3)
    dps.fault(method="POST", path="/enrollments$", status=503, retry_after=9, count=50)
    assert enroll(wanted, approved_plan=plan, retry_budget=1, **options)["failed"]
    dps.control("DELETE", "faults")
    left = enroll(wanted, approved_plan=plan, **options)
    assert "failed" not in left and 0 < left["counts"]["unchanged"] < 60
    assert not enroll(wanted, approved_plan=plan, **options)["changed"]
    # What was to be removed and is listed now is another wish.
    refused = enroll(wanted + team(1, first=25), approved_plan=plan, **options)
    told = "create unit-25 is not in it as now planned; delete unit-25 is in it and no longer to be done so"
    assert refused["failed"] and told in refused["msg"]


def test_a_removal_that_was_approved_is_passed_over_once_it_is_done(enroll, team, tmp_path):
    plan = str(tmp_path / "plan.jsonl")
    enroll(team(3))
    enroll(team(3), check=True, state="absent", plan_file=plan)
    assert enroll(team(3), state="absent", approved_plan=plan)["counts"]["deleted"] == 3
    assert not enroll(team(3), state="absent", approved_plan=plan)["changed"]
    assert "world moved" in enroll(team(3), approved_plan=plan)["msg"]


@pytest.fixture
def others_change(service, monkeypatch):
    """Someone else changes unit-1 between plan and write."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps import batch

    def arrange(**change):
        apply_plan = batch.apply_plan

        def others_first(*arguments, **keywords):
            theirs = service.enrollment("unit-1")
            service.put_enrollment({**theirs, **change}, etag=theirs["etag"])
            return apply_plan(*arguments, **keywords)

        monkeypatch.setattr(batch, "apply_plan", others_first)

    return arrange


@pytest.mark.parametrize("how", ["on_conflict", "approved_plan"])
def test_a_record_that_moved_is_refused_where_only_the_plan_may_be_done(
    enroll, team, tmp_path, service, others_change, how
):
    plan = str(tmp_path / "plan.jsonl")
    enroll(team(12))
    wanted = [{**record, "iot_edge": True} for record in team(12)]
    enroll(wanted, check=True, plan_file=plan)
    others_change(deviceId="theirs")
    options = {"approved_plan": plan} if how == "approved_plan" else {"on_conflict": "fail"}
    result = enroll(wanted, **options)
    assert result["counts"]["updated"] == 11 and result["counts"]["failed"] == 1
    assert "nothing but the plan is done" in result["failed_records"][0]["reason"]
    found = service.enrollment("unit-1")
    assert (found["deviceId"], found["capabilities"]["iotEdge"]) == ("theirs", False)


def test_what_changed_since_is_not_pruned(enroll, team, service, others_change):
    enroll(team(20))
    others_change(deviceId="theirs")
    result = enroll(team(1) + team(18, first=2), state="exact")
    assert result["counts"]["deleted"] == 0 and "not removed" in result["failed_records"][0]["reason"]
    assert service.enrollment("unit-1")["deviceId"] == "theirs"


def test_a_record_that_moved_is_planned_anew_and_what_others_did_stays(enroll, team, service, others_change):
    enroll(team(12))
    others_change(deviceId="theirs")
    assert enroll([{**record, "iot_edge": True} for record in team(12)])["counts"]["updated"] == 12
    found = service.enrollment("unit-1")
    assert (found["deviceId"], found["capabilities"]["iotEdge"]) == ("theirs", True)


def test_only_managed_fields_of_what_is_there_are_changed(enroll, team, service):
    enroll(team(2))
    wanted = [{**record, "iot_edge": True, "device_id": f"d-{number}"} for number, record in enumerate(team(3))]
    result = enroll(wanted, managed_fields=["device_id", "endorsement_key"])
    assert [one["changed_fields"] for one in result["results"][:2]] == [["device_id"], ["device_id"]]
    edge = [service.enrollment(f"unit-{number}")["capabilities"]["iotEdge"] for number in range(3)]
    assert edge == [False, False, True]
    assert not enroll(wanted, managed_fields=["device_id"])["changed"]
    assert "iot" in enroll(wanted, managed_fields=["iot"])["msg"]


def test_a_summary_is_what_a_reviewer_reads(dps, enroll, team, tmp_path):
    path = tmp_path / "plan.md"
    enroll([{**record, "initial_twin": {"tags": {"team": "pumps", "note": "``` `x`"}}} for record in team(6)])
    wanted = [{**record, "initial_twin": {"tags": {"team": "pumps", "line": 4}}} for record in team(3)]
    wanted += team(2, first=6) + [{"registration_id": "unit-9", "iot_edge": True}]
    options = {"state": "exact", "plan_summary": str(path), "diff_limit": 2}
    refused = enroll(wanted, check=True, **options)
    assert "prune_limit" in refused["msg"]
    lines = path.read_text().splitlines()
    assert lines[0] == f"# Enrollments of {dps.host}"
    assert "| 2 | 3 | 3 | 0 | 1 |" in lines
    titles = [line for line in lines if line.startswith("## ")]
    assert titles == ["## Refused (1)", "## Delete (3)", "## Update (3)", "## Create (2)"]
    assert lines.count("```diff") == 4 and sum(line.startswith("```") for line in lines) == 8
    update = lines[lines.index("## Update (3)") : lines.index("## Create (2)")]
    assert update[3] in ("  unit-0", "  unit-1", "  unit-2")
    assert update[4:6] == [
        '-   initial_twin.tags.note: "\\u0060\\u0060\\u0060 \\u0060x\\u0060"',
        "+   initial_twin.tags.line: 4",
    ]
    assert "and 1 more, which the plan file has." in update
    assert "! there is no such enrollment, and without endorsement_key none can be created" in lines
    assert any(line.startswith("+   endorsement_key_sha256: ") for line in lines)


def test_check_mode_returns_the_diff_unasked(enroll, team):
    assert sorted(enroll(team(2), check=True)["diff"]["after"]) == ["unit-0", "unit-1"]
    assert "diff" not in enroll(team(2))


def test_a_plan_that_is_none_or_of_another_service_is_refused(enroll, team, tmp_path):
    plan = tmp_path / "plan.jsonl"
    for text, told in (
        ("", "is not one"),
        ('{"plan_version": 1, "host": "other"}\n', "is for other"),
        ('{"plan_version": 1, "host": "localhost', "is not one"),
    ):
        plan.write_text(text)
        assert told in enroll(team(1), approved_plan=str(plan))["msg"]
    assert "is not there" in enroll(team(1), approved_plan=str(tmp_path / "none"))["msg"]
    assert "cannot be written" in enroll(team(1), check=True, plan_file=str(tmp_path / "no" / "plan"))["msg"]


def test_a_plan_of_an_earlier_run_is_not_left_where_this_one_fails(enroll, records, tmp_path, run_module, dps):
    where = {"plan_file": str(tmp_path / "plan.jsonl"), "plan_summary": str(tmp_path / "plan.md")}
    enroll(records(2), check=True, **where)
    assert (tmp_path / "plan.md").exists()
    nobody = dps.connection(enrollments=records(2), connection_string="HostName=;", **where)
    for fails in (
        lambda: enroll(manifest=str(tmp_path / "none.jsonl"), check=True, **where),
        lambda: enroll([{"registration_id": "no key at all!"}], state="exact", check=True, **where),
        lambda: run_module("dps_enrollments", check=True, **nobody),
        lambda: enroll(records(2), selector={"registration_id": "x"}, check=True, **where),
    ):
        enroll(records(2), check=True, **where)
        assert (tmp_path / "plan.md").exists() and (tmp_path / "plan.jsonl").exists()
        assert fails()["failed"]
        assert not (tmp_path / "plan.md").exists() and not (tmp_path / "plan.jsonl").exists()


def test_a_plan_does_not_take_the_place_of_what_is_read(enroll, records, tmp_path, manifest):
    approved = str(tmp_path / "plan.jsonl")
    enroll(records(2), check=True, plan_file=approved)
    before = (tmp_path / "plan.jsonl").read_text()
    (tmp_path / "link").symlink_to(approved)
    listed = manifest(records(2))
    for wrong in (
        {"approved_plan": approved, "plan_file": approved},
        {"approved_plan": approved, "plan_summary": str(tmp_path / "link")},
        {"plan_file": listed},
        {"plan_file": str(tmp_path / "x"), "plan_summary": str(tmp_path / "x")},
    ):
        assert "are the same file" in enroll(manifest=listed, **wrong)["msg"]
    assert (tmp_path / "plan.jsonl").read_text() == before and (tmp_path / "link").is_symlink()


@pytest.mark.parametrize(
    ("fleet", "batch", "others", "most"),
    # A rack in a small service is a page; in a large one it is a page and a call each.
    [(1000, 1000, 0, 50), (300, 60, 0, 1), (30, 30, 1100, 31), (20, 20, 0, 20)],
)
def test_what_is_verified_costs_few_calls(dps, enroll, records, make_ek, fleet, batch, others, most):
    """1,000 verified enrollments cost 50 calls at the most."""
    strangers = [
        {"registration_id": f"a-{number}", "endorsement_key": make_ek(5000 + number)} for number in range(others)
    ]
    assert enroll(strangers + records(fleet), results_limit=0)["changed"]
    dps.control("DELETE", "stats")
    verified = enroll(records(batch), results_limit=0)
    assert verified["counts"]["unchanged"] == batch and not verified["changed"]
    assert sum(dps.calls().values()) <= most


def test_a_stale_page_leads_to_nothing_that_is_not_so(dps, enroll, records, monkeypatch):
    """The list is as it was before the last changes: what it says is asked again before it is done or believed."""
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.service import Service

    enroll(records(30))
    [old] = Service.pages(service_of(dps), page_size=100)
    monkeypatch.setattr(Service, "pages", lambda self, **_options: iter([old]))
    changed = [{**record, "iot_edge": True} for record in records(30)]
    assert enroll(changed)["counts"]["updated"] == 30
    again = enroll(changed)
    assert again["counts"]["unchanged"] == 30 and not again["changed"]

    monkeypatch.setattr(Service, "pages", lambda self, **_options: iter([[]]))
    assert enroll(changed)["counts"]["unchanged"] == 30
    gone = enroll(records(30), state="absent")
    # Not in the list any more, it would be called gone.
    assert gone["counts"]["deleted"] == 30 and dps.control("GET", "stats")["enrollments"] == 0


def service_of(dps):
    from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.connection import open_service

    options = dict.fromkeys(("sas_token", "host", "tenant", "client_id", "secret"))
    return open_service({**options, **dps.connection(), "timeout": 10, "retry_budget": 20})
