# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: step_start
short_description: Refuse to start a step whose settings would let it go wrong
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - The first task of each step's role, which runs once for the batch. It looks at Ansible's configuration and at the
    variables of the batch, and connects to no device.
  - Facts must not be injected as variables (C(inject_facts_as_vars) in C([defaults]) of C(ansible.cfg),
    E(ANSIBLE_INJECT_FACT_VARS)). A fact is what a device says; as a variable it would change the settings of its step.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
notes:
  - All of it is done by the action plugin of this name.
"""

EXAMPLES = r"""
- name: Look before a device is asked
  tpmfleet.azure_dps.step_start:
  run_once: true
"""

RETURN = r"""#"""
