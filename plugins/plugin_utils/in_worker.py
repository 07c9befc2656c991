# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A module of the station, run in the process that Ansible has forked for its task.

To pack such a module and to start another Python for it takes longer than its work on a rack, and it is no stranger to
this machine. What it returns comes out as from anywhere else: printed, and read by Ansible.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import os
import sys
import traceback
from collections.abc import Mapping
from typing import Any

from ansible.module_utils import basic
from ansible.module_utils.common import warnings

# Since ansible-core 2.19 what a module is told and tells is written by a profile.
PROFILE = ("legacy",) if hasattr(basic, "_ANSIBLE_PROFILE") else ()


def run_here(name: str, arguments: Mapping[str, Any], environment: Mapping[str, str]) -> dict[str, Any]:
    """The ``stdout``, ``stderr`` and ``rc`` of the module of this collection with *name*, as of a process of its own.

    *environment* are variables beside this process's own, as a task's ``environment`` sets them.
    """
    printed, complained = io.StringIO(), io.StringIO()
    basic._ANSIBLE_ARGS = encoded({"ANSIBLE_MODULE_ARGS": dict(arguments)})
    if PROFILE:
        basic._ANSIBLE_PROFILE = PROFILE[0]
    os.environ.update(environment)
    # Up to ansible-core 2.18 a module returns all warnings of its process, also those of an earlier item of a loop.
    for kept in ("_global_warnings", "_global_deprecations"):
        getattr(warnings, kept, {}).clear()
    code: Any = 0
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(complained):
        try:
            importlib.import_module(f"ansible_collections.tpmfleet.azure_dps.plugins.modules.{name}").main()
        except SystemExit as end:
            code = end.code or 0
        except Exception:
            # A module that falls over says so where people look for it.
            traceback.print_exc(file=sys.stderr)
            code = 1
    return {"stdout": printed.getvalue(), "stderr": complained.getvalue(), "rc": code}


def encoded(arguments: dict[str, Any]) -> bytes:
    """*arguments* as a module reads them."""
    if not PROFILE:
        from ansible.module_utils.common.json import AnsibleJSONEncoder

        return json.dumps(arguments, cls=AnsibleJSONEncoder, vault_to_text=True).encode("utf-8")
    from ansible.module_utils.common.json import Direction, get_module_encoder

    return json.dumps(arguments, cls=get_module_encoder(PROFILE[0], Direction.CONTROLLER_TO_MODULE)).encode("utf-8")
