# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the modules share that own a TPM: their options, and how these become a wish and what was sealed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..tpm.challenge import Challenge, sealed_endorsement_auth
from ..tpm.connection import TpmError
from ..tpm.ownership import bring_about
from ..tpm.ownership_wish import CLAIMED_DICTIONARY_ATTACK, STATES, Wish, checked_auth, checked_handle
from ..tpm.possession import Opened, open_sealed
from ..tpm.sealed_authorizations import AUTHORIZATIONS, ENDORSEMENT_AUTHORIZATIONS, from_message
from ..tpm.templates import decode_public

_NUMBERS = {
    "max_tries": 1,
    "recovery_time": 0,
    "lockout_recovery": 0,
    "key_version": 1,
    "previous_key_version": 1,
}
_AS_GIVEN = (
    "state",
    "key_version",
    "previous_key_version",
    "lockout_auth_trusted",
    "endorsement_key_sha256",
    "template",
    "identify_template",
    "read_certificate",
    "replace_persistent_keys",
    "remove_persistent_keys",
    "clear_confirmation",
)


def ownership_options() -> dict[str, dict[str, Any]]:
    """The argument specification of ``tpm_ownership``, without the connection's."""
    return {
        "state": {"type": "str", "choices": list(STATES), "default": "claimed"},
        "owner_auth": {"type": "str", "no_log": True},
        "endorsement_auth": {"type": "str", "no_log": True},
        "lockout_auth": {"type": "str", "no_log": True},
        "previous_owner_auth": {"type": "str", "no_log": True},
        "previous_endorsement_auth": {"type": "str", "no_log": True},
        "previous_lockout_auth": {"type": "str", "no_log": True},
        "key_version": {"type": "int", "no_log": False},
        "previous_key_version": {"type": "int", "no_log": False},
        "lockout_auth_trusted": {"type": "bool", "default": False},
        "endorsement_key_sha256": {"type": "str", "no_log": False},
        "template": {"type": "str", "choices": ["auto", "tcg", "sdk", "nv"], "default": "auto"},
        "identify_template": {"type": "bool", "default": True},
        "read_certificate": {"type": "bool", "default": True},
        "replace_persistent_keys": {"type": "bool", "default": False},
        "remove_persistent_keys": {"type": "bool", "default": False},
        "remove_handles": {"type": "list", "elements": "str", "default": []},
        "clear_confirmation": {"type": "str"},
        "max_tries": {"type": "int"},
        "recovery_time": {"type": "int"},
        "lockout_recovery": {"type": "int"},
    }


REQUIRED_IF = [("state", "cleared", ["clear_confirmation"])]


def wish_of(params: Mapping[str, Any]) -> Wish:
    """What the options ask for; TpmError for what no TPM takes."""
    for option, lowest in _NUMBERS.items():
        if params[option] is not None and not lowest <= params[option] < 2**32:
            raise TpmError(f"{option} is {params[option]}; it has to be {lowest} to 4294967295.")
    given: dict[str, Any] = {option: checked_auth(option, params[option]) for option in AUTHORIZATIONS}
    given.update((option, params[option]) for option in _AS_GIVEN)
    given["remove_handles"] = tuple(checked_handle("remove_handles", one) for one in params["remove_handles"])
    wish = Wish(**given)
    defaults = CLAIMED_DICTIONARY_ATTACK if wish.claims else dict.fromkeys(CLAIMED_DICTIONARY_ATTACK)
    wanted = {option: params[option] if params[option] is not None else value for option, value in defaults.items()}
    return wish._replace(dictionary_attack={option: value for option, value in wanted.items() if value is not None})


def opened(esys: Any, params: Mapping[str, Any], storage_root_key: str | None = None) -> Opened:
    """What the controller sealed to the endorsement key of this TPM, by :func:`open_sealed`."""
    auths = [checked_auth(name, params[name]) for name in ENDORSEMENT_AUTHORIZATIONS if params.get(name) is not None]
    try:
        return open_sealed(
            esys,
            Challenge.from_option(params["challenge"]),
            endorsement_key=decode_public(params["endorsement_key"], "endorsement_key"),
            storage_root_key=decode_public(storage_root_key, "storage_root_key") if storage_root_key else None,
            endorsement_auths=[auth for auth in auths if auth],
            sealed_auths=sealed_endorsement_auth(params),
            template=params["template"],
            replacing=params["replace_persistent_keys"],
            kept=params.get("kept_keys"),
        )
    except ValueError as error:
        raise TpmError(f"{error}.") from error


def own(esys: Any, module: Any, params: Mapping[str, Any], found: Opened | None) -> dict[str, Any]:
    """What ``tpm_ownership`` returns for the options *params*, with the authorizations of what was *found* sealed."""
    bare: dict[str, Any] = {**params, **dict.fromkeys(AUTHORIZATIONS)}
    if found is None:
        return bring_about(esys, wish_of(bare), check_mode=module.check_mode)
    auths = from_message(found.message)
    module.no_log_values.update(auth for auth in auths.values() if auth)
    wish = wish_of({**bare, **auths})
    return bring_about(
        esys,
        wish,
        check_mode=module.check_mode,
        held=found.endorsement_key,
        held_storage_root_key=found.storage_root_key,
    )
