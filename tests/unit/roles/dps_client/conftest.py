# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A device in the field, as far as the client sees one: its TPM, its state directory and its configuration."""

from __future__ import annotations

import base64
import hmac
import http.server
import json
import os
import select
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
import types
from pathlib import Path

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.client_program import build_program

DEVICE_PYTHON = "/usr/bin/python3"
LAB_PROGRAMS = Path(__file__).resolve().parents[4] / "roles" / "lab" / "files"

# Runs the client with one thing of its world changed: FAULT is Python that sees ``os``, ``time`` and ``arguments``.
WITH_FAULT = """
import os, sys, time
program, fault, *arguments = sys.argv[1:]
sys.path.insert(0, program)
exec(fault)
from tpmfleet_dps_client.cli import main
sys.exit(main(arguments))
"""


class FieldDevice:
    """One device; ``run`` starts the client on it as a power-up or a person would."""

    def __init__(self, directory, tpm, program, dps, forks):
        self.directory, self.tpm, self.program, self.dps, self.service = directory, tpm, program, dps, dps.where
        self.forks = forks
        service = self.service
        self.state = directory / "state"
        self.state.mkdir(mode=0o700)
        self.configuration = {
            "id_scope": service["id_scope"],
            "global_endpoint": service["endpoint"],
            "tcti": tpm.tcti,
            "ca_file": service["ca_file"],
            "state_directory": str(self.state),
            "first_attempt_spread": 0,
            "backoff_base": 0.1,
            "ask_hub": False,
            "registration_id": f"unit-{os.urandom(4).hex()}",
        }

    @property
    def registration_id(self):
        return self.configuration["registration_id"]

    def command(self, *arguments, python=None, fault=""):
        """How the client is started as a program of its own."""
        start = [python or DEVICE_PYTHON]
        start += ["-c", WITH_FAULT, str(self.program), fault] if fault else [str(self.program)]
        return [*start, *self._configured(arguments)]

    def _configured(self, arguments):
        configuration = self.directory / "config.json"
        configuration.write_text(json.dumps(self.configuration))
        return ["--config", str(configuration), *arguments]

    def run(self, *arguments, python=None, fault="", environment=None, timeout=60):
        """The client's end: returncode, stdout, stderr. With *python* or *environment* it is a program of its own."""
        if python is None and environment is None:
            return self.forks.run(fault, self._configured(arguments), timeout)
        return subprocess.run(
            self.command(*arguments, python=python, fault=fault),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={"PATH": os.environ["PATH"], **(environment or {})},
        )

    def assignment(self):
        return json.loads((self.state / "assignment.json").read_text())

    def tool(self, *command):
        """What one of tpm2-tools says, run as another user of the TPM."""
        done = subprocess.run(
            [command[0], "-T", self.tpm.tcti, *command[1:]],
            cwd=self.directory,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout
        return done.stdout

    def enroll(self, **fields):
        """Makes it known to the service."""
        self.dps.enroll(self.registration_id, self.tpm, **fields)

    def hub_accepts(self, token):
        """Whether the hub that the service chose would let this token in."""
        return self.dps.hub_accepts(token, self.registration_id)

    def hub_key_is_at(self, handle):
        """Whether the hub knows the key at *handle*, used by tpm2-tools as by an application that looks there."""
        (self.directory / "data").write_bytes(b"data")
        self.tool("tpm2_hmac", "-c", handle, "-g", "sha256", "-o", "signature", "data")
        key = base64.b64decode(self.dps.control("GET", f"hub_keys/{self.registration_id}")["key"])
        return (self.directory / "signature").read_bytes() == hmac.digest(key, b"data", "sha256")

    def transient_objects(self):
        """Handles of what lies in the TPM's memory now."""
        done = subprocess.run(
            [sys.executable, "-c", HANDLES, self.tpm.tcti], capture_output=True, text=True, check=True, timeout=60
        )
        return json.loads(done.stdout)


# The list lives in the answer, which must not be let go while it is read.
HANDLES = """
import json, sys
from tpm2_pytss import ESAPI
from tpm2_pytss.constants import TPM2_CAP
found = []
with ESAPI(sys.argv[1]) as esys:
    for first in (0x80000000, 0x02000000, 0x03000000):
        more, answer = esys.get_capability(TPM2_CAP.HANDLES, first, 100)
        found += [int(handle) for handle in answer.data.handles]
print(json.dumps(found))
"""

# Runs the client again and again, each time in a fork with one thing of its world changed: a line of JSON in, one out.
# FAULT is Python that sees ``os``, ``time`` and the client's modules.
FORKS = """
import json, os, signal, sys, tempfile, time
sys.path.insert(0, sys.argv[1])
from tpmfleet_dps_client import chip, cli, clock, https, hub, registration, sas, service, state
for line in sys.stdin:
    fault, arguments, timeout = json.loads(line)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        child = os.fork()
        if not child:
            os.dup2(out.fileno(), 1)
            os.dup2(err.fileno(), 2)
            signal.alarm(timeout)
            code = 1
            try:
                exec(fault)
                code = cli.main(arguments)
            except SystemExit as end:
                code = end.code
            except BaseException:
                sys.excepthook(*sys.exc_info())
            sys.stdout.flush()
            os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said = []
        for stream in (out, err):
            stream.seek(0)
            said.append(stream.read())
    print(json.dumps([code, *said]), flush=True)
"""


class Forks:
    """The client, loaded once in a device's own Python and forked for each run of it."""

    def __init__(self, program):
        start = [DEVICE_PYTHON, "-c", FORKS, str(program)]
        self.process = subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, fault, arguments, timeout):
        """One run, killed after *timeout* seconds."""
        self.process.stdin.write(json.dumps([fault, arguments, timeout]) + "\n")
        self.process.stdin.flush()
        code, out, err = json.loads(self.process.stdout.readline())
        return subprocess.CompletedProcess(arguments, code, out, err)


