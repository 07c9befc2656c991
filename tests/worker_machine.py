# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A machine that runs jobs for a controller elsewhere: a network, processes and files of its own.

It is a process with namespaces (unshare(1), nsenter(1)), which have no name: they end with it, whoever ends it, and so
does every process in them. It has Ansible and the collection, as an execution environment has, and reaches what it is
said to reach and nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

# What is inside, as its first process: a network of its own with nothing on it, and none of the *hidden* directories.
BOOT = 'ip link set lo up; for one; do mount -t tmpfs -o mode=0700 tmpfs "$one"; done; echo up; exec sleep infinity'
NAMESPACES = ("--net", "--mount", "--pid")


class WorkerMachine:
    """*hidden* directories are empty there; *reaches* are servers of this machine that it reaches at the same ports."""

    def __init__(self, relay, hidden: list[Path], reaches: Iterable[int | str], ports: dict[str, int]) -> None:
        unshare = ["unshare", *NAMESPACES, "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
        command = [*unshare, "sh", "-ec", BOOT, "sh", *map(str, hidden)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        if self._process.stdout.readline() != b"up\n":
            raise RuntimeError("the machine did not come up")
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text()
        self.pid = int(children)
        self.home = hidden[0] / "home"
        self._relay = relay(reaches, network=f"/proc/{self.pid}/ns/net", ports=ports)
        self.run("mkdir", str(self.home))

    def command(self, *command: str) -> list[str]:
        """What runs *command* there, with nothing of this environment but the mark of the session of tests."""
        environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "LANG": "C.UTF-8",
            "ANSIBLE_COLLECTIONS_PATH": os.environ["ANSIBLE_COLLECTIONS_PATH"],
            **{name: value for name, value in os.environ.items() if name == "TPMFLEET_TEST_SESSION"},
        }
        entering = ["nsenter", "--target", str(self.pid), *NAMESPACES, "--wdns=/"]
        return [*entering, "env", "-i", *(f"{name}={value}" for name, value in environment.items()), *command]

    def run(self, *command: str) -> str:
        """What *command* printed there."""
        done = subprocess.run(self.command(*command), stdout=subprocess.PIPE, text=True, check=True, timeout=60)
        return done.stdout

    def work_place(self, name: str) -> str:
        """A new directory for a job."""
        place = str(self.home / name)
        self.run("mkdir", place)
        return place

    def lose(self) -> None:
        """Its network is gone, and in the same moment all that ran on it."""
        if not Path(f"/proc/{self.pid}").exists():
            return
        self._relay.end()
        self._process.kill()
        self._process.wait()
        deadline = time.monotonic() + 30
        while Path(f"/proc/{self.pid}").exists():
            if time.monotonic() > deadline:
                raise RuntimeError("the machine did not end")
            time.sleep(0.02)
