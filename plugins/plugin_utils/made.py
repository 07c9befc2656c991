# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The variables of one host among those of a batch, made of its templates by Ansible; where it cannot, that is told.

Ansible tells an error in a task that runs once as one of the batch's first host, and not which host and variable it
comes from. Before ansible-core 2.19 a template with something undefined in it is taken for the value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible import template
from ansible.errors import AnsibleFilterError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import explained
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.templated import is_to_be_made
from jinja2 import Undefined

_LEAVES_TEMPLATES = not hasattr(template, "trust_as_template")
# Of the inventory, and not what a task has returned.
_OURS = "tpmfleet_"


class Made(Mapping):
    """What ``hostvars`` has of *host*. AnsibleFilterError, with host and variable, for one that cannot be made."""

    def __init__(self, host: str, hostvars: Mapping[str, Mapping[str, Any]]) -> None:
        self._host = host
        self._variables = hostvars[host]

    def __getitem__(self, name: str) -> Any:
        try:
            value = self._variables[name]
            why = why_unmade(value) if name.startswith(_OURS) else None
        except KeyError:
            raise
        except Exception as error:
            # Whatever a filter in the template raises: not every release has an error of its own around it.
            why = str(error).removeprefix("A captured exception marker was tripped: ")
        if why is not None:
            why = visible(why, most=300)
            raise AnsibleFilterError(explained(f"{self._host}: {name} cannot be made of its template: {why}")) from None
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._variables)

    def __len__(self) -> int:
        return len(self._variables)


def why_unmade(value: Any) -> str | None:
    """Why *value*, or something in it, could not be made; None where it could."""
    if isinstance(value, Undefined):
        # That is what its use raises.
        str(value)
    elif isinstance(value, str):
        left = _LEAVES_TEMPLATES and is_to_be_made(value) and not hasattr(value, "__UNSAFE__")
        return f"something in {value} is undefined" if left else None
    elif isinstance(value, Mapping):
        return next(filter(None, map(why_unmade, value.values())), None)
    elif isinstance(value, (list, tuple)):
        return next(filter(None, map(why_unmade, value)), None)
    return None
