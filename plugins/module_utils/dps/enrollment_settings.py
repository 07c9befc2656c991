# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What an inventory says of a host's enrollment, in one variable or in parts of several groups and of the host.

Ansible takes a variable whole from where it outweighs the others. So that a group can add a tag to what the fleet says,
what is said may be in parts, each a variable of its own, as drop-in files are to a configuration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

WHOLE = "tpmfleet_enrollment"
PART = f"{WHOLE}_"


def settings_of(variables: Mapping[str, Any]) -> dict[str, Any]:
    """C(tpmfleet_enrollment), and over it each C(tpmfleet_enrollment_…) in the order of their names.

    Objects are merged name by name at every depth, all else is replaced, and null takes away what was said before.
    ValueError where one of them is no object.
    """
    settings: dict[str, Any] = {}
    for name in [WHOLE, *sorted(name for name in variables if name.startswith(PART))]:
        part = variables.get(name)
        if part is not None and not isinstance(part, Mapping):
            raise ValueError(f"{name} is no mapping; it has settings by their names, such as iot_hubs, initial_twin")
        settings = _over(settings, part or {})
    return settings


def _over(settings: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(settings)
    for name, value in part.items():
        if value is None and name in merged:
            del merged[name]
        elif isinstance(value, Mapping) and isinstance(merged.get(name), Mapping):
            merged[name] = _over(merged[name], value)
        else:
            merged[name] = value
    return merged
