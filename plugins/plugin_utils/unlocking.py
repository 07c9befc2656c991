# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a TPM gets the authorization without which it can prove nothing, and nobody else does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.sealed_authorizations import (
    ENDORSEMENT_AUTHORIZATIONS,
    as_message,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.templates import decode_public
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.possession import sealed_to_storage_root_key
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import PULL_IT

NOT_SENT = (
    "Its endorsement hierarchy has an authorization, which was not sent: no storage root key is on record for it that "
    "the authorization could be sealed to, and a unit that has proven nothing yet would learn it. If this is known to "
    "be the right unit, set tpmfleet_endorsement_auth_before_proof for it."
)
ASKED_AGAIN = (
    "It asks for the authorization of its endorsement hierarchy, which it was sent sealed to the storage root key on "
    f"record, and which is not sent otherwise. {PULL_IT}"
)


class Unlocking:
    """The authorizations that the endorsement hierarchy of a TPM may have, and to what they can be sealed.

    A storage root key that is on record was proven in the TPM at that time, and its use takes no authorization.
    """

    def __init__(self, auths: Mapping[str, str], storage_root_key: str | None, *, before_proof: Any = False) -> None:
        """*auths* are options, of which those of the endorsement hierarchy count; the key is a TPM2B_PUBLIC, in base64.

        With *before_proof* they are sent as they are to a TPM that says that it needs them.
        """
        self._auths = {name: auths[name] for name in ENDORSEMENT_AUTHORIZATIONS if auths.get(name)}
        self._storage_root_key = storage_root_key
        self._before_proof = boolean(before_proof or False)

    def sealed(self) -> dict[str, Any]:
        """What goes with the challenge; PossessionError where what is on record is no storage root key."""
        if self._before_proof or not self._auths or not self._storage_root_key:
            return {}
        try:
            public = decode_public(self._storage_root_key, "recorded_storage_root_key")
        except ValueError as error:
            raise AnsibleActionFail(f"{error}.") from None
        return {"sealed_endorsement_auth": sealed_to_storage_root_key(public, as_message(self._auths)).as_option()}

    def open_options(self) -> dict[str, str] | None:
        """What a TPM is sent that says that it needs it; None where it is not to be."""
        return self._auths if self._before_proof else None

    def sealed_to(self, storage_root_key: str) -> Unlocking:
        """The same, sealed to another key."""
        return Unlocking(self._auths, storage_root_key, before_proof=self._before_proof)

    @property
    def secrets(self) -> list[str]:
        """What must not be said again."""
        return list(self._auths.values())


def unlocking_among(arguments: dict[str, Any], auths: Mapping[str, str]) -> Unlocking:
    """What the options *arguments* say of it, which are taken out of them, and the *auths* that were among them."""
    given = {name: str(auth) for name, auth in auths.items() if auth}
    recorded = arguments.pop("recorded_storage_root_key", None)
    return Unlocking(given, recorded, before_proof=arguments.pop("endorsement_auth_before_proof", False))
