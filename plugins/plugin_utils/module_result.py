# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module returned, between where Ansible has read it and where an action gets it.

A mapping up to ansible-core 2.20, and since 2.21 an object of a class of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

try:
    from ansible._internal._task import UnifiedTaskResult
except ImportError:
    UnifiedTaskResult = None


def as_mapping(said: Any) -> dict[str, Any]:
    """*said* as Ansible's reader has it, for an action, without what is for Ansible alone."""
    if not isinstance(said, Mapping):
        said.remove_internal_keys()
        said = said.as_result_dict(for_round_trip=True)
    return {name: value for name, value in said.items() if not name.startswith("_ansible_")}


def as_read(said: dict[str, Any]) -> Any:
    """*said* as if Ansible's reader had read it."""
    return said if UnifiedTaskResult is None else UnifiedTaskResult.from_module_result_dict(said)
