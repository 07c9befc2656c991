# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_device
short_description: What may be wrong with a device and its TPM, and what mends it
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Looks at the TPM and at what is around it, in one trip and without changing anything. What needs the library
    tpm2-pytss is left out where the device has none.
  - A TPM that has not been started since power-up is started, as by every program that uses it.
  - What the device says is judged on the controller.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
options:
  tcti:
    description: The way to the TPM, as the TPM2 software stack writes it.
    type: str
    default: device:/dev/tpmrm0
  timeout:
    description: The longest that the TPM may take for one command, in seconds.
    type: int
    default: 30
seealso:
  - module: tpmfleet.azure_dps.doctor_station
  - plugin: tpmfleet.azure_dps.doctor_report
    plugin_type: filter
  - module: tpmfleet.azure_dps.tpm_info
"""

EXAMPLES = r"""
- name: Look at the device
  tpmfleet.azure_dps.doctor_device:
  register: looked

- name: Say what is not well
  ansible.builtin.debug:
    msg: "{{ looked.findings | rejectattr('verdict', 'eq', 'ok') }}"
"""

RETURN = r"""
findings:
  description:
    - What was looked at, each with the C(verdict) V(ok), V(attention), V(fault) or V(unknown), the C(cause) in words,
      a C(detail) of this device, and what C(mend)s it.
  returned: success
  type: list
  elements: dict
  sample:
    - check: lockout
      verdict: fault
      cause: the TPM is in dictionary attack lockout
      detail: 32 failed tries are counted
      mend: Wait, or have the lockout reset by who has the lockout authorization; see docs/ownership.md.
nodes:
  description: The TPM's device nodes that are there.
  returned: success
  type: list
  elements: dict
  sample: [{"path": "/dev/tpmrm0", "kind": "device", "mode": "0660", "owner": "tss", "group": "tss"}]
version_major:
  description: 1 for a TPM 1.2 and 2 for a TPM 2.0, null where the kernel does not tell.
  returned: success
  type: int
  sample: 2
driver:
  description: The kernel's driver of the TPM, else null.
  returned: success
  type: str
  sample: tpm_tis
holders:
  description: Programs that have C(/dev/tpm0) open, as far as the user may see them.
  returned: success
  type: list
  elements: str
  sample: [tpm2-abrmd]
may_use:
  description: Whether the user may open the node of O(tcti), null where that is none.
  returned: success
  type: bool
  sample: true
user:
  description: Who looked.
  returned: success
  type: str
  sample: root
python:
  description: The version of the device's Python.
  returned: success
  type: str
  sample: 3.11.2
library:
  description: The version of tpm2-pytss, null where it is missing or unusable.
  returned: success
  type: str
  sample: 1.2.0
stack:
  description: The version of the TPM2 software stack, tpm2-tss, null where no package of the system has it.
  returned: success
  type: str
  sample: 4.0.1-7~deb12u1
refusal:
  description: Why the TPM could not be asked, else null.
  returned: success
  type: str
chip:
  description: What the TPM says, null where it could not be asked.
  returned: success
  type: dict
  contains:
    tpm:
      description: The chip, as the device record has it.
      returned: success
      type: dict
      sample: {"manufacturer": "IFX", "model": "SLB9670", "firmware_version": "7.85.17.4555", "tpm_type": "hardware"}
    hierarchies:
      description: Which hierarchies have an authorization.
      returned: success
      type: dict
      sample: {"owner_auth_set": true, "endorsement_auth_set": false, "lockout_auth_set": true}
    in_lockout:
      description: Whether the TPM refuses what is protected against dictionary attacks.
      returned: success
      type: bool
      sample: false
    lockout_counter:
      description: How many failed tries it counts.
      returned: success
      type: int
      sample: 0
    dictionary_attack:
      description: The parameters of the dictionary attack logic, as M(tpmfleet.azure_dps.tpm_info) has them.
      returned: success
      type: dict
      sample: {"max_tries": 32, "recovery_time": 600, "lockout_recovery": 86400}
    persistent_handles:
      description: Handles of persistent keys.
      returned: success
      type: list
      elements: str
      sample: ["0x81000001", "0x81010001"]
    ek_certificate:
      description: Whether there is an index for a certificate of an endorsement key.
      returned: success
      type: bool
      sample: true
    room:
      description: How many more keys and sessions fit, null for what the chip does not tell.
      returned: success
      type: dict
      sample: {"transient": 3, "sessions": 3, "persistent": 5}
