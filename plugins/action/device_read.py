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
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.failure_kind import SETUP, failure
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.templates import decode_public
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.possession import PossessionError, Proof
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_record import record_of
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.host_variables import HostVariables
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.noting_action import NotingAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.quoting import without_quotation
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.rack_times import Patience
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.reading_action import SECRET, ReadingAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.runtime_action import RuntimeAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.unlocking import Unlocking

# What the task says, and the device need not be told.
OF_THE_TASK = ("runtime", "recorded", "slow_group", "slow_after", "earlier")
FILLED_IN = ("challenge", "recorded_endorsement_key", "recorded_storage_root_key", "sealed_endorsement_auth")

# A device that says each time that it is still at work is asked no more often.
MOST_CALLS = 4
SLOW_AFTER = 60.0
# Nobody but this run can tell what its devices were asked for, which a name on a device is made of. Made once: Ansible
# loads an action before it forks.
_KEY = secrets.token_bytes(32)
_MARK = re.compile(r"[0-9a-f]{32}")


class ActionModule(NotingAction, ReadingAction, RuntimeAction):
    """The endorsement key, proven where that can be asked for, and the device record that begins with it."""

    MODULE = "device_read"
    SECRET_OPTIONS = (SECRET, "challenge", "sealed_endorsement_auth")
    # With the steps that every unit goes through.
    ROLES = ("endorsement_key", "tpm_install", "software_install", "warehouse")

    _mark = ""
    _patience: Patience | None = None

    def secret(self):
        """The challenge is one, whatever the options."""
        return "The challenge" if self._task.args.get("recorded") else super().secret()

    def work(self, task_vars):
        """The result of the task."""
        given = [name for name in FILLED_IN if name in self._task.args]
        if given:
            raise AnsibleActionFail(f"{given[0]} is made for each task anew and cannot be given.")
        options = self._task.args
        arguments = {name: value for name, value in options.items() if name not in OF_THE_TASK}
        runtime, group, after = options.get("runtime"), options.get("slow_group"), _seconds(options.get("slow_after"))
        earlier = (task_vars.get(options.get("earlier")) or {}).get("later")
        if group and after and len(task_vars.get("ansible_play_batch") or ()) > 1:
            self._mark, self._patience = secrets.token_hex(16), Patience(str(self._task._uuid), after)
        elif isinstance(earlier, str) and _MARK.fullmatch(earlier):
            self._mark = earlier
        proof = self._proof(arguments, task_vars)
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
        answer = said.pop("answer", None)
        if self._task.args.get("recorded"):
            said["proven"] = proof is not None and _gives(said, answer, proof)
        host = task_vars["inventory_hostname"]
        # A storage root key that was read is a claim until it is proven.
        read = {name: value for name, value in said.items() if name != "storage_root_key"}
        try:
            record = record_of(host, HostVariables(task_vars, self._loader).of_the_record(), [read])
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
        # What it is to prove is new each time; the answer to an earlier challenge is a reading, and no proof.
        kept = {name: value for name, value in arguments.items() if name not in FILLED_IN}
        asked = [self._mark, self._host, bool(self._task.check_mode), kept]
        told = json.dumps(asked, sort_keys=True, default=str).encode()
        return hmac.new(_KEY, told, hashlib.sha256).hexdigest()[:32]

    def _proof(self, arguments, task_vars):
        """What the device is asked to prove, as it is on record, which is put into *arguments*; None for nothing."""
        looked_up = task_vars.get(self._task.args.get("recorded")) or {}
        host = task_vars["inventory_hostname"]
        record = next((one for one in looked_up.get("records") or () if one.get("host") == host), {})
        both = boolean(arguments.get("storage_root_key"), strict=False)
        names = ["endorsement_key", "storage_root_key"] if both else ["endorsement_key"]
        if not all(record.get(name) for name in names):
            return None
        keys = {name: record[name] for name in names}
        auth = arguments.get("endorsement_auth")
        unlocking = Unlocking({"endorsement_auth": str(auth)} if auth else {}, record.get("storage_root_key"))
        try:
            proof = Proof(**{name: decode_public(key, name) for name, key in keys.items()})
            sealed = unlocking.sealed()
        except (PossessionError, ValueError, AnsibleActionFail):
            # A ledger may have been told anything. What is wrong with it is said where the proof has to be given.
            return None
        arguments.update({f"recorded_{name}": key for name, key in keys.items()})
        arguments.update(sealed, challenge=proof.challenge.as_option())
        return proof

    def _provided(self, runtime, task_vars):
        """The result of ``tpm_runtime`` with the options *runtime*."""
        validated = ArgumentSpecValidator(self.RUNTIME_ARGUMENTS).validate(dict(runtime))
        if validated.error_messages:
            raise AnsibleActionFail(f"runtime: {' '.join(map(without_quotation, validated.error_messages))}")
        options = validated.validated_parameters
        # A virtual environment that is to hold the library cannot be what runs its own installation.
        return self.provide(options, {**task_vars, "ansible_python_interpreter": options["python"]})


def _seconds(given):
    """The option ``slow_after``."""
    try:
        return SLOW_AFTER if given is None else max(float(given), 0.0)
    except (TypeError, ValueError):
        words = "slow_after, on the line tpmfleet_slow_after, is not a number of seconds."
        raise AnsibleActionFail(words, result=failure(SETUP, variable="tpmfleet_slow_after")) from None


def _gives(said, answer, proof):
    """Whether the *answer* is that of *proof*, and the endorsement key that the device said the one of it."""
    if said["endorsement_key"]["sha256"] != proof.endorsement_key_sha256:
        return False
    try:
        proof.check_answer(answer)
    except PossessionError:
        return False
    return True
