# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Python reads this at its start: Ansible's programs keep what they compile of a collection, as Python does elsewhere.

Ansible's loader compiles each module of a collection anew in each of the hundreds of programs that the tests start,
which is a tenth and more of what one costs.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib.machinery import SourceFileLoader

LOADER = "ansible.utils.collection_loader._collection_finder"


def compiled(source, filename, mode, flags, dont_inherit):
    """In the place of ``compile`` in that module."""
    if os.path.isfile(filename):
        return SourceFileLoader("module", filename).get_code("module")
    return compile(source, filename, mode, flags, dont_inherit)


class Watch:
    """Waits for that module to be imported."""

    def find_spec(self, name, path=None, target=None):
        if name != LOADER:
            return None
        sys.meta_path.remove(self)
        specification = importlib.util.find_spec(name)
        execute = specification.loader.exec_module

        def exec_module(module):
            execute(module)
            module.compile = compiled

        specification.loader.exec_module = exec_module
        return specification


sys.meta_path.insert(0, Watch())
