# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks in which a device's TPM opens what was sealed to its endorsement key here, and so proves that it holds it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.order_challenge import OrderedProof
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.possession import PossessionError, Proof
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import DeviceAction, without_secrets
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.unlocking import ASKED_AGAIN, NOT_SENT, Unlocking

# What a TPM that cannot open the challenge makes the device say. Who lies about that has failed all the same.
_NOT_HELD = "does not hold the endorsement key that it reports"


class ProvingAction(DeviceAction):
    """What a device says is taken for what it is worth: nothing of it but a right answer makes the task succeed."""

    # What is there only where check mode keeps it from being made cannot be asked for a proof yet.
    may_be_planned = False
    # With a unit that proved nothing.
    what_to_do = "Take it off the line; if it is enrolled already, disable its enrollment."
    # Whether the device has answered rightly in this task, whatever failed after that.
    answered = False

    def secret(self) -> str | None:
        """The challenge is one, whatever the options."""
        return "The challenge"

    def refuse_challenge(self, arguments: Mapping[str, Any]) -> None:
        """A challenge that was brought along would have been read by somebody."""
        if "challenge" in arguments:
            raise AnsibleActionFail("challenge is made for each task anew and cannot be given.")

    def prove(
        self,
        proof: Proof | OrderedProof,
        arguments: dict[str, Any],
        unlocking: Unlocking,
        task_vars: dict[str, Any],
        *,
        module: str = "",
    ) -> dict[str, Any]:
        """What the module returns with *arguments* and the challenge of *proof*, its answer checked.

        *module* is another one than the action's own. *unlocking* has the authorizations of the endorsement hierarchy,
        without which a TPM that has one opens nothing. :class:`PossessionError` for an answer that is not right, also
        where something failed after it. A failure is returned as it is.
        """
        sealed = unlocking.sealed()
        arguments = {**arguments, **sealed, "challenge": proof.challenge.as_option()}
        said = self.run_module(module or self.MODULE, arguments, task_vars)
        if unlocking.secrets and said.get("failed") and said.get("needs") == "endorsement_auth":
            auths = unlocking.open_options()
            if auths is None:
                return self.failure(ASKED_AGAIN if sealed else NOT_SENT)
            said = self.run_module(module or self.MODULE, {**arguments, **auths}, task_vars)
        said = without_secrets(said, unlocking.secrets)
        answer = said.pop("answer", None)
        if said.get("failed"):
            if answer is not None:
                proof.check_answer(answer)
                self.answered = True
            elif _NOT_HELD in str(said.get("msg")):
                return {**said, "not_proven": True}
            return said
        if answer is None and self.may_be_planned and self._task.check_mode:
            return {**said, "proven": False}
        proof.check_answer(answer)
        self.answered = True
        return {**said, "proven": True}

    def refusal(self, error: PossessionError) -> dict[str, Any]:
        """The task's result where the device proved nothing."""
        return {**self.failure(f"{error} {self.what_to_do}"), "not_proven": True}
