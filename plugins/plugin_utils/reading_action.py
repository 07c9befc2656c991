# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tasks in which a device's endorsement key is read, with the authorization where it is needed."""

from __future__ import annotations

from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.derived import (
    WrongClaimError,
    checked_endorsement_key,
    checked_storage_root_key,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import PULL_IT, DeviceAction

SECRET = "endorsement_auth"
NOT_SENT = (
    "No endorsement key is persisted in its TPM, and making it takes the authorization of the endorsement hierarchy. "
    "It was not sent: nothing is proven of a unit whose key was not read. If it is known to be the right unit, set "
    "tpmfleet_endorsement_auth_before_proof for it."
)


class ReadingAction(DeviceAction):
    """The module, first without the authorization, and off the disks where it comes to that.

    A device that was not proven yet is told no secret that it can do without: a persistent key is read without one.
    What can be derived from the public area is derived here; a device that says otherwise fails.
    """

    SECRET_OPTIONS = (SECRET,)

    def ask(self, arguments, task_vars):
        """What the module returned on the device for *arguments*."""
        return self.run_module(self.MODULE, arguments, task_vars)

    def read(self, arguments, task_vars):
        """The result of the module for *arguments*, or that it is ``still_at_work``."""
        without = {name: value for name, value in arguments.items() if name != SECRET}
        result = self.ask(without, task_vars)
        if result.get("needs") == SECRET and arguments.get(SECRET) is not None:
            if not boolean(arguments.get("endorsement_auth_before_proof") or False):
                return self.failure(NOT_SENT)
            result = self.ask(arguments, task_vars)
        if result.get("still_at_work"):
            return result
        if result.get("failed"):
            # A virtual environment that is to hold the libraries comes with them.
            missing = "tpm2-pytss" in result["msg"] or bool(result.get("no_interpreter"))
            return {**result, "libraries_missing": missing}
        try:
            result["endorsement_key"] = checked_endorsement_key(result["endorsement_key"])
            if result.get("storage_root_key"):
                result["storage_root_key"] = checked_storage_root_key(result["storage_root_key"])
        except WrongClaimError as error:
            return self.failure(f"{error} {PULL_IT}")
        return result
