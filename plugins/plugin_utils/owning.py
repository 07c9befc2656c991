# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the actions share that own a TPM: authorizations among arguments, and what a device says of its keys."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.connection import TpmError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.ownership_wish import checked_auth
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.sealed_authorizations import AUTHORIZATIONS
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.derived import (
    checked_endorsement_key,
    checked_storage_root_key,
)


def authorizations_in(arguments):
    """The authorizations among *arguments*, which are taken out of them."""
    given = {name: arguments.pop(name, None) for name in AUTHORIZATIONS}
    auths = {name: str(auth) for name, auth in given.items() if auth is not None}
    try:
        for name, auth in auths.items():
            checked_auth(name, auth)
    except TpmError as error:
        raise AnsibleActionFail(str(error)) from None
    return auths


def refuse(auths):
    """Authorizations go to no TPM that is not named by its key."""
    if auths:
        raise AnsibleActionFail(
            f"endorsement_key is missing, and {' and '.join(auths)} go to no TPM but the one that holds it. Give the "
            "key that tpm_endorsement_key_info read and that was found to be trusted."
        )


def asked_version(arguments):
    """The version that the authorizations are of, by the task and not by what a device says of its own record."""
    version = arguments.get("key_version")
    return None if version is None else int(version)


def told(said):
    """What the device said, with all that follows from its keys computed here."""
    told = {**said, "endorsement_key": checked_endorsement_key(said["endorsement_key"])}
    told.pop("answer", None)
    if said["storage_root_key"] is not None:
        told["storage_root_key"] = checked_storage_root_key(said["storage_root_key"])
    return told
