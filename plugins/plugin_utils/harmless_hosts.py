# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How an inventory plugin makes hosts and groups of what others wrote, so that no name means more than itself."""

from __future__ import annotations

from ansible.errors import AnsibleError
from ansible.inventory.group import to_safe_group_name
from ansible.utils.unsafe_proxy import wrap_var
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.inventory_names import group_fault, name_fault
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible, visible_few


class _NoGroup(AnsibleError):
    """The *name* of a group that is none, and the *fault* that it has."""

    def __init__(self, name, fault):
        super().__init__(f"{name}: {fault}")
        self.name = name
        self.fault = fault


class HarmlessHosts:
    """Part of an inventory plugin that is Constructable too; it comes before Ansible's classes among the bases."""

    def warn(self, text):
        """A warning that says which plugin it is of."""
        self.display.warning(f"{self.NAME}: {text}")

    def add_units(self, units, names, *, called, advice):
        """Makes a host of each of *units*, pairs of a host's name and its variables.

        *names* are all names of hosts. *called* is what units are in the plural, for warnings, and *advice* what to do
        where one is no host for its name. Values are never taken for templates.
        """
        strict = self.get_option("strict")
        refused = {}
        self._refused_groups = {}
        self._host_names = names
        self._named_groups = self._groups_of_options().union(self.inventory.groups)
        for host, variables in units:
            fault = name_fault(host, self._named_groups)
            if fault:
                refused[host] = fault
                continue
            variables = {name: wrap_var(value) for name, value in variables.items()}
            self.inventory.add_host(host)
            for name, value in variables.items():
                self.inventory.set_variable(host, name, value)
            self._set_composite_vars(self.get_option("compose"), variables, host, strict=strict)
            self._add_host_to_composed_groups(self.get_option("groups"), variables, host, strict=strict)
            for keyed in self.get_option("keyed_groups") or []:
                self._add_host_by_value(keyed, variables, host, strict)
        # Groups whose names begin as the options say, and go on as some unit does.
        for host in [name for name in names if name in self.inventory.hosts and name in self.inventory.groups]:
            refused[host] = name_fault(host, self.inventory.groups)
            self.inventory.remove_host(self.inventory.hosts[host])
        self._say_what_was_refused(refused, called, advice)
        self._say_which_groups_were_refused(called)

    def _groups_of_options(self):
        """The names of groups that whoever wrote the options chose."""
        parents = (one.get("parent_group") for one in self.get_option("keyed_groups") or [] if isinstance(one, dict))
        return frozenset([*(self.get_option("groups") or {}), *(one for one in parents if isinstance(one, str))])

    def _add_host_by_value(self, keyed, variables, host, strict):
        """Adds *host* to the groups of one entry of keyed_groups. A value that makes none concerns this host only."""
        self._head_of_values, self._parent_of_values = "", None
        if isinstance(keyed, dict):
            self._head_of_values, self._parent_of_values = self._head_of(keyed), keyed.get("parent_group")
        try:
            self._add_host_to_keyed_groups([keyed], variables, host, strict=strict)
        except _NoGroup as error:
            self._refused_groups.setdefault(error.name, error.fault)
        except AnsibleError as error:
            if strict or not isinstance(keyed, dict):
                raise
            self._refused_groups.setdefault(f"{keyed.get('key')} of {host}", str(error))
        finally:
            self._head_of_values = None

    def _compose(self, *args, **kwargs):
        """As Ansible does it. A number, such as a key version, is no name to it, and its digits are."""
        found = super()._compose(*args, **kwargs)
        of_value = self._head_of_values is not None and isinstance(found, int) and not isinstance(found, bool)
        return str(found) if of_value else found

    def _head_of(self, keyed):
        """What the names of the groups of an entry begin with, whatever the value is."""
        prefix = keyed.get("prefix", "")
        return f"{prefix}{keyed.get('separator', '_') if prefix != '' or self.get_option('leading_separator') else ''}"

    # None where the name that is made safe is not of a value.
    _head_of_values = _parent_of_values = None

    def _sanitize_group_name(self, name):
        """As Ansible does it. _NoGroup where it comes from a value and may not be a group's."""
        safe = to_safe_group_name(name)
        if self._head_of_values is not None and name != self._parent_of_values:
            fault = group_fault(safe, self._head_of_values, hosts=self._host_names, groups=self._named_groups)
            if fault:
                raise _NoGroup(safe, fault)
        return safe

    def _say_which_groups_were_refused(self, called):
        if not self._refused_groups:
            return
        shown = _first_of(self._refused_groups)
        self.warn(
            f"{len(self._refused_groups)} values of {called} make no group ({shown}). Their hosts are there"
            " without it. Give the entry of keyed_groups a prefix, so that no value is a whole name."
        )

    def _say_what_was_refused(self, refused, called, advice):
        if not refused:
            return
        shown = _first_of(refused)
        self.warn(
            f"{len(refused)} {called} are no hosts, since they would be called by what is no host's name ({shown})."
            f" {advice}"
        )


def _first_of(refused):
    told = [f"{visible(name, most=140)}: {visible(fault, most=200)}" for name, fault in refused.items()]
    return visible_few(told, most=None, separator="; ")
