# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a real machine is waited for and told what to do, where its QEMU is played."""

from __future__ import annotations

import json
import os
import socket
import threading
import time

import pytest
from tpm_rack import machine
from tpm_rack.device import DeviceError
from tpm_rack.machine import Machine


@pytest.fixture
def powered(tmp_path, monkeypatch):
    """A machine that has power, as far as anybody can tell."""
    one = Machine(tmp_path / "rack" / "devices" / "unit")
    one.directory.mkdir(parents=True)
    (one.directory / "console.log").write_text("it hangs")
    monkeypatch.setattr(Machine, "pid", property(lambda self: None if (self.directory / "off").exists() else 1))
    monkeypatch.setattr(Machine, "power_off", lambda self: (self.directory / "off").touch())
    return one


@pytest.fixture
def qemu(powered):
    """A function: has the machine's QEMU say some lines to each order; what it was told is in the list returned."""
    told: list[str] = []
    server = socket.socket(socket.AF_UNIX)
    here = os.open(powered.directory, os.O_PATH)
    server.bind(f"/proc/self/fd/{here}/monitor")
    server.listen()

    def play(said: dict[str, list[dict]], ends: bool = False) -> list[str]:
        def serve() -> None:
            connection, _address = server.accept()
            with connection, connection.makefile("rw") as stream:
                stream.write('{"QMP": {}}\n')
                stream.flush()
                for line in stream:
                    told.append(line)
                    if ends and len(told) > 1:
                        return
                    for one in said.get(json.loads(line)["execute"], [{"return": {}}]):
                        stream.write(json.dumps(one) + "\n")
                    stream.flush()

        threading.Thread(target=serve, daemon=True).start()
        return told

    yield play
    server.close()
    os.close(here)


@pytest.mark.parametrize(("does", "on"), [("sleep 60", True), ("exit 1", False)])
def test_a_machine_that_was_switched_on_is_known_to_be(tmp_path, monkeypatch, does, on):
    """Its program has no arguments at its very beginning; and one that ended at once is not waited for."""
    one = Machine(tmp_path / "unit")
    one.directory.mkdir()
    monkeypatch.setattr(Machine, "_command", lambda self, tpm: ["sh", "-c", f"{does} # {self._disk}"])
    for _time in range(5):
        one._switch_on()
        # A program ends when it gets to that.
        until = time.monotonic() + 10
        while not on and one.powered and time.monotonic() < until:
            time.sleep(0.01)
        assert one.powered is on
        one.power_off()


def test_a_machine_that_greets_slowly_is_given_the_time(powered, monkeypatch):
    """It does one thing at a time, and who has gone away has cost it as much."""
    monkeypatch.setattr(machine, "ANSWER_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", powered.ssh_port)) as server:

        def serve() -> None:
            while True:
                connection, _address = server.accept()
                time.sleep(0.5)
                try:
                    connection.sendall(b"SSH-2.0-slow\r\n")
                except OSError:
                    continue
                finally:
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        powered._wait_for_boot()
    assert powered.powered


def test_one_that_never_greets_is_switched_off_and_its_console_told(powered, monkeypatch):
    monkeypatch.setattr(machine, "BOOT_SECONDS", 0.5)
    with pytest.raises(DeviceError, match="unit did not boot: it hangs"):
        powered._wait_for_boot()
    assert not powered.powered


def test_a_reboot_is_over_when_the_machine_has_started_anew(powered, qemu, monkeypatch):
    """Not when it still answers on its way down. What QEMU tells in between orders is kept."""
    reset = {"event": "RESET", "data": {"guest": True}}
    qemu({"qmp_capabilities": [{"event": "SHUTDOWN"}, reset, {"return": {}}]})
    done: list[object] = []
    monkeypatch.setattr(Machine, "execute", lambda self, command: done.append(command))
    monkeypatch.setattr(Machine, "answers", lambda self, seconds: not done.append(seconds))
    powered.reboot()
    assert done == [["systemctl", "reboot"], machine.ANSWER_SECONDS]


def test_a_reboot_that_never_comes_is_said(powered, qemu, monkeypatch):
    qemu({})
    monkeypatch.setattr(machine, "BOOT_SECONDS", 0.3)
    monkeypatch.setattr(Machine, "execute", lambda self, command: None)
    with pytest.raises(DeviceError, match="unit: QEMU says nothing"):
        powered.reboot()


def test_the_cable_is_pulled_by_qemu(powered, qemu):
    told = qemu({"set_link": [{"event": "NIC_RX_FILTER_CHANGED"}, {"return": {}}]})
    powered._plug_in(False)
    assert json.loads(told[-1]) == {"execute": "set_link", "arguments": {"name": "network", "up": False}}


def test_a_qemu_that_ends_meanwhile_is_said_of_the_machine(powered, qemu):
    qemu({"set_link": []}, ends=True)
    with pytest.raises(DeviceError, match="unit: QEMU has ended"):
        powered._plug_in(False)


def test_what_qemu_refuses_is_said_of_the_machine(powered, qemu):
    qemu({"set_link": [{"error": {"class": "DeviceNotFound", "desc": "Device 'network' not found"}}]})
    with pytest.raises(DeviceError, match="unit: Device 'network' not found"):
        powered._plug_in(True)
