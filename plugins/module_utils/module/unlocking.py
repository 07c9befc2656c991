# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The options with which a TPM is unlocked whose endorsement hierarchy has an authorization."""

from __future__ import annotations

from typing import Any


def unlocking_options() -> dict[str, dict[str, Any]]:
    """The argument specification of the fragment C(tpmfleet.azure_dps.tpm.unlocking)."""
    return {
        "recorded_storage_root_key": {"type": "str", "no_log": False},
        "endorsement_auth_before_proof": {"type": "bool", "default": False, "no_log": False},
        "sealed_endorsement_auth": {"type": "dict", "no_log": True},
    }
