# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A connection to units that are made up: each takes its time, and some fail, as their variables say."""

from __future__ import annotations

DOCUMENTATION = """
name: rack_unit
short_description: Units that are made up
description:
  - Each module that is sent to a unit takes O(seconds), and has then changed something, unless the unit fails there.
author: tpmfleet contributors (@tpmfleet)
options:
  part:
    description: What is done, V(read) or V(work).
    type: str
    default: ""
    vars:
      - name: unit_part
  seconds:
    description: How long it takes.
    type: float
    default: 0
    vars:
      - name: unit_seconds
  does:
    description:
      - What the unit does at a part in another way than others, V(slow), V(unreachable), or what it says as it fails.
    type: dict
    default: {}
    vars:
      - name: unit_does
"""

import json  # noqa: E402
import time  # noqa: E402

from ansible.errors import AnsibleConnectionFailure  # noqa: E402
from ansible.plugins.connection import ConnectionBase  # noqa: E402

SLOW_SECONDS = 13


class Connection(ConnectionBase):
    """No process and no network."""

    transport = "rack_unit"
    has_pipelining = True

    def is_pipelining_enabled(self, wrap_async=False):
        """Always: nothing is put anywhere."""
        return True

    def _connect(self):
        self._connected = True
        return self

    def exec_command(self, cmd, in_data=None, sudoable=True):
        """What the module in *in_data* comes to."""
        super().exec_command(cmd, in_data=in_data, sudoable=sudoable)
        if not in_data:
            return 0, b"", b""
        part = self.get_option("part")
        does = self.get_option("does").get(part, "")
        time.sleep(SLOW_SECONDS if does == "slow" else self.get_option("seconds"))
        if does == "unreachable":
            raise AnsibleConnectionFailure("Failed to connect to the host via ssh: Connection refused")
        said = {"failed": True, "msg": does} if does and does != "slow" else {"changed": part == "work"}
        return int("failed" in said), json.dumps(said).encode(), b""

    def put_file(self, in_path, out_path):
        """Nothing is kept."""

    def fetch_file(self, in_path, out_path):
        """Nothing is there."""

    def close(self):
        """Nothing was open."""
        self._connected = False
