# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_work
short_description: All that a step does on one device, in one call
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Does for a device that was read and judged what M(tpmfleet.azure_dps.tpm_ownership),
    M(tpmfleet.azure_dps.tpm_possession), M(tpmfleet.azure_dps.dps_client) and M(tpmfleet.azure_dps.dps_register) do one
    by one. The connection is made once, the TPM is opened once, and no key is made twice.
  - A device that the judgement stopped fails here with its reasons, and is not connected to.
  - What the device is to be told in secret, for its TPM and for its client, travels sealed to the endorsement key that
    was judged. That its TPM could open it is the proof of that key. Where the storage root key was read, it is bound to
    that key as well, and proves both. Where it could not be read before, its proof takes a second call.
  - What was done is in the device record that is returned, for M(tpmfleet.azure_dps.device_records).
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.resource_module
  - tpmfleet.azure_dps.attributes.actiongroup_tpm
  - tpmfleet.azure_dps.tpm
  - tpmfleet.azure_dps.tpm.named
options:
  device:
    description: The name of the variable with what M(tpmfleet.azure_dps.device_read) returned for the device.
    type: str
  batch:
    description: The name of the variable with what M(tpmfleet.azure_dps.device_records) returned for its batch.
    type: str
  refusals:
    description:
      - Names of variables, each a list of reasons, empty ones left out, why the device must not be worked on as it is
        set up.
    type: list
    elements: str
    default: []
  order:
    description:
      - The name of the variable with what M(tpmfleet.azure_dps.work_order_units) returned for its batch. The order then
        says what is to be installed and with which profile and key version, the authorizations are those that it has
        sealed for the unit, and its challenge is what the TPM answers. A device that is on none fails.
    type: str
    version_added: 1.0.0
  ownership:
    description:
      - The name of a variable with options of M(tpmfleet.azure_dps.tpm_ownership). Its key is that of the judgement.
      - In these variables C(device_record) is the judged record of the device.
    type: str
  possession:
    description:
      - The name of a variable with options of M(tpmfleet.azure_dps.tpm_possession), of which the keys need not be
        given.
    type: str
  client:
    description:
      - The name of a variable with options of M(tpmfleet.azure_dps.dps_client), or with O(flavour=aziot) of
        M(tpmfleet.azure_dps.dps_client_aziot).
    type: str
  identity:
    description:
      - The name of a variable with a service, as
        O(tpmfleet.azure_dps.dps_register#module:unless_assigned_by) has it. What another one assigned to the device, or
        this one to another TPM, is forgotten once the client is placed.
    type: str
  begun:
    description:
      - The name of the variable with what this module returned earlier in the same step, where a part of the work had
        to be done before. Its O(ownership) and O(possession) are not asked for again, and its outcome is told with that
        of the rest.
    type: str
  apart:
    description:
      - Whether O(ownership) and O(client) are tried one by one where the whole cannot be done. What became of each is
        returned under its name, with C(failed) and C(msg) where it failed, and the task does not fail for it.
      - For an audit in check mode, which is to find all that is wrong.
    type: bool
    default: false
  flavour:
    description: Which client.
    type: str
    choices: [builtin, aziot]
    default: builtin
  noting:
    description:
      - The name of a variable with C(ledger), C(step) and C(station), where a failure on the device is noted, as
        M(tpmfleet.azure_dps.device_records) has them. Not in check mode.
      - With C(dps), the C(id_scope) and options of M(tpmfleet.azure_dps.dps_enrollments) for a service, the enrollment
        of a device that does not prove its key is disabled there, where this line has made it for that device on no
        more than its word. Any other is left, since it may be that of the device whose key it is; then, and where it
        could not be disabled, that is the first thing that is said.
    type: str
  endorsement_key:
    description: Filled in by the collection's action plugin, not by you.
    type: str
  storage_root_key:
    description: Filled in by the collection's action plugin, not by you.
    type: str
  endorsement_auth:
    description: Filled in by the collection's action plugin, not by you.
    type: str
  previous_endorsement_auth:
    description: Filled in by the collection's action plugin, not by you.
    type: str
  challenge:
    description: Filled in by the collection's action plugin, not by you.
    type: dict
  ownership_options:
    description: Filled in by the collection's action plugin, not by you.
    type: dict
  client_options:
    description: Filled in by the collection's action plugin, not by you.
    type: dict
  identity_options:
    description: Filled in by the collection's action plugin, not by you.
    type: dict
  kept_keys:
    description: Filled in by the collection's action plugin, not by you.
    type: dict
  sealed_endorsement_auth:
    description: Filled in by the collection's action plugin, not by you.
    type: dict
  program:
    description: Filled in by the collection's action plugin, not by you.
    type: str
seealso:
  - module: tpmfleet.azure_dps.device_read
  - module: tpmfleet.azure_dps.device_records
"""

EXAMPLES = r"""
- name: Claim ownership, have the key proven, and place the client
  tpmfleet.azure_dps.device_work:
    device: endorsement_key_device
    batch: endorsement_key_batch
    ownership: my_ownership
    client: my_client
  vars:
    my_ownership:
      lockout_auth: >-
        {{ tpmfleet_master_key | tpmfleet.azure_dps.hierarchy_auth(
             endorsement_key=device_record.endorsement_key, hierarchy='lockout', version=1) }}
    my_client:
      id_scope: 0ne00000A1B
  register: done
"""

RETURN = r"""
record:
  description:
    - The device record, with what was done as C(outcome) and the key that was proven as C(proven).
  returned: success
  type: dict
  sample:
    host: rack1-slot01
    endorsement_key_sha256: 69e8ffd4bcf550f4982e7d4c34159f1ad1a56ce843b6cb12cb8abe2d811d5293
    storage_root_key_name: 000b112a4b890facafd8fa865274ebdccef203898c2db375348d78cab6064074aafb
    proven: 69e8ffd4bcf550f4982e7d4c34159f1ad1a56ce843b6cb12cb8abe2d811d5293
    outcome: {"ownership": "done", "possession": "verified", "dps_client": "done"}
ownership:
  description: What M(tpmfleet.azure_dps.tpm_ownership) returns.
  returned: with O(ownership)
  type: dict
client:
  description: What M(tpmfleet.azure_dps.dps_client) returns.
  returned: with O(client)
  type: dict
identity:
  description: What M(tpmfleet.azure_dps.dps_register) returns.
  returned: with O(identity)
  type: dict
order:
  description:
    - The number of the work order, and the answer of the TPM to its challenge with what the answer covers, for
      M(tpmfleet.azure_dps.work_report_export).
  returned: with O(order)
  type: dict
  sample: {"number": "WO-2026-0042", "answer": {"answer": "…", "nonce": "…", "digests": "…"}}
in_lockout:
  description: Whether the TPM is in dictionary attack lockout, which is in the way of most else but not of a proof.
  returned: success
  type: bool
  sample: false
"""

import functools

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.client.assignment import as_result, forget
from ..module_utils.client.control import ClientControl, ControlError
from ..module_utils.module.client import place, refuse_without_root
from ..module_utils.module.ownership import opened, own
from ..module_utils.module.tpm import ask, connection_options
from ..module_utils.tpm.possession import LOCKOUT
from ..module_utils.tpm.properties import read_properties
from ..module_utils.tpm.sealed_authorizations import clients_from_message

SECRETS = {
    "challenge": {"type": "dict", "no_log": True},
    "sealed_endorsement_auth": {"type": "dict", "no_log": True},
    "endorsement_auth": {"type": "str", "no_log": True},
    "previous_endorsement_auth": {"type": "str", "no_log": True},
    # Nobody's secret, and too long for a log.
    "program": {"type": "str", "no_log": True},
}


def on_tpm(esys, module, ownership, secrets):
    """What is done with the TPM open; what is sealed for the client is put into *secrets*."""
    asked = {"template": "auto", "replace_persistent_keys": False, **ownership, **module.params}
    found = opened(esys, asked, module.params["storage_root_key"])
    secrets.update(clients_from_message(found.message))
    module.no_log_values.update(secrets.values())
    answer = found.answer.hex()
    # What fails after the proof says nothing against the TPM, and is told with it.
    module.fail_json = functools.partial(module.fail_json, answer=answer)
    result = {"answer": answer, "in_lockout": read_properties(esys).in_lockout}
    if module.params["ownership_options"] is not None:
        result["ownership"] = own(esys, module, ownership, found)
    elif result["in_lockout"]:
        module.warn(LOCKOUT)
    return result


def forgotten(module, service):
    """What dps_register returns for a device that is to keep what *service* has assigned to it."""
    try:
        before, after = forget(ClientControl(module.run_command), service, check_mode=module.check_mode)
    except ControlError as error:
        module.fail_json(msg=str(error))
    return as_result(before, after, changed=before != after)


def main():
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            **SECRETS,
            "options": {"type": "str"},
            "device": {"type": "str"},
            "batch": {"type": "str"},
            "refusals": {"type": "list", "elements": "str", "default": []},
            "order": {"type": "str"},
            "ownership": {"type": "str"},
            "possession": {"type": "str"},
            "client": {"type": "str"},
            "identity": {"type": "str"},
            "begun": {"type": "str"},
            "apart": {"type": "bool", "default": False},
            "noting": {"type": "str"},
            "flavour": {"type": "str", "choices": ["builtin", "aziot"], "default": "builtin"},
            "ownership_options": {"type": "dict"},
            "client_options": {"type": "dict"},
            "identity_options": {"type": "dict"},
            "endorsement_key": {"type": "str", "no_log": False},
            "storage_root_key": {"type": "str", "no_log": False},
            "kept_keys": {"type": "dict", "no_log": False},
        },
        supports_check_mode=True,
    )
    if not module.params["challenge"]:
        module.fail_json(msg="The challenge is missing: it is made by this collection's action plugin device_work.")
    # The options of all parts come validated by the action, with their defaults.
    ownership, client = module.params["ownership_options"] or {}, module.params["client_options"]
    service = module.params["identity_options"]
    if client is not None or service is not None:
        refuse_without_root(module)
    secrets = {}
    result = ask(module, lambda esys: on_tpm(esys, module, ownership, secrets))
    if client is not None:
        result["client"] = place(module, {**client, **secrets, "program": module.params["program"]})
    if service is not None:
        result["identity"] = forgotten(module, service)
    done = {part: result[part] for part in ("ownership", "client", "identity") if part in result}
    result["diff"] = {part: said.pop("diff") for part, said in done.items() if "diff" in said}
    module.exit_json(changed=any(said["changed"] for said in done.values()), **result)


if __name__ == "__main__":
    main()
