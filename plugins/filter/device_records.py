# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: device_records
short_description: The device records of a batch, from what the modules returned on its devices
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Takes the device record of each host as M(tpmfleet.azure_dps.device_read) or M(tpmfleet.azure_dps.device_work)
    returned it, and adds what was done for the batch. Without O(device) it makes one of the host's inventory variables.
  - A host that has none, since nothing was read or done there or it failed, is left out unless O(unread) is set.
  - It runs once for the whole batch, so that a rack costs one task and not one task a device.
extends_documentation_fragment:
  - tpmfleet.azure_dps.batch
positional: _input, hostvars
options:
  device:
    description:
      - Name of the registered result of M(tpmfleet.azure_dps.device_read) or M(tpmfleet.azure_dps.device_work), whose
        record it is.
    type: str
  batch:
    description:
      - Name of the registered result of M(tpmfleet.azure_dps.device_records) for the batch. A host that it stopped is
        left out.
    type: str
  remarks:
    description: Outcomes to say of every host, as a mapping of words to values.
    type: dict
    default: {}
  enrollments:
    description:
      - Name of the registered result of M(tpmfleet.azure_dps.dps_enrollments) for the batch. It gives the outcome
        C(enrollment) of each host's registration ID. A host whose enrollment was refused is left out.
    type: str
  unread:
    description: Whether a host that has no record has one too, of what the inventory says.
    type: bool
    default: false
  enrolling:
    description:
      - Whether the devices are about to be enrolled in C(tpmfleet_dps_id_scope). The ledger notes that before it is
        done, so that a run that is cut off leaves no enrollment that nobody knows of.
    type: bool
    default: false
  disenrollments:
    description:
      - Names of the registered results of M(tpmfleet.azure_dps.dps_disenrollment) for the batch. What was seen gone is
        what the ledger no longer has to remember.
      - They give the outcome C(disenrollment) of each host that had one, V(done) or V(not found).
    type: list
    elements: str
    default: []
  proofs:
    description:
      - Name of the registered result of M(tpmfleet.azure_dps.tpm_possession) on those hosts of the batch that
        O(asked) names. What became of that is in the host's record as C(proven), the SHA-256 of its endorsement key, or
        as C(not_proven), the reason.
    type: str
  asked:
    description: The hosts that were asked to prove their endorsement keys, see O(proofs).
    type: list
    elements: str
    default: []
  units:
    description:
      - Name of the registered result of M(tpmfleet.azure_dps.work_order_units) for the batch. A host is called what its
        work order calls it, and one that was refused there is left out. Which order that is goes with the record as
        C(ordered), so that it is noted where the ledger stops the device.
    type: str
    version_added: 1.0.0
  tolerant:
    description:
      - Whether a host is left out whose variables cannot be made of their templates, or say what no record has. The
        task that works on it tells.
    type: bool
    default: false
    version_added: 1.0.0
