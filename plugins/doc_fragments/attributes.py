# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a module promises, in the words that every module's documentation shares."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in C(check_mode) and return the changed status that a run would have, while changing nothing.
  diff_mode:
    description: Returns details on what has changed (or would in C(check_mode)), when in diff mode. Never a secret.
  idempotent:
    description: When run twice in a row outside check mode, with the same arguments, the second run reports no change.
notes:
  - The message of a failure ends with the entry of C(docs/errors.md) that explains it, such as
    C(errors.md#tpm-lockout). C(ansible-playbook tpmfleet.azure_dps.explain -e error=tpm-lockout) prints that entry.
seealso:
  - name: Errors, by message
    description: What each message means, what to do, and which units to pull.
    link: https://github.com/tpmfleet/azure_dps/blob/main/docs/errors.md
"""

    INFO_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
    details:
      - This action does not modify state.
  diff_mode:
    support: N/A
    details:
      - This action does not modify state.
  idempotent:
    support: full
    details:
      - This action does not modify state.
"""

    RESOURCE_MODULE = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: full
  idempotent:
    support: full
"""

    # Of what leaves nothing behind that people could compare as text.
    WITHOUT_DIFF = r"""
options: {}
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  idempotent:
    support: full
"""

    ACTIONGROUP_TPM = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/tpmfleet.azure_dps.tpm) in C(module_defaults) to set the TPM connection once for all.
    support: full
    membership:
      - tpmfleet.azure_dps.tpm
"""

    ACTIONGROUP_DPS = r"""
options: {}
attributes:
  action_group:
    description: Use C(group/tpmfleet.azure_dps.dps) in C(module_defaults) to set the DPS connection once for all.
    support: full
    membership:
      - tpmfleet.azure_dps.dps
"""

    ACTIONGROUP_DPS_MANAGEMENT = r"""
options: {}
attributes:
  action_group:
    description:
      - Use C(group/tpmfleet.azure_dps.dps_management) in C(module_defaults) to set the Azure connection once for all.
    support: full
    membership:
      - tpmfleet.azure_dps.dps_management
"""
