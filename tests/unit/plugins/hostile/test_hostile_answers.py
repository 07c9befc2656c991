# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Answers that are none, and ones without an end: told in words, in time, and nobody else is asked."""

from __future__ import annotations

import gzip
import itertools
import resource

import pytest

DEEP = b'{"registrationId":' + b"[" * 200_000
ENDLESS = b"0" * 1_000_000
OTHERS = "https://ELSEWHERE/enrollments/unit-0"

# What no service answers with success, each by a name: (status, body, headers).
SENSELESS = {
    "a page of a proxy": (200, b"<html>Sign in</html>", [("Content-Type", "text/html; charset=utf-8")]),
    "JSON that says it is a page": (200, b"{}", [("Content-Type", "text/html")]),
    "a page that says it is JSON": (200, b"<html>Sign in</html>", []),
    "a charset that is none": (200, b"\xff\xfe{\x00}\x00", [("Content-Type", "application/json; charset=rot13")]),
    "deep nesting": (200, DEEP, []),
    "NaN": (200, b'{"registrationId": NaN}', []),
    "a name twice": (200, b'{"registrationId": "unit-0", "registrationId": "unit-1"}', []),
    "half a character": (200, b'{"registrationId": "\\ud800"}', []),
    "a number of a million digits": (200, b'{"a": ' + b"9" * 1_000_000 + b"}", []),
    "text": (200, b'"yes"', []),
    "a number": (200, b"7", []),
    "null": (200, b"null", []),
    "nothing with success": (200, b"", []),
    "a status that is not told": (299, b"[7]", []),
    "a bomb": (200, gzip.compress(b" " * 50_000_000), [("Content-Encoding", "gzip")]),
    "a coding that is none": (200, b"{}", [("Content-Encoding", "\x1b[31m")]),
    "a refusal with escapes": (400, b'{"errorCode": 400001, "message": "\\u001b[2J\\u202e\\nPULL rack1-slot01"}', []),
    "a refusal of the wrong shape": (403, b'{"errorCode": {"a": [1]}, "message": ["x"], "trackingId": 7}', []),
    "a refusal as a page": (400, b"<html>\x1b[2J" + b"A" * 500_000, [("Content-Type", "text/html")]),
    "not there, by a page": (404, b"<html>no</html>", [("Content-Type", "text/html")]),
    "not there, by a list": (404, b"[]", []),
    "unauthorized": (401, b"{}", [("WWW-Authenticate", 'Bearer claims="e30="')]),
    "moved for good": (301, b"", [("Location", OTHERS)]),
    "found": (302, b"", [("Location", OTHERS)]),
    "another": (303, b"", [("Location", OTHERS)]),
    "moved with its body": (307, b"", [("Location", OTHERS)]),
    "moved for good with its body": (308, b"", [("Location", OTHERS)]),
    "moved to what is none": (307, b"", [("Location", "https://[::1")]),
}


@pytest.mark.parametrize("where", ["everything", "resource manager"])
@pytest.mark.parametrize("name", SENSELESS)
def test_an_answer_that_is_none_is_told(hostile_module, honest, hostile, elsewhere, run_one, name, where):
    status, body, headers = SENSELESS[name]
    headers = [(header, value.replace("ELSEWHERE", elsewhere.host)) for header, value in headers]
    reply = hostile_module.Reply(status, body, headers)
    # What the two ways to Azure have in common is one program; each user by itself is held by the other test module.
    users = ("dps_enrollments", "dps_registration_info", "inventory", "dps_instance", "dps_access_policy_info")
    all_of_it = where == "everything"
    hostile.script = lambda request: reply if all_of_it or "/subscriptions" in request.path else honest(request)
    for user in users[:3] if all_of_it else users[3:]:
        outcome = run_one(user)
        assert outcome.words and outcome.seconds < 4, (user, outcome.result)
        if user != "inventory":
            assert not outcome.result.get("changed")
    assert elsewhere.asked == []


