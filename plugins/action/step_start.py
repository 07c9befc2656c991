# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Refuses to start a step whose settings would let it go wrong, once for the batch and before a device is asked."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible.errors import AnsibleError
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean
from ansible.plugins.action import ActionBase
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.failure_kind import SETUP, failure
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible, visible_few
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import explain
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.choices import (
    composed,
    for_whom,
    is_off,
    misspelt,
    specification,
    switches_of,
    variables_of,
    wrong_values,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.compiled_once import templar
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.identities import (
    addresses_of_several,
    has_ways_to_be_made,
    names_of_several,
    names_that_are_no_text,
    tctis_to_be_made,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.made import why_unmade
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.quoting import without_quotation
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.rights import is_without_root, of_play, takes_root
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.service_settings import (
    CA_FILES,
    CONNECTION_STRINGS,
    calls_the_service,
    missing_files,
    wrong_connection_strings,
    wrong_enrollment_settings,
    wrong_ledgers,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.start_checks import out_of_step, wrong_at_start
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.templated import is_to_be_made

# What says that a device is decommissioned without being connected to.
_LOST = ("tpmfleet_decommission_lost", "decommission_lost")


class ActionModule(ActionBase):
    """The checks of the controller; no device is connected to."""

    TRANSFERS_FILES = False
    _VALID_ARGS = frozenset()
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        """Runs the task."""
        result = super().run(tmp, task_vars)
        off: list[str] = []
        wrong = [("", sentence) for sentence in wrong_at_start(task_vars or {})]
        wrong += [("", sentence) for sentence in out_of_step(str(self._task.get_play().strategy))]
        if self._task._role is not None:
            role = Path(self._task._role._role_path)
            roles = {one.name for one in composed(role)}
            batch = self._batch(task_vars or {})
            wrong += [*wrong_ledgers(batch), *names_that_are_no_text(batch), *names_of_several(batch)]
            # An audit writes nothing on a device, and looks at whatever is where it was last.
            if takes_root(role.name, roles) and role.name != "warehouse_audit":
                wrong += self._one_machine(batch)
            if calls_the_service(roles):
                wrong += self._of_hosts(wrong_connection_strings, CONNECTION_STRINGS, batch, task_vars or {})
                wrong += self._of_hosts(missing_files, CA_FILES, batch, task_vars or {})
                wrong += wrong_enrollment_settings(batch)
            if not wrong:
                wrong += self._unmade(role, batch, task_vars or {})
            if not wrong:
                # Arguments are made of these settings, and cannot be where one is wrong.
                wrong += self._wrong_arguments(role, batch, task_vars or {})
            values = self._values(variables_of(role), batch, task_vars or {})
            wrong += wrong_values(role, values, lambda name, host: batch[host].get(name, (task_vars or {}).get(name)))
            wrong += self._without_root(role.name, roles, batch)
            off = self._off(role, batch, task_vars or {})
            result["warnings"] = [*(result.get("warnings") or ()), *misspelt(role.parent, batch)]
        if wrong:
            told = " ".join([*(sentence for _name, sentence in wrong), "Nothing was changed."])
            return explain({**result, "failed": True, "msg": told, **failure(SETUP, variable=wrong[0][0])})
        return {**result, "changed": False, "off": off}

    def _off(self, role: Path, batch: dict[str, dict[str, Any]], task_vars: dict[str, Any]) -> list[str]:
        """The switches of *role* that are off on all hosts of the batch, so that one of them can be asked for all."""
        switches = switches_of(role)
        takes = {name: {name, *variables} for name, (_default, variables) in switches.items()}
        values = self._values(set().union(*takes.values()), batch, task_vars)
        alike = {
            name
            for name, of_hosts in values.items()
            if not of_hosts or (len(of_hosts) == len(batch) and len(set(map(repr, of_hosts.values()))) == 1)
        }
        off = {
            name for name in switches if batch.keys() == values[name].keys() and all(map(is_off, values[name].values()))
        }
        # What somebody else has a template for may look at the host, and at what only the host's own tasks see.
        others = {
            name
            for name, (default, variables) in switches.items()
            if any(_has_template(name, default, variables, own, task_vars) for own in (task_vars, *batch.values()))
        }
        return sorted(name for name in off if takes[name] <= alike and name not in others)

    def _unmade(self, role: Path, batch: dict[str, dict[str, Any]], task_vars: dict[str, Any]) -> list[tuple[str, str]]:
        """The switches of *role* that cannot be made of a host's template.

        Such an error would end the run of all hosts: in the strategy, which makes run_once for each, or in a condition
        beside one, whose failure counts as every host's up to ansible-core 2.19.
        """
        switches = switches_of(role)
        why: dict[tuple[str, str], list[str]] = {}
        for host, own in batch.items():
            suspects = [
                name
                for name, (default, variables) in switches.items()
                if _has_template(name, default, variables, own, task_vars)
            ]
            seen = self._seen_by(host) if suspects else {}
            for name in suspects:
                try:
                    templar(self._loader, seen).template(seen[name])
                except Exception as error:
                    why.setdefault((name, str(error)), []).append(host)
        return [
            (name, f"{name} cannot be made of its template for {visible_few(hosts)}: {visible(error, most=300)}.")
            for (name, error), hosts in why.items()
        ]

    def _seen_by(self, host: str) -> dict[str, Any]:
        """The variables that a task of this role has on *host*."""
        play = self._task.get_play()
        manager = play.get_variable_manager()
        return manager.get_vars(play=play, host=manager._inventory.get_host(host), task=self._task)

    def _batch(self, task_vars: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """The variables of each host, nothing in them templated."""
        return {host: task_vars["hostvars"].raw_get(host) for host in task_vars.get("ansible_play_batch") or []}

    def _of_hosts(
        self,
        check: Callable[[dict[str, Any], dict[str, Any]], list[tuple[str, str]]],
        names: Iterable[str],
        batch: dict[str, dict[str, Any]],
        task_vars: dict[str, Any],
    ) -> list[tuple[str, str]]:
        """What *check* says of the values of *names*, each with the hosts of which it says it.

        What all hosts have of their group is looked at once. One that cannot be templated its own task tells better.
        """
        here, told = task_vars.get("inventory_hostname"), {}
        for name in names:
            by_raw: dict[Any, list[str]] = {}
            for host, own in batch.items():
                raw = own.get(name, task_vars.get(name))
                by_raw.setdefault(raw if isinstance(raw, str) else None, []).append(host)
            for hosts in by_raw.values():
                raw = batch[hosts[0]].get(name, task_vars.get(name))
                with contextlib.suppress(AnsibleError, KeyError):
                    value = self._value(name, hosts[0], here, batch[hosts[0]], task_vars, task_vars.get("hostvars"))
                    if not self._is_omitted(value, task_vars):
                        for variable, words in check({name: value}, {name: raw}):
                            told.setdefault((variable, words.rstrip(".")), []).extend(hosts)
        return [(variable, f"{words}{for_whom(hosts, batch)}.") for (variable, words), hosts in told.items()]

    @staticmethod
    def _is_omitted(value: Any, task_vars: dict[str, Any]) -> bool:
        # Before ansible-core 2.19 that is a text that nobody else says.
        return bool(value == task_vars.get("omit"))

    def _wrong_arguments(
        self, role: Path, batch: dict[str, dict[str, Any]], task_vars: dict[str, Any]
    ) -> list[tuple[str, str]]:
        """What is wrong with the arguments of *role*: here for all of its devices, and not again for each of them.

        What one host alone has for an argument is held against its specification too.
        """
        options = specification(role)
        given = {name: self._templar.template(task_vars[name]) for name in options if name in task_vars}
        faults = _faults(options, given)
        wrong = [("", f"{role.name}: {fault}.") for fault in faults]
        here, of_hosts = task_vars.get("inventory_hostname"), {}
        for host, own in batch.items():
            for name in () if host == here else options.keys() & own.keys():
                with contextlib.suppress(AnsibleError, KeyError):
                    value = self._value(name, host, here, own, {}, task_vars["hostvars"])
                    for fault in _faults({name: options[name]}, {name: value}):
                        if fault not in faults:
                            of_hosts.setdefault((name, fault), []).append(host)
        told = {(name, f"{role.name}: {fault}{for_whom(hosts, batch)}.") for (name, fault), hosts in of_hosts.items()}
        return wrong + sorted(told)

    def _one_machine(self, batch: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
        """One sentence for all hosts of *batch* that are one machine, without those that are lost and not come to."""
        connection = self._task.connection
        if has_ways_to_be_made(self._task) or not addresses_of_several(batch, connection):
            return []
        # What the play says of the way to a host counts too, and of who is lost, and costs much to ask for each of a
        # rack. What roles make of it by their defaults is left out, which is the same for all.
        names, tctis = ("ansible_", "tpmfleet_"), tctis_to_be_made(self._task)
        reached = {}
        for host, own in batch.items():
            seen = self._seen_by(host)
            if not self._is_lost(seen):
                said = {name: value for name, value in seen.items() if name.startswith(names) or name in tctis}
                reached[host] = {**own, **said}
        return addresses_of_several(reached, connection)

    def _is_lost(self, seen: dict[str, Any]) -> bool:
        """Whether a host that has the variables *seen* is not come to; so is one of which that cannot be told here.

        The role's default is made of what the host itself has, and not of what another one has.
        """
        for name in _LOST:
            try:
                if boolean(templar(self._loader, seen).template(seen.get(name)), strict=False):
                    return True
            except Exception:
                # Its own task tells why.
                return True
        return False

    def _without_root(self, step: str, roles: set[str], batch: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
        """One sentence for all hosts that *step* would come to without the root that it takes."""
        if not takes_root(step, roles):
            return []
        without = [host for host, own in batch.items() if is_without_root(own, *of_play(self._task))]
        if not without:
            return []
        words = "This step works as root on the device, and nothing makes it root there: set become: true in the play, "
        return [("ansible_become", f"{words}or ansible_become for {visible_few(without)}.")]

    def _values(
        self, names: Iterable[str], batch: dict[str, dict[str, Any]], task_vars: dict[str, Any]
    ) -> dict[str, dict[str, Any]]:
        """What each host of the batch has for each of *names*, by name and host; what is not set is not there."""
        hostvars = task_vars["hostvars"]
        values: dict[str, dict[str, Any]] = {name: {} for name in names}
        here = task_vars.get("inventory_hostname")
        for host, own in batch.items():
            # What the play or the role says counts for all of its hosts, and is not among those of a host.
            play = task_vars if host == here else {name: task_vars[name] for name in names if name in task_vars}
            for name, of_hosts in values.items():
                if name in own or name in play:
                    with contextlib.suppress(AnsibleError, KeyError):
                        value = self._value(name, host, here, own, play, hostvars)
                        if not self._is_omitted(value, task_vars):
                            of_hosts[host] = value
        return values

    def _value(self, name, host, here, own, play, hostvars) -> Any:
        """The templated value; AnsibleError where it cannot be templated, which its own task says better."""
        raw = own.get(name, play.get(name)) if host != here else play[name]
        if not is_to_be_made(raw):
            return raw
        try:
            value = self._templar.template(raw) if host == here or name not in own else hostvars[host][name]
        except (AnsibleError, KeyError):
            raise
        except Exception as error:
            # What a filter raises; before ansible-core 2.19 it comes out as it is.
            raise AnsibleError(str(error)) from error
        # As where it names a variable of the play, which is none of another host's.
        if why_unmade(value):
            raise AnsibleError(f"{name} is not made here")
        # Before ansible-core 2.19 what a vault has encrypted stays what it is, and is text by its own class only.
        return str(value) if getattr(value, "__ENCRYPTED__", False) else value


def _has_template(
    name: str, default: str, variables: set[str], own: Mapping[str, Any], task_vars: Mapping[str, Any]
) -> bool:
    """Whether the switch *name* comes from a template that is not the role's *default*; *own* is what a host has."""
    said = own.get(name, task_vars.get(name))
    return (str(said) != default and is_to_be_made(said)) or any(
        is_to_be_made(own.get(one, task_vars.get(one))) for one in variables
    )


def _faults(options: dict[str, Any], given: dict[str, Any]) -> list[str]:
    """What is wrong with the arguments *given*, by the specification *options*, in words that show none of them."""
    return [without_quotation(one) for one in ArgumentSpecValidator(options).validate(given).error_messages]
