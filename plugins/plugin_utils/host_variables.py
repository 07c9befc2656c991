# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables of a task's host, templated one by one: a task's own templating would do it for all, each time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.template import Templar

from .device_record import is_of_the_record


def of_the_record(task_vars: Mapping[str, Any], loader: Any) -> dict[str, Any]:
    """Those of *task_vars* that a device record is made from."""
    return {name: value_of(name, task_vars, loader) for name in task_vars if is_of_the_record(name)}


def value_of(name: str, task_vars: Mapping[str, Any], loader: Any) -> Any:
    """The value of the variable *name*; what is left out by ``omit`` is not in it where that is a mapping.

    AnsibleError where it cannot be templated.
    """
    value = Templar(loader=loader, variables=task_vars).template(task_vars[name])
    if not isinstance(value, Mapping):
        return value
    # Before ansible-core 2.19 that is a text that nobody else says.
    omitted = task_vars.get("omit")
    return {name: one for name, one in value.items() if one is not None and (omitted is None or one != omitted)}
