# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each process of a task would do anew, done where they are all forked from: Ansible loads an action there first.

Core 2.19 makes what reads templates when the first one is read, which is most often in a fork, and so in every one. And
to find a filter of a collection it loads all that the collection has. Python's collector of garbage goes through all
objects of a process, and writes to each: in a fork it has what both share copied, page by page, for nothing.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import itertools
import os

from ansible import template
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader

# So many forks may pass until what became garbage between them is looked for: that takes as long as some ten of them.
_FORKS = 256
_forks = itertools.count(1)


@functools.cache
def made_ready() -> None:
    """Reads a template with a filter of this collection, and has the objects that there are set apart at each fork."""
    os.register_at_fork(before=_set_apart)
    trusted = getattr(template, "trust_as_template", str)
    # Outside of a run of Ansible's there is no collection.
    with contextlib.suppress(AnsibleError):
        template.Templar(loader=DataLoader()).template(trusted("{{ 1 | tpmfleet.azure_dps.explained }}"))


def _set_apart() -> None:
    """Has Python's collector leave alone what there is, here and in the fork, as its documentation advises."""
    if next(_forks) % _FORKS == 0:
        gc.unfreeze()
        gc.collect()
    gc.freeze()
