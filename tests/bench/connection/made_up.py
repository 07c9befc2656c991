# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A connection to devices that are made up: each answers what a real one was heard to answer, with its own keys."""

from __future__ import annotations

DOCUMENTATION = """
name: made_up
short_description: Devices of the bench, which are files
description:
  - BENCH_HEARD is what a real device answered, and BENCH_DEVICES a directory of files, one for each host, with what
    each says in the place of that device's own values.
author: tpmfleet contributors (@tpmfleet)
"""

import json  # noqa: E402
import os  # noqa: E402
from pathlib import Path  # noqa: E402

from ansible.plugins.connection import ConnectionBase  # noqa: E402


class Connection(ConnectionBase):
    """No process, no network: what is left of a task is the controller's own share."""

    transport = "made_up"

    def is_pipelining_enabled(self, wrap_async=False):
        """Always: nothing is put anywhere."""
        return True

    def _connect(self):
        self._connected = True
        return self

    def exec_command(self, cmd, in_data=None, sudoable=True):
        """What the real device answered to the program in *in_data*."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        if not in_data:
            return 0, b"", b""
        answer = Path(os.environ["BENCH_HEARD"]).read_text()
        says = Path(os.environ["BENCH_DEVICES"]) / f"{self._play_context.remote_addr}.json"
        for said, own in json.loads(says.read_text()).items():
            answer = answer.replace(said, own)
        return 0, answer.encode(), b""

    def put_file(self, in_path, out_path):
        """Nothing is kept."""

    def fetch_file(self, in_path, out_path):
        """Nothing is there."""

    def close(self):
        """Nothing was open."""
        self._connected = False
