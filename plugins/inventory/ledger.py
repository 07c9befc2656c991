# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: ledger
short_description: The devices of the line's ledger as hosts, by what is known of them
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Makes a host of every device record of a ledger that O(filters) take, with what is known of the device in variables.
    The ledger is only read.
  - The file has to end with C(ledger.yml) or C(ledger.yaml).
  - The variables are the fields of the record (see C(meta/device-record.schema.json)) with O(variable_prefix) before
    their names, without the public areas of keys and without certificates, which
    M(tpmfleet.azure_dps.device_records_info) returns. So by default there are C(ledger_serial_number), C(ledger_steps),
    C(ledger_ownership) and so on. What is not known has no variable.
  - C(ledger_last_step) is the name of the step of which a part was done last. C(ledger_failure) is the last failure
    that O(filters) asked for, with its C(at), C(step), C(station) and C(reasons).
extends_documentation_fragment:
  - constructed
  - inventory_cache
  - tpmfleet.azure_dps.progress.inventory
options:
  plugin:
    description: V(tpmfleet.azure_dps.ledger).
    type: str
    required: true
    choices: [tpmfleet.azure_dps.ledger]
  ledger:
    description:
      - The line's database, a path for SQLite or an SQLAlchemy URL for PostgreSQL. A relative path begins where the
        command is given. May be a template, such as a lookup.
      - A password belongs in the driver's own file (C(~/.pgpass)), not in the URL.
    type: str
    required: true
    env:
      - name: TPMFLEET_LEDGER
  hostname:
    description:
      - What a host is called, the first of these that its record has.
      - A device is left out, with a warning that names it, where another one is called the same, and where it would be
        called V(localhost) or by another name of the controller, like a group or a variable of Ansible or of this
        collection, or by anything but letters, digits, C(.), C(_) and C(-), which a pattern of hosts, a path or ssh
        would take for something else.
    type: list
    elements: str
    choices: [serial_number, device_id, host, registration_id]
    default: [serial_number, device_id, host, registration_id]
  filters:
    description:
      - Which devices become hosts. All that is given has to fit. C(step), C(last_step), C(failed_step), C(station),
        C(key_version), C(dps_id_scope), C(maker), C(batch) and C(tpm_type) are one value or a list of them.
      - C(step) takes the devices that went through one of these steps, C(last_step) those whose last step it was.
      - C(station), C(before) and C(after) are about that step, where and when a part of it was last done; about the
        last one where no C(step) is given. Times are V(2026-11-24) or V(2026-11-24T08:00:00Z), in UTC, or an age
        (V(30d), V(39w)).
      - C(key_version) is that of the authorizations of an owned TPM. C(dps_id_scope) is the ID scope of the DPS where
        the device is enrolled. C(maker) and C(batch) are of the EK list. C(tpm_type) is V(hardware) or V(software).
      - C(decommissioned) takes only the devices that are, or begun to be, or with V(false) only the others.
      - C(failed_step), C(failed_after) and C(failed_before) take the devices that a step has stopped, or that
        failed in it, at any time or between these two, whether or not it let them pass since.
    type: dict
    default: {}
  variable_prefix:
    description: What the names of the variables begin with.
    type: str
    default: ledger_
notes:
  - With O(cache), devices are read again when O(cache_timeout) is over, or O(ledger) or O(filters) changed. Ages in
    O(filters) count from when the ledger was read.
  - Groups of O(keyed_groups) are made of values that devices and lists said. A value makes no group, with a warning,
    where that would be called V(all), V(localhost), by a name of Ansible or of this collection, or by other signs than
    letters, digits, C(_), C(-), C(.), C(+), parentheses and spaces. Without a C(prefix) it makes none that is called
    as a host, or as a group that is there already. Prefer a C(prefix).
  - Values from the ledger are never taken for templates.
  - A record that is damaged is no host, with a warning that names it.
requirements:
  - SQLAlchemy 2.0 or later on the controller
  - psycopg 3 there as well, for PostgreSQL
seealso:
  - module: tpmfleet.azure_dps.device_records_info
  - plugin: tpmfleet.azure_dps.dps
    plugin_type: inventory
"""

EXAMPLES = r"""
# boxed.ledger.yml: units that have been in their boxes for more than nine months, by maker of the TPM
plugin: tpmfleet.azure_dps.ledger
ledger: /var/lib/tpmfleet/ledger.sqlite
filters:
  last_step: warehouse
  before: 39w
keyed_groups:
  - key: ledger_maker
    prefix: maker
compose:
  boxed_on: ledger_steps.warehouse.at[:10]

---
# to-rotate.ledger.yml: units in use that are owned with key version 1, and enrolled in one DPS
plugin: tpmfleet.azure_dps.ledger
ledger: postgresql+psycopg://line-db.example/tpmfleet
filters:
  key_version: 1
  dps_id_scope: 0ne00000A0A
  decommissioned: false

---
# tuesday.ledger.yml: units that failed at step 3 on a day, grouped by the station
plugin: tpmfleet.azure_dps.ledger
ledger: /var/lib/tpmfleet/ledger.sqlite
filters:
  failed_step: software_install
  failed_after: 2026-11-24
  failed_before: 2026-11-25
keyed_groups:
  - key: ledger_failure.station
    prefix: failed_at
