# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who started this run of a playbook, and which run it is, as the ledger notes them with each event."""

from __future__ import annotations

import getpass
import os
import secrets
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

# What a column of this kind has room for elsewhere in the ledger.
MOST = 255
RUN_ID_ENVIRONMENT = "TPMFLEET_RUN_ID"
# In the order in which they are asked; AWX and automation controller give the others to each of their jobs.
_OPERATORS = ("tpmfleet_operator", "awx_user_name", "tower_user_name")
_JOBS = ("awx_job_id", "tower_job_id")

# Made once: Ansible loads the plugins of a task before it forks the process that runs it.
_MADE = f"{datetime.now(timezone.utc).strftime('%Y%m%dT%H%M%SZ')}-{secrets.token_hex(4)}"


def run_id(variables: Mapping[str, Any], template: Callable[[Any], Any]) -> str:
    """The run: what the variable or the environment says, the job of AWX, or a name that was made for this run."""
    job = next((f"awx-{variables[name]}" for name in _JOBS if variables.get(name)), None)
    said = _said(variables, template, ("tpmfleet_run_id",)) or os.environ.get(RUN_ID_ENVIRONMENT)
    return (said or job or _MADE)[:MOST]


def operator(variables: Mapping[str, Any], template: Callable[[Any], Any]) -> str:
    """Who started it: what the variable says, the user of AWX, or the account on this machine (that of sudo)."""
    return (_said(variables, template, _OPERATORS) or _account())[:MOST]


def _said(variables: Mapping[str, Any], template: Callable[[Any], Any], names: tuple[str, ...]) -> str:
    values = (template(variables[name]) for name in names if variables.get(name) not in (None, ""))
    return next((str(value) for value in values if str(value)), "")


def _account() -> str:
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):
        # A container's user has no name.
        return f"uid {os.getuid()}"
