# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who is who in the inventory, and where: two hosts that are called alike, or that are one machine, are told before one
is touched. The ledger would stop both, as clones to be pulled, and the second trip would undo what the first has done.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible, visible_few
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.choices import for_whom
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.quoting import quoted
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.templated import is_to_be_made

_REGISTRATION_ID = "tpmfleet_registration_id"
_IDENTITIES = ("tpmfleet_serial_number", "tpmfleet_device_id", _REGISTRATION_ID)
# Where a host is, in the order in which Ansible's ssh takes them.
_ADDRESSES = ("ansible_ssh_host", "ansible_host")
# What makes another machine, or another TPM, of what is at one address; beside it each variable of a TPM's place.
_WAYS = (
    *("ansible_port", "ansible_ssh_port", "ansible_user", "ansible_ssh_user", "ansible_ssh_executable"),
    *("ansible_ssh_args", "ansible_ssh_common_args", "ansible_ssh_extra_args"),
    # A gateway may know by its key to whom one wants.
    *("ansible_private_key_file", "ansible_ssh_private_key_file", "ansible_private_key", "ansible_ssh_private_key"),
    "ansible_ssh_pkcs11_provider",
)
_TCTI = "_tcti"
# By what keyword of a play, a block or a task the way may be another one for each host.
_KEYWORDS = ("connection", "port", "remote_user")
# Of other connections an address may be anything, such as that of the host on which all containers run.
_SSH = ("", "ssh", "smart")
# So many groups of hosts are named in a sentence, and so many hosts to leave out.
_NAMED, _LEFT_OUT = 3, 5


def names_that_are_no_text(batch: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(a variable, which hosts of *batch* have a number for it): YAML has lost its zeros by then."""
    told = []
    for name in _IDENTITIES:
        hosts = [host for host, own in batch.items() if own.get(name) and isinstance(own[name], (int, float))]
        if hosts:
            told.append((name, f"{name} is a number, which is no text. Write it in quotes{for_whom(hosts, batch)}."))
    return told


def names_of_several(batch: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(a variable, which hosts of *batch* have one value for it): a group says it, or a line was copied."""
    told = []
    for name in _IDENTITIES:
        alike: dict[Hashable, list[str]] = {}
        for host, own in batch.items():
            value = own.get(name)
            if value and not is_to_be_made(value):
                # The service takes letters of a registration ID for the same in both cases.
                alike.setdefault(str(value).lower() if name == _REGISTRATION_ID else str(value), []).append(host)
        shared = [hosts for hosts in alike.values() if len(hosts) > 1]
        if shared:
            groups = _told([(quoted(batch[hosts[0]][name], batch[hosts[0]][name]), hosts) for hosts in shared])
            words = (
                f"{name} is {groups}, and each device has one of its own. Set it for each host, not for a group, "
                f"or go on without them: --limit {_without(shared)}."
            )
            told.append((name, words))
    return told


def addresses_of_several(batch: Mapping[str, Mapping[str, Any]], connection: str | None) -> list[tuple[str, str]]:
    """(the variable of the address, which hosts of *batch* are one machine), by ssh and as far as variables tell.

    *connection* is the play's, where a host says none of its own. A way that is yet to be made is taken for one of the
    host's own. What ssh's configuration makes of an address is not known here.
    """
    alike: dict[Hashable, list[str]] = {}
    for host, own in batch.items():
        way = {name: value for name, value in own.items() if name in _WAYS or name.endswith(_TCTI)}
        said = next((own[name] for name in _ADDRESSES if own.get(name)), host)
        by = own.get("ansible_connection") or connection or ""
        if is_to_be_made([said, by, *way.values()]) or str(by).removeprefix("ansible.builtin.") not in _SSH:
            continue
        alike.setdefault((str(said), *sorted((name, str(value)) for name, value in way.items())), []).append(host)
    shared = [(address, hosts) for (address, *_way), hosts in alike.items() if len(hosts) > 1]
    if not shared:
        return []
    groups = _told([(visible(address, most=80), hosts) for address, hosts in shared])
    words = (
        f"ansible_host leads to one machine for several devices, {groups}. Give each its own, or an ansible_port, "
        f"or go on without them: --limit {_without([hosts for _address, hosts in shared])}."
    )
    return [("ansible_host", words)]


def has_ways_to_be_made(task: Any) -> bool:
    """Whether a keyword of the play, or of what surrounds *task* in it, makes the way to each host by a template."""
    return any(is_to_be_made(getattr(one, name, None)) for one in _around(task) for name in _KEYWORDS)


def tctis_to_be_made(task: Any) -> set[str]:
    """Variables of a TPM's place that the play, or what surrounds *task* in it, has templates for, and no default."""
    said = [one.vars for one in _around(task)]
    if task._role is not None:
        said.append(task._role.get_role_params())
    return {
        name for one in said for name, value in (one or {}).items() if name.endswith(_TCTI) and is_to_be_made(value)
    }


def _around(task: Any) -> Iterator[Any]:
    """What surrounds *task*, as it is written: the task itself has been made for one host."""
    one = task._parent
    while one is not None:
        yield one
        one = one._parent
    if task._role is not None:
        yield task._role
    yield task.get_play()


def _without(groups: Iterable[list[str]]) -> str:
    """What to say to --limit for all hosts but those in *groups*, of whom so many are named."""
    hosts = list(dict.fromkeys(host for hosts in groups for host in hosts))
    named = ",".join(f"!{visible(host, most=80)}" for host in hosts[:_LEFT_OUT])
    more = len(hosts) - _LEFT_OUT
    return f"'{named}'" + (f" and so on for {more} more" if more > 0 else "")


def _told(shared: list[tuple[str, list[str]]]) -> str:
    """The first of *shared*, each a value and its hosts, and how many more there are."""
    more = f"; and {len(shared) - _NAMED} more such values" if len(shared) > _NAMED else ""
    return "; ".join(f"{value} for {visible_few(hosts)}" for value, hosts in shared[:_NAMED]) + more