cache: true
cache_plugin: ansible.builtin.jsonfile
cache_connection: ~/.cache/tpmfleet
"""

import hashlib
import json
import re
from datetime import datetime, timezone

from ansible.errors import AnsibleParserError
from ansible.module_utils.basic import missing_required_lib
from ansible.plugins.inventory import BaseInventoryPlugin, Cacheable, Constructable
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.database import (
    SQLALCHEMY_IMPORT_ERROR,
    Access,
    LedgerError,
    is_new,
    opened,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.reading import (
    Failures,
    each_record,
    failures,
    how_many,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.ledger.selection import Selection
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible_few
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.fields import ASKED_FOR
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.model import last_step
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import explained
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.following import told_of
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.harmless_hosts import HarmlessHosts

_OWN = ("last_step", "failure")
_PREFIX = re.compile(r"(?!ansible|tpmfleet)[a-z][a-z0-9]*(_[a-z0-9]+)*_", re.IGNORECASE)


class InventoryModule(HarmlessHosts, BaseInventoryPlugin, Constructable, Cacheable):
    """Reads the ledger and tells Ansible what is in it."""

    NAME = "tpmfleet.azure_dps.ledger"

    def verify_file(self, path):
        """Whether the file is meant for this plugin, by its name."""
        return super().verify_file(path) and path.endswith(("ledger.yml", "ledger.yaml"))

    def parse(self, inventory, loader, path, cache=True):
        """Fills the inventory. *cache* is false where the user wants it read anew."""
        super().parse(inventory, loader, path, cache)
        self._read_config_data(path)
        if SQLALCHEMY_IMPORT_ERROR is not None:
            told = missing_required_lib("SQLAlchemy", reason="to read the line's ledger")
            raise AnsibleParserError(explained(told))
        try:
            if not _PREFIX.fullmatch(self.get_option("variable_prefix")):
                raise LedgerError(
                    "variable_prefix has to be a word with _ behind it that begins neither with ansible nor with"
                    " tpmfleet, whose variables decide what Ansible does."
                )
            if not self.get_option("progress_interval") >= 0:
                raise LedgerError("progress_interval has to be 0 or more.")
            units = self._units(self.get_cache_key(path), cache)
        except LedgerError as error:
            raise AnsibleParserError(f"{path}: {explained(str(error))}") from None
        self._add_hosts(units)

    def _units(self, cache_key, use_cache):
        """What hosts are made of, from the cache where it has it."""
        ledger, filters = self.get_option("ledger"), self.get_option("filters")
        ledger = self.templar.template(ledger)
        if not isinstance(ledger, str) or not ledger.strip():
            raise LedgerError("ledger is empty. Name a path, or an SQLAlchemy URL.")
        selection = Selection(filters, now=datetime.now(timezone.utc))
        # Without a word of the URL, which may hold a password.
        asked = hashlib.sha256(json.dumps([ledger, filters], sort_keys=True, default=str).encode()).hexdigest()
        cached = self.get_option("cache")
        if cached and use_cache:
            found = self._cache.get(cache_key)
            if isinstance(found, dict) and found.get("asked") == asked and _are_units(found.get("units")):
                return found["units"]
        with told_of(self.get_option("progress_interval"), self.NAME, self.display.display) as progress:
            units = self._read(ledger, selection, progress)
        if cached:
            self._cache[cache_key] = {"asked": asked, "units": units}
        return units

    def _read(self, ledger, selection, progress):
        units, damaged, failed = [], [], Failures()
        with opened(ledger, Access.READ) as connection:
            if is_new(connection):
                raise LedgerError("The ledger is not there, or is an empty one. Is its name right?")
            if selection.of_failures:
                failed = failures(connection, selection)
            # How many a selection leaves is known when all is over.
            progress.begin("read", None if self.get_option("filters") else how_many(connection))
            for row, record in each_record(connection, damaged, selection):
                progress.step()
                if not selection.of_failures or row in failed.of_row:
                    own = {"last_step": last_step(record), "failure": failed.of_row.get(row)}
                    units.append({name: value for name, value in _fields({**record, **own}) if value is not None})
        if damaged:
            self.warn(f"{len(damaged)} records are damaged and are no hosts. The first: {damaged[0]}")
        if failed.of_strangers:
            self.warn(
                f"{len(failed.of_strangers)} hosts were stopped before the ledger knew a device there, so that they"
                f" have no record and are no hosts here: {visible_few(sorted(failed.of_strangers))}"
            )
        return units

    def _add_hosts(self, units):
        names = [self._host_of(unit) for unit in units]
        counts = {}
        for name in names:
            counts[name] = counts.get(name, 0) + 1
        nameless = counts.pop("", 0)
        shared = sorted(name for name, count in counts.items() if count > 1)
        if nameless:
            self.warn(f"{nameless} devices have no {' or '.join(self.get_option('hostname'))} and are no hosts.")
        if shared:
            self.warn(
                f"several devices would be called {visible_few(shared)}, and none of them is a host."
                " Name others first in hostname."
            )
        prefix = self.get_option("variable_prefix")
        self.add_units(
            (
                (name, {f"{prefix}{field}": value for field, value in unit.items()})
                for name, unit in zip(names, units)
                if counts.get(name) == 1
            ),
            frozenset(name for name, count in counts.items() if count == 1),
            called="devices",
            advice="Name another field first in hostname, or mend what the inventory of the line calls them.",
        )

    def _host_of(self, unit):
        return next((str(unit[name]) for name in self.get_option("hostname") if unit.get(name)), "")


def _fields(record):
    return [(name, record.get(name)) for name in (*ASKED_FOR, *_OWN)]


def _are_units(found):
    """Whether *found*, which a cache had, is what was put there."""
    if not isinstance(found, list):
        return False
    return all(isinstance(unit, dict) and set(unit) <= {*ASKED_FOR, *_OWN} for unit in found)
