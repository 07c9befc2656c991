# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Many enrollments: bulk operations and pages."""

from __future__ import annotations

import pytest

QUERY = {"query": "SELECT * FROM enrollments"}


@pytest.fixture
def bulk(client):
    def run(mode, items, path="/enrollments"):
        return client.call("POST", path, {"mode": mode, "enrollments": items})

    return run


def test_all_modes(client, bulk, enrollment):
    items = [enrollment(f"unit-{number}") for number in range(10)]
    for mode in ("create", "update"):
        assert bulk(mode, items).json() == {"isSuccessful": True, "errors": []}
    records = client.call("POST", "/enrollments/query", QUERY).json()
    assert bulk("updateIfMatchETag", records).json()["isSuccessful"]
    stale = bulk("updateIfMatchETag", records).json()
    assert not stale["isSuccessful"] and {error["errorCode"] // 1000 for error in stale["errors"]} == {412}
    assert bulk("delete", [{"registrationId": "unit-3"}, *items[:3]]).json()["isSuccessful"]
    assert len(client.call("POST", "/enrollments/query", QUERY).json()) == 6


def test_each_fails_alone(client, bulk, enrollment, make_key):
    client.put(enrollment("there"))
    bad_key = {"type": "tpm", "tpm": {"endorsementKey": make_key()[:-8]}}
    result = bulk("create", [enrollment("new"), enrollment("there"), enrollment("bad", attestation=bad_key)]).json()
    assert not result["isSuccessful"]
    assert [(error["registrationId"], error["errorCode"]) for error in result["errors"]] == [
        ("there", 409000),
        ("bad", 400004),
    ]
    assert all(isinstance(error["errorStatus"], str) for error in result["errors"])
    assert client.call("GET", "/enrollments/new").status_code == 200
    missing = bulk("update", [enrollment("nowhere")]).json()
    assert missing["errors"][0]["errorCode"] == 404201
    assert bulk("delete", [enrollment("nowhere")]).json()["errors"][0]["errorCode"] == 404201


def test_what_is_no_bulk_operation(bulk, client, enrollment, refused):
    refused(bulk("create", [enrollment(f"u{number}") for number in range(11)]), 400)
    refused(bulk("create", []), 400)
    refused(bulk("upsert", [enrollment()]), 400)
    refused(client.call("POST", "/enrollments", {"enrollments": [enrollment()]}), 400)
    refused(client.call("POST", "/enrollments", {"mode": "create", "enrollments": [], "x": 1}), 400)
    assert client.call("POST", "/enrollments/query", QUERY).json() == []


def test_the_path_of_the_stock_node_sdk(bulk, enrollment):
    assert bulk("create", [enrollment()], "/enrollments/").json()["isSuccessful"]


def test_pages(client, bulk, enrollment, refused):
    for tens in range(3):
        bulk("create", [enrollment(f"unit-{tens}{ones}") for ones in range(10)])
    found, pages, following = [], 0, None
    while True:
        headers = {"x_ms_max_item_count": "7"} | ({"x_ms_continuation": following} if following else {})
        answer = client.call("POST", "/enrollments/query", QUERY, **headers)
        assert answer.headers["x-ms-item-type"] == "Enrollment"
        found += [one["registrationId"] for one in answer.json()]
        pages += 1
        following = answer.headers.get("x-ms-continuation")
        if not following:
            break
    assert pages == 5 and len(found) == len(set(found)) == 30
    client.settings(query_page_max=4)
    assert len(client.call("POST", "/enrollments/query", QUERY, x_ms_max_item_count="7").json()) == 4
    refused(client.call("POST", "/enrollments/query", QUERY, x_ms_max_item_count="0"), 400)
    refused(client.call("POST", "/enrollments/query", QUERY, x_ms_continuation="garbage"), 400)
    refused(client.call("POST", "/enrollments/query", {}), 400)


def test_where_is_ignored(client, enrollment):
    client.put(enrollment("one", provisioningStatus="disabled"))
    client.put(enrollment("two"))
    query = {"query": "SELECT * FROM enrollments WHERE provisioningStatus = 'disabled'"}
    assert len(client.call("POST", "/enrollments/query", query).json()) == 2


@pytest.mark.parametrize(
    "query",
    [
        # What azure-iot 0.25.0 of the cloud CLI sends: the text of its own object (facts: "Seen on 2026-11-26").
        "{'additional_properties': {}, 'query': 'SELECT *'}",
        "SELECT *",
        "DROP TABLE enrollments",
        "",
    ],
)
def test_any_string_is_a_query_as_the_service_reads_none(client, enrollment, query):
    client.put(enrollment("one"))
    answer = client.call("POST", "/enrollments/query", {"query": query})
    assert [one["registrationId"] for one in answer.json()] == ["one"]


@pytest.mark.parametrize(
    "query", [{"query": 7}, {"query": None}, {"query": ["SELECT *"]}, {"query": "x", "y": 1}, [], 7]
)
def test_what_is_no_string_is_no_query(client, refused, query):
    refused(client.call("POST", "/enrollments/query", query), 400)


def test_there_are_no_groups(client, refused):
    assert client.call("POST", "/enrollmentGroups/query", QUERY).json() == []
    refused(client.call("POST", "/registrations/some-group/query", QUERY), 404)
