# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Variables of a task's host, templated one by one: a task's own templating would do it for all, each time."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .compiled_once import templar
from .device_record import is_of_the_record

_WORD = re.compile(r"[A-Za-z_]\w*")
# What comes to variables by names that stand nowhere. A lookup may; that of a file does not.
_ANY = frozenset(("vars", "varnames", "lookup", "query", "q", "include", "import", "extends"))
_OF_A_FILE = "lookup('ansible.builtin.file', "


class HostVariables:
    """Those of one task and host, and what they come to."""

    def __init__(self, task_vars: Mapping[str, Any], loader: Any) -> None:
        self._variables = task_vars
        self._loader = loader

    def of_the_record(self) -> dict[str, Any]:
        """Those that a device record is made from."""
        names = [name for name in self._variables if is_of_the_record(name)]
        reads = self._templar(names)
        return {name: reads.template(self._variables[name]) for name in names}

    def value(self, name: str) -> Any:
        """The value of the variable *name*; what is left out by ``omit`` is not in it where that is a mapping.

        AnsibleError where it cannot be templated.
        """
        value = self._templar([name]).template(self._variables[name])
        if not isinstance(value, Mapping):
            return value
        # Before ansible-core 2.19 that is a text that nobody else says.
        omitted = self._variables.get("omit")
        return {name: one for name, one in value.items() if one is not None and (omitted is None or one != omitted)}

    def _templar(self, names: Iterable[str]) -> Any:
        """What reads the variables *names*.

        Each template takes time for each variable that it could name, and a step has hundreds of both. So it gets
        those that are named in what it reads, in what those say, and so on.
        """
        wanted, left = {}, list(names)
        while left:
            name = left.pop()
            if name in wanted or name not in self._variables:
                continue
            wanted[name] = self._variables[name]
            for text in _templates(wanted[name]):
                words = _words(text)
                if words & _ANY:
                    return templar(self._loader, self._variables)
                left.extend(words)
        return templar(self._loader, wanted)


@functools.lru_cache(maxsize=4096)
def _words(text: str) -> frozenset[str]:
    return frozenset(_WORD.findall(text.replace(_OF_A_FILE, "")))


def _templates(value: Any) -> Iterator[str]:
    """The texts in *value* that may be templates, whatever begins one."""
    if isinstance(value, str):
        if "{" in value or "#jinja" in value:
            yield value
    elif isinstance(value, dict):
        # What a task has returned is data, however much of it there is.
        if "changed" in value and "failed" in value:
            return
        for one in value.values():
            yield from _templates(one)
    elif isinstance(value, (list, tuple)):
        for one in value:
            yield from _templates(one)