# The wall clock shows CLOCK_OFF seconds more; waiting is not altered.
SHIM = """
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

int clock_gettime(clockid_t clock, struct timespec *shown)
{
    int result = syscall(SYS_clock_gettime, clock, shown);
    if (result == 0 && clock == CLOCK_REALTIME)
        shown->tv_sec += atoll(getenv("CLOCK_OFF"));
    return result;
}

int gettimeofday(struct timeval *restrict shown, void *restrict zone)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    shown->tv_sec = now.tv_sec;
    shown->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *shown)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (shown)
        *shown = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The client as it is placed on a device."""
    path = tmp_path_factory.mktemp("program") / "tpmfleet-dps-client.pyz"
    path.write_bytes(build_program(DEVICE_PYTHON))
    path.chmod(0o755)
    return path


@pytest.fixture(scope="session")
def forks(program):
    forks = Forks(program)
    yield forks
    forks.process.stdin.close()
    forks.process.wait(20)


@pytest.fixture(scope="session")
def owned_state(manufactured_state, tmp_path_factory):
    """The state of that TPM as it leaves the line: both primary keys are persisted."""
    from tpm_rack.software_tpm import SoftwareTpm

    directory = tmp_path_factory.mktemp("owned")
    shutil.copytree(manufactured_state, directory / "tpm")
    tpm = SoftwareTpm(directory / "tpm")
    tpm.start()
    srk = ["-a", "restricted|decrypt|fixedtpm|fixedparent|noda|userwithauth|sensitivedataorigin", "-c", "srk"]
    for command in (
        ["tpm2_createek", "-G", "rsa", "-c", "0x81010001", "-u", "ek"],
        ["tpm2_createprimary", "-C", "o", "-G", "rsa2048:aes128cfb", "-g", "sha256", *srk],
        ["tpm2_evictcontrol", "-C", "o", "-c", "srk", "0x81000001"],
    ):
        tcti = ["-T", tpm.tcti]
        subprocess.run([command[0], *tcti, *command[1:]], cwd=directory, check=True, stdout=subprocess.DEVNULL)
    tpm.stop()
    return tpm.state_dir


@pytest.fixture
def service_at_once(plain_dps):
    """The service, which does not tell a device to wait before it looks again, however often it does."""
    before = plain_dps.control("GET", "settings")
    plain_dps.settings(retry_after_seconds=0, poll_throttle=False)
    yield plain_dps
    plain_dps.settings(**before)
    plain_dps.control("DELETE", "faults")


@pytest.fixture
def device(tmp_path, owned_state, program, service_at_once, forks):
    """A device from the line that no service knows yet."""
    from tpm_rack.software_tpm import SoftwareTpm

    shutil.copytree(owned_state, tmp_path / "tpm")
    tpm = SoftwareTpm(tmp_path / "tpm")
    tpm.start()
    yield FieldDevice(tmp_path, tpm, program, service_at_once, forks)
    tpm.stop()


