# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Where a library is missing a module can still be loaded, so that it can say which."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

MODULES = Path(__file__).resolve().parents[4] / "plugins" / "modules"
LOAD = """
import importlib, sys, traceback
for library in ("azure", "azure.core", "azure.identity", "azure.mgmt", "cryptography", "requests", "sqlalchemy",
                "tpm2_pytss"):
    sys.modules[library] = None
for module in sys.argv[1:]:
    try:
        importlib.import_module(f"ansible_collections.tpmfleet.azure_dps.plugins.modules.{module}")
    except Exception:
        print(module, traceback.format_exc())
"""


def test_every_module_is_loaded_where_there_is_only_ansible():
    names = sorted(one.stem for one in MODULES.glob("*.py"))
    assert "ek_list" in names and "dps_enrollments" in names
    done = subprocess.run([sys.executable, "-c", LOAD, *names], stdout=subprocess.PIPE, text=True, check=True)
    assert done.stdout == ""
