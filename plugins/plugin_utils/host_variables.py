# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables of a task's host, templated one by one: a task's own templating would do it for all, each time."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .compiled_once import templar
from .device_record import is_of_the_record
from .remembered import remember


class HostVariables:
    """Those of one task and host, and what they come to.

    Since ansible-core 2.19 what one comes to is made once, however many name it.
    """

    def __init__(self, task_vars: Mapping[str, Any], loader: Any) -> None:
        self._variables = dict(task_vars)
        self._reads = templar(loader, self._variables)
        remember(self._reads, self._variables)

    def of_the_record(self) -> dict[str, Any]:
        """Those that a device record is made from."""
        return {name: self._reads.template(value) for name, value in self._variables.items() if is_of_the_record(name)}

    def value(self, name: str) -> Any:
        """The value of the variable *name*; what is left out by ``omit`` is not in it where that is a mapping.

        AnsibleError where it cannot be templated.
        """
        value = self._reads.template(self._variables[name])
        if not isinstance(value, Mapping):
            return value
        # Before ansible-core 2.19 that is a text that nobody else says.
        omitted = self._variables.get("omit")
        return {name: one for name, one in value.items() if one is not None and (omitted is None or one != omitted)}
