# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What goes wrong in the field, and that each is told in words and survived."""

from __future__ import annotations

import http.server
import json
import select
import socket
import subprocess
import threading

import pytest

# The service assigned, and then there is no room: the reserved file takes the assignment.
DISK_FULL = """
import errno
real_open, kept = os.open, []
def full(path, flags, *rest, **named):
    if flags & os.O_CREAT and str(path).endswith({names!r}):
        raise OSError(errno.ENOSPC, "No space left on device")
    return real_open(path, flags, *rest, **named)
os.open = full
"""


def test_a_device_that_is_not_enrolled_says_so_and_registers_once_it_is(device):
    done = device.run("register", "--once")
    assert done.returncode == 77
    assert "not enrolled" in done.stderr
    assert json.loads(device.run("status", "--json").stdout)["state"] == "refused"
    device.enroll()
    assert device.run("register", "--once").returncode == 0


def test_a_disabled_enrollment_is_told(device):
    device.enroll(provisioningStatus="disabled")
    done = device.run("register", "--once")
    assert done.returncode == 77
    assert "disabled" in done.stderr


def test_a_name_that_does_not_resolve(enrolled):
    enrolled.configuration["global_endpoint"] = "https://dps.invalid"
    done = enrolled.run("register", "--once")
    assert done.returncode == 75
    assert "cannot be resolved" in done.stderr


def test_a_service_that_the_device_has_no_reason_to_trust(enrolled):
    enrolled.configuration["ca_file"] = None
    done = enrolled.run("register", "--once")
    assert done.returncode == 75
    assert "not trusted" in done.stderr


def test_nobody_answers_and_then_somebody_does(enrolled):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = enrolled.configuration["global_endpoint"]
        enrolled.configuration["global_endpoint"] = f"https://localhost:{unused.getsockname()[1]}"
        done = enrolled.run("register", "--once")
    assert done.returncode == 75
    assert "cannot talk to" in done.stderr
    enrolled.configuration["global_endpoint"] = endpoint
    assert enrolled.run("register").returncode == 0


def test_a_tpm_that_is_not_there(enrolled):
    enrolled.tpm.stop()
    done = enrolled.run("register", "--once")
    assert done.returncode == 75
    assert "TPM" in done.stderr
    assert "Traceback" not in done.stderr
    enrolled.tpm.start()
    assert enrolled.run("register", "--once").returncode == 0


def test_a_tpm_that_never_answers_does_not_hold_the_client_for_ever(enrolled):
    enrolled.configuration["tpm_timeout"] = 2
    enrolled.tpm.pause()
    try:
        done = enrolled.run("register", "--once", timeout=30)
    finally:
        enrolled.tpm.resume()
    assert done.returncode == 75, done.stderr
    assert "TPM" in done.stderr
    assert enrolled.run("register", "--once").returncode == 0


def test_a_full_disk_is_met_before_the_service_is_asked_to_assign(enrolled):
    done = enrolled.run("register", "--once", fault=DISK_FULL.format(names=("registering.new",)))
    assert done.returncode == 75
    assert "No space left" in done.stderr
    assert not (enrolled.state / "registering").exists()


def test_a_disk_that_fills_up_meanwhile_does_not_lose_the_assignment(enrolled):
    done = enrolled.run("register", "--once", fault=DISK_FULL.format(names=("assignment.json", "status.json.new")))
    assert done.returncode == 0, done.stderr
    assert enrolled.hub_accepts(enrolled.run("token").stdout.strip())


def test_a_clock_that_was_never_set(enrolled):
    """1970 for the client's own reckoning: dates of certificates and tokens come from the service then."""
    done = enrolled.run("register", "--once", fault="real = time.time\ntime.time = lambda: real() % 86400")
    assert done.returncode == 0, done.stderr
    assert enrolled.assignment()["assigned_at"] > 1795478400


def test_a_broken_configuration_is_named(enrolled):
    enrolled.configuration["backof_cap"] = 3
    done = enrolled.run("register")
    assert done.returncode == 1
    assert "backof_cap" in done.stderr


def test_two_at_once_take_turns(enrolled):
    """The service is asked by one of them; the other finds the work done."""
    enrolled.run("status")
    configuration = str(enrolled.directory / "config.json")
    command = ["/usr/bin/python3", str(enrolled.program), "--config", configuration, "register"]
    both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _turn in range(2)]
    said = sorted(process.communicate(timeout=60)[1].split()[0] for process in both)
    assert said == ["Already", "Assigned"]


class Tunnel(http.server.BaseHTTPRequestHandler):
    """A proxy that knows CONNECT and keeps a list of where it was asked to go."""

    asked: list = []

    def do_CONNECT(self):
        self.asked.append(self.path)
        host, port = self.path.rsplit(":", 1)
        with socket.create_connection((host, int(port))) as far:
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


@pytest.mark.parametrize("by", ["configuration", "environment"])
def test_a_proxy_is_used(enrolled, by):
    Tunnel.asked.clear()
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Tunnel) as proxy:
        thread = threading.Thread(target=proxy.serve_forever, daemon=True)
        thread.start()
        address = f"http://127.0.0.1:{proxy.server_address[1]}"
        environment = {"HTTPS_PROXY": address} if by == "environment" else None
        if by == "configuration":
            enrolled.configuration["proxy"] = address
        done = enrolled.run("register", "--once", environment=environment)
        proxy.shutdown()
    assert done.returncode == 0, done.stderr
    assert Tunnel.asked
