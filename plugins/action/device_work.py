# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Does a step's work on a device that was judged: one call, in which its TPM proves itself and all else is done."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.module_utils.parsing.convert_bool import boolean
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.client.assignment import service_options
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.handover.order_challenge import OrderedProof
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.client import (
    REQUIRED_IF as CLIENT_REQUIRED_IF,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.client import client_options
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.failure_kind import SETUP, failure
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.ownership import (
    REQUIRED_IF as OWNERSHIP_REQUIRED_IF,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.module.ownership import ownership_options
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.record.model import DONE, VERIFIED
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.sealed_authorizations import (
    AUTHORIZATIONS,
    CLIENTS,
    as_message,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm.templates import (
    decode_public,
    is_made_from,
    srk_public_template,
)
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.derived import WrongClaimError
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.trust.possession import PossessionError, Proof
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.catalogue import explain
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.client_program import build_program, read_units
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_action import PULL_IT, without_secrets
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.device_record import record_of
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.failure import variable_in
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.host_variables import HostVariables
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.noting_action import NotingAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.ordered_unit import NotOrderedError, OrderedUnit
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.owning import asked_version, authorizations_in, told
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.proving_action import ProvingAction
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.quoting import without_quotation
from ansible_collections.tpmfleet.azure_dps.plugins.plugin_utils.unlocking import Unlocking

PROOF = "tpm_possession"
CONNECTION = ("tcti", "timeout")
# What is done by the one call.
PARTS = ("ownership", "client", "identity")
# What a record's outcome calls it, in this order.
WORDS = {"ownership": "ownership", "possession": "possession", "client": "dps_client", "identity": "dps_identity"}
ALL = tuple(WORDS)
# Built where the processes of all hosts are forked from, and not by each of them.
build_program(client_options()["interpreter"]["default"])


class ActionModule(NotingAction, ProvingAction):
    """All parts of the work are prepared here, and done there in one call."""

    MODULE = "device_work"
    SECRET_OPTIONS = (*AUTHORIZATIONS, "proxy_auth", "challenge", "sealed_endorsement_auth", "program")
    ROLES = ("device_work", "ownership", "possession", "dps_client")
    may_be_planned = True

    # What a work order says of the unit, in place of the inventory.
    _ordered: OrderedUnit | None = None

    def proof_given(self):
        """With an order, its own challenge was answered."""
        if not self.answered:
            return {}
        return {"proven": True, **({} if self._ordered is None else {"order": self._ordered.outcome})}

    def work(self, task_vars):
        """The result of the task."""
        options = self._task.args
        read = task_vars.get(options["device"]) or {}
        verdict = (task_vars.get(options["batch"]) or {}).get("verdicts", {}).get(task_vars["inventory_hostname"])
        if options.get("order") and read.get("record"):
            # Nobody has judged one that is on none: it would take the place of the unit that it is called as.
            try:
                self._ordered = OrderedUnit(task_vars.get(options["order"]) or {}, task_vars["inventory_hostname"])
            except NotOrderedError as error:
                return self.failure(str(error))
            self.disabled_elsewhere, self.what_to_do = self._ordered.disabled_elsewhere, "Take it off the line."
            options = self._task.args = {**options, **self._ordered.options}
        if verdict is None or not read.get("record"):
            return {"changed": False, "skipped": True, "msg": "It was not read, so that there is nothing to be done."}
        self.judged = verdict
        if not verdict["accepted"]:
            refuted = {"not_proven": True} if verdict.get("not_proven") else {}
            return {**self.failure("; ".join(verdict["reasons"])), **refuted}
        variables = {**task_vars, "device_record": verdict["record"]}
        if self._ordered is not None:
            variables.update(self._ordered.variables)
            variables["device_record"] = self._ordered.known_of(verdict["record"])
        self._values = HostVariables(variables, self._loader)
        refused = [reason for name in options.get("refusals") or () for reason in self._values.value(name) if reason]
        if refused:
            msg = f"{' '.join(refused)} The TPM was not touched."
            return {**self.failure(msg), **failure(SETUP, variable=variable_in(msg))}
        if boolean(options.get("apart") or False):
            return self._apart(read, verdict["record"], variables)
        return self._tried(read, verdict["record"], variables)

    def _tried(self, read, record, variables, asked=ALL):
        """The task's result where of the work those parts are done that are *asked* for."""
        try:
            return self._done(read, record, variables, asked)
        except PossessionError as error:
            return self.refusal(error)

    def _apart(self, read, record, variables):
        """The same where what is in the way of one part says nothing of the others."""

        def tried(asked):
            try:
                return explain(self._tried(read, record, variables, asked))
            except AnsibleActionFail as error:
                return explain(self.failure(error.message))

        whole = tried(ALL)
        if not whole.get("failed"):
            return whole
        parts = {part: tried((part,)) for part in ("ownership", "client") if self._task.args.get(part)}
        found = {part: said if said.get("failed") else said[part] for part, said in parts.items()}
        return {"changed": any(said["changed"] for said in found.values()), **found}

    def _part(self, name: str) -> dict[str, Any] | None:
        """The options of a part of the work; None where it is no part of it."""
        named = self._task.args.get(name)
        return None if not named else dict(self._values.value(named))

    def _done(self, read, record, variables, asked):
        begun = variables.get(self._task.args.get("begun")) or {}
        ownership, possession, client, identity = (self._part(one) if one in asked else None for one in ALL)
        if self._ordered is not None:
            ownership = self._ordered.without_authorizations(ownership) if ownership else None
            client = self._ordered.with_certificates(client) if client is not None else None
        auths = authorizations_in(ownership or {})
        # That takes the same authorizations again, whatever is left to do.
        unlocking = self._unlocking(ownership or {}, possession or {}, auths, variables)
        connection = _connection(client, possession, ownership)
        if begun:
            ownership, possession, auths = None, None, {}
        for_client: dict[str, str] = {}
        aziot = self._task.args.get("flavour") == "aziot"
        if client is not None and not aziot:
            for_client = {name: str(client.pop(name)) for name in CLIENTS if client.get(name)}
        public = decode_public(record["endorsement_key"], "endorsement_key")
        # The storage root key was not known when an order was written, and is proven by another challenge.
        storage_root_key = _storage_root_key(read) if self._ordered is None else None
        proof: Proof | OrderedProof
        if self._ordered is None:
            message = as_message(auths, for_client)
            proof = Proof(endorsement_key=public, storage_root_key=storage_root_key, message=message)
        else:
            proof = self._ordered.proof()
        if storage_root_key is not None and (possession or {}).get("recorded_storage_root_key_name"):
            proof.check_recorded(str(possession["recorded_storage_root_key_name"]))
        arguments = {**connection, **self._parts(ownership, None if aziot else client, identity)}
        arguments["endorsement_key"] = base64.b64encode(public).decode("ascii")
        if storage_root_key is not None:
            arguments["storage_root_key"] = base64.b64encode(storage_root_key).decode("ascii")
        # What is owned has its keys persisted, and a TPM has room for few others.
        if read.get("kept_keys") and "ownership" not in begun:
            arguments["kept_keys"] = read["kept_keys"]
        said = self.prove(proof, arguments, unlocking, variables)
        said = without_secrets(said, [*auths.values(), *for_client.values()])
        if said.get("failed"):
            return said
        silent = [part for part in PARTS if f"{part}_options" in arguments and part not in said]
        if silent:
            return self.failure(f"it does not say what became of its {silent[0]}. {PULL_IT}")
        if "ownership" in said:
            owned = self._owned(said["ownership"], arguments)
            wrong = self._ordered.fault_of(owned["hierarchies"]) if self._ordered is not None else None
            if wrong:
                return self.failure(f"{wrong}. {PULL_IT}")
            said["ownership"] = {**owned, "key_version": asked_version(ownership)}
        proven = possession is not None and (
            storage_root_key is not None
            or ownership is None
            or self._prove_storage_root_key(said, record, possession, unlocking, variables)
        )
        if isinstance(proven, dict):
            return proven
        if client is not None and aziot:
            placed = self.run_module("dps_client_aziot", client, variables)
            if placed.get("failed"):
                return placed
            said = {**said, "client": placed, "changed": said["changed"] or placed["changed"]}
        return self._told(said, read, begun, variables, proven=proven)

    def _parts(self, ownership, client, identity):
        """The arguments of the module for what is to be done there."""
        arguments: dict[str, Any] = {}
        if ownership is not None:
            known = ("endorsement_key", *CONNECTION)
            own = {name: value for name, value in ownership.items() if name not in known}
            arguments["ownership_options"] = _checked(own, ownership_options(), OWNERSHIP_REQUIRED_IF)
        if client is not None:
            given = {**client, "units": read_units()}
            options = arguments["client_options"] = _checked(given, client_options(), CLIENT_REQUIRED_IF)
            if options["state"] == "present":
                arguments["program"] = base64.b64encode(build_program(options["interpreter"])).decode("ascii")
        if identity is not None:
            arguments["identity_options"] = _checked(identity, service_options(), [])
        return arguments

    def _unlocking(self, ownership, possession, auths, variables) -> Unlocking:
        """How the TPM is unlocked, by the options of the two parts, which are taken out of them."""
        given = {"endorsement_auth": possession.pop("endorsement_auth", None), **auths}
        asked = [part.pop("endorsement_auth_before_proof", False) for part in (ownership, possession)]
        for part in (ownership, possession):
            part.pop("recorded_storage_root_key", None)
        known = {name: str(auth) for name, auth in given.items() if auth}
        recorded = variables["device_record"].get("storage_root_key")
        return Unlocking(known, recorded, before_proof=any(boolean(one) for one in asked))

    def _owned(self, owned, arguments):
        """What the device says of its ownership, its keys being those that it has proven."""
        for name in ("endorsement_key", "storage_root_key"):
            if name in arguments and (owned[name] or {}).get("public") != arguments[name]:
                words = name.replace("_", " ")
                raise WrongClaimError(f"it returns another {words} than the one that it has proven.")
        return told(owned)

    def _prove_storage_root_key(self, said, record, possession, unlocking, variables):
        """Whether the storage root key is proven, which could not be read before the claim; or a failed result."""
        claimed = said["ownership"]["storage_root_key"]
        if claimed is None:
            raise WrongClaimError("it says no storage root key.")
        public = decode_public(claimed["public"], "storage_root_key")
        proof = Proof(
            endorsement_key=decode_public(record["endorsement_key"], "endorsement_key"), storage_root_key=public
        )
        if possession.get("recorded_storage_root_key_name"):
            proof.check_recorded(str(possession["recorded_storage_root_key_name"]))
        keys = {"endorsement_key": record["endorsement_key"], "storage_root_key": claimed["public"]}
        # It is the one that the TPM has just made, having proven the endorsement key that the authorization is for.
        sealed_to = unlocking.sealed_to(claimed["public"])
        answered = self.prove(proof, {**possession, **keys}, sealed_to, variables, module=PROOF)
        return answered if answered.get("failed") else answered["proven"]

    def _told(self, said, read, begun, variables, *, proven):
        """The task's result, with the record of the device."""
        done = {**said, **({"possession": {"changed": False}} if proven else {})}
        outcome = {word: DONE if done[part]["changed"] else VERIFIED for part, word in WORDS.items() if part in done}
        before = {name: value for name, value in read.items() if name != "storage_root_key"}
        host = variables["inventory_hostname"]
        found = {"proven": True, "endorsement_key_sha256": variables["device_record"]["endorsement_key_sha256"]}
        results = [before, begun.get("ownership") or {}, said.get("ownership") or {}, found]
        record = record_of(host, self._values.of_the_record(), results)
        told = (begun.get("record") or {}).get("outcome") or {}
        said.pop("proven", None)
        if self._ordered is not None:
            said["order"] = self._ordered.outcome
        result = {**said, "record": {**record, "outcome": {**told, **outcome}}}
        difference = said.pop("diff", None)
        if difference:
            parts = [difference.get("ownership"), *difference.get("client", []), difference.get("identity")]
            result["diff"] = [part for part in parts if part]
        return result


def _connection(*parts: Mapping[str, Any] | None) -> dict[str, Any]:
    """How the TPM is reached, by the options of the *parts*, of which a later one says it better."""
    return {name: part[name] for part in parts if part for name in CONNECTION if name in part}


def _checked(given: Mapping[str, Any], specification: dict[str, Any], required_if: list[Any]) -> dict[str, Any]:
    """The options *given* to a part of the work, as its own module has them; AnsibleActionFail for wrong ones."""
    validated = ArgumentSpecValidator(specification, required_if=required_if).validate(dict(given))
    if validated.error_messages:
        raise AnsibleActionFail(" ".join(map(without_quotation, validated.error_messages)))
    return dict(validated.validated_parameters)


def _storage_root_key(read: Mapping[str, Any]) -> bytes | None:
    """The TPM2B_PUBLIC of the storage root key that was *read*; None for none, and for what a claim will refuse."""
    said = read.get("storage_root_key")
    public = decode_public(said["public"], "storage_root_key") if said else None
    return public if public is not None and is_made_from(public, srk_public_template()) else None
