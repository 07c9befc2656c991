#!/usr/bin/python
# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_client
short_description: Place the client with which a device provisions itself at power-up
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Places C(tpmfleet-dps-client), its configuration and its systemd units on a device, in one call. At each power-up
    the client registers with the Device Provisioning Service by TPM attestation, unless the device is assigned already.
  - The program is built from this collection on the controller. Equal sources give equal bytes.
  - After a change the client's C(selftest) is run; where it fails, everything is put back as it was. It uses the TPM
    and not the network.
  - The client runs as the user C(tpmfleet-dps-client), which is made if missing, in group C(tss) where there is one.
requirements:
  - On the device Python 3.9 and tpm2-pytss 1.2 or later, and systemd.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.resource_module
options:
  state:
    description:
      - V(present) places the client, V(absent) removes it.
    type: str
    choices: [present, absent]
    default: present
  id_scope:
    description:
      - ID scope of the Device Provisioning Service. Required for O(state=present).
    type: str
  global_endpoint:
    description:
      - Where devices reach the service, C(https://HOST) or C(https://HOST:PORT).
    type: str
    default: https://global.azure-devices-provisioning.net
  registration_id:
    description:
      - Registration ID. Without one the client makes it from the endorsement key, as the stock SDKs do.
    type: str
  endorsement_key_template:
    description:
      - From which template the client makes the endorsement key where none is persisted. V(tcg) makes the one that a
        certificate is about, also where the TPM's maker left a nonce or a template in NV memory. V(sdk) makes the one
        that Azure's device SDKs make.
    type: str
    choices: [tcg, sdk]
    default: tcg
  tcti:
    description:
      - How the client reaches the TPM.
    type: str
    default: device:/dev/tpmrm0
  ca_certificates:
    description:
      - Certificates in PEM form. The client trusts these in place of the system's.
    type: str
  proxy:
    description:
      - Proxy, C(http://HOST:PORT). Without one C(HTTPS_PROXY) and C(NO_PROXY) in
        C(/etc/tpmfleet-dps-client/environment) count, for the service and not where a person starts the client.
    type: str
  proxy_auth:
    description:
      - C(USER:PASSWORD) for the proxy. It lies on the device in a file that only the client can read.
    type: str
  endorsement_auth:
    description:
      - Authorization of the endorsement hierarchy, where ownership has set one. It lies on the device in a file that
        only the client can read.
    type: str
  persistent_handle:
    description:
      - Where the TPM is to hold the hub key as well, such as V(0x81000100), for applications that look for it there, as
        those with Azure's device SDKs do. Without it the key lies on disk alone, wrapped by the TPM.
      - It costs the TPM's persistent memory, and O(owner_auth) on the device where ownership has set one.
    type: str
  owner_auth:
    description:
      - Authorization of the owner hierarchy, for O(persistent_handle). It lies on the device in a file that only the
        client can read.
    type: str
  first_attempt_spread:
    description:
      - Seconds within which, at random, the first attempt after power-up comes.
    type: float
    default: 30
  backoff_base:
    description:
      - Seconds that the wait after the first failure is at most. Doubled with each further failure.
    type: float
    default: 2
  backoff_cap:
    description:
      - Seconds that a wait is at most, unless the service asks for more.
    type: float
    default: 900
  refused_delay:
    description:
      - Seconds between attempts once the service has refused the device, more or less by half at random.
    type: float
    default: 900
  ask_hub:
    description:
      - Whether an assigned device asks its hub, at power-up and once a day, whether it is let in, and registers anew
        where the hub refuses it.
    type: bool
    default: true
  enabled:
    description:
      - Whether the client starts at power-up.
    type: bool
    default: true
  started:
    description:
      - Whether to start the client now as well. One that runs is restarted after a change in any case.
    type: bool
    default: false
  selftest:
    description:
      - Whether a change is kept only if the client's selftest succeeds with it.
    type: bool
    default: true
  purge:
    description:
      - With O(state=absent), whether the assignment and the client's user are removed too. Files are overwritten before
        they are removed. On flash memory that may leave old content until its room is needed; the key of the hub is
        wrapped by the TPM and of no use without it.
    type: bool
    default: false
  interpreter:
    description:
      - Python of the device that runs the client. Absolute path.
    type: str
    default: /usr/bin/python3
  program:
    description:
      - The client's program in Base64. Filled in by the collection's action plugin, not by you.
    type: str
  units:
    description:
      - The client's systemd units, name to text. Filled in by the collection's action plugin, not by you.
    type: dict
    default: {}
seealso:
  - module: tpmfleet.azure_dps.tpm_ownership
  - module: tpmfleet.azure_dps.dps_enrollment
"""

EXAMPLES = r"""
- name: The device provisions itself from its next power-up on
  tpmfleet.azure_dps.dps_client:
    id_scope: 0ne00000A1B

- name: A service with a certificate of its own, and a TPM that another program serves
  tpmfleet.azure_dps.dps_client:
    id_scope: 0ne00000A1B
    global_endpoint: https://dps.factory.example:8443
    ca_certificates: "{{ lookup('ansible.builtin.file', 'factory-ca.pem') }}"
    tcti: swtpm:host=127.0.0.1,port=2321

- name: Remove the client and what it was assigned
  tpmfleet.azure_dps.dps_client:
    state: absent
    purge: true
"""

RETURN = r"""
changes:
  description: What was changed, or would be in check mode, of C(user), C(program), C(configuration), C(units),
    C(enabled), C(state_directory), C(started) and C(restarted).
  returned: success
  type: list
  elements: str
  sample: [program, configuration]
changed_settings:
  description: Which settings in the client's configuration were changed, or would be, by name.
  returned: success
  type: list
  elements: str
  sample: [global_endpoint, id_scope]
program_sha256:
  description: SHA-256 of the program that is in place, or would be.
  returned: success and O(state=present)
  type: str
  sample: 69251adff8229f478e3652e25ce974066c985fd77ac55d6e2e9c6a6153b0b596
previous_program_sha256:
  description: SHA-256 of the program that was in place before, empty where there was none.
  returned: success and O(state=present)
  type: str
  sample: ""
selftest:
  description: What the client's selftest said.
  returned: when it was run
  type: dict
  sample: {assigned: false, registration_id: s2bhvmfn4vkqlou7lyi4ugd6ac66n5yggn7sko5kayye3kmbzxsq, version: 0.1.0}
"""

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.client import REQUIRED_IF, client_options, place


def main():
    module = AnsibleModule(
        argument_spec={**client_options(), "program": {"type": "str", "no_log": True}},
        required_if=[*REQUIRED_IF, ("state", "present", ["program"])],
        supports_check_mode=True,
    )
    result = place(module, module.params)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
