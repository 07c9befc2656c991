# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What each process of a task would do anew, done where they are all forked from: Ansible loads an action there first.

Core 2.19 makes what reads templates when the first one is read, which is most often in a fork, and so in every one. And
to find a filter of a collection it loads all that the collection has.
"""

from __future__ import annotations

import contextlib
import functools

from ansible import template
from ansible.errors import AnsibleError
from ansible.parsing.dataloader import DataLoader


@functools.cache
def made_ready() -> None:
    """Reads a template with a filter of this collection."""
    trusted = getattr(template, "trust_as_template", str)
    # Outside of a run of Ansible's there is no collection.
    with contextlib.suppress(AnsibleError):
        template.Templar(loader=DataLoader()).template(trusted("{{ 1 | tpmfleet.azure_dps.explained }}"))
