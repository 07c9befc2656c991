# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The service at which a module's task does what the module itself cannot: its option."""

from __future__ import annotations

from typing import Any


def service_option() -> dict[str, dict[str, Any]]:
    """The argument specification of the fragment C(tpmfleet.azure_dps.service)."""
    options = {
        "connection_string": {"type": "str", "no_log": True},
        "host": {"type": "str"},
        "ca_file": {"type": "path"},
        "retry_budget": {"type": "int"},
    }
    return {"service": {"type": "dict", "options": options}}
