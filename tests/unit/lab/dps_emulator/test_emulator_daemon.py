# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The emulator as a program: it starts once, stays where it is, forgets nothing, and proves who it is."""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import stat
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import pytest
from dps_emulator.daemon import running


@pytest.fixture
def state_dir(tmp_path, emulator_command):
    yield tmp_path / "dps"
    emulator_command("stop", "--state-dir", str(tmp_path / "dps"))


@pytest.fixture
def start(state_dir, emulator_command):
    return lambda *more: emulator_command("start", "--state-dir", str(state_dir), *more)


def test_started_twice_stopped_twice(start, state_dir, emulator_command):
    first = start()
    assert first["changed"] is True
    second = start("--host", "localhost", "--port", "0")
    assert second == {**first, "changed": False}
    assert json.loads((state_dir / "emulator.json").read_text()) == {k: v for k, v in first.items() if k != "changed"}
    assert set(first) == {
        *("changed", "endpoint", "device_endpoint", "id_scope", "connection_string", "ca_file", "pid", "linked_hubs"),
        "management",
    }
    assert first["device_endpoint"] == first["endpoint"]
    assert first["id_scope"].startswith("0ne") and first["id_scope"].isalnum()
    assert emulator_command("stop", "--state-dir", str(state_dir)) == {"changed": True}
    assert emulator_command("stop", "--state-dir", str(state_dir)) == {"changed": False}
    assert not (state_dir / "emulator.json").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_comes_back_as_it_was(start, state_dir, make_client, enrollment, number):
    before = start()
    make_client(before).put(enrollment())
    os.kill(before["pid"], number)
    deadline = time.monotonic() + 10
    while running(state_dir) is not None and time.monotonic() < deadline:
        time.sleep(0.02)
    after = start()
    assert {**after, "pid": 0} == {**before, "pid": 0}
    assert make_client(after).call("GET", "/enrollments/unit-1").status_code == 200


def test_only_the_owner_reads_keys(start, state_dir):
    start()
    for name in ("ca-key.pem", "server.pem", "dps.sqlite", "emulator.json", "policies.json", "emulator.log"):
        assert stat.S_IMODE((state_dir / name).stat().st_mode) == 0o600, name


def test_settings(start, state_dir, tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text(json.dumps({"policies": {"maker": ["EnrollmentWrite"]}, "linked_hubs": ["one.example"]}))
    first = start("--settings", str(settings))
    assert first["linked_hubs"] == ["one.example"]
    assert (
        "SharedAccessKeyName=maker"
        in json.loads((state_dir / "policies.json").read_text())["maker"]["connection_string"]
    )
    assert start("--settings", str(settings))["changed"] is False
    settings.write_text("{}")
    again = start("--settings", str(settings))
    assert again["changed"] is True and again["endpoint"] == first["endpoint"] and again["pid"] != first["pid"]


def test_what_it_cannot_start_with(state_dir, emulator_command, tmp_path):
    settings = tmp_path / "settings.json"
    settings.write_text('{"trottle": true}')
    where = ["start", "--state-dir", str(state_dir)]
    done = emulator_command(*where, "--settings", str(settings), check=False)
    assert done.returncode == 1 and "'trottle'" in done.stderr
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = emulator_command(*where, "--port", str(port), check=False)
    assert done.returncode == 1 and f"port {port}" in done.stderr
    assert not (state_dir / "emulator.json").exists()


@pytest.mark.parametrize("address", ["localhost", "127.0.0.1", "::1"])
def test_its_certificate(start, address):
    announced = start()
    context = ssl.create_default_context(cafile=announced["ca_file"])
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    port = urlsplit(announced["endpoint"]).port
    with socket.create_connection((address, port)) as plain, context.wrap_socket(plain, server_hostname=address) as tls:
        assert tls.version() in ("TLSv1.2", "TLSv1.3")
    untrusting = ssl.create_default_context()
    with socket.create_connection((address, port)) as plain, pytest.raises(ssl.SSLCertVerificationError):
        untrusting.wrap_socket(plain, server_hostname=address)


def test_openssl_accepts_it(start, state_dir):
    start()
    command = ["openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", "localhost"]
    subprocess.run([*command, "-CAfile", str(state_dir / "ca.pem"), str(state_dir / "server.pem")], check=True)


def test_a_registration_goes_on_after_a_restart(start, state_dir, make_client, emulator_command, enrollment):
    from dps_emulator.attestation import new_key
    from dps_emulator.service import DATABASE
    from dps_emulator.store import Challenge, Store
    from dps_emulator.tpm_keys import decode_key

    announced = start()
    client = make_client(announced)
    client.put(enrollment())
    emulator_command("stop", "--state-dir", str(state_dir))
    key = decode_key(enrollment()["attestation"]["tpm"]["endorsementKey"], "endorsementKey")
    store = Store(state_dir / DATABASE)
    store.put_challenge("unit-1", Challenge(new_key(), key, key, time.time(), None))
    store.put_operation("4.x", "unit-1", time.time(), "{}")
    store.close()
    client = make_client(start())
    deadline = time.monotonic() + 10
    while client.call("GET", "/registrations/unit-1").status_code == 404 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert client.call("GET", "/registrations/unit-1").json()["status"] == "assigned"


def test_it_imports_nothing_from_the_plugins():
    import re
    from pathlib import Path

    import dps_emulator

    for source in Path(dps_emulator.__file__).parent.glob("*.py"):
        assert not re.search(r"^\s*(from|import) .*(ansible|tpmfleet|tpm_rack)", source.read_text(), re.MULTILINE), (
            source
        )


def test_started_by_two_at_once(state_dir, emulator_command):
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda _n: emulator_command("start", "--state-dir", str(state_dir)), range(2)))
    assert len({answer["pid"] for answer in answers}) == 1
    assert sorted(answer["changed"] for answer in answers) == [False, True]


def test_devices_may_reach_it_by_another_name_and_address(start):
    """As machines do for which this host has another address; the certificate is valid for both names."""
    found = start("--address", "127.0.0.2", "--device-host", "dps.lab.example")
    port = int(found["endpoint"].rsplit(":", 1)[1])
    assert found["device_endpoint"] == f"https://dps.lab.example:{port}"
    trusted = ssl.create_default_context(cafile=found["ca_file"])
    for name in ("localhost", "dps.lab.example"):
        with socket.create_connection(("127.0.0.2", port), timeout=10) as connection:
            trusted.wrap_socket(connection, server_hostname=name).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), timeout=10)
