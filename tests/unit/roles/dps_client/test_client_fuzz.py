# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whatever a service answers and whatever a disk gives back: an assignment that is whole, or one sentence.

A few seconds each; ``TPMFLEET_FUZZ_SECONDS`` makes it so many seconds for each target that is guided by coverage, and
as many more examples of the others, which are then new ones each time.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some

DRIVER = Path(__file__).with_name("client_targets.py")
SECONDS = int(os.environ.get("TPMFLEET_FUZZ_SECONDS", "0"))
ROUNDS = max(1, SECONDS)
EACH = {"deadline": None, "database": None, "derandomize": not SECONDS, "suppress_health_check": list(HealthCheck)}

PART = b"\0\x20" + b"\x11" * 32
BLOB = base64.b64encode(PART * 5).decode()
CHALLENGE = {"authenticationKey": BLOB, "keyName": "registration", "message": "Authorization required"}
ASSIGNING = {"operationId": "5.316aac5bdc130deb.b1a8", "status": "assigning"}
STATE = {"assignedHub": "hub.example", "deviceId": "unit", "status": "assigned", "tpm": {"authenticationKey": BLOB}}
ASSIGNED = {"operationId": "5.316aac5bdc130deb.b1a8", "status": "assigned", "registrationState": STATE}
GOOD = [(401, CHALLENGE), (202, ASSIGNING), (200, ASSIGNED)]
REGISTRATION = b"\n".join(b"%d %s" % (status, json.dumps(body).encode()) for status, body in GOOD)
KEY = {"public": "AAAA", "private": "AA=="}
KEPT = {"assigned_hub": "hub.example", "device_id": "unit", "assigned_at": 1, "key": KEY}
ANSWER = (
    b"HTTP/1.1 503 Busy\r\nDate: Thu, 26 Nov 2026 12:00:00 GMT\r\nRetry-After: 7\r\nLocation: /\r\n"
    b"Transfer-Encoding: chunked\r\n\r\n2d\r\n"
    b'{"errorCode":401002,"message":"m","info":{} }\r\n0\r\n\r\n'
)
SEEDS = {"speak": [ANSWER], "register": [REGISTRATION], "disk": [json.dumps(KEPT).encode()], "blob": [PART * 5, PART]}

