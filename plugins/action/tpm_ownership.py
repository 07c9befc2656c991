# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Seals the authorizations to the endorsement key of the TPM that they are for, and takes its answer for the proof."""

from __future__ import annotations

import base64

from ansible.errors import AnsibleActionFail
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.sealed_authorizations import (
    AUTHORIZATIONS,
    as_message,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.templates import decode_public
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.derived import WrongClaimError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.possession import PossessionError, Proof
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import without_secrets
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.owning import (
    asked_version,
    authorizations_in,
    refuse,
    told,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.proving_action import ProvingAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.unlocking import unlocking_among


class ActionModule(ProvingAction):
    """Whoever does not hold the endorsement key reads no authorization, whatever it reports."""

    MODULE = "tpm_ownership"
    SECRET_OPTIONS = (*AUTHORIZATIONS, "challenge", "sealed_endorsement_auth")

    def work(self, task_vars):
        """Runs the module on the device."""
        arguments = dict(self._task.args)
        self.refuse_challenge(arguments)
        auths = authorizations_in(arguments)
        unlocking = unlocking_among(arguments, auths)
        try:
            if arguments.get("endorsement_key"):
                said = self._sealed(arguments, auths, unlocking, task_vars)
            else:
                refuse(auths)
                said = {**self.run_module(self.MODULE, arguments, task_vars), "proven": False}
            # What it was sent it could say again where everybody reads.
            said = without_secrets(said, list(auths.values()))
            return said if said.get("failed") else {**told(said), "key_version": asked_version(arguments)}
        except PossessionError as error:
            return self.refusal(error)

    def _sealed(self, arguments, auths, unlocking, task_vars):
        """What the module returned, with the proof that it holds the key that *auths* were sealed to."""
        try:
            public = decode_public(arguments["endorsement_key"], "endorsement_key")
        except ValueError as error:
            raise AnsibleActionFail(f"{error}.") from None
        arguments["endorsement_key"] = base64.b64encode(public).decode("ascii")
        proof = Proof(endorsement_key=public, message=as_message(auths))
        wanted = arguments.setdefault("endorsement_key_sha256", proof.endorsement_key_sha256)
        if str(wanted).lower() != proof.endorsement_key_sha256:
            raise AnsibleActionFail(f"endorsement_key_sha256 is {wanted}, which is not that of endorsement_key.")
        said = self.prove(proof, arguments, unlocking, task_vars)
        if not said.get("failed") and said["endorsement_key"]["public"] != arguments["endorsement_key"]:
            raise WrongClaimError("it returns another endorsement key than the one that it was asked for.")
        return said
