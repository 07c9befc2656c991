# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the DPS modules share: their connection options, and how the service's refusals become a module's failure."""

from __future__ import annotations

import contextlib
import os
from typing import Any, Callable, TypeVar

from ansible.module_utils.basic import AnsibleModule, env_fallback, missing_required_lib

from .credentials import CONNECTION_STRING_VARIABLE, access_from
from .errors import DpsError
from .pacing import Pacer
from .service import AZURE_CORE_IMPORT_ERROR, DEFAULT_RETRY_BUDGET, DEFAULT_TIMEOUT, Service

CONCURRENCY = 8
Connection = TypeVar("Connection")


def connection_options() -> dict[str, dict[str, Any]]:
    """The argument specification of the fragment C(tpmfleet.azure_dps.dps)."""
    return {
        "connection_string": {
            "type": "str",
            "no_log": True,
            "fallback": (env_fallback, [CONNECTION_STRING_VARIABLE]),
        },
        "sas_token": {"type": "str", "no_log": True},
        "host": {"type": "str"},
        **entra_options(),
        "timeout": {"type": "int", "default": DEFAULT_TIMEOUT},
        "retry_budget": {"type": "int", "default": DEFAULT_RETRY_BUDGET},
    }


def entra_options() -> dict[str, dict[str, Any]]:
    """The part of it that says who we are to Entra ID, and by whose certificate authorities both are believed."""
    return {
        "auth_source": {"type": "str", "choices": ["auto", "cli", "env", "msi"], "default": "auto"},
        "tenant": {"type": "str"},
        "client_id": {"type": "str"},
        "secret": {"type": "str", "no_log": True},
        "x509_certificate_path": {"type": "path"},
        "authority_host": {"type": "str"},
        "ca_file": {"type": "path"},
    }


def run(module: AnsibleModule, function: Callable[[Service], dict[str, Any]]) -> None:
    """Exits *module* with what *function* returns for the service, or fails it with what went wrong.

    A result with C(failed) fails the module and still carries everything else.
    """
    if AZURE_CORE_IMPORT_ERROR is not None:
        module.fail_json(
            msg=missing_required_lib("azure-core and requests", reason="to talk to the provisioning service"),
            exception=AZURE_CORE_IMPORT_ERROR,
        )
    conclude(module, lambda: contextlib.closing(open_service(module.params)), function)


def conclude(
    module: AnsibleModule,
    connect: Callable[[], contextlib.AbstractContextManager[Connection]],
    function: Callable[[Connection], dict[str, Any]],
) -> None:
    """Exits *module* with what *function* returns for what *connect* opens, or fails it with what went wrong."""
    result: dict[str, Any]
    try:
        with connect() as connection:
            result = function(connection)
    except DpsError as error:
        result = {"failed": True, **error.as_result()}
    # Outside of the handler: inside, Ansible would take it for a crash and show a traceback.
    if result.get("failed"):
        module.fail_json(**result)
    module.exit_json(**result)


def check_connection(params: dict[str, Any], seconds: tuple[str, ...]) -> None:
    """DpsError where one of the options *seconds* is no time, or the bundle of authorities is not there."""
    for name in seconds:
        if params[name] < 1:
            raise DpsError(f"{name} is {params[name]} s; it has to be 1 or more.", option=name)
    ca_file = params["ca_file"]
    if ca_file and os.path.isdir(ca_file):
        raise DpsError(
            f"ca_file {ca_file} is a directory.",
            hint="Name one file that has all of its certificates, as cat *.pem makes it.",
            option="ca_file",
        )
    if ca_file and not os.path.exists(ca_file):
        raise DpsError(
            f"ca_file {ca_file} does not exist where the task runs.",
            hint="Is it delegated to localhost?",
            option="ca_file",
        )


def open_service(params: dict[str, Any]) -> Service:
    """The service that the options name. DpsError where they do not name one."""
    check_connection(params, ("timeout", "retry_budget"))
    return Service(
        access_from(params),
        ca_file=params["ca_file"],
        timeout=params["timeout"],
        retry_budget=params["retry_budget"],
        connections=params.get("concurrency") or CONCURRENCY,
        pacer=Pacer((params.get("quota_share") or 100) / 100),
    )
