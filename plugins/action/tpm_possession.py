# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Both sides of a proof of possession in one task: the challenge is made, the device's TPM answers, it is judged."""

from __future__ import annotations

import contextlib

from ansible import constants as C
from ansible.errors import AnsibleActionFail, AnsibleError
from ansible.plugins.action import ActionBase
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.templates import decode_public
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.possession import PossessionError, Proof

KEYS = ("endorsement_key", "storage_root_key")
# Of what a device says about its failure, which may be made up.
FAILURE = ("msg", "tpm_rc", "rc", "exception", "module_stdout", "module_stderr", "warnings")
WHAT_TO_DO = "Take it off the line; if it is enrolled already, disable its enrollment."


class ActionModule(ActionBase):
    """What a device says is taken for what it is worth: nothing of it but a right answer makes the task succeed."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp=None, task_vars=None):
        """Runs the module on the device."""
        result = super().run(tmp, task_vars)
        arguments = dict(self._task.args)
        if "challenge" in arguments:
            raise AnsibleActionFail("challenge is made for each task anew and cannot be given.")
        device = (task_vars or {}).get("inventory_hostname", "the device")
        self._keep_off_disks()
        try:
            proof = _proof(arguments)
            if proof is not None:
                arguments["challenge"] = proof.challenge.as_option()
            said = self._execute_module(
                module_name="tpmfleet.azure_dps.tpm_possession", module_args=arguments, task_vars=task_vars
            )
            if proof is None or said.get("failed"):
                result.update({name: said[name] for name in FAILURE if name in said})
                result.update(failed=True, changed=False, msg=f"{device}: {said.get('msg')}")
            else:
                result.update(self._judged(proof, said))
        except PossessionError as error:
            result.update(failed=True, changed=False, msg=f"{device}: {error} {WHAT_TO_DO}")
        return result

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

    def _keep_off_disks(self):
        """Has the module travel over standard input, as a file with it would lie on both machines' disks."""
        if self._connection.has_pipelining and not self._is_pipelining_enabled("new"):
            # A connection plugin without the option has another way of its own, or none.
            with contextlib.suppress(AnsibleError, KeyError):
                self._connection.set_option("pipelining", True)
        if self._is_pipelining_enabled("new"):
            return
        if C.DEFAULT_KEEP_REMOTE_FILES:
            reason, cure = "ANSIBLE_KEEP_REMOTE_FILES leaves modules on its disk", "Run without it."
        elif not self._connection.has_pipelining:
            reason = f"the connection plugin {self._connection.transport} cannot pipeline"
            cure = "Use ansible.builtin.ssh."
        else:
            reason = f"the become method {self._play_context.become_method} cannot pipeline"
            cure = "Use ansible.builtin.sudo, or log in as the user that may use the TPM."
        raise AnsibleActionFail(
            f"The challenge would be written to a file on the device, since {reason}. {cure}"
        )


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
