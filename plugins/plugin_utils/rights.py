# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which hosts a step would come to without being root, where it takes root: by what the inventory and the play say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ansible import context
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.templated import is_to_be_made

# A part of a step that places or asks the client, and steps of which it is only a part now and then.
ROOTS_ROLES = frozenset(("dps_client",))
ROOTS_STEPS = frozenset(("decommission",))
NOT_ALWAYS = frozenset(("ownership_rotation",))


def takes_root(step: str, composed: set[str]) -> bool:
    """Whether the role *step*, which composes the roles *composed*, works as root on each of its devices."""
    return step in ROOTS_STEPS or (step not in NOT_ALWAYS and bool(ROOTS_ROLES & composed))


def of_play(task: Any) -> tuple[bool, str, str]:
    """(whether the play or the command becomes, whom, who logs in) for *task*, where its host says nothing else."""
    command = context.CLIARGS
    become = command.get("become") if task.become is None else task.become
    whom = task.become_user or command.get("become_user") or ""
    return bool(become), whom, task.remote_user or command.get("remote_user") or ""


def is_without_root(variables: Mapping[str, Any], become: bool, become_user: str, user: str) -> bool:
    """Whether a host with *variables* is reached without root for certain; *become* and the users are the play's.

    What is templated or encrypted, and what ssh's own configuration may say, is not known here.
    """
    said = {name: variables.get(f"ansible_{name}") for name in ("become", "become_user", "user", "connection")}
    if any(map(is_to_be_made, said.values())):
        return False
    if said["become"] is not None:
        become = boolean(said["become"], strict=False)
    if become:
        return (said["become_user"] or become_user or "root") != "root"
    connection = str(said["connection"] or "ssh").removeprefix("ansible.builtin.")
    if connection == "local":
        return os.geteuid() != 0
    user = str(said["user"] or user or "")
    return connection == "ssh" and user not in ("", "root")
