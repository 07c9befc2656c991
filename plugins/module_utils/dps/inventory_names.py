# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which names an inventory may take from a service: those that are a host's name to Ansible and to ssh, and only that.

Whoever may write enrollments chooses their IDs. A host that is called ``localhost`` is the controller, one that is
called as a group is all of it, one that is called ``-oProxyCommand=…`` is an option of ssh, and the variables of one
that is called ``..`` are whatever lies in the directory above.

The same with groups that are made of values. One that is called as a host takes its place, and a value that is a
group's whole name puts its unit into any group that there is.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Collection

from ..outside.visible import visible

_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._\-]{0,127}")
_GROUP = re.compile(r"\w[\w .+()\-]{0,199}")
_LOCAL = re.compile(
    r"(.*\.)?localhost(\.localdomain)?[46]?(\.localdomain[46]?)?|ip6-(localhost|loopback)", re.IGNORECASE
)
# Names that mean something to Ansible or to the playbooks of this collection (their default tpmfleet_hosts is devices).
_MEANT = frozenset(
    [
        "all",
        "ungrouped",
        "devices",
        "dps_enrollment",
        "dps_registration",
        "environment",
        "group_names",
        "groups",
        "hostvars",
        "inventory_dir",
        "inventory_file",
        "inventory_hostname",
        "inventory_hostname_short",
        "omit",
        "play_hosts",
        "playbook_dir",
        "role_name",
        "vars",
    ]
)
_MEANT_BY_THEIR_HEAD = ("ansible_", "tpmfleet_")


def name_fault(name: str, groups: Collection[str]) -> str | None:
    """Why no host may be called *name*, or None. *groups* are the names of the inventory's groups."""
    if not _PLAIN.fullmatch(name):
        return "a host's name begins with a letter, digit or _, and has only these and . -"
    if name in groups:
        return "it is the name of a group"
    if name.lower() in _MEANT or name.lower().startswith(_MEANT_BY_THEIR_HEAD):
        return "it is the name of a group or variable of Ansible or of this collection"
    if _is_local(name):
        return "it is the controller itself"
    return None


def group_fault(name: str, head: str, *, hosts: Collection[str], groups: Collection[str]) -> str | None:
    """Why no group may be called *name*, or None. *head* is what of it does not come from a value.

    *hosts* are the names of hosts, *groups* those of groups that were not made of values.
    """
    if not _GROUP.fullmatch(name) or visible(name) != name:
        return "a group's name has at most 200 letters, digits and _ - . + ( ) and spaces"
    if name.lower() in _MEANT:
        return "it is the name of a group or variable of Ansible or of this collection"
    if _is_local(name):
        return "it is the controller itself"
    if head:
        return None
    if name.lower().startswith(_MEANT_BY_THEIR_HEAD) or name in groups:
        return "it is the name of another group, or of a variable"
    return "it is the name of a host" if name in hosts else None


def _is_local(name: str) -> bool:
    return _LOCAL.fullmatch(name.rstrip(".")) is not None or _is_loopback(name)


def _is_loopback(name: str) -> bool:
    """Whether ssh would take *name* for an address of the machine itself, in any of the forms that it knows."""
    if re.fullmatch(r"(0[xX][0-9A-Fa-f]+|[0-9]+)(\.(0[xX][0-9A-Fa-f]+|[0-9]+)){0,3}\.?", name) is None:
        return False
    try:
        address = ipaddress.ip_address(socket.inet_aton(name.rstrip(".")))
    except (OSError, ValueError):
        return False
    return address.is_loopback or (address.is_unspecified and "." in name)
