# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Both sides of a proof of possession in one task: the challenge is made, the device's TPM answers, it is judged."""

from __future__ import annotations

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.templates import decode_public
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.possession import PossessionError, Proof
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.proving_action import ProvingAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.unlocking import unlocking_among

KEYS = ("endorsement_key", "storage_root_key")


class ActionModule(ProvingAction):
    """The proof, of the endorsement key alone or with the storage root key."""

    MODULE = "tpm_possession"
    SECRET_OPTIONS = ("endorsement_auth", "challenge", "sealed_endorsement_auth")

    def work(self, task_vars):
        """Runs the module on the device."""
        arguments = dict(self._task.args)
        self.refuse_challenge(arguments)
        if not arguments.get("endorsement_key"):
            return self.failure("missing required arguments: endorsement_key.")
        unlocking = unlocking_among(arguments, {"endorsement_auth": arguments.pop("endorsement_auth", None)})
        # Only a storage root key that a claim would make cannot be proven before.
        self.may_be_planned = bool(arguments.get("storage_root_key"))
        try:
            proof = _proof(arguments)
            said = self.prove(proof, arguments, unlocking, task_vars)
        except PossessionError as error:
            return self.refusal(error)
        if not said.get("failed"):
            return self._told(proof, said)
        # The sentence about the TPM stands by itself elsewhere; a proof that failed names whose it is.
        msg = said["msg"].removeprefix(f"{self._host}: ")
        return {**said, "changed": False, "msg": f"{self._host}: {msg}"}

    def _told(self, proof, said):
        """The task's result for what the device said."""
        result = {
            "changed": False,
            "proven": said["proven"],
            "endorsement_key_sha256": proof.endorsement_key_sha256,
            "storage_root_key_name": proof.storage_root_key_name,
            "in_lockout": bool(said.get("in_lockout")),
            "warnings": said.get("warnings") or [],
        }
        if said["proven"]:
            return result
        msg = "The proof is planned: in check mode the storage root key is not there yet, and making it takes the "
        return {**result, "skipped": True, "msg": f"{msg}owner authorization."}


def _proof(arguments):
    """The proof that the task's *arguments* ask for."""
    try:
        keys = {name: decode_public(arguments[name], name) for name in KEYS if arguments.get(name)}
    except ValueError as error:
        raise PossessionError(f"{error}.") from error
    proof = Proof(**keys)
    if arguments.get("recorded_storage_root_key_name"):
        proof.check_recorded(str(arguments["recorded_storage_root_key_name"]))
    return proof
