# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module of this collection as it is sent to a device: its own code and a small runtime, and none of Ansible's.

Ansible sends each module with 170 kB of its own, which each call unpacks and compiles anew, for 0.1 s and more of a
device's time. What its share does here is done on this side (the options are validated by Ansible's own validator), or
by :mod:`module_utils.runtime`. The modules know nothing of it, and run as Ansible's do wherever Ansible sends them.
"""

from __future__ import annotations

import base64
import functools
import importlib
import json
import re
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.errors import UnsupportedError
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.quoting import without_quotation

PLUGINS = Path(__file__).resolve().parents[1]
PACKAGE = "ansible_collections.tpmfleet.azure_dps.plugins"
_RUNTIME = PLUGINS / "module_utils" / "runtime"
_REPLACED = "ansible.module_utils.basic"
# Found in a fiftieth of the time in which Python reads what else is in the text.
_IMPORT = re.compile(r"^[ \t]*from (\.*)([\w.]*) import (\([^)]*\)|[^\n#]*)", re.MULTILINE)
# What makes keys and nothing else, and may go on when its call has ended.
_GOES_ON = {"device_read": "module_utils.runtime.going_on"}


class OptionsError(Exception):
    """The options of a task are not those of its module; the message is Ansible's."""


class Payload:
    """One module, built once; see :func:`payload_of`."""

    def __init__(self, module: str) -> None:
        self._name = module
        sources = {_REPLACED: (_RUNTIME / "basic.py").read_text(encoding="utf-8"), **_sources(module)}
        packed = base64.b64encode(zlib.compress(json.dumps(sources).encode(), 9)).decode()
        program = (_RUNTIME / "start.py").read_text(encoding="utf-8")
        self._program = f'{program}\n\nstart("{packed}", {f"{PACKAGE}.modules.{module}"!r}, '
        self._validator = _validator(module)

    def program(self, arguments: Mapping[str, Any], **given: Any) -> bytes:
        """The program for a device's Python that runs the module with a task's *arguments*.

        *given* is what else :class:`module_utils.runtime.basic.Given` has, and as ``goes_on`` what
        :func:`module_utils.runtime.going_on.run` is given. :class:`OptionsError` for options that the module does not
        have, or not so.
        """
        name = f"tpmfleet.azure_dps.{self._name}"
        found = self._validator.validate(dict(arguments))
        if found.errors.errors:
            words = without_quotation(found.errors.msg)
            if isinstance(found.errors[0], UnsupportedError):
                words = f"Unsupported parameters for ({name}) module: {words}"
            raise OptionsError(words)
        params = {option: found.validated_parameters[option] for option in self._validator.argument_spec}
        # Strings of Ansible's may be kinds of its own, which become text; those of a vault do so too.
        text = json.dumps({"params": params, "name": name, **given}, default=str)
        return f"{self._program}{text!r})\n".encode()


@functools.cache
def payload_of(module: str) -> Payload:
    """The payload of a *module* that is named without its collection.

    Who asks for it where the process of a task is not yet forked from Ansible's, as a class of an action is made, has
    it built once for all hosts and tasks.
    """
    return Payload(module)


class _Asked(Exception):
    """Ends a module where it has said what its options are."""


def _validator(module: str) -> ArgumentSpecValidator:
    """What Ansible holds the options of *module* to."""
    loaded = importlib.import_module(f"{PACKAGE}.modules.{module}")
    said: dict[str, Any] = {}

    def asked(**specification: Any) -> None:
        said.update(specification)
        raise _Asked

    original, loaded.AnsibleModule = loaded.AnsibleModule, asked
    try:
        loaded.main()
    except _Asked:
        pass
    finally:
        loaded.AnsibleModule = original
    # A path is one of the device, and its ~ and $HOME are.
    options = {
        name: {**option, "type": "str"} if option.get("type") == "path" else option
        for name, option in said["argument_spec"].items()
    }
    return ArgumentSpecValidator(options, required_if=said.get("required_if"), required_by=said.get("required_by"))


def _sources(module: str) -> dict[str, str]:
    """The text of *module*, and of all of this collection's that it imports, by the names that it imports them by."""
    found: dict[str, str] = {}
    wanted = [f"modules.{module}", *([_GOES_ON[module]] if module in _GOES_ON else [])]
    while wanted:
        name = wanted.pop()
        if f"{PACKAGE}.{name}" not in found:
            found[f"{PACKAGE}.{name}"], imported = _source(name)
            wanted.extend(imported)
    return found


@functools.cache
def _source(name: str) -> tuple[str, list[str]]:
    """The text of a module of this collection, and the names of those that it imports; most are in several payloads."""
    text = _path(name).read_text(encoding="utf-8")
    return text, list(_imported(name, text))


def _imported(name: str, text: str) -> Iterator[str]:
    for dots, module, names in _IMPORT.findall(text):
        if dots:
            package = name.split(".")[: -len(dots)]
            module = ".".join([*package, module] if module else package)
        elif module.startswith(f"{PACKAGE}."):
            module = module.removeprefix(f"{PACKAGE}.")
        else:
            continue
        if _path(module).is_file():
            yield module
        else:
            yield from (f"{module}.{one.split()[0]}" for one in names.strip("()").split(",") if one.strip())


def _path(name: str) -> Path:
    return PLUGINS.joinpath(*name.split(".")).with_suffix(".py")
