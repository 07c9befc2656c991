# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules of the control plane share: their connection options, and how a refusal becomes a failure."""

from __future__ import annotations

import contextlib
import traceback
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule, env_fallback, missing_required_lib

from ..dps.connection import check_connection, conclude, entra_options
from ..dps.credentials import entra_credential, identity_library
from ..dps.errors import DpsError
from .resource_manager import AZURE_MGMT_IMPORT_ERROR, PUBLIC_ENDPOINT, ResourceManager, open_client

SUBSCRIPTION_VARIABLE = "AZURE_SUBSCRIPTION_ID"


def management_options() -> dict[str, dict[str, Any]]:
    """The argument specification of the fragment C(tpmfleet.azure_dps.dps.management)."""
    return {
        "subscription_id": {"type": "str", "required": True, "fallback": (env_fallback, [SUBSCRIPTION_VARIABLE])},
        "resource_group": {"type": "str", "required": True},
        "instance": {"type": "str", "required": True},
        **entra_options(),
        "resource_manager": {"type": "str", "default": PUBLIC_ENDPOINT},
        "timeout": {"type": "int", "default": 60},
        "operation_timeout": {"type": "int", "default": 900},
    }


def _missing_identity() -> str | None:
    try:
        identity_library()
    except ImportError:
        return traceback.format_exc()
    return None


def run(module: AnsibleModule, function: Callable[[ResourceManager], dict[str, Any]]) -> None:
    """Exits *module* with what *function* returns for the subscription, or fails it with what went wrong."""
    missing = AZURE_MGMT_IMPORT_ERROR or _missing_identity()
    if missing is not None:
        module.fail_json(
            msg=missing_required_lib(
                "azure-mgmt-iothubprovisioningservices (2.0 or newer) and azure-identity",
                reason="to talk to Azure Resource Manager",
            ),
            exception=missing,
        )
    conclude(module, lambda: contextlib.closing(open_manager(module.params)), function)


def open_manager(params: dict[str, Any]) -> ResourceManager:
    """The subscription that the options name. DpsError where they do not name one."""
    check_connection(params, ("timeout", "operation_timeout"))
    endpoint = params["resource_manager"].strip().rstrip("/")
    if not endpoint.startswith("https://"):
        raise DpsError(f"resource_manager is {endpoint}.", hint=f"Give the whole address, such as {PUBLIC_ENDPOINT}.")
    client, transport = open_client(
        entra_credential(params),
        params["subscription_id"],
        endpoint,
        ca_file=params["ca_file"],
        timeout=params["timeout"],
    )
    return ResourceManager(
        client, transport, params["resource_group"], endpoint=endpoint, operation_timeout=params["operation_timeout"]
    )
