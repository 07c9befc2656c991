# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the TPM modules share: their connection options, and how a TPM's faults become a module's failure."""

from __future__ import annotations

import signal
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ..tpm.connection import DEFAULT_TCTI, DEFAULT_TIMEOUT, TpmError, connect
from ..tpm.library import LibraryError, load


def connection_options() -> dict[str, dict[str, Any]]:
    """The argument specification of the fragment C(tpmfleet.azure_dps.tpm)."""
    return {
        "tcti": {"type": "str", "default": DEFAULT_TCTI},
        "timeout": {"type": "int", "default": DEFAULT_TIMEOUT},
    }


def _end(number: int, _frame: Any) -> None:
    """Unwinds the stack, as a module's own exit would not do from inside a signal handler."""
    raise SystemExit(128 + number)


def run(module: AnsibleModule, function: Callable[[Any], dict[str, Any]]) -> None:
    """Exits *module* with what *function* returns for the open TPM, or fails it with what went wrong."""
    module.exit_json(**ask(module, function))


def ask(module: AnsibleModule, function: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """What *function* returns for the TPM, which is open for so long; or fails *module* with what went wrong."""
    missing = None
    try:
        load()
    except LibraryError as error:
        missing = str(error)
    if missing is not None:
        module.fail_json(
            msg="{} The role tpmfleet.azure_dps.tpm_runtime installs it.".format(
                missing_required_lib(
                    "tpm2-pytss", reason="to talk to a TPM", url="https://github.com/tpm2-software/tpm2-pytss"
                )
            ),
            exception=missing,
        )
    if module.params["timeout"] < 1:
        module.fail_json(msg="timeout is {} s; it has to be 1 or more.".format(module.params["timeout"]))
    # A run that is stopped, or whose connection is cut, still flushes what it loaded into the TPM.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    failure = None
    result: dict[str, Any] = {}
    try:
        with connect(module.params["tcti"], module.params["timeout"]) as esys:
            result = function(esys)
    except TpmError as error:
        failure = {"msg": str(error), "tpm_rc": None if error.rc is None else f"0x{error.rc:x}"}
        if error.needs:
            failure["needs"] = error.needs
    # Outside of the handler: inside, Ansible would take it for a crash and show a traceback.
    if failure is not None:
        module.fail_json(**failure)
    return result
