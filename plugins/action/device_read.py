# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Reads a device for a step, in one task, also where it has to be given first what reading it takes."""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible_collections.tpmfleet.azure_dps.plugins.action.tpm_endorsement_key_info import (
    ActionModule as EndorsementKeyAction,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.failure_kind import SETUP, failure
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.outside.visible import visible
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_record import record_of
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.host_variables import of_the_record
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.noting_action import NotingAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.rack_times import Patience
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.runtime_action import RuntimeAction

# A device that says each time that it is still at work is asked no more often.
MOST_CALLS = 4
SLOW_AFTER = 60.0
# Nobody but this run can tell what its devices were asked for, which a name on a device is made of. Made once: Ansible
# loads an action before it forks.
_KEY = secrets.token_bytes(32)
_MARK = re.compile(r"[0-9a-f]{32}")


class ActionModule(NotingAction, EndorsementKeyAction, RuntimeAction):
    """The endorsement key, and the device record that begins with it."""

    _mark = ""
    _patience: Patience | None = None

    def work(self, task_vars):
        """The result of the task."""
        arguments = dict(self._task.args)
        runtime = arguments.pop("runtime", None)
        group = arguments.pop("slow_group", None)
        after = _seconds(arguments.pop("slow_after", None))
        earlier = (task_vars.get(arguments.pop("earlier", None)) or {}).get("later")
        if group and after and len(task_vars.get("ansible_play_batch") or ()) > 1:
            self._mark, self._patience = secrets.token_hex(16), Patience(str(self._task._uuid), after)
        elif isinstance(earlier, str) and _MARK.fullmatch(earlier):
            self._mark = earlier
        said = self.read(arguments, task_vars)
        changed = False
        if said.get("libraries_missing") and runtime is not None:
            provided = self._provided(runtime, task_vars)
            if provided.get("failed"):
                return provided
            if provided["state"] == "planned":
                words = f"{self._host}: {provided['how']}; then would read. What comes of that, no check can tell."
                return {"changed": True, "installed": True, "warnings": [words]}
            changed = provided["changed"]
            said = self.read(arguments, task_vars)
        if said.get("failed"):
            return said
        if said.get("still_at_work"):
            words = f"{self._host}: its TPM takes its time, and goes on. It is asked again when the others are done."
            joined = self._join(group, task_vars)
            return {**joined, "changed": changed, "installed": changed, "later": self._mark, "msg": words}
        if self._patience is not None:
            self._patience.ended()
        host = task_vars["inventory_hostname"]
        # A storage root key that was read is a claim until it is proven.
        read = {name: value for name, value in said.items() if name != "storage_root_key"}
        try:
            record = record_of(host, of_the_record(task_vars, self._loader), [read])
        except ValueError as error:
            raise AnsibleActionFail(f"{host}: {error}") from None
        return {**said, "changed": changed, "installed": changed, "record": record}

    def ask(self, arguments, task_vars):
        """As of any reading; or that the device is still at work, where the others would wait for it."""
        if not self._mark:
            return super().ask(arguments, task_vars)
        goes_on = {
            "name": self._name(arguments),
            "ends": self._patience is not None,
            "seconds": self.patience(arguments, task_vars),
        }
        leaving, said = None, {}
        for _call in range(MOST_CALLS):
            said = self.run_module(self.MODULE, arguments, task_vars, goes_on=goes_on, leaving=leaving)
            if not said.get("still_at_work") or self._patience.is_over():
                break
            # From now on the work goes on there, whoever waits.
            leaving = self._patience.is_over
        return said

    def _join(self, group, task_vars):
        """What Ansible's own action returns that adds the host to a *group*; each release has a way of its own."""
        task = self._task.copy()
        task.args = {"key": group}
        return self._shared_loader_obj.action_loader.get(
            "ansible.builtin.group_by",
            task=task,
            connection=self._connection,
            play_context=self._play_context,
            loader=self._loader,
            templar=self._templar,
            shared_loader_obj=self._shared_loader_obj,
        ).run(task_vars=task_vars)

    def _name(self, arguments):
        """What is asked for, as nobody else can name it: another answer than to that is not taken."""
        asked = [self._mark, self._host, bool(self._task.check_mode), arguments]
        told = json.dumps(asked, sort_keys=True, default=str).encode()
        return hmac.new(_KEY, told, hashlib.sha256).hexdigest()[:32]

    def _provided(self, runtime, task_vars):
        """The result of ``tpm_runtime`` with the options *runtime*."""
        validated = ArgumentSpecValidator(self.RUNTIME_ARGUMENTS).validate(dict(runtime))
        if validated.error_messages:
            raise AnsibleActionFail(f"runtime: {' '.join(validated.error_messages)}")
        options = validated.validated_parameters
        # A virtual environment that is to hold the library cannot be what runs its own installation.
        return self.provide(options, {**task_vars, "ansible_python_interpreter": options["python"]})


def _seconds(given):
    """The option ``slow_after``."""
    try:
        return SLOW_AFTER if given is None else max(float(given), 0.0)
    except (TypeError, ValueError):
        words = f"slow_after, on the line tpmfleet_slow_after, is '{visible(given, most=40)}', not a number of seconds."
        raise AnsibleActionFail(words, result=failure(SETUP, variable="tpmfleet_slow_after")) from None
