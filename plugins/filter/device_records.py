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
  - Makes one device record a host, out of the host's inventory variables and of the registered results of
    M(tpmfleet.azure_dps.tpm_endorsement_key_info) and M(tpmfleet.azure_dps.tpm_ownership).
  - A host without any of the named results, or whose result failed, is left out unless O(unread) is set.
  - It runs once for the whole batch, so that a rack costs one task and not one task a device.
positional: _input, hostvars
options:
  _input:
    description: Names of the hosts, such as C(ansible_play_batch).
    type: list
    elements: str
    required: true
  hostvars:
    description: The magic variable of that name.
    type: dict
    required: true
  results:
    description: Names of the registered variables to read, earliest step first. What a later one says wins.
    type: list
    elements: str
    default: []
  outcomes:
    description:
      - What to say of a step, as a mapping of words to the name of the registered variable that knows.
      - The outcome is V(done) where that result changed something and V(verified) where it did not.
    type: dict
    default: {}
  remarks:
    description: Outcomes to say of every host besides those, as a mapping of words to values.
    type: dict
    default: {}
  enrollments:
    description:
      - Name of the registered result of M(tpmfleet.azure_dps.dps_enrollments) for the batch. It gives the outcome
        C(enrollment) of each host's registration ID.
    type: str
  unread:
    description: Whether a host without any good result has a record too, of what the inventory says.
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
      - A result of M(tpmfleet.azure_dps.tpm_possession) or M(tpmfleet.azure_dps.tpm_ownership) among O(results) says
        C(proven) too.
    type: str
  asked:
    description: The hosts that were asked to prove their endorsement keys, see O(proofs).
    type: list
    elements: str
    default: []
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
    msg: "{{ ansible_play_batch | tpmfleet.azure_dps.device_records(hostvars, results=['endorsement_key_read']) }}"
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
from ansible.module_utils.parsing.convert_bool import boolean

from ..module_utils.dps.enrollment_settings import settings_of
from ..module_utils.outside.visible import visible
from ..module_utils.record.model import DONE, NOT_FOUND, VERIFIED
from ..module_utils.record.places import PLACE

INVENTORY_FIELDS = {
    "registration_id": "tpmfleet_registration_id",
    "device_id": "tpmfleet_device_id",
    "serial_number": "tpmfleet_serial_number",
    "tpm_type": "tpmfleet_tpm_type",
}

# Where the certificate of the key that is enrolled is in a TPM's NV memory.
KEY_CERTIFICATE = "0x01c00002"
MOST_OF_A_REASON = 400

# An enrollment that had to be made or changed is work done; one found as wanted was verified.
ENROLLMENT_OUTCOMES = {"created": DONE, "updated": DONE, "unchanged": VERIFIED}


def _exceptions(variables: dict) -> list[str]:
    """What the inventory allows for this very host; one that says nothing is a production inventory."""

    def says(name: str, default: bool) -> bool:
        return boolean(variables.get(name, default))

    allowed = {
        "software_tpm": not says("tpmfleet_production", True) or says("tpmfleet_software_tpm_allowed", False),
        "tpm_replacement": says("tpmfleet_replace_tpm", False),
        "recommission": says("tpmfleet_recommission", False),
    }
    return [name for name, yes in allowed.items() if yes]


def _endorsement_key_fields(key: dict) -> dict:
    return {
        "registration_id": key.get("registration_id"),
        "endorsement_key": key.get("public"),
        "endorsement_key_sha256": key.get("sha256"),
        "endorsement_key_name": key.get("name"),
        "endorsement_key_template": key.get("template"),
        "endorsement_key_certificate": key.get("certificate"),
        "endorsement_key_certificate_about": key.get("certificate_about"),
    }


def _why_no_certificate(result: dict) -> str | None:
    """Why a result has no certificate of the key, where its TPM has something to say about that."""
    if result["endorsement_key"].get("certificate"):
        return None
    unread = {one["handle"]: one["reason"] for one in result.get("unreadable") or ()}
    if KEY_CERTIFICATE in unread:
        return f"the one at {KEY_CERTIFICATE} in its NV memory could not be read: {unread[KEY_CERTIFICATE]}"
    others = [one for one in result.get("certificates") or () if one["kind"] == "endorsement"]
    if not others:
        return None
    told = ", ".join(f"{one['key']} at {one['nv_index']}" for one in others)
    return f"what is in its NV memory is about keys that cannot be enrolled: {told}"


def _news_of_the_key(record: dict, fields: dict) -> dict:
    """What *fields* say beyond *record*: a later task may have known the key, and not looked at it again."""
    same = fields["endorsement_key"] == record.get("endorsement_key")
    return {
        name: value
        for name, value in fields.items()
        if not same or (value is not None and not (name == "endorsement_key_template" and value == "other"))
    }


