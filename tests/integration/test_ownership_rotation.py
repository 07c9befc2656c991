# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Key versions on a rack: devices whose power goes at different points of a rotation all come out of the next run new.

The tests stand in the order of the day and share its rack.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import socket
import struct
import threading

import pytest

# Of the commands that change a TPM, a rotation takes TPM2_HierarchyChangeAuth alone, three times.
HIERARCHY_CHANGE_AUTH = 0x129
CUTS = {"rack1-slot01": 0, "rack1-slot02": 1, "rack1-slot03": 2, "rack1-slot04": 3}


def authorization(line, name, hierarchy, version):
    """What the filter derives, made again of the parts that its documentation names (RFC 5869)."""
    public = base64.b64decode(line.seen()[name].endorsement_key)
    ek_name = b"\x00\x0b" + hashlib.sha256(public[2:]).digest()
    parts = (b"hierarchy auth 1", hierarchy.encode(), struct.pack(">I", version), ek_name)
    info = b"".join(struct.pack(">H", len(part)) + part for part in parts)
    master_key = (line.directory / "master-key").read_bytes().strip()
    extracted = hmac.digest(b"tpmfleet.azure_dps", master_key, "sha256")
    return base64.urlsafe_b64encode(hmac.digest(extracted, info + b"\x01", "sha256")[:24]).decode()


def opens(line, name, hierarchy, version):
    """Whether the hierarchy's authorization can be changed to itself; it may begin with a hyphen, so it is marked."""
    auth = "str:" + authorization(line, name, hierarchy, version)
    return line.tool(name, "tpm2_changeauth", "-c", hierarchy, "-p", auth, auth).returncode == 0


def versions(line, name):
    """The key version of each hierarchy of a device, found out with tpm2-tools without a guess; None for no auth."""
    found = {}
    for version in (1, 2, 3):
        if opens(line, name, "owner", version):
            found["owner"] = version
    if "lockoutAuthSet:            1" in line.tool(name, "tpm2_getcap", "properties-variable").stdout:
        assert opens(line, name, "lockout", found["owner"])
        found["lockout"] = found["owner"]
    else:
        found["lockout"] = None
    return found


class CutBus:
    """A bus to a device's TPM, at a TCTI of its own; the power goes right after its TPM did a change number *count*.

    0 is before the first. What the TPM answered is not heard any more.
    """

    def __init__(self, tpm, count):
        self._tpm = tpm
        self._left = count
        self.cut = threading.Event()
        self._sockets = []
        self._port = next(port for port in itertools.count(19000, 2) if self._listen(port))

    @property
    def tcti(self):
        return f"swtpm:host=127.0.0.1,port={self._port}"

    def _listen(self, port):
        opened = [socket.socket(), socket.socket()]
        for number, one in enumerate(opened):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                one.bind(("127.0.0.1", port + number))
            except OSError:
                for each in opened:
                    each.close()
                return False
            one.listen()
        for one, target, handle in zip(opened, (self._tpm.port, self._tpm.port + 1), (self._command, self._pass)):
            threading.Thread(target=self._serve, args=(one, target, handle), daemon=True).start()
        self._sockets += opened
        return True

    def _serve(self, listening, target, handle):
        while True:
            try:
                host, _address = listening.accept()
            except OSError:
                return
            with host, socket.create_connection(("127.0.0.1", target)) as tpm:
                while (asked := host.recv(65536)) and not self.cut.is_set():
                    if not handle(asked, host, tpm):
                        return

    def _pass(self, asked, host, tpm):
        tpm.sendall(asked)
        host.sendall(tpm.recv(65536))
        return True

    def _command(self, asked, host, tpm):
        while len(asked) < 10 or len(asked) < struct.unpack(">I", asked[2:6])[0]:
            asked += host.recv(65536)
        changes = struct.unpack(">I", asked[6:10])[0] == HIERARCHY_CHANGE_AUTH
        if changes and not self._left:
            return self._power_goes()
        tpm.sendall(asked)
        answer = tpm.recv(65536)
        self._left -= changes
        if changes and not self._left:
            return self._power_goes()
        host.sendall(answer)
        return True

    def _power_goes(self):
        self.cut.set()
        self._tpm.power_cycle()
        return False

    def close(self):
        for one in self._sockets:
            one.close()


@pytest.fixture(scope="module")
def line(start_line):
    """A rack whose devices are claimed and enrolled."""
    line = start_line(len(CUTS))
    assert line.play("ek_intake").code == 0
    run = line.play("software_install")
    assert run.code == 0, run.printed
    return line


