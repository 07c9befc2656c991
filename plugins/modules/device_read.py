# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: device_read
short_description: Reads a device for a step, whatever that takes
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Reads the endorsement key as M(tpmfleet.azure_dps.tpm_endorsement_key_info) does, and makes a device record of it
    and of what the inventory says.
  - Where the device lacks the TPM libraries they are installed first, as M(tpmfleet.azure_dps.tpm_runtime) does.
  - With O(recorded) a device that still has the endorsement key that is on record for it proves in the same call that
    its TPM holds that key, for a step that does something in its name before the device is called again.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.actiongroup_tpm
  - tpmfleet.azure_dps.tpm
  - tpmfleet.azure_dps.tpm.named
  - tpmfleet.azure_dps.tpm.reading
attributes:
  check_mode:
    support: full
    details:
      - A device that lacks the libraries fails, since it cannot be read.
  diff_mode:
    support: none
  idempotent:
    support: full
options:
  runtime:
    description:
      - The options of M(tpmfleet.azure_dps.tpm_runtime). Without them nothing is installed.
    type: dict
  slow_group:
    description:
      - The name of a group that a device is added to whose TPM is still at work when those of the others are done. The
        task ends for it with RV(later) and without RV(record), and what was begun goes on there. A later play over that
        group reads it with O(earlier), so that no key is made twice.
      - It takes root on the device, and pipelining. Else each device is waited for.
    type: str
    version_added: 1.0.0
  slow_after:
    description:
      - Seconds after which a device is added to O(slow_group) where none of the others is done. With V(0) each is
        waited for.
    type: float
    default: 60
    version_added: 1.0.0
  earlier:
    description:
      - The name of the variable in which an earlier task of this run with the same options was registered. Where that
        one left a device at work, its answer is waited for and taken.
    type: str
    version_added: 1.0.0
  noting:
    description:
      - The name of a variable with C(ledger), C(step) and C(station), where a failure on the device is noted, as
        M(tpmfleet.azure_dps.device_records) has them. Not in check mode.
    type: str
  recorded:
    description:
      - The name of the variable with what M(tpmfleet.azure_dps.device_records_info) returned for the batch.
      - With O(storage_root_key=true) the proof is of both keys that are on record, and one without a storage root key
        on record is asked for none. A device that cannot give the proof is read all the same.
        M(tpmfleet.azure_dps.device_work) asks it for that alone, and says what is in the way.
    type: str
  challenge:
    description: Filled in by the collection's action plugin, not by you.
    type: dict
  recorded_endorsement_key:
    description: Filled in by the collection's action plugin, not by you.
    type: str
  recorded_storage_root_key:
    description: Filled in by the collection's action plugin, not by you.
    type: str
  sealed_endorsement_auth:
    description: Filled in by the collection's action plugin, not by you.
    type: dict
seealso:
  - module: tpmfleet.azure_dps.device_work
  - module: tpmfleet.azure_dps.device_records
"""

EXAMPLES = r"""
- name: Read the device
  tpmfleet.azure_dps.device_read:
    all_certificates: true
    runtime: {source: packages}
  register: device
"""

RETURN = r"""
later:
  description: A mark by which O(earlier) finds what the device goes on with.
  returned: where the device was added to O(slow_group)
  type: str
  sample: 9f86d081884c7d659a2feaa0c55ad015
installed:
  description: Whether the TPM libraries were installed, which is all that can change.
  returned: success
  type: bool
  sample: false
record:
  description: The device record so far, which M(tpmfleet.azure_dps.device_records) judges.
  returned: success
  type: dict
  sample:
    host: rack1-slot01
    registration_id: o2pzpqzcqyqxkmkwbbw7mgxyv7zpmwfivtuhz7gcdq3tzyezpcoa
    serial_number: TF-000001
    endorsement_key_template: tcg
    tpm_manufacturer: IBM
proven:
  description: Whether the device has proven in this call that its TPM holds the endorsement key.
  returned: when O(recorded) is given
  type: bool
  sample: true
endorsement_key:
  description: The endorsement key, as M(tpmfleet.azure_dps.tpm_endorsement_key_info) returns it.
  returned: success
  type: dict
tpm:
  description: The chip, as the device record has it.
  returned: success
  type: dict
  sample: {"manufacturer": "IBM", "model": "SWTPM", "firmware_version": "8217.4131.22.13878", "tpm_type": "software"}
unreadable:
  description: NV indices that are there and could not be read.
  returned: success
  type: list
  elements: dict
  sample: []
certificates:
  description: As M(tpmfleet.azure_dps.tpm_endorsement_key_info) returns them.
  returned: when O(all_certificates=true)
  type: list
  elements: dict
persistent_keys:
  description: As M(tpmfleet.azure_dps.tpm_endorsement_key_info) returns them.
  returned: when O(all_certificates=true)
  type: list
  elements: dict
storage_root_key:
  description: As M(tpmfleet.azure_dps.tpm_endorsement_key_info) returns it.
  returned: when O(storage_root_key=true)
  type: dict
kept_keys:
  description: As M(tpmfleet.azure_dps.tpm_endorsement_key_info) returns them.
  returned: when O(storage_root_key=true)
  type: dict
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.module.reading import read, reading_options
from ..module_utils.module.tpm import connection_options, run
from ..module_utils.tpm.challenge import Challenge, sealed_endorsement_auth
from ..module_utils.tpm.connection import TpmError
from ..module_utils.tpm.possession import open_held
from ..module_utils.tpm.templates import decode_public


def answer(esys, params, found):
    """The answer to the challenge, in hexadecimal; None where this TPM does not have the keys, or cannot open it."""
    held = {"endorsement_key": found.endorsement_key, "storage_root_key": found.storage_root_key}
    for name, key in held.items():
        asked = params[f"recorded_{name}"]
        if asked and (key is None or decode_public(asked, name) != key.public):
            return None
    if not params["recorded_storage_root_key"]:
        del held["storage_root_key"]
    try:
        challenge, sealed = Challenge.from_option(params["challenge"]), sealed_endorsement_auth(params)
        return open_held(esys, challenge, properties=found.properties, sealed_auths=sealed, **held).answer.hex()
    except TpmError:
        return None


def on_tpm(esys, params):
    """The result of the module for the open TPM."""
    found = read(esys, params)
    if params["challenge"] is None:
        return found.result
    try:
        return {**found.result, "answer": answer(esys, params, found)}
    except ValueError as error:
        raise TpmError(f"{error}.") from error


def main():
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            **reading_options(),
            "options": {"type": "str"},
            "runtime": {"type": "dict"},
            "recorded": {"type": "str"},
            "slow_group": {"type": "str"},
            "slow_after": {"type": "float", "default": 60},
            "earlier": {"type": "str"},
            "noting": {"type": "str"},
            "challenge": {"type": "dict", "no_log": True},
            "recorded_endorsement_key": {"type": "str", "no_log": False},
            "recorded_storage_root_key": {"type": "str", "no_log": False},
            "sealed_endorsement_auth": {"type": "dict", "no_log": True},
        },
        supports_check_mode=True,
    )
    run(module, lambda esys: on_tpm(esys, module.params))


if __name__ == "__main__":
    main()
