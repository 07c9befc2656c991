# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the inventory says of the service and of enrollments: a slip is told before a device is touched, and not when a
rack is done and the service is called.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from typing import Any

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.credentials import parse_connection_string
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.enrollment import wanted_of
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.enrollment_settings import WHOLE, settings_of
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.dps.errors import DpsError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible, visible_few
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.choices import for_whom
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.quoting import quoted_path
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.station_path import from_here
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.templated import is_to_be_made

CA_FILES = ("tpmfleet_dps_ca_file", "tpmfleet_previous_dps_ca_file")
LEDGER = "tpmfleet_ledger"
CONNECTION_STRINGS = ("tpmfleet_dps_connection_string", "tpmfleet_previous_dps_connection_string")


def calls_the_service(roles: Iterable[str]) -> bool:
    """Whether a step that is made of *roles* makes or ends enrollments."""
    return not {"enrollment", "disenrollment"}.isdisjoint(roles)


def wrong_connection_strings(values: Mapping[str, Any], _raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(a variable, what is wrong with it, in words that show none of it); *values* are by variable.

    That there is none is no fault here: it may be another way in, or nothing to do at the service.
    """
    told = []
    for name, value in values.items():
        if isinstance(value, str) and value.strip():
            try:
                parse_connection_string(value)
            except DpsError as error:
                told.append((name, f"{name}: {error}"))
    return told


def missing_files(values: Mapping[str, Any], raw: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(a variable, that its file is not there); *values* are by variable, *raw* is what the inventory has for them."""
    told = []
    for name, value in values.items():
        # As a module takes an option that is a path.
        path = os.path.expanduser(os.path.expandvars(value)) if isinstance(value, str) else ""
        if not path or os.path.isfile(path):
            continue
        shown = quoted_path(value, raw.get(name))
        if os.path.isdir(path):
            # A bundle is what a device is given too, and what a connection through a proxy takes.
            words = f"{shown} is a directory. Name one file that has all of its certificates, as cat *.pem makes it."
        else:
            words = f"there is no file {shown} on the controller."
        told.append((name, f"{name}: {words}"))
    return told


def wrong_ledgers(batch: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(the variable of the ledger, why no step of *batch* can be judged in what it names)."""
    named: dict[str, list[str]] = {}
    for host, own in batch.items():
        value = own.get(LEDGER)
        if isinstance(value, str) and not is_to_be_made(value):
            named.setdefault(value, []).append(host)
    if len(named) > 1:
        fewest = min(named.values(), key=len)
        words = f"{LEDGER} is not the same for all devices, which are judged together: look at {visible_few(fewest)}."
        return [(LEDGER, words)]
    told = []
    for value in named:
        if not value.strip():
            told.append((LEDGER, f"{LEDGER} is empty, which is no path."))
        elif "://" not in value and os.path.isdir(path := from_here(os.path.expanduser(value), LEDGER)):
            # What is there is the name of something, and no secret.
            told.append((LEDGER, f"The ledger {visible(path, most=300)} is a directory. {LEDGER} names one file."))
    return told


def wrong_enrollment_settings(batch: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str]]:
    """(a variable, what is wrong with what the hosts of *batch* say of their enrollments), each fault once."""
    wrong: dict[str, list[str]] = {}
    for host, variables in batch.items():
        said = {name: value for name, value in variables.items() if name.startswith(WHOLE)}
        # What is templated or encrypted is known when the enrollment is made.
        if said and not is_to_be_made(said):
            for words in _faults(said):
                wrong.setdefault(words, []).append(host)
    told = []
    for words, hosts in wrong.items():
        told.append((WHOLE, f"{words}{for_whom(hosts, batch)}."))
    return told


def _faults(said: Mapping[str, Any]) -> list[str]:
    try:
        settings = settings_of(said)
    except ValueError as error:
        return [str(error)]
    # The registration ID is the device's own matter.
    _wanted, problems = wanted_of({**settings, "registration_id": "unit"})
    return [f"{WHOLE}: {visible(field, most=60)} {reason}" for field, reason in problems]
