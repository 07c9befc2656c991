# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The service at which the enrollment of an unproven unit is disabled, in the words of the modules that do so."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  service:
    description:
      - The service, where the enrollment of a unit that did not prove itself is disabled. Without it that is left to
        you.
    type: dict
    version_added: 1.0.0
    suboptions:
      connection_string:
        description: As of M(tpmfleet.azure_dps.dps_enrollments).
        type: str
      host:
        description: As of M(tpmfleet.azure_dps.dps_enrollments).
        type: str
      ca_file:
        description: As of M(tpmfleet.azure_dps.dps_enrollments).
        type: path
      retry_budget:
        description: As of M(tpmfleet.azure_dps.dps_enrollments).
        type: int
"""