@pytest.fixture
def bare(tmp_path, software_tpm, program, service_at_once, forks):
    """An enrolled device whose TPM is as it came from its maker."""
    device = FieldDevice(tmp_path, software_tpm, program, service_at_once, forks)
    device.enroll()
    return device


@pytest.fixture
def enrolled(device):
    """A device whose enrollment is there."""
    device.enroll()
    return device


@pytest.fixture
def portal(emulator):
    """A function that starts a server with the service's own certificate and one answer for all: its address.

    The paths that such servers were asked for are in its ``asked``.
    """
    started, asked = [], []

    def start(*, status=200, body="", date=None, host="localhost", tls=True, old=False, headers=None):
        class Portal(http.server.BaseHTTPRequestHandler):
            def answer(self):
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body.encode())))
                for name, value in (headers or {}).items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body.encode())
                asked.append(self.path)

            do_PUT = do_GET = answer

            def date_time_string(self, timestamp=None):
                return date or super().date_time_string(timestamp)

            def log_message(self, *_arguments):
                """Not on the test's output."""

        server = http.server.ThreadingHTTPServer((host, 0), Portal)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            if old:
                context.set_ciphers("ALL:@SECLEVEL=0")
                context.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3
                context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
            context.load_cert_chain(emulator["state_dir"] / "server.pem")
            server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_arguments: None
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        started.append(server)
        return f"https://{host}:{server.server_address[1]}"

    start.asked = asked
    yield start
    for server in started:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="session")
def wrong_clock(tmp_path_factory):
    """A function: the environment of a process for which it is *moment* now, in seconds since the epoch."""
    directory = tmp_path_factory.mktemp("clock")
    (directory / "clock.c").write_text(SHIM)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", "clock.so", "clock.c"], cwd=directory, check=True)
    return lambda moment: {"LD_PRELOAD": str(directory / "clock.so"), "CLOCK_OFF": str(int(moment - time.time()))}


class Proxy(http.server.ThreadingHTTPServer):
    """A proxy that knows CONNECT; it keeps a list of where it was asked to go and may want to know by whom.

    *routes* are hosts that it finds elsewhere, each with the port there.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Tunnel)
        self.asked, self.password, self.routes = [], "", {}
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self.address = "http://" + self.host


class _Tunnel(http.server.BaseHTTPRequestHandler):
    def do_CONNECT(self):
        self.server.asked.append(self.path)
        wanted = "Basic " + base64.b64encode(self.server.password.encode()).decode()
        if self.server.password and self.headers["Proxy-Authorization"] != wanted:
            self.send_error(407)
            return
        host, port = self.path.rsplit(":", 1)
        host, port = ("127.0.0.1", self.server.routes[host]) if host in self.server.routes else (host, int(port))
        try:
            far = socket.create_connection((host, port))
        except OSError:
            self.send_error(502)
            return
        with far:
            self.send_response(200)
            self.end_headers()
            ends = {self.connection: far, far: self.connection}
            while True:
                ready = select.select(list(ends), [], [], 10)[0]
                data = ready[0].recv(65536) if ready else b""
                if not data:
                    return
                ends[ready[0]].sendall(data)

    def log_message(self, *_arguments):
        """Not on the test's output."""


@pytest.fixture
def proxy():
    """A running proxy."""
    with Proxy() as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture(scope="session")
def hub(emulator):
    """A running hub front: ``mqtt_port`` and ``https_port``."""
    with socket.socket() as one, socket.socket() as other:
        one.bind(("127.0.0.1", 0))
        other.bind(("127.0.0.1", 0))
        ports = types.SimpleNamespace(mqtt_port=one.getsockname()[1], https_port=other.getsockname()[1])
    where = ["--state-dir", str(emulator["state_dir"])]
    where += ["--port", str(ports.mqtt_port), "--https-port", str(ports.https_port)]
    process = subprocess.Popen(
        [sys.executable, "-m", "hub_front", *where], env={**os.environ, "PYTHONPATH": str(LAB_PROGRAMS)}
    )
    deadline = time.monotonic() + 30
    for port in vars(ports).values():
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=1).close()
                break
            except OSError:
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
    yield ports
    process.terminate()
    process.wait(20)