notes:
  - The inventory variables read are C(tpmfleet_registration_id), C(tpmfleet_device_id), C(tpmfleet_serial_number),
    C(tpmfleet_tpm_type), C(tpmfleet_dps_id_scope), C(tpmfleet_production), C(tpmfleet_software_tpm_allowed),
    C(tpmfleet_replace_tpm), C(tpmfleet_recommission), C(tpmfleet_key_version) where the claim of ownership does not
    say its version, C(tpmfleet_ownership_profile) and C(tpmfleet_enrollment), a mapping of enrollment settings under
    the names of the options of M(tpmfleet.azure_dps.dps_enrollment), with its parts C(tpmfleet_enrollment_PART), as
    P(tpmfleet.azure_dps.enrollment_settings#filter) merges them.
"""

EXAMPLES = r"""
- name: Show what was read in the whole rack
  ansible.builtin.debug:
    msg: "{{ ansible_play_batch | tpmfleet.azure_dps.device_records(hostvars, device='endorsement_key_device') }}"
  run_once: true
"""

RETURN = r"""
_value:
  description: One device record a host, with the host's name as C(host).
  type: list
  elements: dict
  sample:
    - host: rack1-slot01
      registration_id: o2pzpqzcqyqxkmkwbbw7mgxyv7zpmwfivtuhz7gcdq3tzyezpcoa
      serial_number: TF-000001
      endorsement_key: AToAAQALAAMAsgAg...
      endorsement_key_template: tcg
      tpm_manufacturer: IBM
"""

from ansible.errors import AnsibleFilterError
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_record import proof_of, record_of

from ..module_utils.outside.visible import visible
from ..module_utils.record.model import DONE, IDENTITIES, NOT_FOUND, VERIFIED
from ..module_utils.record.orders import IN_EVENTS
from ..module_utils.record.places import PLACE
from ..plugin_utils.catalogue import explained, parted
from ..plugin_utils.made import Made

MOST_OF_A_REASON = 400

# An enrollment that had to be made or changed is work done; one found as wanted was verified.
ENROLLMENT_OUTCOMES = {"created": DONE, "updated": DONE, "unchanged": VERIFIED}


def _answer_to_proof(host: str, result: dict) -> dict:
    """What became of the proof that *host* was asked for."""
    said, _explains = parted(str(result.get("msg") or "it gave no answer").removeprefix(f"{host}: "))
    why = " ".join(said.split()).rstrip(".")
    refuted = {"refuted": True} if result.get("not_proven") else {}
    return proof_of(result) or {"not_proven": visible(why, most=MOST_OF_A_REASON), **refuted}


def _enrollment_outcomes(hosts, hostvars, name: str | None) -> dict[str, str]:
    """Registration ID to outcome; the result is that of a task that ran once, so any host of the batch has it."""
    result = hostvars[hosts[0]].get(name) if name and hosts else None
    return {
        one["registration_id"]: ENROLLMENT_OUTCOMES[one["action"]]
        for one in (result or {}).get("results", ())
        if one["action"] in ENROLLMENT_OUTCOMES
    }


def _refused_enrollments(hosts, hostvars, name: str | None) -> set[str]:
    """The registration IDs of those enrollments that were not made."""
    result = hostvars[hosts[0]].get(name) if name and hosts else None
    return {one["registration_id"] for one in (result or {}).get("failed_records", ())}


def _disenrollments(hosts, hostvars, names) -> dict[str, list[dict]]:
    """Host to the places that the service was asked to let it out of; the results are those of tasks that ran once."""
    by_host: dict[str, list[dict]] = {}
    for name in names if hosts else ():
        for one in (hostvars[hosts[0]].get(name) or {}).get("results", ()):
            by_host.setdefault(one["host"], []).append(one)
    return by_host


def _gone(found: list[dict]) -> list[dict]:
    """The places, of those that the service was asked to let a device out of, in which it no longer is."""
    return [{name: one[name] for name in PLACE} for one in found if one["action"] != "failed"]


def _record(host: str, variables: dict, device: str | None, *, unread: bool) -> dict | None:
    """What the registered result *device* says of the host, else what the inventory does; None for neither."""
    result = variables.get(device) or {}
    if result.get("record") and not result.get("failed"):
        return dict(result["record"])
    if device is not None and not unread:
        return None
    try:
        return record_of(host, variables)
    except ValueError as error:
        raise AnsibleFilterError(explained(f"{host}: {error}")) from None


def device_records(
    hosts,
    hostvars,
    device=None,
    batch=None,
    remarks=None,
    enrollments=None,
    unread=False,
    enrolling=False,
    disenrollments=(),
    proofs=None,
    asked=(),
    units=None,
    tolerant=False,
) -> list[dict]:
    """Device records of *hosts*; see DOCUMENTATION."""
    enrolled = _enrollment_outcomes(hosts, hostvars, enrollments)
    left = _disenrollments(hosts, hostvars, disenrollments)
    refused = _refused_enrollments(hosts, hostvars, enrollments)
    orders = (hostvars[hosts[0]].get(units) or {}) if units and hosts else {}
    ordered = orders.get("units", {})
    stopped = set((hostvars[hosts[0]].get(batch) or {}).get("stopped", ())) if batch and hosts else set()
    records = []
    for host in hosts:
        if host in stopped or host in orders.get("refused", {}):
            continue
        variables = Made(host, hostvars)
        try:
            record = _record(host, variables, device, unread=unread)
        except AnsibleFilterError:
            if not tolerant:
                raise
            continue
        if record is None:
            continue
        record.update({name: one for name, one in ordered.get(host, {}).items() if name in IDENTITIES})
        meant = (orders.get("meant") or {}).get(host)
        if meant:
            record["ordered"] = {name: meant[one] for name, one in IN_EVENTS.items() if meant.get(one)}
        if host in asked:
            record.update(_answer_to_proof(host, variables.get(proofs) or {}))
        if record.get("registration_id") in refused:
            continue
        said = {**(record.get("outcome") or {}), **(remarks or {})}
        if record.get("registration_id") in enrolled:
            said["enrollment"] = enrolled[record["registration_id"]]
        if left.get(host):
            said["disenrollment"] = DONE if any(one["done"] for one in left[host]) else NOT_FOUND
            record["disenrolled"] = _gone(left[host])
        if enrolling and variables.get("tpmfleet_dps_id_scope"):
            record["enrolling"] = variables["tpmfleet_dps_id_scope"]
        if said:
            record["outcome"] = said
            # Where the device stands now; before the step's work was done it still stood where the ledger says.
            if variables.get("tpmfleet_dps_id_scope"):
                record["dps_id_scope"] = variables["tpmfleet_dps_id_scope"]
        records.append(record)
    return records


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"device_records": device_records}