clock:
  description: The device's time, in seconds since the epoch.
  returned: success
  type: float
  sample: 1764192000.5
file_systems:
  description: Places where files go, with whether their file system can be written and how much is free.
  returned: success
  type: list
  elements: dict
  sample: [{"path": "/etc", "writable": true, "free_mib": 5120}]
systemd:
  description: Whether systemd runs the device, and its version where that is told.
  returned: success
  type: dict
  sample: {"running": true, "version": 252}
client:
  description: Whether the field client is placed, and what systemd says of its service.
  returned: success
  type: dict
  sample: {"placed": true, "state": "inactive"}
"""

import platform
import time

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.client.files import COMMAND, SERVICE
from ..module_utils.tpm import surroundings
from ..module_utils.tpm.connection import DEFAULT_TCTI, TpmError, connect
from ..module_utils.tpm.library import LibraryError, load
from ..module_utils.tpm.properties import (
    NV_INDICES,
    PERSISTENT_HANDLES,
    read_handles,
    read_properties,
    read_room,
)

# EK certificates, low range and high range: TCG EK Credential Profile 2.5, 2.2.1.4 and 2.2.1.5.
EK_CERTIFICATES = (range(0x01C00002, 0x01C0000D), range(0x01C00012, 0x01C08000))


def version_of_library():
    """The version of tpm2-pytss; None where it cannot be loaded."""
    try:
        load()
    except LibraryError:
        return None
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("tpm2-pytss")
    except PackageNotFoundError:
        return "without a version"


def read_chip(esys):
    """What the open TPM says."""
    properties = read_properties(esys)
    indices = read_handles(esys, *NV_INDICES)
    return {
        "tpm": properties.chip(),
        "hierarchies": properties.hierarchies(),
        "in_lockout": properties.in_lockout,
        "lockout_counter": properties.lockout_counter,
        "dictionary_attack": properties.dictionary_attack(),
        "persistent_handles": [f"0x{handle:08x}" for handle in read_handles(esys, *PERSISTENT_HANDLES)],
        "ek_certificate": any(index in kind for index in indices for kind in EK_CERTIFICATES),
        "room": read_room(esys),
    }


def look(module):
    """The result of the module."""
    clock = time.time()
    tcti = module.params["tcti"]
    library, chip, refusal = version_of_library(), None, None
    major = surroundings.version_major()
    if library is not None and not (major == 1 and tcti.startswith("device:")):
        try:
            with connect(tcti, module.params["timeout"]) as esys:
                chip = read_chip(esys)
        except TpmError as error:
            refusal = str(error)
    return {
        "changed": False,
        "nodes": surroundings.nodes(),
        "version_major": major,
        "driver": surroundings.driver(),
        "holders": surroundings.holders(),
        "may_use": surroundings.may_use(tcti),
        "user": surroundings.user(),
        "python": platform.python_version(),
        "library": library,
        "stack": surroundings.stack_version(module.run_command),
        "refusal": refusal,
        "chip": chip,
        "clock": clock,
        "file_systems": surroundings.file_systems(),
        "systemd": surroundings.systemd(module.run_command),
        "client": surroundings.client(COMMAND, SERVICE, module.run_command),
    }


def main():
    module = AnsibleModule(
        argument_spec={
            "tcti": {"type": "str", "default": DEFAULT_TCTI},
            "timeout": {"type": "int", "default": 30},
        },
        supports_check_mode=True,
    )
    if module.params["timeout"] < 1:
        module.fail_json(msg="timeout is {} s; it has to be 1 or more.".format(module.params["timeout"]))
    module.exit_json(**look(module))


if __name__ == "__main__":
    main()