def rotate(line, version, *arguments):
    """A run of the playbook to a key version."""
    return line.play("rotate_ownership", "-e", f"tpmfleet_key_version={version}", *arguments)


def test_power_cuts_at_every_point_are_told(line, tmp_path):
    """Each device loses its power after another number of changes; none of them is guessed at afterwards."""
    buses = {name: CutBus(line.rack.device(name).tpm, count) for name, count in CUTS.items()}
    hosts = {name: {"tpmfleet_tcti": bus.tcti} for name, bus in buses.items()}
    inventory = tmp_path / "inventory.json"
    inventory.write_text(json.dumps({"devices": {"hosts": hosts}}))
    run = rotate(line, 2, "-i", str(inventory))
    for bus in buses.values():
        bus.close()
    assert all(bus.cut.is_set() for bus in buses.values()), run.printed
    assert run.bad == set(CUTS)
    assert {name: tuple(versions(line, name).values()) for name in CUTS} == {
        "rack1-slot01": (1, 1),
        "rack1-slot02": (1, None),
        "rack1-slot03": (2, None),
        "rack1-slot04": (2, 2),
    }
    # The ledger was told nothing that is not so.
    assert {record["ownership"]["key_version"] for record in line.records()} == {1}


def test_the_next_run_completes_all(line):
    run = rotate(line, 2)
    assert run.code == 0, run.printed
    assert "NEXT set tpmfleet_key_version: 2 in the inventory" in run.printed
    assert {name: versions(line, name) for name in CUTS} == dict.fromkeys(CUTS, {"owner": 2, "lockout": 2})
    assert {record["ownership"]["key_version"] for record in line.records()} == {2}


def test_a_rotation_run_again_changes_nothing(line):
    run = rotate(line, 2)
    assert (run.code, run.changed) == (0, 0), run.printed


def test_check_mode_tells_which_devices_would_change_and_changes_none(line):
    run = rotate(line, 3, "--check", "--diff")
    assert run.code == 0, run.printed
    assert all(host["changed"] for host in run.hosts.values())
    assert "change the owner authorization" not in run.printed
    assert '"owner_auth": "previous"' in run.printed or "owner_auth: previous" in run.printed
    assert versions(line, "rack1-slot01") == {"owner": 2, "lockout": 2}


def test_the_other_steps_follow_the_inventory(line):
    """The new version is everywhere; a forgotten one is told, and the lockout authorization is not tried."""
    one = ["--limit", "rack1-slot01", "-e"]
    assert line.play("software_install", *one, "tpmfleet_key_version=2").changed == 0
    run = line.play("software_install", *one, "tpmfleet_key_version=1")
    assert "the ledger has key version 2 for it, and the inventory says 1" in run.reason("rack1-slot01")
    # No unit is to be pulled for it.
    assert "MEND tpmfleet_key_version: " in run.printed and "0 passed, 0 to pull, 1 held up" in run.printed
    assert versions(line, "rack1-slot01") == {"owner": 2, "lockout": 2}


def test_a_rotation_to_the_version_that_it_comes_from_is_refused(line):
    run = rotate(line, 2, "-e", "tpmfleet_previous_key_version=2")
    assert run.bad == set(CUTS)
    assert "a rotation goes from one key version to another" in run.reason("rack1-slot01")
    assert "The TPM was not touched" in run.reason("rack1-slot01")


def test_an_endorsement_authorization_rotates_with_the_client_that_needs_it(line):
    """Set, then changed, in the TPM and in what its client holds; the device then provisions itself."""
    one = ["--limit", "rack1-slot01"]
    before = [*one, "-e", "tpmfleet_endorsement_auth=endorsement-authorization-one"]
    run = line.play("software_install", "-e", "tpmfleet_key_version=2", *before)
    assert run.code == 0, run.printed
    after = [*one, "-e", "tpmfleet_endorsement_auth=endorsement-authorization-two"]
    run = rotate(line, 3, *after, "-e", "tpmfleet_previous_endorsement_auth=endorsement-authorization-one")
    assert run.code == 0, run.printed
    assert versions(line, "rack1-slot01") == {"owner": 3, "lockout": 3}
    assert line.play("software_install", "-e", "tpmfleet_key_version=3", *after).changed == 0
    run = line.play("field_activation", "-e", "tpmfleet_key_version=3", *after)
    assert run.code == 0, run.printed
    assert line.seen()["rack1-slot01"].assigned
