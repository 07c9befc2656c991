# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: dps
short_description: Enrollments of a Device Provisioning Service and their registration states as hosts
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Makes a host of every individual enrollment, with the enrollment in the variable C(dps_enrollment) and the
    registration state in C(dps_registration).
  - The file has to end with C(dps.yml) or C(dps.yaml).
  - The service gives the list of enrollments in pages, without registration states, and ignores conditions in a query.
    So all of the list is read, filters are applied here, and every registration state costs a call of its own, out of
    the 1,000 operations a minute that the service allows and that devices and other tools share.
  - Therefore at most O(registration_budget) states are read in a run, the ones that were never read first and then the
    oldest. With a cache (O(cache), and a O(cache_plugin) other than V(memory)) they are kept, and run by run the whole
    fleet is covered. A state that was not read has the status V(not_checked), and a warning says how many there are.
  - Has no hosts for enrollment groups, since those are for X.509 certificates and symmetric keys, not for TPMs.
extends_documentation_fragment:
  - constructed
  - inventory_cache
  - tpmfleet.azure_dps.dps
  - tpmfleet.azure_dps.dps.entra
  - tpmfleet.azure_dps.progress.inventory
options:
  plugin:
    description: V(tpmfleet.azure_dps.dps).
    type: str
    required: true
    choices: [tpmfleet.azure_dps.dps]
  connection_string:
    description:
      - Connection string of a shared access policy of the Device Provisioning Service with the right
        C(EnrollmentRead). May be a template, such as a lookup in a secret store.
    type: str
    env:
      - name: TPMFLEET_DPS_CONNECTION_STRING
  hostname:
    description:
      - What a host is called. An enrollment without a device ID is called by its registration ID, as its device is.
      - Enrollments that share one device ID are called by their registration IDs, with a warning.
      - An enrollment is left out, with a warning that names it, where it would be called V(localhost) or by another
        name of the controller, like a group or a variable of Ansible or of this collection, or by anything but letters,
        digits, C(.), C(_) and C(-), which a pattern of hosts, a path or ssh would take for something else.
    type: str
    choices: [registration_id, device_id]
    default: registration_id
  filters:
    description:
      - Which enrollments become hosts. All that is given has to fit.
      - C(registration_id) is a pattern with C(*) and C(?); C(tags) are tags of the initial twin and
        C(optional_device_information) values of the device information, both at their top.
      - C(provisioning_status), C(status) and C(assigned_hub) are a name or a list of names. Statuses are V(unassigned),
        V(assigning), V(assigned), V(failed), V(disabled), and V(not_found) for a device that never registered.
      - C(not_seen_since) is a time (V(2026-11-24) or V(2026-11-24T08:00:00Z)) or an age (V(30d), V(12h)). It takes the
        devices whose registration has not changed since then, or that never registered.
      - C(status), C(assigned_hub) and C(not_seen_since) need the registration state, the others narrow down first for
        which enrollments that is read.
    type: dict
    default: {}
  unchecked:
    description:
      - What becomes of an enrollment whose registration state is needed for O(filters) and was not checked.
      - In both cases a warning says how many there are.
    type: str
    choices: [leave_out, keep]
    default: leave_out
  registrations:
    description: Whether to read registration states at all.
    type: bool
    default: true
  registration_budget:
    description: How many registration states one run may read, each for one operation of the service's quota.
    type: int
    default: 500
  registration_max_age:
    description: How old a registration state in the cache may be, in seconds, before it is read again.
    type: int
    default: 3600
  quota_share:
    description:
      - Per cent of the service's documented quota of 1,000 operations a minute that this may use. With more to read it
        waits.
    type: int
    default: 50
  concurrency:
    description: How many calls are under way at a time.
    type: int
    default: 8
  page_size:
    description: How many enrollments to ask for in one call. The service may give fewer.
    type: int
    default: 1000
