# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A device in the field, as far as the client sees one: its TPM, its state directory and its configuration."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request

import pytest
from ansible_collections.tpmfleet.azure_dps.plugins.action.dps_client import build_program

DEVICE_PYTHON = "/usr/bin/python3"

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

    def __init__(self, directory, tpm, program, service):
        self.directory, self.tpm, self.program, self.service = directory, tpm, program, service
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

    def run(self, *arguments, python=DEVICE_PYTHON, fault="", environment=None, timeout=60):
        """The client's end: returncode, stdout, stderr."""
        configuration = self.directory / "config.json"
        configuration.write_text(json.dumps(self.configuration))
        start = [python, "-c", WITH_FAULT, str(self.program), fault] if fault else [python, str(self.program)]
        return subprocess.run(
            [*start, "--config", str(configuration), *arguments],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            env={"PATH": os.environ["PATH"], **(environment or {})},
        )

    @contextlib.contextmanager
    def forks(self):
        """A function that runs the client with a fault, in one Python: (code, what it said)."""
        configuration = self.directory / "config.json"
        configuration.write_text(json.dumps(self.configuration))
        start = [DEVICE_PYTHON, "-c", FORKS, str(self.program)]
        with subprocess.Popen(start, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

            def run(fault, *arguments):
                process.stdin.write(json.dumps([fault, ["--config", str(configuration), *arguments]]) + "\n")
                process.stdin.flush()
                return json.loads(process.stdout.readline())

            yield run
            process.stdin.close()

    def assignment(self):
        return json.loads((self.state / "assignment.json").read_text())

    def endorsement_key(self):
        return base64.b64encode(
            bytes.fromhex(json.loads((self.tpm.state_dir / "maker.json").read_text())["endorsement_key"])
        ).decode()

    def enroll(self, **fields):
        tpm = {"endorsementKey": self.endorsement_key()}
        enrollment = {"registrationId": self.registration_id, "attestation": {"type": "tpm", "tpm": tpm}, **fields}
        return self.call("PUT", f"/enrollments/{self.registration_id}", enrollment)

    def call(self, method, path, body=None):
        """The service API, by a client of the test's own."""
        parts = dict(part.split("=", 1) for part in self.service["connection_string"].split(";"))
        resource = urllib.parse.quote(parts["HostName"], safe="")
        expiry = int(time.time()) + 600
        key = base64.b64decode(parts["SharedAccessKey"])
        digest = hmac.digest(key, f"{resource}\n{expiry}".encode(), hashlib.sha256)
        signature = urllib.parse.quote(base64.b64encode(digest).decode(), safe="")
        token = f"SharedAccessSignature sr={resource}&sig={signature}&se={expiry}&skn={parts['SharedAccessKeyName']}"
        request = urllib.request.Request(
            f"{self.service['endpoint']}{path}?api-version=2021-10-01",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": token, "Content-Type": "application/json"},
        )
        trust = ssl.create_default_context(cafile=self.service["ca_file"])
        with urllib.request.urlopen(request, context=trust) as response:
            return json.loads(response.read() or b"null")

    def control(self, what, changes=None, method=None):
        """The emulated service's control API: GET, or PUT of *changes*."""
        request = urllib.request.Request(
            f"{self.service['endpoint']}/_emulator/{what}",
            method=method or ("GET" if changes is None else "PUT"),
            data=None if changes is None else json.dumps(changes).encode(),
        )
        trust = ssl.create_default_context(cafile=self.service["ca_file"])
        with urllib.request.urlopen(request, context=trust) as response:
            return json.loads(response.read() or b"null")

    def hub_accepts(self, token):
        """Whether the hub that the service chose would let this token in: signed by the key it handed out last."""
        fields = dict(part.split("=", 1) for part in token.removeprefix("SharedAccessSignature ").split("&"))
        known = self.control(f"hub_keys/{self.registration_id}")
        digest = hmac.digest(base64.b64decode(known["key"]), f"{fields['sr']}\n{fields['se']}".encode(), hashlib.sha256)
        signed = base64.b64encode(digest).decode() == urllib.parse.unquote(fields["sig"])
        resource = urllib.parse.unquote(fields["sr"])
        wanted = f"{known['hub']}/devices/{self.registration_id}"
        return signed and resource == wanted and int(fields["se"]) > time.time()

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
# FAULT is Python that sees ``os`` and ``time``.
FORKS = """
import contextlib, io, json, os, sys, time
sys.path.insert(0, sys.argv[1])
from tpmfleet_dps_client import chip, cli, registration, sas, service
for line in sys.stdin:
    fault, arguments = json.loads(line)
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(into, 1)
        os.dup2(into, 2)
        exec(fault)
        code = cli.main(arguments)
        sys.stdout.flush()
        os._exit(code)
    os.close(into)
    with os.fdopen(out) as stream:
        said = stream.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps([code, said]), flush=True)
"""


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    """The client as it is placed on a device."""
    path = tmp_path_factory.mktemp("program") / "tpmfleet-dps-client.pyz"
    path.write_bytes(build_program(DEVICE_PYTHON))
    return path


@pytest.fixture
def device(tmp_path, software_tpm, program, emulator):
    """A device that no service knows yet, and a service that does not tell it to wait before it looks again."""
    device = FieldDevice(tmp_path, software_tpm, program, emulator)
    before = device.control("settings")
    device.control("settings", {"retry_after_seconds": 0})
    yield device
    device.control("settings", before)
    device.control("faults", method="DELETE")


@pytest.fixture
def enrolled(device):
    """A device whose enrollment is there."""
    device.enroll()
    return device


@pytest.fixture
def portal(emulator):
    """A function that starts a server with the service's own certificate and one answer for all: its address."""
    started = []

    def start(*, status=200, body="", date=None, host="localhost", tls=True, old=False):
        class Portal(http.server.BaseHTTPRequestHandler):
            def answer(self):
                self.rfile.read(int(self.headers["Content-Length"] or 0))
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body.encode())

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
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return f"https://{host}:{server.server_address[1]}"

    yield start
    for server in started:
        server.shutdown()
        server.server_close()
