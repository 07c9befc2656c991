# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is done once before Ansible forks a process for each host and task."""

from __future__ import annotations

import json
import subprocess
import sys

# In a process of its own, since what it registers stays until a process ends.
PROGRAM = """\
import gc, json, os, weakref
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils import before_fork

class Cycle:
    def __init__(self):
        self.itself = self

def told_by_a_fork(what):
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.write(writer, json.dumps(what()).encode())
        os._exit(0)
    os.waitpid(child, 0)
    return json.loads(os.read(reader, 1000))

gc.disable()
before_fork._FORKS = 8
before_fork.made_ready()
before = len(gc.get_objects())
in_fork = told_by_a_fork(lambda: [len(gc.get_objects()), gc.get_freeze_count()])
garbage = weakref.ref(Cycle())
alive = []
for _fork in range(before_fork._FORKS):
    told_by_a_fork(lambda: 0)
    alive.append(garbage() is not None)
print(json.dumps([before, in_fork, alive[0], alive[-1]]))
"""


def test_the_collector_leaves_alone_what_a_fork_shares_and_garbage_does_not_stay():
    """All objects are set apart at a fork; what became garbage meanwhile is found after some of them."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    before, (in_fork, set_apart), at_first, at_last = json.loads(done.stdout)
    assert in_fork < before / 10 < set_apart
    assert (at_first, at_last) == (True, False)