notes:
  - O(cache_timeout) is for the list of enrollments. Registration states have an age each, O(registration_max_age).
  - Groups of O(keyed_groups) are made of values that whoever may write enrollments chose. A value makes no group, with
    a warning, where that would be called V(all), V(localhost), by a name of Ansible or of this collection, or by other
    signs than letters, digits, C(_), C(-), C(.), C(+), parentheses and spaces. Without a C(prefix) and a leading
    separator the value is the whole name; then it makes none that is called as a host, or as a group that is there
    already. Prefer a C(prefix), as nobody can know which groups another source adds later.
  - Values from the service are never taken for templates, and become no variables but C(dps_enrollment),
    C(dps_registration) and the ones that O(compose) names.
seealso:
  - module: tpmfleet.azure_dps.dps_enrollment_info
  - module: tpmfleet.azure_dps.dps_registration_info
"""

EXAMPLES = r"""
# fleet.dps.yml: every enrollment, grouped by the state of its registration and by a tag
plugin: tpmfleet.azure_dps.dps
keyed_groups:
  - key: dps_registration.status
    prefix: status
  - key: dps_enrollment.initial_twin.tags.product
    prefix: product
compose:
  hub: dps_registration.assigned_hub

---
# silent.dps.yml: pumps that were not seen for 30 days, by their device IDs; the cache covers the fleet run by run
plugin: tpmfleet.azure_dps.dps
connection_string: "{{ lookup('ansible.builtin.file', '/run/secrets/dps') }}"
hostname: device_id
filters:
  tags:
    product: pump
  not_seen_since: 30d
registration_budget: 800
registration_max_age: 86400
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/tpmfleet
groups:
  without_hub: dps_registration.assigned_hub is none
