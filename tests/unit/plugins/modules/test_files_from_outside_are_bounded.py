# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lists, manifests, plans and signatures that are no files, have no end or go too deep: refused in words, and soon."""

from __future__ import annotations

import json
import os
import resource
import socket
import time

import pytest

SECONDS = 5
MEGABYTES = 60
DEEP = 100_000


@pytest.fixture
def within_limits():
    """What runs inside takes little time and memory."""
    processor, clock, memory = time.process_time(), time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    # A busy machine takes longer; what hangs takes for ever.
    assert time.process_time() - processor < SECONDS and time.monotonic() - clock < 12 * SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024 < MEGABYTES


def fifo(path):
    os.mkfifo(path)


def directory(path):
    path.mkdir()


def a_socket(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


def endless(path):
    path.symlink_to("/dev/zero")


def nothing(path):
    path.symlink_to("/dev/null")


NO_FILES = {
    fifo: "is a FIFO (a named pipe), not a file",
    directory: "is a directory, not a file",
    a_socket: "is a socket, not a file",
    endless: "is a device, not a file",
    nothing: "is a device, not a file",
}


def one_line(text, size=20 << 30):
    """A file that begins with *text* and has 20 GB more, none of which is on the disk."""

    def write(path):
        path.write_text(text)
        os.truncate(path, size)

    return write


def content(text):
    return lambda path: path.write_bytes(text if isinstance(text, bytes) else text.encode())


# What is wrong by itself, and what is said of it, as a list and as a manifest.
HOSTILE = {
    "a line of 20 GB": (one_line('{"registration_id": "a'), "line 1: is longer than 1 MB; it and what follows was not"),
    "a record of 20 GB": (one_line('[{"registration_id": "a'), "record 1: is longer than 1 MB; it and what follows"),
    "20 GB after a good line": (one_line('{"registration_id": "a"}\n{'), "line 2: is longer than 1 MB"),
    "deep arrays": (content('{"a": ' + "[" * DEEP), "line 1: is nested deeper than 32 levels, at character"),
    "deep objects": (content('{"a":' * DEEP), "line 1: is nested deeper than 32 levels, at character"),
    "deep records": (content('[{"a":' * DEEP), "record 1: is nested deeper than 32 levels"),
    "a deep twin": (
        content('{"registration_id": "a", "initial_twin": ' + '{"tags": ' * 50 + "1" + "}" * 51 + "\n"),
        "line 1: is nested deeper than 32 levels",
    ),
    "a huge number": (content('{"a": ' + "9" * 500_000 + "}\n"), "line 1: has a number that needs more than 64 bits"),
    "no number": (content('{"a": NaN}\n'), "line 1: has NaN, which is no number in JSON"),
    "too large a number": (content('{"a": 1e999}\n'), "line 1: has a number that no computer has room for (1e999)"),
    "a name twice": (
        content('{"registration_id": "a", "registration_id": "b"}\n'),
        "line 1: has the name 'registration_id' twice",
    ),
    "a NUL": (content('{"registration_id": "a\\u0000b"}\n'), "line 1: holds a NUL"),
    "half a character": (
        content('{"maker": "\\ud800"}\n'),
        r"line 1: holds half a character (the lone surrogate \ud800)",
    ),
    "a raw NUL": (content('{"maker": "a\0"}\n'), "line 1: is not JSON (Invalid control character"),
}


@pytest.fixture
def take(run_module, dps, tmp_path):
    """Takes a file in as an EK list, and as a manifest; what each said."""

    def run(path):
        ledger = str(tmp_path / "ledger.sqlite")
        return [
            run_module("ek_list", ledger=ledger, src=str(path)),
            run_module("dps_enrollments", **dps.connection(manifest=str(path))),
        ]

    return run


@pytest.mark.parametrize("make", NO_FILES)
@pytest.mark.parametrize("name", ["list", "list.csv", "list.jsonl", "list.json"])
def test_a_list_that_is_no_file_is_told_at_once(run_module, dps, tmp_path, within_limits, make, name):
    make(tmp_path / name)
    results = [run_module("dps_enrollments", **dps.connection(manifest=str(tmp_path / name)))]
    if make is not directory:
        results.append(run_module("ek_list", ledger=str(tmp_path / "l.sqlite"), src=str(tmp_path / name)))
    for result in results:
        assert result["failed"] and NO_FILES[make] in result["msg"], result["msg"]
    assert not dps.calls()


@pytest.mark.parametrize("what", HOSTILE)
def test_a_list_without_an_end_or_a_meaning_is_told_with_the_place(take, tmp_path, dps, within_limits, what):
    write, words = HOSTILE[what]
    write(tmp_path / "list")
    for result in take(tmp_path / "list"):
        assert result["failed"]
        assert any(
            words in f"{one.get('where') or told_place(result, one)}: {one['reason']}" for one in result["problems"]
        ), result
    assert not dps.calls()


def told_place(result, problem):
    word = "record" if "records of" in result["msg"] else "line"
    return f"{word} {problem['place']}"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('registration_id,endorsement_key\na,"', "a quote is not closed"),
        ("registration_id," + "x," * 2000 + "y\n", "has 2,002 columns; 1,000 are the most"),
        ("registration_id\n" + "a" * 200_000 + "\n", "field larger than field limit"),
        ("registration_id,initial_twin\na," + "[" * DEEP + "\n", "initial_twin is nested deeper than 32 levels"),
        (
            'registration_id,initial_twin\na,"{""x"": 1, ""x"": 2}"\n',
            "initial_twin has the name 'x' twice in one object",
        ),
        ("registration_id\n" + '"a\n' * 1_000_000, "a quote is not closed"),
    ],
    ids=range(6),
)
def test_csv_without_an_end_or_a_meaning_is_told(run_module, dps, tmp_path, within_limits, text, words):
    (tmp_path / "list.csv").write_text(text)
    result = run_module("dps_enrollments", **dps.connection(manifest=str(tmp_path / "list.csv")))
    assert result["failed"] and words in result["msg"], result["msg"]
    assert not dps.calls()


