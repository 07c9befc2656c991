# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A service, or what stands in its place, that means harm: it holds nobody up, and nothing of it is believed."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import socket
import ssl
import stat
import threading
import time

import pytest

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
# What comes at once, what then comes again and again, and whether both are within TLS. A pause of 0 is a flood.
# The head of a record of TLS with 16 kB, of a handshake.
RECORD = b"\x16\x03\x03\x3f\xff"
STREAMS = {
    "the handshake drips": (RECORD, b"\x02", False, 0.2),
    "the status line drips": (b"", b"H", True, 0.2),
    "the headers drip": (HEAD, b"X: y\r\n", True, 0.2),
    "the body drips": (HEAD + b"Content-Length: 200000\r\n\r\n", b" ", True, 0.2),
    "a chunk drips": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nffff\r\n", b" ", True, 0.2),
    "it goes on for ever": (b"", b"HTTP/1.1 100 Continue\r\n\r\n", True, 0.2),
    "it says nothing": (b"", b"", True, 0.2),
    "a body without an end": (HEAD + b"\r\n", b" " * 65536, True, 0),
    "a chunk of all that comes": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n-1\r\n", b" " * 65536, True, 0),
    "headers without an end": (HEAD, b"X: y\r\n" * 1000, True, 0),
    "continues without an end": (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, True, 0),
}
SECONDS = 1.2


@pytest.fixture
def stream(emulator):
    """A function that starts a server with the service's own certificate that sends for ever: its port."""
    ended, listening = threading.Event(), []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(emulator["state_dir"] / "server.pem")

    def serve(server, at_once, again, tls, pause):
        while not ended.is_set():
            # Who was given up on closes the connection, in the middle of whatever it is.
            with contextlib.suppress(OSError):
                connection, _peer = server.accept()
                with context.wrap_socket(connection, server_side=True) if tls else connection as secured:
                    secured.recv(65536)
                    secured.sendall(at_once)
                    while not ended.is_set():
                        secured.sendall(again)
                        ended.wait(pause)

    def start(at_once, again, tls, pause):
        server = socket.create_server(("127.0.0.1", 0))
        server.settimeout(0.2)
        listening.append(server)
        threading.Thread(target=serve, args=(server, at_once, again, tls, pause), daemon=True).start()
        return server.getsockname()[1]

    yield start
    ended.set()
    for server in listening:
        server.close()


