# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: explained
short_description: A message that ends with what explains it
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Adds to a message of this collection the entry of C(docs/errors.md) that explains it, as the collection's own
    messages have it. A message that has it already, or that no entry explains, is left as it is.
options:
  _input:
    description: The message.
    type: str
    required: true
seealso:
  - plugin: tpmfleet.azure_dps.explanation
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Stop a device that the ledger does not take
  ansible.builtin.fail:
    msg: "{{ inventory_hostname }}: {{ verdict.reasons | join('; ') | tpmfleet.azure_dps.explained }}"
  when: not verdict.accepted
"""

RETURN = r"""
_value:
  description: The message with its end.
  type: str
  sample: its endorsement key 5b2c… is on no list of a TPM maker that was taken in (step 1) (errors.md#ek-not-listed)
"""

from ..plugin_utils.catalogue import explained


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"explained": lambda message: explained(str(message))}
