# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads a device for a step, in one task, also where it has to be given first what reading it takes."""

from __future__ import annotations

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.tpmfleet.azure_dps.plugins.action.tpm_endorsement_key_info import (
    ActionModule as EndorsementKeyAction,
)
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_record import record_of
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.host_variables import of_the_record
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.runtime_action import RuntimeAction


class ActionModule(EndorsementKeyAction, RuntimeAction):
    """The endorsement key, and the device record that begins with it."""

    def work(self, task_vars):
        """The result of the task."""
        arguments = dict(self._task.args)
        runtime = arguments.pop("runtime", None)
        said = self.read(arguments, task_vars)
        changed = False
        if said.get("libraries_missing") and runtime is not None:
            provided = self._provided(runtime, task_vars)
            if provided.get("failed"):
                return provided
            if provided["state"] == "planned":
                words = f"{self._host}: {provided['how']}; then would read. What comes of that, no check can tell."
                return {"changed": True, "warnings": [words]}
            changed = provided["changed"]
            said = self.read(arguments, task_vars)
        if said.get("failed"):
            return said
        host = task_vars["inventory_hostname"]
        # A storage root key that was read is a claim until it is proven.
        read = {name: value for name, value in said.items() if name != "storage_root_key"}
        try:
            record = record_of(host, of_the_record(task_vars, self._loader), [read])
        except ValueError as error:
            raise AnsibleActionFail(f"{host}: {error}") from None
        return {**said, "changed": changed, "record": record}

    def _provided(self, runtime, task_vars):
        """The result of ``tpm_runtime`` with the options *runtime*."""
        validated = ArgumentSpecValidator(self.RUNTIME_ARGUMENTS).validate(dict(runtime))
        if validated.error_messages:
            raise AnsibleActionFail(f"runtime: {' '.join(validated.error_messages)}")
        options = validated.validated_parameters
        # A virtual environment that is to hold the library cannot be what runs its own installation.
        return self.provide(options, {**task_vars, "ansible_python_interpreter": options["python"]})
