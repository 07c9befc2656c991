# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: dps_access_token
short_description: A time-limited token of a shared access policy, written to a file
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Makes a shared access signature (SAS token) of a policy of a Device Provisioning Service instance and writes it to a
    file that only its owner can read. It is in no result.
  - Whoever has the token can do what the policy allows until the token ends. It is revoked sooner by replacing the key
    that it was made with, or by removing the policy (M(tpmfleet.azure_dps.dps_access_policy)).
  - A token in the file that is of the same policy, made with a key that still holds, and has time left, is kept.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.actiongroup_dps_management
  - tpmfleet.azure_dps.dps.management
  - tpmfleet.azure_dps.dps.entra
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
    details:
      - Shows that the file changes, and not what is in it.
  idempotent:
    support: full
    details:
      - Within the time that O(valid_seconds) and O(renew_seconds) give.
options:
  policy:
    description: The shared access policy.
    type: str
    required: true
  key:
    description: Which of its keys makes the token.
    type: str
    choices: [primary, secondary]
    default: primary
  path:
    description: The file. Its directory has to be there.
    type: path
    required: true
  valid_seconds:
    description: How long a new token is valid, from 60 seconds to a year.
    type: int
    default: 86400
  renew_seconds:
    description: A token with less time left than this is replaced.
    type: int
    default: 3600
seealso:
  - module: tpmfleet.azure_dps.dps_access_policy
"""

EXAMPLES = r"""
- name: Make a token for a TPM maker, for a week
  tpmfleet.azure_dps.dps_access_token:
    resource_group: fleet
    instance: fleet-dps
    policy: tpm-maker
    path: /srv/handover/tpm-maker.sas
    valid_seconds: 604800
  delegate_to: localhost
  register: token

- name: Say when it ends
  ansible.builtin.debug:
    msg: "{{ token.path }} lets in to {{ token.host }} until {{ token.expires }}"

- name: What the maker does with it
  tpmfleet.azure_dps.dps_enrollments:
    sas_token: "{{ lookup('ansible.builtin.file', 'tpm-maker.sas') }}"
    manifest: batch-17.jsonl
  delegate_to: localhost
"""

RETURN = r"""
path:
  description: The file.
  returned: success
  type: str
  sample: /srv/handover/tpm-maker.sas
host:
  description: The host that the token is for.
  returned: success
  type: str
  sample: fleet-dps.azure-devices-provisioning.net
policy:
  description: The policy that it is of.
  returned: success
  type: str
  sample: tpm-maker
rights:
  description: What it allows.
  returned: success
  type: list
  elements: str
  sample: [EnrollmentRead, EnrollmentWrite, RegistrationStatusRead, RegistrationStatusWrite]
expires:
  description: When it ends.
  returned: success
  type: str
  sample: "2026-12-01T11:57:38+00:00"
expires_in:
  description: The same in seconds from now.
  returned: success
  type: int
  sample: 604800
status:
  description: HTTP status of Azure's refusal.
  returned: when Azure refused
  type: int
  sample: 403
error_code:
  description: Azure's own code, a name or a number.
  returned: when Azure refused
  type: raw
  sample: AuthorizationFailed
tracking_id:
  description: What Azure's support wants to know.
  returned: when Azure refused
  type: str
  sample: 2f0a7d2c-6a1c-4b0e-9d5e-1f8f6f3ad7b0
hint:
  description: What to do next.
  returned: failure
  type: str
  sample: Check its name, or make it with tpmfleet.azure_dps.dps_access_policy.
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps_management.access_policy import KEYS
from ..module_utils.dps_management.access_token import ensure_token
from ..module_utils.dps_management.connection import management_options, run


def main():
    module = AnsibleModule(
        argument_spec={
            **management_options(),
            "policy": {"type": "str", "required": True},
            "key": {"type": "str", "choices": list(KEYS), "default": "primary", "no_log": False},
            "path": {"type": "path", "required": True},
            "valid_seconds": {"type": "int", "default": 86400},
            "renew_seconds": {"type": "int", "default": 3600},
        },
        supports_check_mode=True,
    )
    instance = module.params["instance"]
    run(module, lambda manager: ensure_token(manager, instance, module.params, check_mode=module.check_mode))


if __name__ == "__main__":
    main()
