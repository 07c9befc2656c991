# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Packages of a device's distribution, by its own package manager, from behind the wall."""

from __future__ import annotations

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


def install(action: DeviceAction, family: str, names: list[str], task_vars: dict[str, Any]) -> dict[str, Any]:
    """The result of installing the packages *names* of a *family* that is among :data:`FAMILIES`."""
    module, arguments = _MODULES[family]
    return action.run_module(module, {"name": names, **arguments}, task_vars, seconds=PATIENCE)