"""

from datetime import datetime, timezone

from ansible.errors import AnsibleParserError
from ansible.module_utils.basic import missing_required_lib
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable, get_cache_plugin
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.connection import connection_options, open_service
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.errors import DpsError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.fleet import (
    Filters,
    Registrations,
    host_names,
    is_unit,
    unit_of,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.service import AZURE_CORE_IMPORT_ERROR
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible_few
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import explained
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.following import told_of
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.harmless_hosts import HarmlessHosts

LOWEST = {
    "registration_budget": 0,
    "registration_max_age": 0,
    "quota_share": 1,
    "concurrency": 1,
    "page_size": 1,
    "progress_interval": 0,
}


class InventoryModule(HarmlessHosts, BaseInventoryPlugin, Constructable, Cacheable):
    """Reads the service and tells Ansible what it is."""

    NAME = "tpmfleet.azure_dps.dps"

    def verify_file(self, path):
        """Whether the file is meant for this plugin, by its name."""
        return super().verify_file(path) and path.endswith(("dps.yml", "dps.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        """Fills the inventory. *cache* is false where the user wants it read anew."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        if AZURE_CORE_IMPORT_ERROR is not None:
            told = missing_required_lib("azure-core and requests", reason="to read the service")
            raise AnsibleParserError(explained(told))
        try:
            self._check_options()
            now = datetime.now(timezone.utc)
            filters = Filters(self.get_option("filters"), now=now)
            service = open_service(self._connection())
            try:
                with told_of(self.get_option("progress_interval"), self.NAME, self.display.display) as progress:
                    units, registrations = self._read(service, filters, now, self.get_cache_key(path), cache, progress)
            finally:
                service.close()
        except DpsError as error:
            raise AnsibleParserError(f"{path}: {explained(str(error))}") from None
        self._add_hosts(units, registrations)

    def _check_options(self):
        for name, lowest in LOWEST.items():
            # Not the other way round: nothing is less than nan, or more.
            if not self.get_option(name) >= lowest:
                raise DpsError(f"{name} is {self.get_option(name)}; it has to be {lowest} or more.")
        if self.get_option("quota_share") > 100:
            raise DpsError(f"quota_share is {self.get_option('quota_share')}; it has to be 1 to 100.")

    def _connection(self):
        """The connection options, templates resolved."""
        options = {name: self.get_option(name) for name in (*connection_options(), "quota_share", "concurrency")}
        return {
            name: self.templar.template(value) if isinstance(value, str) else value for name, value in options.items()
        }

    def _read(self, service, filters, now, cache_key, use_cache, progress):
        """(the units that the filters take, what is known of their registrations or None where that is not wanted)."""
        fleet = self._enrollments(service, cache_key, use_cache, progress)
        units = [unit for unit in fleet if filters.take_enrollment(unit)]
        if not self.get_option("registrations"):
            if filters.need_registration:
                raise DpsError("These filters need the registration states.", hint="Set registrations to true.")
            return units, None
        states = self._states_cache()
        known = _of_host(states.get(f"{cache_key}_registrations"), service.host)
        known = known if isinstance(known, dict) else {}
        max_age = self.get_option("registration_max_age") if use_cache else 0
        registrations = Registrations(known, now=now, max_age=max_age)
        registrations.read(
            service,
            units,
            budget=self.get_option("registration_budget"),
            concurrency=self.get_option("concurrency"),
            progress=progress,
        )
        states[f"{cache_key}_registrations"] = {"host": service.host, "of_host": registrations.kept_for(fleet)}
        states.set_cache()
        self._say_what_was_not_checked(units, registrations, filters)
        if filters.need_registration:
            keep = self.get_option("unchecked") == "keep"
            units = [
                unit
                for unit in units
                if (filters.take_registration(registrations.of(unit)) if registrations.is_checked(unit) else keep)
            ]
        return units, registrations

    def _enrollments(self, service, cache_key, use_cache, progress):
        """All enrollments, from the cache where it has them."""
        cached = self.get_option("cache")
        if cached and use_cache:
            found = _of_host(self._cache.get(cache_key), service.host)
            if isinstance(found, list) and all(map(is_unit, found)):
                return found
        pages = service.pages(page_size=self.get_option("page_size"))
        progress.begin("read", None)
        fleet = []
        for page in pages:
            for document in page:
                fleet.append(unit_of(document))
                progress.step()
        if cached:
            self._cache[cache_key] = {"host": service.host, "of_host": fleet}
        return fleet

    def _states_cache(self):
        """Where registration states are kept. It never expires as a whole, since each state has its own age."""
        if not self.get_option("cache"):
            return get_cache_plugin("memory")
        options = {"_uri": self.get_option("cache_connection"), "_prefix": self.get_option("cache_prefix")}
        given = {name: value for name, value in options.items() if value is not None}
        return get_cache_plugin(self.get_option("cache_plugin"), _timeout=0, **given)

    def _say_what_was_not_checked(self, units, registrations, filters):
        unchecked = sum(not registrations.is_checked(unit) for unit in units)
        outdated = sum(registrations.is_outdated(unit) for unit in units)
        budget = self.get_option("registration_budget")
        if registrations.stopped:
            self.warn(f"reading registration states ended early: {registrations.stopped}")
        if unchecked:
            what = "they have the status not_checked"
            if filters.need_registration and self.get_option("unchecked") == "leave_out":
                what = "they are left out, since the filters cannot be answered for them"
            self.warn(
                f"the registration state of {unchecked} of {len(units)} enrollments was not checked; {what}. A run"
                f" reads {budget} (registration_budget); with a cache the next runs go on from there."
            )
        if outdated:
            self.warn(
                f"the registration state of {outdated} of {len(units)} enrollments is the one that an earlier run read,"
                f" since one run reads {budget} (registration_budget); see dps_registration.checked."
            )

    def _add_hosts(self, units, registrations):
        names, shared = host_names(units, self.get_option("hostname"))
        if shared:
            told = visible_few(shared)
            self.warn(f"several enrollments have the device ID {told}; they are called by their registration IDs.")
        other = "registration_id" if self.get_option("hostname") == "device_id" else "device_id"
        self.add_units(
            ((names[unit["registration_id"]], self._variables(unit, registrations)) for unit in units),
            frozenset(names.values()),
            called="enrollments",
            advice=f"Take hostname: {other}, or remove them from the service if nobody knows them.",
        )

    @staticmethod
    def _variables(unit, registrations):
        variables = {"dps_enrollment": unit}
        if registrations is not None:
            variables["dps_registration"] = registrations.of(unit)
        return variables


def _of_host(cached, host):
    """What was cached, None where nothing was or it is of another service."""
    return cached.get("of_host") if isinstance(cached, dict) and cached.get("host") == host else None
