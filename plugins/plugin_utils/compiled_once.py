# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Templates that are compiled once for all hosts of a play, and not by each of them anew.

Ansible forks a process for each task and host, and what one has compiled is gone with it. That is 1 ms of the
controller's for each template, and the options of a step have more than a hundred. So those of this collection's roles
are compiled where all of these processes are forked from.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

from ansible import template
from ansible.module_utils.common.yaml import yaml_load
from ansible.parsing.dataloader import DataLoader
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.templated import is_to_be_made

ROLES = Path(__file__).resolve().parents[2] / "roles"
_FILES = ("defaults/main.yml", "vars/main.yml")
# Of a block.
_PARTS = ("block", "rescue", "always")


def templar(loader: Any, variables: Mapping[str, Any]) -> Any:
    """Ansible's Templar, which compiles nothing that was compiled before."""
    made = template.Templar(loader=loader, variables=variables)
    environment = engine_of(made).environment
    environment.__class__ = kind = _once(type(environment))
    # Each environment would look for a filter in all files of its collection.
    for name in ("filters", "tests"):
        setattr(environment, name, kind.plugins.setdefault(name, getattr(environment, name)))
    return made


def engine_of(made: Any) -> Any:
    """What does the work of a Templar: since ansible-core 2.19 its engine, else itself."""
    return getattr(made, "_engine", made)


@functools.cache
def _once(kind: type) -> type:
    """The class of Jinja environments *kind*, with a memory that all of them share, and all processes forked later."""
    if hasattr(kind, "compiled"):
        return kind

    class Environment(kind):  # type: ignore[misc, valid-type]
        compiled: dict[str, CodeType] = {}
        plugins: dict[str, Any] = {}

        def compile(self, source: Any, *arguments: Any, **options: Any) -> Any:
            # One with delimiters of its own is no other template's.
            if arguments or options or self.overlayed or not isinstance(source, str):
                return super().compile(source, *arguments, **options)
            found = self.compiled.get(source)
            if found is None:
                found = self.compiled[str(source)] = super().compile(source)
            return found

    return Environment


@functools.cache
def compile_roles(*names: str) -> None:
    """Compiles the templates in the variables of the roles *names*, and in those of their tasks."""
    environment = engine_of(templar(DataLoader(), {})).environment
    for text in _templates([_variables_of(ROLES / name) for name in names]):
        # What is wrong with a template is told where it is used.
        with contextlib.suppress(Exception):
            environment.compile(text)


def _variables_of(role: Path) -> list[Any]:
    files = [role / file for file in _FILES if (role / file).is_file()]
    tasks = [_read(path) for path in sorted(role.glob("tasks/*.yml"))]
    return [*map(_read, files), *(found for one in tasks for found in _variables_in(one))]


def _read(path: Path) -> Any:
    return yaml_load(path.read_text(encoding="utf-8"))


def _variables_in(tasks: list[dict[str, Any]] | None) -> Iterator[Any]:
    for task in tasks or ():
        yield task.get("vars")
        for part in _PARTS:
            yield from _variables_in(task.get(part))


def _templates(value: Any) -> Iterator[str]:
    if isinstance(value, str) and is_to_be_made(value):
        # What a backslash stands for depends on who reads the template.
        if "\\" not in value:
            yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from _templates(one)
    elif isinstance(value, list):
        for one in value:
            yield from _templates(one)
