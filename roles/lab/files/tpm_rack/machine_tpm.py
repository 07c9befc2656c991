# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Solders a software TPM to a machine: what QEMU's TPM device asks goes on to the TPM's ports.

``python -m tpm_rack.machine_tpm DESCRIPTOR PORT DIRECTORY``: DESCRIPTOR is the socket that QEMU's ``-tpmdev
emulator`` talks to, PORT takes the TPM's commands and the next one its control. QEMU would have a swtpm for itself; by
this way the rack reaches the TPM too, as it does a simulated device's, and a fault can be put before it or take it
away. A TPM that is not there answers as a broken one. DIRECTORY is the machine's, by which the rack finds this program.
"""

from __future__ import annotations

import array
import socket
import struct
import sys
import threading

from .answers import CODES, HEADER

# swtpm's control channel (swtpm_ioctl(8), include/swtpm/tpm_ioctl.h): the command that brings the descriptor on which
# the TPM's own commands come, and how long the answer to each command is.
SET_DATA_DESCRIPTOR = 0x10
ANSWER_SIZES = {
    0x01: 8,  # GET_CAPABILITY
    0x02: 4,  # INIT
    0x03: 4,  # SHUTDOWN
    0x04: 8,  # GET_TPMESTABLISHED
    0x05: 4,  # SET_LOCALITY
    0x09: 4,  # CANCEL_TPM_CMD
    0x0B: 4,  # RESET_TPMESTABLISHED
    0x0E: 4,  # STOP
    0x0F: 8,  # GET_CONFIG
    0x11: 16,  # SET_BUFFERSIZE
}
# TPM_RC_FAILURE, the code that swtpm has for what it could not do.
FAILED = struct.pack(">I", CODES["FAILURE"])


def _exactly(connection: socket.socket, size: int) -> bytes:
    read = b""
    while len(read) < size:
        more = connection.recv(size - len(read))
        if not more:
            raise ConnectionError("the other side has ended")
        read += more
    return read


def _message(connection: socket.socket) -> bytes:
    """A command or an answer of the TPM."""
    header = _exactly(connection, HEADER.size)
    return header + _exactly(connection, HEADER.unpack(header)[1] - HEADER.size)


def _commands(machine: socket.socket, port: int) -> None:
    """Serves the TPM's commands, each by a connection of its own, so that others come in between."""
    while True:
        try:
            command = _message(machine)
        except ConnectionError:
            # The machine has no power any more.
            return
        try:
            with socket.create_connection(("127.0.0.1", port)) as chip:
                chip.sendall(command)
                answer = _message(chip)
        except OSError:
            answer = HEADER.pack(0x8001, HEADER.size, CODES["FAILURE"])
        machine.sendall(answer)


def _asked(command: bytes, port: int) -> bytes:
    """The TPM's answer on its control channel."""
    size = ANSWER_SIZES[struct.unpack_from(">I", command)[0]]
    try:
        with socket.create_connection(("127.0.0.1", port + 1)) as chip:
            chip.sendall(command)
            return _exactly(chip, size)
    except OSError:
        return FAILED.ljust(size, b"\0")


def _control(machine: socket.socket, port: int) -> None:
    """Serves the control channel until the machine has no power any more."""
    while True:
        command, ancillary, _flags, _address = machine.recvmsg(4096, socket.CMSG_SPACE(array.array("i").itemsize))
        if not command:
            return
        if struct.unpack_from(">I", command)[0] != SET_DATA_DESCRIPTOR:
            machine.sendall(_asked(command, port))
            continue
        [descriptor] = array.array("i", ancillary[0][2])
        threading.Thread(target=_commands, args=(socket.socket(fileno=descriptor), port), daemon=True).start()
        machine.sendall(struct.pack(">I", CODES["SUCCESS"]))


if __name__ == "__main__":
    _control(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
