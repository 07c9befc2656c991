# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Both sides of a proof of possession in one task: the challenge is made, the device's TPM answers, it is judged."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.templates import decode_public
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.possession import PossessionError, Proof
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import DeviceAction

KEYS = ("endorsement_key", "storage_root_key")
WHAT_TO_DO = "Take it off the line; if it is enrolled already, disable its enrollment."


class ActionModule(DeviceAction):
    """What a device says is taken for what it is worth: nothing of it but a right answer makes the task succeed."""

    MODULE = "tpm_possession"
    SECRET_OPTIONS = ("endorsement_auth", "challenge")

    def secret(self):
        """The challenge is one, whatever the options."""
        return "The challenge"

    def work(self, task_vars):
        """Runs the module on the device."""
        arguments = dict(self._task.args)
        if "challenge" in arguments:
            raise AnsibleActionFail("challenge is made for each task anew and cannot be given.")
        device = (task_vars or {}).get("inventory_hostname", "the device")
        try:
            proof = _proof(arguments)
            if proof is not None:
                arguments["challenge"] = proof.challenge.as_option()
            said = self.run_module(self.MODULE, arguments, task_vars)
            if proof is not None and not said.get("failed"):
                return self._judged(proof, said)
            msg = f"{device}: " + said.get("msg", "").removeprefix(f"{device}: ")
            return {**said, "failed": True, "changed": False, "msg": msg}
        except PossessionError as error:
            return {"failed": True, "changed": False, "msg": f"{device}: {error} {WHAT_TO_DO}"}

    def _judged(self, proof, said):
        """The task's result for what the device said."""
        result = {
            "changed": False,
            "proven": False,
            "endorsement_key_sha256": proof.endorsement_key_sha256,
            "storage_root_key_name": proof.storage_root_key_name,
            "in_lockout": bool(said.get("in_lockout")),
            "warnings": said.get("warnings") or [],
        }
        if self._task.check_mode and said.get("answer") is None:
            msg = "The proof is planned: in check mode the storage root key is not there yet, and making it takes the "
            return {**result, "skipped": True, "msg": f"{msg}owner authorization."}
        proof.check_answer(said.get("answer"))
        return {**result, "proven": True}


def _proof(arguments):
    """The proof that the task's *arguments* ask for; None where one is missing, which is for the module to say."""
    if not all(arguments.get(name) for name in KEYS):
        return None
    try:
        keys = {name: decode_public(arguments[name], name) for name in KEYS}
    except ValueError as error:
        raise PossessionError(f"{error}.") from error
    proof = Proof(**keys)
    if arguments.get("recorded_storage_root_key_name"):
        proof.check_recorded(str(arguments["recorded_storage_root_key_name"]))
    return proof
