# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Manifests: streamed, every bad line told with its number, duplicates refused both."""

from __future__ import annotations

import csv
import json

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.errors import DpsError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.manifest import Index
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.lists.reader import InMemory
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.lists.source import FileSource


@pytest.fixture
def records(make_ek):
    return [
        {
            "registration_id": f"unit-{number}",
            "endorsement_key": make_ek(number),
            "initial_twin": {"tags": {"n": number}},
        }
        for number in range(6)
    ]


def write(path, lines):
    path.write_text("".join(line + "\n" for line in lines))
    return FileSource(str(path))


def wanted_ids(index):
    return [index.wanted(number).registration_id for number in index.numbers()]


def told(index):
    return [(problem.place, problem.registration_id, problem.field) for problem in index.problems]


def test_json_lines_with_empty_lines_and_a_byte_order_mark(tmp_path, records):
    lines = [json.dumps(record) for record in records]
    index = Index(write(tmp_path / "m.jsonl", ["\ufeff" + lines[0], "", *lines[1:]]))
    assert index.problems == []
    assert wanted_ids(index) == [record["registration_id"] for record in records]
    assert index.place(1) == 3
    assert index.wanted(5).fields["initial_twin"] == {"tags": {"n": 5}}
    assert index.number_of("UNIT-3") == 3 and index.number_of("other") is None


def test_csv_says_the_same(tmp_path, records):
    path = tmp_path / "m.csv"
    records[2]["iot_hubs"] = ["a", "b"]
    records[3]["iot_edge"] = True
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["registration_id", "endorsement_key", "initial_twin", "iot_hubs", "iot_edge", "serial_number"])
        for record in records:
            writer.writerow(
                [
                    record["registration_id"],
                    record["endorsement_key"],
                    json.dumps(record["initial_twin"], indent=1),
                    "; ".join(record.get("iot_hubs", [])),
                    "TRUE" if record.get("iot_edge") else "",
                    f"SN {record['registration_id']}",
                ]
            )
    index = Index(FileSource(str(path)))
    assert index.problems == []
    from_list = Index(InMemory(records))
    assert [index.wanted(number) for number in index.numbers()] == [
        from_list.wanted(number) for number in from_list.numbers()
    ]


def test_bad_csv_is_told_by_line(tmp_path, make_ek):
    lines = ["registration_id,endorsement_key,initial_twin", f"a,{make_ek()}", f"b,{make_ek(1)},{{", f"c,{make_ek(2)},"]
    index = Index(write(tmp_path / "m.csv", lines))
    assert [problem.place for problem in index.problems] == [2, 3]
    assert wanted_ids(index) == ["c"]


def test_every_bad_line_is_told(tmp_path, records):
    lines = [json.dumps(record) for record in records]
    lines[1] = "{"
    lines[2] = "[1]"
    lines[3] = json.dumps({**records[3], "endorsement_key": "%%", "colour": "red"})
    index = Index(write(tmp_path / "m.jsonl", lines))
    assert told(index) == [
        (2, None, ""),
        (3, None, ""),
        (4, "unit-3", "colour"),
        (4, "unit-3", "endorsement_key"),
    ]
    assert wanted_ids(index) == ["unit-0", "unit-4", "unit-5"]


def test_a_truncated_file_is_told_as_such(tmp_path, records):
    path = tmp_path / "m.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records)[:-30])
    (problem,) = Index(FileSource(str(path))).problems
    assert problem.place == 6 and "cut short" in problem.reason


@pytest.mark.parametrize("as_file", [False, True])
def test_duplicates_are_refused_both(tmp_path, records, as_file):
    records[4]["registration_id"] = "UNIT-1"
    records[5]["endorsement_key"] = records[0]["endorsement_key"]
    source = InMemory(records)
    if as_file:
        source = write(tmp_path / "m.jsonl", [json.dumps(record) for record in records])
    index = Index(source)
    assert sorted(told(index)) == [
        (1, "unit-0", "endorsement_key"),
        (2, "unit-1", "registration_id"),
        (5, "UNIT-1", "registration_id"),
        (6, "unit-5", "endorsement_key"),
    ]
    assert wanted_ids(index) == ["unit-2", "unit-3"]
    word = "line" if as_file else "record"
    (first,) = [problem for problem in index.problems if problem.place == 1]
    assert f"{word} 6 (unit-5)" in first.reason


def test_a_bad_record_still_spoils_its_double(records):
    records[1].update(registration_id="unit-0", colour="red")
    assert wanted_ids(Index(InMemory(records))) == ["unit-2", "unit-3", "unit-4", "unit-5"]


def test_three_of_a_kind_are_all_refused(records):
    for record in records[:3]:
        record["registration_id"] = "same"
    assert wanted_ids(Index(InMemory(records))) == ["unit-3", "unit-4", "unit-5"]


def test_the_same_record_twice_is_told_once_for_each(records):
    index = Index(InMemory([*records, records[0]]))
    assert sorted(told(index)) == [(1, "unit-0", "registration_id"), (7, "unit-0", "registration_id")]


def test_a_manifest_that_changes_meanwhile_is_noticed(tmp_path, records):
    index = Index(write(tmp_path / "m.jsonl", [json.dumps(record) for record in records]))
    (tmp_path / "m.jsonl").write_text("something else\n" * 1000)
    with pytest.raises(DpsError, match="changed while it was read"):
        index.wanted(3)


def test_no_manifest_is_told():
    with pytest.raises(DpsError, match="is not there"):
        FileSource("/nowhere/m.jsonl")