def test_a_csv_of_20_gb_in_one_line_is_told(run_module, dps, tmp_path, within_limits):
    one_line("registration_id,endorsement_key\na,")(tmp_path / "list.csv")
    result = run_module("dps_enrollments", **dps.connection(manifest=str(tmp_path / "list.csv")))
    assert "line 2: is longer than 1 MB; it and what follows was not read" in result["msg"]
    one_line("registration_id")(tmp_path / "list.csv")
    result = run_module("dps_enrollments", **dps.connection(manifest=str(tmp_path / "list.csv")))
    assert result["failed"] and "longer than 1 MB" in result["msg"]


def test_a_list_of_nothing_but_problems_is_not_read_to_its_end(take, tmp_path, dps, within_limits):
    (tmp_path / "list").write_text("{}\n" * 200_000)
    for result in take(tmp_path / "list"):
        assert 10_000 <= len(result["problems"]) <= 12_000
        assert "is the last one that was read" in result["problems"][-1]["reason"]


def test_what_is_shown_of_a_list_hides_nothing(take, tmp_path, dps):
    name = "\u202eapproved\x1b[2J\u200b"
    (tmp_path / "list").write_text(json.dumps({"registration_id": name, name: 1, "maker": name}) + "\n")
    for result in take(tmp_path / "list"):
        text = json.dumps(result, ensure_ascii=False)
        assert "\u202e" not in text and "\u200b" not in text and "\\u001b" not in text
        assert "\\\\u202e" in text or "endorsement_key" in text


# Directories of certificates, and signatures.


def test_what_is_no_file_in_a_directory_of_certificates_is_told_by_its_name(run_module, tmp_path, within_limits):
    place = tmp_path / "certificates"
    place.mkdir()
    for make in (fifo, a_socket, endless):
        make(place / f"{make.__name__}.der")
    one_line("x")(place / "huge.der")
    (place / "gone.der").symlink_to("/nowhere")
    result = run_module("ek_list", ledger=str(tmp_path / "l.sqlite"), src=str(place))
    assert {one["where"]: one["reason"] for one in result["problems"]} == {
        "a_socket.der": "is a socket, not a file",
        "endless.der": "is a link that leads out of the directory: put the file itself there",
        "fifo.der": "is a FIFO (a named pipe), not a file",
        "gone.der": "is a link that leads out of the directory: put the file itself there",
        "huge.der": "is larger than 16 MB, which is more than it can have",
    }


@pytest.mark.parametrize("make", NO_FILES)
@pytest.mark.parametrize("option", ["signature", "allowed_signers"])
def test_a_signature_that_is_no_file_is_told_at_once(run_module, tmp_path, within_limits, make, option):
    (tmp_path / "list").write_text("{}\n")
    paths = {"signature": tmp_path / "sig", "allowed_signers": tmp_path / "signers"}
    for name, path in paths.items():
        make(path) if name == option else path.write_text("x\n")
    options = {name: str(path) for name, path in paths.items()}
    result = run_module("ek_list", ledger=str(tmp_path / "l.sqlite"), src=str(tmp_path / "list"), **options)
    assert result["failed"] and NO_FILES[make] in result["msg"], result["msg"]