@pytest.mark.parametrize("name", SENSELESS)
def test_a_token_endpoint_that_is_none_is_told(hostile_module, hostile, elsewhere, run_one, name):
    status, body, headers = SENSELESS[name]
    headers = [(header, value.replace("ELSEWHERE", elsewhere.host)) for header, value in headers]
    hostile.script = lambda _request: hostile_module.Reply(status, body, headers)
    outcome = run_one("dps_instance_info")
    assert "Entra ID" in outcome.words and outcome.seconds < 5
    assert elsewhere.asked == []


def test_a_token_endpoint_elsewhere_is_not_given_the_secret(honest, hostile, elsewhere, run_one):
    honest.documents["discovery"] = {
        name: value.replace("HOST", elsewhere.host) for name, value in honest.documents["discovery"].items()
    }
    hostile.script = honest
    assert f"https://{elsewhere.host}" in run_one("dps_instance_info").words
    assert elsewhere.asked == []


@pytest.mark.parametrize("token", ["a\r\nX-Injected: yes", "a b\u202e", "", "A" * 100_000, 7, None, ["a"]])
def test_a_token_that_is_none_is_not_sent(honest, hostile, run_one, token):
    honest.documents["token"]["access_token"] = token
    hostile.script = honest
    assert run_one("dps_instance_info").words
    assert not any("/subscriptions" in request.path for request in hostile.asked)


