# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What stands between a machine's TPM device and its software TPM, spoken to as QEMU does."""

from __future__ import annotations

import array
import os
import socket
import struct
import subprocess
import sys

import pytest

GET_RANDOM = bytes.fromhex("80010000000c0000017b0008")
FAILURE = bytes.fromhex("80010000000a00000101")


@pytest.fixture
def machine(software_tpm, tmp_path):
    """QEMU's end of the control channel, and of the one of the TPM's commands."""
    ours, its = socket.socketpair()
    command = [sys.executable, "-m", "tpm_rack.machine_tpm", str(its.fileno()), str(software_tpm.port), str(tmp_path)]
    process = subprocess.Popen(
        command, pass_fds=[its.fileno()], env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    )
    its.close()
    commands, given = socket.socketpair()
    with ours, commands:
        descriptor = array.array("i", [given.fileno()])
        ours.sendmsg([struct.pack(">I", 0x10)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptor)])
        given.close()
        assert ours.recv(4) == bytes(4)
        yield ours, commands
    assert process.wait(timeout=20) == 0


def test_commands_and_control_reach_the_tpm(machine):
    control, commands = machine
    # PTM_GET_CAPABILITY, PTM_SET_LOCALITY 0 (swtpm's tpm_ioctl.h).
    control.sendall(struct.pack(">I", 0x01))
    assert control.recv(8) != bytes(8)
    control.sendall(struct.pack(">IB3x", 0x05, 0))
    assert control.recv(4) == bytes(4)
    commands.sendall(GET_RANDOM)
    assert len(commands.recv(4096)) == 10 + 2 + 8


def test_others_come_in_between(machine, software_tpm):
    _control, commands = machine
    commands.sendall(GET_RANDOM)
    assert commands.recv(4096)[6:10] == bytes(4)
    with socket.create_connection(("127.0.0.1", software_tpm.port)) as other:
        other.sendall(GET_RANDOM)
        assert other.recv(4096)[6:10] == bytes(4)
    commands.sendall(GET_RANDOM)
    assert commands.recv(4096)[6:10] == bytes(4)


def test_a_tpm_that_is_not_there_answers_as_a_broken_one(machine, software_tpm):
    control, commands = machine
    software_tpm.stop()
    commands.sendall(GET_RANDOM)
    assert commands.recv(4096) == FAILURE
    control.sendall(struct.pack(">II", 0x02, 0))
    assert control.recv(4) != bytes(4)
    software_tpm.start()
    commands.sendall(GET_RANDOM)
    assert commands.recv(4096)[6:10] == bytes(4)
