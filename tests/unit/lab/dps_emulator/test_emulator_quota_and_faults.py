# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Quotas, ordered faults, statistics."""

from __future__ import annotations

import time

import pytest
import requests

QUERY = {"query": "SELECT * FROM enrollments"}


def test_operations_are_throttled_and_told_when(client, refused):
    client.settings(throttle=True, operations_per_window=3, window_seconds=2.0)
    client.control("DELETE", "quotas")
    for _call in range(3):
        refused(client.call("GET", "/enrollments/none"), 404)
    answer = client.call("GET", "/enrollments/none")
    refused(answer, 429001)
    assert 1 <= int(answer.headers["Retry-After"]) <= 2
    time.sleep(int(answer.headers["Retry-After"]) + 0.05)
    refused(client.call("GET", "/enrollments/none"), 404)
    client.settings(throttle=False)


@pytest.mark.parametrize("each, calls", [(False, 4), (True, 2)])
def test_what_a_bulk_call_costs(client, enrollment, each, calls):
    client.settings(throttle=True, operations_per_window=4, window_seconds=30.0, bulk_counts_each=each)
    body = {"mode": "create", "enrollments": [enrollment("a"), enrollment("b")]}
    client.control("DELETE", "quotas")
    answers = [client.call("POST", "/enrollments", body).status_code for _call in range(6)]
    client.settings(throttle=False)
    assert answers == [200] * calls + [429] * (6 - calls)


def test_the_documented_numbers_are_the_defaults():
    from dps_emulator.settings import Settings

    settings = Settings()
    assert settings.throttle and settings.operations_per_window == settings.registrations_per_window == 1000
    assert settings.window_seconds == 60 and (settings.polls_per_window, settings.poll_window_seconds) == (5, 10)
    assert settings.bulk_max == 10 and settings.message_max_bytes == 98304 and not settings.bulk_counts_each


def test_ordered_statuses(client, refused):
    client.control("POST", "faults", {"method": "GET", "path": "^/enrollments/", "count": 2, "status": 503})
    client.control("POST", "faults", {"status": 429, "retry_after": 7})
    refused(client.call("GET", "/enrollments/none"), 503)
    limited = client.call("POST", "/enrollments/query", QUERY)
    refused(limited, 429)
    assert limited.headers["Retry-After"] == "7"
    refused(client.call("GET", "/enrollments/none"), 503)
    refused(client.call("GET", "/enrollments/none"), 404)
    assert client.control("GET", "faults").json() == []


@pytest.mark.parametrize("when, written", [("before", False), ("after", True)])
def test_a_lost_answer(client, enrollment, when, written):
    client.control("POST", "faults", {"method": "PUT", "drop": when})
    with pytest.raises(requests.ConnectionError):
        client.put(enrollment())
    assert (client.call("GET", "/enrollments/unit-1").status_code == 200) is written


def test_a_slow_answer(client):
    client.control("POST", "faults", {"delay": 0.3})
    began = time.monotonic()
    client.call("GET", "/enrollments/none")
    assert time.monotonic() - began >= 0.3


@pytest.mark.parametrize("wrong", [{"state": 1}, {"drop": "later"}, {"status": 200}, {"path": "("}, []])
def test_faults_that_make_no_sense(client, wrong):
    with pytest.raises(requests.HTTPError, match="400"):
        client.control("POST", "faults", wrong)


@pytest.mark.parametrize(
    "wrong",
    [{"nothing": 1}, {"throttle": 1}, {"linked_hubs": "x"}, {"policies": {"x": ["Everything"]}}, [], {"update": 1}],
)
def test_settings_that_do_not_exist(client, wrong):
    before = client.control("GET", "settings").json()
    with pytest.raises(requests.HTTPError, match="400"):
        client.control("PUT", "settings", wrong)
    assert client.control("GET", "settings").json() == before


def test_statistics(client, enrollment):
    client.put(enrollment())
    client.put(enrollment())
    client.call("GET", "/enrollments/unit-1")
    stats = client.control("GET", "stats").json()
    assert stats == {
        "calls": {"enrollment.put": {"200": 1, "409": 1}, "enrollment.get": {"200": 1}},
        "enrollments": 1,
    }
