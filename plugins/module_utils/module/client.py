# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules share that place the field client: its options, and how it is placed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client.control import without_root
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client.installation import (
    Installation,
    InstallationError,
)

_SECONDS = {"first_attempt_spread": 30, "backoff_base": 2, "backoff_cap": 900, "refused_delay": 900}
REQUIRED_IF = [("state", "present", ["id_scope"])]


def client_options() -> dict[str, dict[str, Any]]:
    """The argument specification of ``dps_client``, without the program, which no module logs."""
    return {
        "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
        "id_scope": {"type": "str"},
        "global_endpoint": {"type": "str", "default": "https://global.azure-devices-provisioning.net"},
        "registration_id": {"type": "str"},
        "endorsement_key_template": {"type": "str", "choices": ["tcg", "sdk"], "default": "tcg"},
        "tcti": {"type": "str", "default": "device:/dev/tpmrm0"},
        "ca_certificates": {"type": "str"},
        "proxy": {"type": "str"},
        "proxy_auth": {"type": "str", "no_log": True},
        "endorsement_auth": {"type": "str", "no_log": True},
        "persistent_handle": {"type": "str"},
        "owner_auth": {"type": "str", "no_log": True},
        **{name: {"type": "float", "default": default} for name, default in _SECONDS.items()},
        "ask_hub": {"type": "bool", "default": True},
        "enabled": {"type": "bool", "default": True},
        "started": {"type": "bool", "default": False},
        "selftest": {"type": "bool", "default": True},
        "purge": {"type": "bool", "default": False},
        "interpreter": {"type": "str", "default": "/usr/bin/python3"},
        "units": {"type": "dict", "default": {}},
    }


def refuse_without_root(module: Any) -> None:
    """Fails *module* where it cannot place the client, before anything was tried."""
    refusal = without_root("Placing the client")
    if refusal:
        module.fail_json(msg=refusal)


def place(module: Any, params: Mapping[str, Any]) -> dict[str, Any]:
    """What ``dps_client`` returns for its options *params*; fails *module* where the client cannot be placed."""
    refuse_without_root(module)
    installation = Installation(dict(params), run=module.run_command)
    try:
        result = installation.plan()
        if not module._diff:
            del result["diff"]
        if not module.check_mode:
            result.update(installation.apply())
    except InstallationError as error:
        module.fail_json(msg=str(error))
    return result
