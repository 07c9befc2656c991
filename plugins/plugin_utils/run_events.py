# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What callbacks are called with, under the names that each release of ansible-core has for it."""

from __future__ import annotations


def data_of(result) -> dict:
    """What the task returned for its host."""
    # ansible-core 2.19 gave the parts of a result public names and deprecated the others.
    return result.result if hasattr(result, "result") else result._result


def host_of(result) -> str:
    """The name of the host."""
    return (result.host if hasattr(result, "host") else result._host).get_name()


def task_of(result):
    """The task."""
    return result.task if hasattr(result, "task") else result._task


def hosts_of(play, *, whole: bool = False) -> set[str]:
    """The hosts of the batch that starts, to which the inventory is narrowed by then, or of the *whole* play."""
    inventory = getattr(play.get_variable_manager(), "_inventory", None)
    if not inventory:
        return set()
    return {host.get_name() for host in inventory.get_hosts(play.hosts, ignore_restrictions=whole)}
