# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules that judge certificates share: the library they need, and how a fault becomes a module's failure."""

from __future__ import annotations

import importlib.util
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from .trust.findings import TrustError


def check_library(module: AnsibleModule) -> None:
    """Fails *module* where the package cryptography is missing."""
    if importlib.util.find_spec("cryptography") is None:
        module.fail_json(msg=missing_required_lib("cryptography", reason="to verify certificates"))


def run(module: AnsibleModule, function: Callable[[], dict[str, Any]]) -> None:
    """Exits *module* with what *function* returns, or fails it with what it cannot judge by."""
    check_library(module)
    failure = None
    result: dict[str, Any] = {}
    try:
        result = function()
    except TrustError as error:
        failure = str(error)
    # Outside of the handler: inside, Ansible would take it for a crash and show a traceback.
    if failure is not None:
        module.fail_json(msg=failure)
    module.exit_json(**result)