def gives_up_in_time(device):
    """An attempt that ends in words, soon after its time, and lets go of the lock."""
    device.configuration["network_timeout"] = SECONDS
    begin = time.monotonic()
    done = device.run("register", "--once", timeout=30, fault=MEASURED)
    assert time.monotonic() - begin < SECONDS + 3
    assert done.returncode == 75, done.stderr
    assert "Traceback" not in done.stderr and "this client failed" not in done.stderr
    with (device.state / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return done


# Says by how many MB the peak of its memory grew.
MEASURED = """
import atexit, resource
begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
real = os._exit
def end(code):
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begin) // 1024, flush=True)
    real(code)
os._exit = end
"""


@pytest.mark.parametrize("kind", STREAMS)
def test_a_call_has_one_end_for_all_of_it(enrolled, stream, kind):
    enrolled.configuration["global_endpoint"] = f"https://localhost:{stream(*STREAMS[kind])}"
    done = gives_up_in_time(enrolled)
    limits = (
        "did not answer to the end within 1.2 s",
        "answered more than any answer",
        "is longer than 262,144",
        "got more",
    )
    assert any(words in done.stderr for words in limits), done.stderr
    assert int(done.stdout) < 40


@pytest.mark.parametrize(
    ("at_once", "again"),
    [
        (b"", b"H"),
        (b"HTTP/1.1 200 Connection established\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 Connection established\r\n\r\n" + RECORD, b"\x02"),
        (b"HTTP/1.1 200 Connection established\r\n\r\n", b""),
    ],
    ids=["status line", "headers", "handshake", "silence"],
)
def test_a_proxy_has_the_same_end(enrolled, stream, at_once, again):
    enrolled.configuration["proxy"] = f"http://localhost:{stream(at_once, again, False, 0.2)}"
    assert "through the proxy localhost" in gives_up_in_time(enrolled).stderr


def test_names_have_the_same_end(enrolled):
    """A resolver that does not come back is left behind."""
    enrolled.configuration["network_timeout"] = SECONDS
    begin = time.monotonic()
    slow = "import socket\nsocket.getaddrinfo = lambda *_given: time.sleep(20)"
    done = enrolled.run("register", "--once", fault=slow)
    assert time.monotonic() - begin < SECONDS + 3
    assert "did not answer to the end within" in done.stderr


def test_an_address_that_says_nothing_leaves_time_for_the_next(enrolled):
    """As IPv6 does where only half of it works."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        # A full backlog drops what comes, as a way into nowhere does.
        waiting = [socket.socket() for _number in range(4)]
        for one in waiting:
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(full.getsockname())
        port = full.getsockname()[1]
        both = f"""
import socket
real = socket.getaddrinfo
socket.getaddrinfo = lambda *given: [(*real(*given)[-1][:4], ("127.0.0.1", {port}))] + real(*given)
"""
        enrolled.configuration["network_timeout"] = 4
        done = enrolled.run("register", "--once", fault=both)
    assert done.returncode == 0, done.stderr
    for one in waiting:
        one.close()


def test_who_waits_is_not_kept_by_another_process(enrolled):
    enrolled.run("status")
    with (enrolled.state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        begin = time.monotonic()
        done = enrolled.run("register", "--within", "2")
    assert done.returncode == 75
    assert "another process of the client" in done.stderr
    assert time.monotonic() - begin < 6


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"status": 200, "body": "[" * 100_000}, "nested deeper than 16 levels"),
        ({"status": 401, "body": '{"authenticationKey": ' + '{"a":' * 5000}, "nested deeper"),
        ({"status": 200, "body": '"' + "x" * 300_000 + '"'}, "longer than 262,144"),
        ({"status": 401, "body": '{"authenticationKey": 5}'}, "not base64"),
        ({"status": 401, "body": '{"authenticationKey": {"a": 1}}'}, "not base64"),
        ({"status": 401, "body": '{"authenticationKey": "Ā"}'}, "not base64"),
        ({"status": 401, "body": '{"authenticationKey": "AAAA"}'}, "TPM"),
        ({"status": 401, "body": '{"authenticationKey": "' + "A" * 200_000 + '"}'}, "TPM"),
        ({"status": 401, "body": '{"authenticationKey": "a", "authenticationKey": "b"}'}, "twice"),
        ({"status": 401, "body": '{"authenticationKey": "\\ud800"}'}, "half a character"),
        ({"status": 200, "body": '{"status": NaN}'}, "no number"),
        ({"status": 200, "body": '{"status": 1' + "0" * 5000 + "}"}, "more than 64 bits"),
        ({"status": 200, "body": '{"status": "assigned", "registrationState": [1]}'}, "out of turn"),
        ({"status": 503, "body": "{}", "headers": {"Retry-After": "nan"}}, "problem of its own"),
        ({"status": 503, "body": "{}", "headers": {"Retry-After": "-1"}}, "problem of its own"),
        ({"status": 503, "body": "{}", "headers": {"Retry-After": "1e999"}}, "problem of its own"),
        ({"status": 503, "body": "{}", "headers": {"Retry-After": "Fri, 31 Dec 99999 23:59:59 GMT"}}, "problem of"),
        ({"status": 200, "body": "{}", "date": "Fri, 31 Dec 99999999999 23:59:59 GMT"}, "out of turn"),
        ({"status": 200, "body": "{}", "date": "Mon, 01 Jan 0001 00:00:00 -2359"}, "out of turn"),
        ({"status": 600, "body": '{"errorCode": [[1]], "message": {"a": 1}, "trackingId": 7}'}, "error [[1]]"),
    ],
    ids=range(20),
)
def test_an_answer_that_is_none(enrolled, portal, answer, words):
    enrolled.configuration["global_endpoint"] = portal(**answer)
    done = gives_up_in_time(enrolled)
    assert words in done.stderr, done.stderr
    assert len(done.stderr) < 800


def test_a_redirect_is_told_and_followed_by_nobody(enrolled, portal):
    elsewhere = portal(status=200, body="{}")
    for status in (301, 302, 303, 307, 308):
        enrolled.configuration["global_endpoint"] = portal(
            status=status, body='{"status": "assigned"}', headers={"Location": elsewhere + "/\x1b[31melsewhere"}
        )
        done = gives_up_in_time(enrolled)
        assert f"HTTP {status}, which would lead to {elsewhere}/\\x1b[31melsewhere, and is not followed" in done.stderr
    assert not any(path.startswith("/\x1b") for path in portal.asked)
    assert len(portal.asked) == 5


BAD = "\x1b]0;owned\x07\x1b[2K\u202egnihton\u202c\u200b\r\n0 errors"


@pytest.mark.parametrize("status", [401, 404, 429, 500])
def test_what_the_service_says_cannot_be_taken_for_something_else(enrolled, portal, status):
    """Not in the journal, not in the status, not by a program that reads its JSON and shows it."""
    body = json.dumps({"errorCode": BAD, "message": BAD * 20, "trackingId": BAD})
    enrolled.configuration["global_endpoint"] = portal(status=status, body=body)
    done = enrolled.run("register", "--once")
    shown = json.loads(enrolled.run("status", "--json").stdout)["message"]
    for text in (done.stderr, enrolled.run("status").stdout, shown):
        assert "\\x1b]0;owned\\x07\\x1b[2K\\u202egnihton\\u202c\\u200b\\r\\n0 errors" in text
        assert text.rstrip("\n").isprintable(), text
    assert len(shown) < 3000


# The service's answer is another one in the place that matters: {part} is Python that changes the "state" in it.
ASSIGNED = """
import json
wait = time.sleep
time.sleep = lambda seconds: wait(0.02)
real = service.Service.call
def call(self, *given, **named):
    answer = real(self, *given, **named)
    state = answer.body.get("registrationState")
    if isinstance(state, dict):
        state.update(json.loads({part!r}))
    return answer
service.Service.call = call
"""
HOSTS = [
    "hub.example:8883",
    "https://hub.example",
    "hub.example/devices",
    "user@hub.example",
    "hub..example",
    ".hub.example",
    "hub.example.",
    "-hub.example",
    "hub_1.example",
    "hub example",
    "hub.example\r\nX: y",
    "hub.example\x00",
    "hub.ex\u0430mple",
    "\u202ehub.example",
    "10.0.0.1",
    "2130706433",
    "[::1]",
    "h" * 64 + ".example",
    ".".join(["h" * 60] * 5),
    " ",
    7,
    True,
    ["hub.example"],
    {"host": "hub.example"},
    "/etc/passwd",
    "..",
]
DEVICE_IDS = [
    "unit/7",
    "../unit",
    "..",
    ".",
    "unit 7",
    "unit\n7",
    "unit\x00",
    "unit\x1b[31m",
    "\u202eunit",
    "ünit",
    "u" * 129,
    "unit&sr=all",
    "unit?\\",
    7,
    ["unit"],
    {"id": "unit"},
    True,
]
MALFORMED = [{"assignedHub": host} for host in HOSTS] + [{"deviceId": device_id} for device_id in DEVICE_IDS]


def test_a_malformed_assignment_is_not_kept(enrolled):
    for part in MALFORMED:
        done = enrolled.run("register", "--once", fault=ASSIGNED.format(part=json.dumps(part)))
        assert done.returncode == 75, (part, done.stderr)
        assert "to what is no hub's name" in done.stderr or "under what is no device ID" in done.stderr, done.stderr
        assert done.stderr.rstrip("\n").isprintable()
        assert "this client failed" not in done.stderr
        assert not (enrolled.state / "assignment.json").exists()
    assert enrolled.run("register", "--once").returncode == 0
    assert enrolled.hub_accepts(enrolled.run("token").stdout.strip())


def test_what_is_only_shown_is_kept_where_it_can_be(enrolled):
    part = {"etag": [BAD], "substatus": BAD, "createdDateTimeUtc": 7, "lastUpdatedDateTimeUtc": "x" * 100_000}
    done = enrolled.run("register", "--once", fault=ASSIGNED.format(part=json.dumps(part)))
    assert done.returncode == 0, done.stderr
    shown = json.loads(enrolled.run("status", "--json").stdout)["assignment"]
    assert [shown[name] for name in ("etag", "substatus", "created", "last_updated")] == [None] * 4


def test_a_malformed_assignment_that_was_kept_heals(enrolled):
    """As one may be that an earlier version of the client took."""
    assert enrolled.run("register", "--once").returncode == 0
    whole = enrolled.assignment()
    names = {"assignedHub": "assigned_hub", "deviceId": "device_id"}
    others = [{"assigned_at": moment} for moment in (True, -1, 10**400, 1.5, "now", None)]
    damaged = [{names[name]: value} for part in MALFORMED for name, value in part.items()] + others
    for change in damaged:
        content = json.dumps({**whole, **change})
        (enrolled.state / "assignment.json").write_text(content)
        status = enrolled.run("status", "--json")
        assert (status.returncode, json.loads(status.stdout)["assignment"]) == (75, None), change
        assert enrolled.run("token").returncode == 1
    # Registering anew is the same for all of them.
    for change in (damaged[0], damaged[-4]):
        content = json.dumps({**whole, **change})
        (enrolled.state / "assignment.json").write_text(content)
        done = enrolled.run("register", "--once")
        assert done.returncode == 0, done.stderr
        assert "was set aside" in done.stderr and "Assigned to" in done.stderr
        assert (enrolled.state / "assignment.json.damaged").read_text() == content
        assert enrolled.assignment()["device_id"] == whole["device_id"]
    assert "nothing to do" in enrolled.run("register", "--once").stderr
    assert enrolled.run("forget").returncode == 0
    assert {path.name for path in enrolled.state.iterdir()} == {"lock", "time-floor"}


def put(path, kind):
    """Something else than the file that should be at *path*."""
    path.unlink(missing_ok=True)
    if kind == "directory":
        path.mkdir()
        (path / "inner").write_text("text")
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("nowhere")
    elif kind == "loop":
        path.symlink_to(path.name)
    elif kind == "deep":
        path.write_text("[" * 50_000)
    elif kind == "large":
        path.write_bytes(b" " * 1_000_000)
    else:
        path.write_bytes(b"\xff\xfe\x00" * 100)


NAMES = ["assignment.json", "registering", "status.json", "time-floor", "lock", "registering.new", "status.json.new"]


@pytest.mark.parametrize("kind", ["directory", "FIFO", "link", "loop", "deep", "large", "noise"])
def test_whatever_lies_in_the_state_directory_heals(enrolled, kind):
    """All of it at once, as a file system may leave it that was checked after a crash."""
    for name in NAMES:
        put(enrolled.state / name, kind)
    for command in (["status"], ["status", "--json"]):
        done = enrolled.run(*command)
        assert done.returncode == 75 and "Traceback" not in done.stderr, done.stderr
    done = enrolled.run("register", "--once")
    assert done.returncode == 0, done.stderr
    assert "this client failed" not in done.stderr
    assert enrolled.hub_accepts(enrolled.run("token").stdout.strip())
    assert "nothing to do" in enrolled.run("register", "--once").stderr
    for name in ("assignment.json", "status.json", "time-floor"):
        assert stat.S_ISREG((enrolled.state / name).lstat().st_mode)
    # What was set aside may have left only names that are known.
    assert {path.name.removesuffix(".damaged") for path in enrolled.state.iterdir()} <= {*NAMES, "time-floor.new"}
    assert enrolled.run("forget").returncode == 0
    assert not list(enrolled.state.glob("*.damaged"))


def test_a_fault_of_the_clients_own_is_told_and_tried_again(enrolled):
    """Nobody is there to look at a traceback."""
    broken = """
real, left = registration.identify, [1]
def identify(*given):
    if left:
        left.pop()
        raise KeyError("\\x1b[31m")
    return real(*given)
registration.identify = identify
"""
    done = enrolled.run("register", fault=broken)
    assert done.returncode == 0, done.stderr
    first, last = done.stderr.splitlines()
    assert "this client failed at <string>:6 (KeyError: '\\x1b[31m')" in first and first.isprintable()
    assert "Assigned to" in last
