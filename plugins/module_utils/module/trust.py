# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules that judge certificates share: their options, the library they need, and how a fault fails them."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable
from typing import Any, Callable

from ansible.module_utils.basic import AnsibleModule, missing_required_lib

from ..trust.findings import TrustError
from ..trust.profile import TOLERABLE
from ..trust.verification import Rules, Verifier, parse_moment
from .failure_kind import SETUP, failure


def certificate_options() -> dict[str, dict[str, Any]]:
    """The argument specification of the fragment C(tpmfleet.azure_dps.ek_certificates)."""
    return {
        "ek_certificate_roots": {"type": "list", "elements": "path", "default": []},
        "ek_certificate_crls": {"type": "list", "elements": "path", "default": []},
        "ek_certificate_crls_required": {"type": "bool", "default": False},
        "ek_certificate_tolerated": {"type": "list", "elements": "str", "choices": list(TOLERABLE), "default": []},
        "ship_date": {"type": "str"},
    }


def needs_cryptography(module: AnsibleModule) -> None:
    """Fails *module* where the library is missing."""
    if importlib.util.find_spec("cryptography") is None:
        module.fail_json(msg=missing_required_lib("cryptography", reason="to verify certificates"))


def make_verifier(module: AnsibleModule) -> Verifier:
    """Who judges by the options of *module*. TrustError where these cannot be followed."""
    params = module.params
    needs_cryptography(module)
    if not params["ek_certificate_roots"]:
        raise TrustError("There is nothing to verify certificates to: set ek_certificate_roots.")
    return Verifier(
        Rules(
            roots=tuple(params["ek_certificate_roots"]),
            crls=tuple(params["ek_certificate_crls"]),
            crls_required=params["ek_certificate_crls_required"],
            valid_at=parse_moment(params["ship_date"]) if params["ship_date"] else None,
            tolerated=params["ek_certificate_tolerated"],
        )
    )


def warn_of_notes(module: AnsibleModule, notes: Iterable[str]) -> None:
    """Tells what is news of a whole run, of its roots and of its makers, and not of a unit."""
    for note in notes:
        module.warn(note)


def run(module: AnsibleModule, function: Callable[[], dict[str, Any]]) -> None:
    """Exits *module* with what *function* returns, or fails it with what it cannot judge by."""
    reason = None
    result: dict[str, Any] = {}
    try:
        result = function()
    except TrustError as error:
        reason = str(error)
    # Outside of the handler: inside, Ansible would take it for a crash and show a traceback.
    if reason is not None:
        module.fail_json(msg=reason, **failure(SETUP, "ek_certificate_roots"))
    module.exit_json(**result)
