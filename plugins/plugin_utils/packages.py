# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packages of a device's distribution, by its own package manager, from behind the wall."""

from __future__ import annotations

import re
from typing import Any

from .device_action import DeviceAction

# Seconds: a mirror that is slow, and another program that holds the lock of apt.
PATIENCE = 1800
_MODULES = {
    "debian": (
        "ansible.builtin.apt",
        {"install_recommends": False, "update_cache": True, "cache_valid_time": 3600, "lock_timeout": 300},
    ),
    "redhat": ("ansible.builtin.dnf", {"install_weak_deps": False}),
}
FAMILIES = frozenset(_MODULES)
# What they say in check mode for want of what a run would first get: their own Python library, a list of packages.
_NOT_YET = re.compile("to use check mode|No package matching|Could not import the (lib)?dnf|No package .* available")


def install(action: DeviceAction, family: str, names: list[str], task_vars: dict[str, Any]) -> dict[str, Any]:
    """The result of installing the packages *names* of a *family* that is among :data:`FAMILIES`.

    In check mode it has ``untold``, why a bare device's package manager does not tell yet what it would do, or "".
    """
    module, arguments = _MODULES[family]
    done = action.run_module(module, {"name": names, **arguments}, task_vars, seconds=PATIENCE)
    if not action.is_check:
        return done
    if done.get("failed") and _NOT_YET.search(done["msg"]):
        return {"changed": True, "untold": done["msg"]}
    return {**done, "untold": ""}
