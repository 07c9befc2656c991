# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: fleet_info
short_description: How many devices of the ledger stand where, and what failed how often
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Counts the devices of the line's ledger by step, state, key version, DPS and the end of their certificate, and the
    failures by cause, step and station. It reads no record for that, and takes a second or two for a million devices.
  - For what is known of single devices there are M(tpmfleet.azure_dps.device_records_info) and the inventory plugin
    P(tpmfleet.azure_dps.ledger#inventory), and for people M(tpmfleet.azure_dps.fleet_report).
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
  - tpmfleet.azure_dps.ledger
seealso:
  - module: tpmfleet.azure_dps.device_records_info
  - module: tpmfleet.azure_dps.fleet_report
"""

EXAMPLES = r"""
- name: Count the fleet
  tpmfleet.azure_dps.fleet_info:
    ledger: /var/lib/tpmfleet/ledger.sqlite
  delegate_to: localhost
  register: fleet

- name: Say how many certificates end next year
  ansible.builtin.debug:
    msg: >-
      {{ fleet.certificates_expire | dict2items | selectattr('key', 'match', '2027') | map(attribute='value') | sum }}
"""

RETURN = r"""
devices:
  description: How many devices the ledger has.
  returned: success
  type: int
  sample: 8
decommissioned:
  description: How many of them are decommissioned, or half so. They are in none of the following.
  returned: success
  type: int
  sample: 1
last_steps:
  description: How many devices each step was the last for of which a part was done; the empty name is none.
  returned: success
  type: dict
  sample: {"": 1, "software_install": 2, "warehouse": 4}
states:
  description:
    - How many devices have which state after their last event, as in
      RV(tpmfleet.azure_dps.device_records#module:verdicts). One whose TPM did not prove its endorsement key counts as
        failed until it does, whatever else happens to it.
  returned: success
  type: dict
  sample: {"done": 2, "stopped": 1, "verified": 4}
key_versions:
  description: How many devices are owned with each version of the master key; the empty name is none.
  returned: success
  type: dict
  sample: {"": 1, "1": 6}
dps_id_scopes:
  description: How many devices belong in each DPS.
  returned: success
  type: dict
  sample: {"": 1, "0ne00000A0A": 6}
certificates_expire:
  description: How many devices have an endorsement key certificate that ends in each month; the empty name is none.
  returned: success
  type: dict
  sample: {"": 1, "2036-11": 6}
listed_keys:
  description: How many keys are on the TPM makers' lists.
  returned: success
  type: int
  sample: 8
failures:
  description: The most frequent failures of all time, at most 200 of them, each with its C(count).
  returned: success
  type: list
  elements: dict
  sample:
    - cause: its endorsement key … is on no list of a TPM maker that was taken in (step 1)
      step: tpm_install
      station: line-1
      count: 1
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.ledger.counts import counts
from ..module_utils.module.ledger import ledger_option, run


def main():
    module = AnsibleModule(argument_spec=ledger_option(), supports_check_mode=True)
    run(module, counts, reads_only=True)


if __name__ == "__main__":
    main()