# Plans.


@pytest.mark.parametrize("make", NO_FILES)
def test_a_plan_that_is_no_file_is_told_at_once(run_module, dps, tmp_path, within_limits, make_ek, make):
    make(tmp_path / "plan")
    records = [{"registration_id": "a", "endorsement_key": make_ek(1)}]
    result = run_module("dps_enrollments", **dps.connection(enrollments=records, approved_plan=str(tmp_path / "plan")))
    assert result["failed"] and NO_FILES[make] in result["msg"], result["msg"]
    assert dps.control("GET", "stats")["enrollments"] == 0


PLANS = {
    "nothing": ("", "line 1: "),
    "deep": ("[" * DEEP, "line 1: is nested deeper"),
    "a number": ("1\n", "line 1: is no header of a plan"),
    "another version": ('{"plan_version": 2}\n', "line 1: is no header of a plan of version 1"),
    "a step that is a list": ("HEADER\n[1]\n", "line 2: is no step of a plan"),
    "a step without a name": ('HEADER\n{"action": "create"}\n', "line 2: is no step of a plan"),
    "an action that is none": ('HEADER\n{"action": "x", "registration_id": "a"}\n', "line 2: is no step of a plan"),
    "names that are objects": ('HEADER\n{"action": {}, "registration_id": []}\n', "line 2: is no step of a plan"),
    "deep steps": ("HEADER\n" + '{"a":' * DEEP, "line 2: is nested deeper"),
    "cut": ('HEADER\n{"action": "cre', "line 2: is not JSON"),
    "no text": (b"HEADER\n\xff\n", "line 2: is not UTF-8"),
    "a name twice": ('HEADER\n{"action": "create", "action": "delete"}\n', "line 2: has the name 'action' twice"),
    "no number": ('HEADER\n{"action": NaN}\n', "line 2: has NaN"),
}


@pytest.mark.parametrize("what", PLANS)
def test_a_plan_that_is_none_is_told_with_its_line(run_module, dps, tmp_path, within_limits, make_ek, what):
    text, words = PLANS[what]
    header = json.dumps({"plan_version": 1, "host": dps.host, "counts": {}})
    whole = text if isinstance(text, bytes) else text.encode()
    (tmp_path / "plan").write_bytes(whole.replace(b"HEADER", header.encode()))
    records = [{"registration_id": "a", "endorsement_key": make_ek(1)}]
    result = run_module("dps_enrollments", **dps.connection(enrollments=records, approved_plan=str(tmp_path / "plan")))
    assert result["failed"] and words in result["msg"] and "Plan again" in result["msg"], result["msg"]
    assert dps.control("GET", "stats")["enrollments"] == 0


def test_a_plan_with_a_line_of_20_gb_is_told(run_module, dps, tmp_path, within_limits, make_ek):
    header = json.dumps({"plan_version": 1, "host": dps.host, "counts": {}})
    one_line(f'{header}\n{{"action": "create')(tmp_path / "plan")
    records = [{"registration_id": "a", "endorsement_key": make_ek(1)}]
    result = run_module("dps_enrollments", **dps.connection(enrollments=records, approved_plan=str(tmp_path / "plan")))
    assert "line 2: is longer than 4 MB; it and what follows was not read" in result["msg"], result["msg"]


@pytest.mark.parametrize(
    "text",
    [
        "A" * 400 + "\na" * 2_000_000,
        "name-alg:\n" + "name-alg:\n" * 500_000,
        "name-alg:\n" + " " * 4_000_000,
        "Registration Id:\n" * 400_000,
        "Endorsement Key:" + "\n" * 4_000_000,
        "-----BEGIN PUBLIC KEY-----" * 200_000,
        "-----BEGIN A-----x-----END A-----" * 200_000,
        "A" * 400 + "\n" * 4_000_000,
    ],
    ids=range(8),
)
def test_what_looks_like_the_output_of_a_tool_and_goes_on_is_told(run_module, tmp_path, text):
    (tmp_path / "keys").write_text(text)
    begun = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    result = run_module("ek_list", ledger=str(tmp_path / "l.sqlite"), src=str(tmp_path / "keys"))
    assert result["failed"] and result["problems"]
    assert time.process_time() - begun[0] < SECONDS
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - begun[1]) / 1024 < 100