NAMES = some.sampled_from(
    ["authenticationKey", "assignedHub", "deviceId", "errorCode", "errorMessage", "etag", "key", "message", "public"]
    + ["operationId", "registrationState", "status", "tpm", "trackingId", "assigned_hub", "device_id", "assigned_at"]
)
VALUES = some.one_of(
    some.none(), some.booleans(), some.integers(), some.floats(), some.text(max_size=40),
    some.sampled_from([BLOB, "hub.example", "unit", "assigned", "assigning", "failed", "..", "\x1b[2J", "A" * 300]),
)  # fmt: skip
JSON = some.recursive(
    VALUES,
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(NAMES | some.text(max_size=8), inner, max_size=6),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def sources(program, tmp_path_factory):
    """The client's package, as it is packed."""
    directory = tmp_path_factory.mktemp("sources")
    with zipfile.ZipFile(program) as archive:
        archive.extractall(directory)
    return directory


@pytest.fixture(scope="module")
def targets(sources, tmp_path_factory):
    """The functions that are fuzzed, in this process."""
    specification = importlib.util.spec_from_file_location("tpmfleet_client_targets", DRIVER)
    driver = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(driver)
    with pytest.MonkeyPatch.context() as patch:
        # Nothing of the fuzzing needs to be on the disk.
        patch.setattr(os, "fsync", lambda _descriptor: None)
        yield driver.Targets(driver.load(sources), tmp_path_factory.mktemp("state"))
    sys.path.remove(str(sources))


def changed(value, changes):
    """*value* with parts replaced: each change is a number that says where, and what is there then."""
    for where, new in changes:
        value = _replaced(value, where, new)
    return value


def _replaced(value, where, new):
    if not isinstance(value, dict) or not value or where % 5 == 0:
        return new
    name = sorted(value)[where // 5 % len(value)]
    return {**value, name: _replaced(value[name], where // 5 // len(value), new)}


CHANGES = some.lists(some.tuples(some.integers(0, 10_000), JSON), max_size=3)


def test_a_good_registration_is_one(targets):
    """Else nothing of what follows would be reached."""
    assert targets.register(REGISTRATION)["assigned_hub"] == "hub.example"
    targets.state.forget()
    with targets._network([ANSWER]), pytest.raises(targets.client.ClientError, match="problem of its own") as caught:
        client = targets.client
        client.registration.connection(targets.configuration, client.clock.Clock(targets.state)).call("GET", "/")
    assert caught.value.retry_after == 7


def test_answers_of_any_content(targets):
    status = some.sampled_from([200, 201, 202, 204, 301, 400, 401, 403, 404, 429, 500, 503])

    @settings(max_examples=250 * ROUNDS, **EACH)
    @given(some.tuples(CHANGES, CHANGES, CHANGES), some.lists(status, min_size=3, max_size=3), some.integers(0, 7))
    def check(changes, statuses, keep):
        lines = []
        for number, (code, body) in enumerate(GOOD):
            code = code if keep >> number & 1 else statuses[number]
            lines.append(f"{code} {json.dumps(changed(body, changes[number]))}".encode())
        targets.register(b"\n".join(lines))

    check()


def test_answers_of_any_bytes(targets):
    header = some.sampled_from([b"Retry-After", b"Date", b"Location", b"Content-Length", b"Transfer-Encoding", b"X"])
    value = some.binary(max_size=30) | some.sampled_from([b"chunked", b"-1", b"nan", b"1e400", b"99999999999999999999"])
    line = some.sampled_from([b"HTTP/1.1 200 OK", b"HTTP/1.1 100 C\r\n\r\nHTTP/1.0 401 \xff", b"HTTP/1.1 -5 x", b""])
    several = some.lists(some.tuples(header, value), max_size=4)

    @settings(max_examples=250 * ROUNDS, **EACH)
    @given(line | some.binary(max_size=40), several, some.binary(max_size=200))
    def check(first, headers, body):
        targets.speak(b"\r\n".join([first, *(name + b": " + text for name, text in headers), b"", body]))

    check()


def test_disks_of_any_content(targets):
    @settings(max_examples=300 * ROUNDS, **EACH)
    @given(CHANGES.map(lambda changes: json.dumps(changed(KEPT, changes)).encode()) | some.binary(max_size=300))
    def check(content):
        targets.disk(content)

    check()


def test_blobs_of_any_bytes(targets):
    sized = some.binary(max_size=80).map(lambda data: len(data).to_bytes(2, "big") + data)

    @settings(max_examples=250 * ROUNDS, **EACH)
    @given(some.binary(max_size=200) | some.lists(sized, max_size=6).map(b"".join))
    def check(data):
        targets.blob(data)

    check()


def test_a_tpm_and_challenges_that_were_changed_anywhere(targets, enrolled):
    """The service's own challenge, with bytes changed, is refused in words, or makes a key that works or is refused."""
    tell = """
import base64
real = registration.Registration._challenge
def challenge(self, *given):
    found = real(self, *given)
    print(base64.b64encode(found).decode())
    return found
registration.Registration._challenge = challenge
"""
    good = base64.b64decode(enrolled.run("register", "--once", fault=tell).stdout)
    client = targets.client
    known = {name: value for name, value in enrolled.configuration.items() if name in ("id_scope", "tcti")}
    chip = client.chip.Chip(client.configuration.Configuration(**known, state_directory=str(targets.directory)))

    @settings(max_examples=150 * ROUNDS, **EACH)
    @given(
        some.lists(some.tuples(some.integers(0, len(good) - 1), some.integers(0, 255)), min_size=1, max_size=3),
        some.integers(0, len(good)) | some.just(len(good)),
    )
    def check(changes, end):
        data = bytearray(good)
        for place, byte in changes:
            data[place] = byte
        try:
            key = chip.import_key(bytes(data[:end]))
            assert isinstance(chip.sign(key, b"data"), bytes)
        except client.ClientError as error:
            assert str(error).startswith("TPM: "), error

    with chip.opened():
        assert chip.sign(chip.import_key(good), b"data")
        check()


@pytest.mark.parametrize("target", SEEDS)
def test_guided_by_coverage(sources, tmp_path, target):
    """libFuzzer by atheris: it goes where the client's own branches lead it, from one good input on."""
    corpus = tmp_path / "corpus"
    corpus.mkdir()
    for number, seed in enumerate(SEEDS[target]):
        (corpus / str(number)).write_bytes(seed)
    options = [f"-max_total_time={SECONDS or 3}", "-seed=1", "-timeout=10", "-rss_limit_mb=1024", "-max_len=4096"]
    options += [f"-artifact_prefix={tmp_path}/", "-print_final_stats=1", str(corpus)]
    done = subprocess.run(
        [sys.executable, str(DRIVER), str(sources), target, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        timeout=60 + 2 * SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    executed = int(done.stdout.partition("number_of_executed_units:")[2].split()[0])
    assert executed > 20
    # It found its way: inputs that reach what the first one did not.
    assert len(list(corpus.iterdir())) > len(SEEDS[target]), done.stdout[-2000:]