# What a server library would never send, each by a name: the pieces, as they are.
BROKEN = {
    "nothing": [],
    "no HTTP": [b"\x00\xff\x16\x03\x01 garbage\r\n\r\n"],
    "a status that is none": [b"HTTP/1.1 abc Fine\r\n\r\n"],
    "a negative length": [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: -5\r\n\r\n{}"],
    "two lengths": [b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\n{}"],
    "a body that is cut": [b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"registra'],
    "chunks that are none": [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n"],
    "a header without an end": [b"HTTP/1.1 200 OK\r\nX: " + b"A" * 200_000],
    "a thousand headers": [b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % one for one in range(1000)) + b"\r\n"],
}


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("user_of", ["dps_enrollment_info", "dps_instance_info"])
def test_what_is_no_http_is_told(hostile_module, hostile, run_one, no_sleep, name, user_of):
    hostile.script = lambda _request: hostile_module.Reply(raw=BROKEN[name])
    assert run_one(user_of, retry_budget=1).words


def _body_of(pieces):
    return [b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n", *pieces]


def _drip(text=b"A"):
    return itertools.chain.from_iterable((text, 0.2) for _second in itertools.count())


def _endless(*head):
    return itertools.chain(head, itertools.repeat(ENDLESS))


# What never ends, each by a name: a function that gives its pieces.
ENDLESSLY = {
    "a byte now and then in the body": lambda: itertools.chain(_body_of([]), _drip()),
    "a byte now and then in the status": lambda: itertools.chain([b"HTTP/1.1 200 "], _drip()),
    "a byte now and then in the headers": lambda: itertools.chain([b"HTTP/1.1 200 OK\r\nX: "], _drip()),
    "a header now and then": lambda: itertools.chain([b"HTTP/1.1 200 OK\r\n"], _drip(b"X-A: b\r\n")),
    "go on, for ever": lambda: itertools.chain([], _drip(b"HTTP/1.1 100 Continue\r\n\r\n")),
    "a chunk now and then": lambda: itertools.chain(
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], _drip(b"1\r\n[\r\n")
    ),
    "nothing at all": lambda: [100.0],
}


@pytest.mark.parametrize("name", ENDLESSLY)
def test_what_comes_drop_by_drop_ends_in_time(hostile_module, hostile, run_one, name):
    hostile.script = lambda _request: hostile_module.Reply(raw=ENDLESSLY[name]())
    outcome = run_one("dps_enrollment_info", timeout=1, retry_budget=1)
    assert outcome.words and 0.5 < outcome.seconds < 2.5


def test_a_proxy_that_is_spoken_to_in_tls_ends_in_time(hostile_module, hostile, run_one, monkeypatch):
    """Its answer to CONNECT is within the call too, and so is all that comes through it."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTPS_PROXY", hostile.url)
    hostile.script = lambda _request: hostile_module.Reply(raw=ENDLESSLY["a byte now and then in the headers"]())
    connection = "HostName=dps.example;SharedAccessKeyName=p;SharedAccessKey=a2V5"
    outcome = run_one("dps_enrollment_info", timeout=1, retry_budget=1, connection_string=connection)
    assert outcome.words and outcome.seconds < 2.5
    assert [one.method for one in outcome.asked] == ["CONNECT"], outcome.words


def test_a_page_of_nothing_but_objects_is_refused_before_they_are_made(hostile_module, hostile, run_one):
    body = b"[" + b"{}," * 10_000_000 + b"{}]"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hostile.script = lambda _request: hostile_module.Reply(body=body)
    outcome = run_one("dps_enrollment_info all", timeout=20, retry_budget=20)
    assert "has more than 500,000 values" in outcome.words
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 250_000


def test_every_module_ends_in_its_time(hostile_module, hostile, run_one, user):
    """The budget is for the whole call, with all tries; a token and a document make two calls."""
    hostile.script = lambda _request: hostile_module.Reply(raw=ENDLESSLY["a byte now and then in the body"]())
    outcome = run_one(user, timeout=30, retry_budget=1)
    assert outcome.words and 0.5 < outcome.seconds < 3


def test_tries_are_within_the_budget_too(hostile_module, hostile, run_one):
    hostile.script = lambda _request: hostile_module.Reply(raw=ENDLESSLY["a byte now and then in the body"]())
    outcome = run_one("dps_enrollment_info", timeout=1, retry_budget=3)
    assert len(outcome.asked) > 1 and outcome.seconds < 4.5
    assert "retry_budget 3 s" in outcome.words


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 307 Elsewhere\r\nLocation: https://localhost:1/\r\n\r\n",
        b"HTTP/1.1 500 Sorry\r\n\r\n",
    ],
)
@pytest.mark.parametrize("name", ["dps_enrollment_info", "dps_instance_info"])
def test_what_is_endlessly_large_is_not_kept(hostile_module, hostile, run_one, name, head):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    hostile.script = lambda _request: hostile_module.Reply(raw=_endless(head))
    outcome = run_one(name, timeout=3, retry_budget=3)
    assert outcome.words and outcome.seconds < 5
    # Kilobytes; the limit of an answer is 32 MB, which is there twice for a moment.
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150_000


WAITS = ["-1", "nan", "inf", "1e9", "", "0", "5, 7", "soon", "Thu, 01 Jan 1970 00:00:00 GMT", "Fri, 32 Foo 99 9:9 X"]
LONG_WAITS = ["999999999999", "9" * 400, "Fri, 31 Dec 9999 23:59:59 GMT", "3600"]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("user_of", ["dps_enrollment_info", "dps_instance_info"])
def test_a_retry_after_that_makes_no_sense_is_no_wait_and_no_hurry(hostile_module, hostile, run_one, status, user_of):
    waits = iter(WAITS * 1000)
    hostile.script = lambda _request: hostile_module.Reply(status, {}, [("Retry-After", next(waits))])
    outcome = run_one(user_of, retry_budget=2)
    assert outcome.words and outcome.seconds < 4
    assert len(outcome.asked) < 60


@pytest.mark.parametrize("wait", LONG_WAITS)
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("user_of", ["dps_enrollment_info", "dps_enrollments", "dps_instance_info"])
def test_a_longer_wait_than_the_budget_is_told_at_once_by_all(hostile_module, hostile, run_one, status, wait, user_of):
    """Also by the calls that were about to be made beside the one that was told to wait."""
    hostile.script = lambda _request: hostile_module.Reply(status, {}, [("Retry-After", wait)])
    outcome = run_one(user_of, timeout=20, retry_budget=20)
    assert outcome.words and outcome.seconds < 3
