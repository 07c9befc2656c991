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
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.actiongroup_tpm
  - tpmfleet.azure_dps.tpm
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
  template:
    description: As of M(tpmfleet.azure_dps.tpm_endorsement_key_info).
    type: str
    choices: [auto, tcg, sdk, nv]
    default: auto
  endorsement_auth:
    description:
      - The authorization of the endorsement hierarchy, where it has one.
      - It is of use only to a device that has to make a key with it, since none is persisted, and is sent to it only
        with O(endorsement_auth_before_proof).
    type: str
  endorsement_auth_before_proof:
    description:
      - Whether O(endorsement_auth) is sent to a device that says that it needs it. It can prove nothing before its key
        was read, so that a unit in the place of the right one would learn the authorization.
    type: bool
    default: false
  replace_persistent_keys:
    description: As of M(tpmfleet.azure_dps.tpm_endorsement_key_info).
    type: bool
    default: false
  read_certificate:
    description: As of M(tpmfleet.azure_dps.tpm_endorsement_key_info).
    type: bool
    default: true
  all_certificates:
    description: As of M(tpmfleet.azure_dps.tpm_endorsement_key_info).
    type: bool
    default: false
  storage_root_key:
    description:
      - Whether the storage root key is read too, for a step that has it proven.
    type: bool
    default: false
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
notes:
  - All of it is done by the action plugin of this name.
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
endorsement_key:
  description: As M(tpmfleet.azure_dps.tpm_endorsement_key_info) returns it, and with it all else that is there.
  returned: success
  type: dict
"""
