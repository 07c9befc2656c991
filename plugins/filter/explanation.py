# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: explanation
short_description: What docs/errors.md says of an error
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Reads the page of the installed collection, so that it needs no network and fits the version that runs.
options:
  _input:
    description:
      - The entries that messages end with, with commas between them. A whole message, its end, or C(errors.md#) before
        the name does as well.
      - Empty for a list of all entries.
    type: str
    required: true
seealso:
  - plugin: tpmfleet.azure_dps.explained
    plugin_type: filter
"""

EXAMPLES = r"""
- name: Say what it means and what to do
  ansible.builtin.debug:
    msg: "{{ 'ek-not-listed' | tpmfleet.azure_dps.explanation }}"
"""

RETURN = r"""
_value:
  description: Lines of text.
  type: list
  elements: str
  sample: ["ek-not-listed", "", "    rack1-slot03: its endorsement key … is on no list of a TPM maker …"]
"""

from ..plugin_utils.errors_page import explanation


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"explanation": lambda entries: explanation(str(entries))}
