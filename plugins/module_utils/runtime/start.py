# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The program that a device's Python reads from its standard input: it runs one module, from memory."""

from __future__ import annotations

import base64
import importlib
import json
import os
import sys
import zlib
from importlib.machinery import ModuleSpec


class Sources:
    """Finds what came with this program, before anything of the same name that the device has."""

    def __init__(self, sources: dict[str, str]) -> None:
        self._sources = sources
        self._packages = {name[:end] for name in sources for end, one in enumerate(name) if one == "."}

    def find_spec(self, name, _path=None, _target=None):
        """As every finder's."""
        is_package = name in self._packages
        if name not in self._sources and not is_package:
            return None
        return ModuleSpec(name, self, origin=_file(name), is_package=is_package)  # type: ignore[arg-type]

    def create_module(self, _spec):
        """The usual one."""

    def exec_module(self, module):
        """Compiles it."""
        name = module.__name__
        if name in self._sources:
            exec(compile(self._sources[name], _file(name), "exec", dont_inherit=True), module.__dict__)

    def get_source(self, name):
        """For tracebacks."""
        return self._sources.get(name)


def _file(name: str) -> str:
    return f"{name.replace('.', '/')}.py"


def start(packed: str, module: str, given: str) -> None:
    """Runs *module* of the *packed* sources with what was *given*, and ends this process."""
    # What lies in the directory that it was started in is not what it imports.
    sys.path[:] = [path for path in sys.path if path not in ("", ".")]
    try:
        os.getcwd()
    except OSError:
        # The one of a user who is not the one that this became.
        os.chdir("/")
    sys.meta_path.insert(0, Sources(json.loads(zlib.decompress(base64.b64decode(packed)))))
    basic = importlib.import_module("ansible.module_utils.basic")
    values = json.loads(given)
    goes_on = values.pop("goes_on", None)
    for name, value in values.items():
        setattr(basic.Given, name, value)

    def run() -> int:
        try:
            importlib.import_module(module).main()
            code = basic.crashed(RuntimeError("it returned without a result"))
        except SystemExit as end:
            code = end.code
        except Exception as error:
            code = basic.crashed(error)
        return code if isinstance(code, int) else 1

    if goes_on is None:
        code = run()
    else:
        utils = f"{module.rpartition('.modules.')[0]}.module_utils"
        when_slow = importlib.import_module(f"{utils}.tpm.connection").tell_when_slow
        code = importlib.import_module(f"{utils}.runtime.going_on").run(run, when_slow, **goes_on)
    sys.stdout.flush()
    sys.stderr.flush()
    # All is closed; to take the interpreter apart would be work for nothing.
    os._exit(code)
