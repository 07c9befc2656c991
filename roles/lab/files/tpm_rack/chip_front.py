# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Stands before a software TPM and makes it the chip that a script describes: slow, busy, odd (:mod:`.answers`).

``python -m tpm_rack.chip_front PORT BEHIND STATE_DIR``: what is sent to PORT (commands) and PORT+1 (control) goes on to
BEHIND and BEHIND+1. The script is ``answers.json`` in STATE_DIR; it begins anew with each power-up. Each command is
noted in ``commands.log`` there, a line with the code in hexadecimal, so that somebody can count what a TPM was asked.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import BinaryIO

from .answers import HEADER, Answers

SCRIPT = "answers.json"
LOG = "commands.log"


async def _messages(reader: asyncio.StreamReader, into: asyncio.Queue[bytes]) -> None:
    """Puts each command or answer that comes into a queue; ends with the connection."""
    while True:
        header = await reader.readexactly(HEADER.size)
        size = HEADER.unpack(header)[1]
        await into.put(header + await reader.readexactly(size - HEADER.size))


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(4096):
        writer.write(data)
        await writer.drain()


async def _end_with_the_first(*ways: asyncio.Task[None]) -> None:
    """The end of either side is the end of the connection, whatever the other one was in the middle of."""
    await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    for way in ways:
        way.cancel()
    await asyncio.gather(*ways, return_exceptions=True)


class ChipFront:
    """Two servers before a TPM whose ports are *behind* and the next one."""

    def __init__(self, behind: int, answers: Answers, log: BinaryIO) -> None:
        self._behind = behind
        self._answers = answers
        self._log = log

    async def _answer(
        self,
        commands: asyncio.Queue[bytes],
        answers: asyncio.Queue[bytes],
        to_chip: asyncio.StreamWriter,
        to_client: asyncio.StreamWriter,
    ) -> None:
        while True:
            command = await commands.get()
            self._log.write(b"%#x\n" % HEADER.unpack_from(command)[2])
            await asyncio.sleep(self._answers.delay(command))
            answer = self._answers.instead(command)
            if answer is None:
                to_chip.write(self._answers.as_asked(command))
                await to_chip.drain()
                answer = self._answers.retold(command, await answers.get())
            to_client.write(answer)
            await to_client.drain()

    async def commands(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection that takes commands."""
        chip_reader, chip_writer = await asyncio.open_connection("127.0.0.1", self._behind)
        commands: asyncio.Queue[bytes] = asyncio.Queue()
        answers: asyncio.Queue[bytes] = asyncio.Queue()
        await _end_with_the_first(
            asyncio.create_task(_messages(reader, commands)),
            asyncio.create_task(_messages(chip_reader, answers)),
            asyncio.create_task(self._answer(commands, answers, chip_writer, writer)),
        )
        chip_writer.close()
        writer.close()

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection of the control channel."""
        chip_reader, chip_writer = await asyncio.open_connection("127.0.0.1", self._behind + 1)
        await _end_with_the_first(
            asyncio.create_task(_forward(reader, chip_writer)), asyncio.create_task(_forward(chip_reader, writer))
        )
        chip_writer.close()
        writer.close()

    async def serve(self, port: int) -> None:
        """Serves for ever."""
        commands = await asyncio.start_server(self.commands, "127.0.0.1", port)
        control = await asyncio.start_server(self.control, "127.0.0.1", port + 1)
        await asyncio.gather(commands.serve_forever(), control.serve_forever())


def main() -> None:
    """Never returns."""
    port, behind, state_dir = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    answers = Answers(json.loads((state_dir / SCRIPT).read_text()))
    # Not buffered: it is killed when the power is cut.
    with open(state_dir / LOG, "ab", buffering=0) as log:
        asyncio.run(ChipFront(behind, answers, log).serve(port))


if __name__ == "__main__":
    main()