def _certificate_chain(certificates: list[dict]) -> list[str] | None:
    return [one["certificate"] for one in certificates if one["kind"] == "chain"] or None


def _tpm_fields(tpm: dict) -> dict:
    return {
        "tpm_type": tpm.get("tpm_type"),
        "tpm_manufacturer": tpm.get("manufacturer"),
        "tpm_model": tpm.get("model"),
        "tpm_firmware_version": tpm.get("firmware_version"),
    }


def _ownership_fields(result: dict, variables: dict) -> dict:
    hierarchies = result.get("hierarchies") or {}
    return {
        "storage_root_key": result["storage_root_key"].get("public"),
        "storage_root_key_name": result["storage_root_key"].get("name"),
        "ownership": {
            "profile": variables.get("tpmfleet_ownership_profile", "fleet"),
            # A play may say it for its role alone, which the variables of the host do not tell.
            "key_version": result.get("key_version") or int(variables.get("tpmfleet_key_version", 1)),
            **{
                flag: bool(hierarchies.get(flag))
                for flag in ("owner_auth_set", "lockout_auth_set", "endorsement_auth_set")
            },
        },
    }


def _proof_fields(result: dict) -> dict:
    """What an action of ours has found proven in its task; no device says it."""
    if not result.get("proven"):
        return {}
    return {"proven": result.get("endorsement_key_sha256") or result["endorsement_key"]["sha256"]}


def _answer_to_proof(result: dict) -> dict:
    """What became of the proof that a host was asked for."""
    why = " ".join(str(result.get("msg") or "it gave no answer").split())
    return _proof_fields(result) or {"not_proven": visible(why, most=MOST_OF_A_REASON)}


def _outcomes(variables: dict, outcomes: dict[str, str]) -> dict[str, str]:
    return {
        word: DONE if variables[name].get("changed") else VERIFIED
        for word, name in outcomes.items()
        if variables.get(name) and not variables[name].get("skipped")
    }


def _enrollment_outcomes(hosts, hostvars, name: str | None) -> dict[str, str]:
    """Registration ID to outcome; the result is that of a task that ran once, so any host of the batch has it."""
    result = hostvars[hosts[0]].get(name) if name and hosts else None
    return {
        one["registration_id"]: ENROLLMENT_OUTCOMES[one["action"]]
        for one in (result or {}).get("results", ())
        if one["action"] in ENROLLMENT_OUTCOMES
    }


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


def _record(host: str, variables: dict, results: list[dict]) -> dict:
    record: dict = {"host": host}
    for result in results:
        if result.get("endorsement_key"):
            record.update(_news_of_the_key(record, _endorsement_key_fields(result["endorsement_key"])))
            chain = _certificate_chain(result.get("certificates") or [])
            record["endorsement_key_certificate_chain"] = chain or record.get("endorsement_key_certificate_chain")
            record["endorsement_key_certificate_missing"] = _why_no_certificate(result)
        if result.get("tpm"):
            record.update(_tpm_fields(result["tpm"]))
        if result.get("storage_root_key"):
            record.update(_ownership_fields(result, variables))
        record.update(_proof_fields(result))
    record.update({field: variables[name] for field, name in INVENTORY_FIELDS.items() if variables.get(name)})
    record.update(_settings(host, variables))
    record["exceptions"] = _exceptions(variables) or None
    return {field: value for field, value in record.items() if value is not None}


def _settings(host: str, variables: dict) -> dict:
    try:
        return settings_of(variables)
    except ValueError as error:
        raise AnsibleFilterError(f"{host}: {error}") from None


def device_records(
    hosts,
    hostvars,
    results=(),
    outcomes=None,
    remarks=None,
    enrollments=None,
    unread=False,
    enrolling=False,
    disenrollments=(),
    proofs=None,
    asked=(),
) -> list[dict]:
    """Device records of *hosts*; see DOCUMENTATION."""
    enrolled = _enrollment_outcomes(hosts, hostvars, enrollments)
    left = _disenrollments(hosts, hostvars, disenrollments)
    records = []
    for host in hosts:
        variables = hostvars[host]
        heard = [variables[name] for name in results if variables.get(name)]
        heard = [result for result in heard if not result.get("failed") and not result.get("skipped")]
        if results and not heard and not unread:
            continue
        record = _record(host, variables, heard)
        if host in asked:
            record.update(_answer_to_proof(variables.get(proofs) or {}))
        said = {**_outcomes(variables, outcomes or {}), **(remarks or {})}
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
