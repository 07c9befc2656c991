# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ownership of a TPM: what has to be done to reach it or end it is planned, shown, and then done, in that order.

TPM 2.0 has no TakeOwnership. Claimed means: the endorsement and storage root keys are persisted, the dictionary attack
parameters are set, and the hierarchies have the authorizations that were given. Part 1, 13 (hierarchies) and 19.8
(dictionary attacks); part 3, 24.6 TPM2_Clear and 24.8 TPM2_HierarchyChangeAuth.

The order of the steps is what makes a killed run safe: after each the TPM still tells which authorization its lockout
hierarchy has, see :mod:`.authorizations`. Each step is one command, which the TPM does wholly or not at all; but the
record of the key version takes two, and tells no version in between.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from . import key_version_record, templates
from .authorizations import GIVEN, NONE, PREVIOUS, UNPROVEN, Authorizations, back_after
from .certificates import CERTIFICATE_CHAIN, makers_templates, read_chain_certificates
from .connection import RC_AUTH_FAIL, RC_BAD_AUTH, RC_LOCKOUT, TpmError
from .endorsement_key import EndorsementKey, describe_endorsement_key, read_endorsement_key
from .nv import NvReader, Owner
from .ownership_wish import CLAIMED_DICTIONARY_ATTACK, HIERARCHIES, OWNERS_KEYS, Wish, refuse_contradictions
from .persistent_key import describe_persistent
from .properties import NV_INDICES, read_handles, read_properties, seconds_in_words
from .session import start_salted_session
from .storage_root_key import StorageRootKey, made_storage_root_key, persisted_storage_root_key

_NV_PLATFORM_CREATE = 1 << 30


class Step(NamedTuple):
    """One change: *kind* and *subject* for the program, *words* for people."""

    kind: str
    subject: Any
    words: str


class Ownership:
    """The plan for one wish on one open TPM, and its execution.

    Making it reads the TPM and makes keys that are not persisted, which stay loaded while the connection lasts; nothing
    is changed before :meth:`apply`.
    """

    def __init__(
        self,
        esys: Any,
        wish: Wish,
        held: EndorsementKey | None = None,
        held_storage_root_key: StorageRootKey | None = None,
    ) -> None:
        """*held* are the keys of an earlier reading, which are not made again."""
        refuse_contradictions(wish)
        self._esys = esys
        self._wish = wish
        self._held = held
        self._held_storage_root_key = held_storage_root_key
        self.properties = read_properties(esys)
        self._authorizations = Authorizations(esys, self.properties, wish)
        self._nv = NvReader(esys, self.properties)
        self._refuse_silence()
        self._refuse_lockout()
        self._refuse_unknown_auths()
        self._foreign = self._foreign_persistent_keys()
        self.chain: list[dict[str, str]] = []
        self.endorsement_key = self._find_endorsement_key()
        self._refuse_another_key()
        # Not before it is known whose key it is salted to.
        self._session = start_salted_session(esys, self.endorsement_key.esys_handle)
        self._record = key_version_record.look(esys)
        self._authorizations.find_out(self._session, self._record)
        self._read_what_the_owner_reads()
        self.storage_root_key = self._read_storage_root_key()
        self.steps = self._plan()
        self._refuse_unvouched_lockout()

    # What stops before anything is changed

    def _refuse_lockout(self) -> None:
        state = self.properties
        # The lockout hierarchy, and with it TPM2_Clear, works in lockout too (part 1, 19.8.4).
        if not state.in_lockout or self._wish.state == "cleared":
            return
        raise TpmError(
            f"The TPM is in dictionary attack lockout: {state.lockout_counter} failed tries, {state.max_tries} are "
            "allowed. Nothing was changed.",
            RC_LOCKOUT,
            f"It forgives one try each {seconds_in_words(state.recovery_time)}, if it has power."
            if state.recovery_time
            else "It has no recovery time, or tells none: have it reset with the lockout authorization "
            "(tpm2_dictionarylockout -c).",
        )

    def _refuse_silence(self) -> None:
        """Which authorizations are set is told by one property alone, and the lockout authorization is never tried."""
        if not self.properties.tells_authorizations:
            raise TpmError(
                "This TPM does not tell which authorizations are set (it leaves TPM_PT_PERMANENT out), so that nothing "
                "of its ownership can be changed safely; nothing was changed.",
                hint="Ask its maker for a firmware that tells it: every TPM has to (TPM 2.0 part 2, 6.13).",
            )

    def _refuse_unknown_auths(self) -> None:
        """Every authorization that is set has to be one that was given; for a clear that of the lockout hierarchy."""
        needed = ("lockout",) if self._wish.state == "cleared" else HIERARCHIES
        is_set = self._authorizations.is_set
        unknown = [one for one in needed if is_set(one) and self._wish.auth(one) is None]
        if unknown:
            raise TpmError(
                "This TPM has an owner: {}. No {} was given; nothing was changed.".format(
                    self._authorizations.in_words(), " and no ".join(one + "_auth" for one in unknown)
                ),
                hint="Give what its owner has set, or have it released or cleared.",
            )

    def _refuse_unvouched_lockout(self) -> None:
        """Nothing proves whose the lockout authorization is, and the plan would try it, which is a risk."""
        wish = self._wish
        if self._authorizations.standing["lockout"] != UNPROVEN or wish.lockout_auth_trusted:
            return
        if wish.previous_lockout_auth is not None:
            needed = "rotating it"
        elif wish.claims and wish.owner_auth is not None and not self._authorizations.is_set("owner"):
            needed = "claiming it, since a claim of ours sets the owner authorization first,"
        elif any(map(_needs_lockout, self.steps)):
            needed = {
                "released": "releasing it",
                "cleared": "clearing it",
            }.get(wish.state, "changing the dictionary attack parameters")
        else:
            return
        owner = "is not the given one" if self._authorizations.is_set("owner") else "is not"
        raise TpmError(
            f"The lockout authorization of this TPM is set and the owner authorization {owner}, so nothing proves that "
            f"lockout_auth is the right one; {needed} would be a guess. Nothing was changed.",
            hint=f"A wrong try disables the lockout hierarchy {back_after(self.properties.lockout_recovery)}. If you "
            "are sure, set lockout_auth_trusted, on the line ownership_lockout_auth_trusted.",
        )

    def _refuse_another_key(self) -> None:
        wish, found = self._wish, self.endorsement_key
        expected = wish.endorsement_key_sha256
        if expected and found.sha256 != expected.lower():
            raise TpmError(
                f"The endorsement key of this TPM has SHA-256 {found.sha256}, expected was {expected.lower()}; nothing "
                "was changed.",
                hint="Another TPM answers, its endorsement seed was changed, or the expected key is of another "
                f"template (this one is of '{found.template}').",
            )
        if wish.state == "cleared" and found.sha256 != (wish.clear_confirmation or "").lower():
            raise TpmError(
                f"clear_confirmation does not name this TPM, whose endorsement key has SHA-256 {found.sha256}; nothing "
                "was changed.",
                hint="A clear cannot be undone: give the SHA-256 of the endorsement key of the very TPM to clear.",
            )

    def _read_what_the_owner_reads(self) -> None:
        """Certificate, nonce, template and chain that only the owner authorization reads, which is known now."""
        if self._authorizations.standing["owner"] not in (GIVEN, PREVIOUS):
            return
        nv = NvReader(self._esys, self.properties, Owner(self._authorized_owner(), self._session))
        if self._nv.closed:
            self._nv = nv
            self.endorsement_key = self._find_endorsement_key()
            self._refuse_another_key()
        if self._wish.read_certificate and nv.is_the_owners(*CERTIFICATE_CHAIN):
            self._nv = nv
            self.chain = read_chain_certificates(nv)

    @property
    def unreadable(self) -> list[dict[str, str]]:
        """Which NV indices could not be read, as modules return it."""
        return self._nv.unreadable_results()

    def _find_endorsement_key(self) -> EndorsementKey:
        # Only where a key has to be made is one of them tried, which costs nothing.
        known = list(self._wish.known_auths("endorsement").values()) or [b""]
        for auth in known:
            try:
                found = read_endorsement_key(
                    self._esys,
                    properties=self.properties,
                    nv=self._nv,
                    template=self._wish.template,
                    endorsement_auth=auth,
                    identify=self._wish.identify_template,
                    ignore_persistent=templates.EK_HANDLE in self._foreign,
                    replace_persistent=self._wish.claims and self._wish.replace_persistent_keys,
                    certificate=self._wish.read_certificate,
                    expected=self._wish.endorsement_key_sha256,
                    held=self._held,
                )
            except TpmError as error:
                if auth is known[-1] or error.code not in (RC_AUTH_FAIL, RC_BAD_AUTH):
                    raise
                continue
            if found.foreign:
                self._foreign[templates.EK_HANDLE] = found.foreign
            return found
        raise AssertionError("the last one returns or raises")

    def _foreign_persistent_keys(self) -> dict[int, str]:
        """Handles with something else than belongs there, and what is wrong with it.

        A claim replaces it where that is wished, else it is a :class:`TpmError`; a release leaves it alone.
        """
        foreign = {}
        endorsement, storage = "RSA-2048 endorsement key", "RSA-2048 storage root key"
        for handle, what in ((templates.EK_HANDLE, endorsement), (templates.SRK_HANDLE, storage)):
            if not read_handles(self._esys, handle, handle):
                continue
            there = self._esys.tr_from_tpmpublic(handle)
            if what == endorsement:
                _public, problem = describe_endorsement_key(self._esys, there, makers_templates(self._nv))
            else:
                made_from = [templates.srk_public_template()]
                _public, problem = describe_persistent(
                    self._esys, there, made_from=made_from, hierarchy=templates.RH_OWNER
                )
            if problem is None:
                continue
            if self._wish.claims and not self._wish.replace_persistent_keys:
                raise TpmError(
                    f"What is persisted at 0x{handle:08x} is no {what}: {problem}. Nothing was changed.",
                    hint="Every client would take it for one. If nobody needs it, set replace_persistent_keys, on the "
                    "line tpmfleet_replace_persistent_keys.",
                )
            foreign[handle] = problem
        return foreign

    def _read_storage_root_key(self) -> StorageRootKey | None:
        """The one that is persisted, or for a claim a new one; a TPM makes the same one from the same template."""
        persisted = None if templates.SRK_HANDLE in self._foreign else persisted_storage_root_key(self._esys)
        if persisted is not None or not self._wish.claims:
            return persisted
        if self._held_storage_root_key is not None:
            return self._held_storage_root_key
        return made_storage_root_key(self._esys, self._authorizations.authorized("owner"), session1=self._session)

    # The plan

    def _plan(self) -> list[Step]:
        if self._wish.state == "cleared":
            return self._clearing()
        return self._claim() if self._wish.claims else self._release()

    def _claim(self) -> list[Step]:
        wish, standing = self._wish, self._authorizations.standing
        steps = [self._removal(handle) for handle in self._foreign]
        if not self.endorsement_key.persisted:
            steps.append(_persisting(templates.EK_HANDLE, "endorsement key"))
        if self.storage_root_key is not None and not self.storage_root_key.persisted:
            steps.append(_persisting(templates.SRK_HANDLE, "storage root key"))
        steps += self._dictionary_attack_steps()
        steps += self._setting("endorsement")
        rotating = standing["lockout"] == PREVIOUS or (
            standing["lockout"] == UNPROVEN and wish.previous_lockout_auth is not None
        )
        if rotating:
            steps.append(Step("empty_auth", "lockout", "empty the lockout authorization, to set the new one next"))
        witnessing = wish.lockout_auth is not None and (rotating or standing["lockout"] == NONE)
        steps += self._setting("owner")
        if witnessing and wish.owner_auth is None:
            steps += self._recording()
        if witnessing:
            steps.append(Step("set_auth", "lockout", "set the lockout authorization"))
        if wish.owner_auth is not None and self._record.present and not self._record.foreign:
            steps.append(_REMOVE_RECORD)
        return steps

    def _setting(self, hierarchy: str) -> list[Step]:
        """The step that gives the owner or endorsement hierarchy its authorization, where it has another."""
        if self._wish.auth(hierarchy) is None or self._authorizations.standing[hierarchy] == GIVEN:
            return []
        previous = self._authorizations.standing[hierarchy] == PREVIOUS
        words = f"change the {hierarchy} authorization" if previous else f"set the {hierarchy} authorization"
        return [Step("set_auth", hierarchy, words)]

    def _recording(self) -> list[Step]:
        version = self._wish.key_version
        if version is None or self._record.version == version:
            return []
        if self._record.foreign:
            raise key_version_record.foreign()
        words = f"record key version {version} at NV index 0x{key_version_record.INDEX:08x}"
        return [Step("record_version", version, words)]

    def _release(self) -> list[Step]:
        is_set = self._authorizations.is_set
        steps = self._dictionary_attack_steps()
        for hierarchy in ("lockout", "endorsement"):
            if is_set(hierarchy):
                steps.append(Step("empty_auth", hierarchy, f"empty the {hierarchy} authorization"))
        if self._wish.remove_persistent_keys:
            if self.storage_root_key is not None:
                steps.append(self._removal(templates.SRK_HANDLE))
            if self.endorsement_key.persisted:
                steps.append(self._removal(templates.EK_HANDLE))
        planned = {step.subject for step in steps if step.kind == "remove"}
        for handle in dict.fromkeys(self._wish.remove_handles):
            if handle not in planned and read_handles(self._esys, handle, handle):
                steps.append(self._removal(handle))
        if self._record.present and not self._record.foreign:
            steps.append(_REMOVE_RECORD)
        if is_set("owner"):
            steps.append(Step("empty_auth", "owner", "empty the owner authorization"))
        return steps

    def _clearing(self) -> list[Step]:
        if not self._has_owners_things():
            return []
        if self.properties.clear_disabled:
            raise TpmError(
                "TPM2_Clear is disabled in this TPM; nothing was changed.",
                hint="Only the platform can enable it again: clear the TPM in the firmware setup.",
            )
        return [Step("clear", None, "clear the TPM")]

    def _has_owners_things(self) -> bool:
        """Whether there is anything in the TPM that TPM2_Clear takes away and that can be seen."""
        if any(map(self._authorizations.is_set, HIERARCHIES)) or read_handles(self._esys, *OWNERS_KEYS):
            return True
        for index in read_handles(self._esys, *NV_INDICES):
            public, _name = self._esys.nv_read_public(self._esys.tr_from_tpmpublic(index))
            if not int(public.nvPublic.attributes) & _NV_PLATFORM_CREATE:
                return True
        return False

    def _removal(self, handle: int) -> Step:
        what = self._foreign.get(handle)
        return Step("remove", handle, "remove the key at 0x{:08x}{}".format(handle, f" ({what})" if what else ""))

    def _dictionary_attack_steps(self) -> list[Step]:
        told = {option: value for option, value in self.properties.dictionary_attack().items() if value is not None}
        # The command sets all three, so that what is neither told nor asked for becomes what a claim makes it.
        wanted = {**CLAIMED_DICTIONARY_ATTACK, **told, **self._wish.dictionary_attack}
        if told.items() <= wanted.items() and not self._sets_untold(told):
            return []
        if wanted["max_tries"] <= self.properties.lockout_counter:
            raise TpmError(
                f"The TPM counts {self.properties.lockout_counter} failed tries, so that max_tries of "
                f"{wanted['max_tries']} would lock it at once; nothing was changed.",
                hint="Allow more tries (max_tries, on the line ownership_max_tries), or wait until some are forgiven.",
            )
        words = (
            "set the dictionary attack parameters to {max_tries} tries, {recovery_time} s recovery, "
            "{lockout_recovery} s lockout recovery"
        ).format(**wanted)
        return [Step("set_dictionary_attack", wanted, words)]

    def _sets_untold(self, told: dict[str, int]) -> bool:
        """Whether parameters are to be set that the TPM does not tell: once, with the lockout authorization."""
        untold = self._wish.dictionary_attack.keys() - told.keys()
        return bool(untold) and not self._authorizations.is_set("lockout") and self._wish.lockout_auth is not None

    # Its execution

    def apply(self) -> None:
        """Takes the planned steps."""
        unproven = self._authorizations.standing["lockout"] == UNPROVEN
        if unproven and any(map(_needs_lockout, self.steps)):
            # Trusted; if wrongly, that shows here, before anything else was changed.
            with self._authorizations.told_about_lockout():
                if not self._authorizations.opens("lockout"):
                    raise TpmError("", RC_AUTH_FAIL)
        for step in self.steps:
            getattr(self, "_" + step.kind)(step.subject)

    @property
    def clears(self) -> bool:
        """Whether the plan is to clear the TPM."""
        return any(step.kind == "clear" for step in self.steps)

    def _authorized_owner(self) -> Any:
        return self._authorizations.authorized("owner")

    def _remove(self, handle: int) -> None:
        self._esys.evict_control(
            self._authorized_owner(), self._esys.tr_from_tpmpublic(handle), handle, session1=self._session
        )

    def _persist(self, handle: int) -> None:
        key = self.endorsement_key if handle == templates.EK_HANDLE else self.storage_root_key
        if key is None:
            raise RuntimeError(f"the plan persists 0x{handle:08x}, and no such key was made")
        self._esys.evict_control(self._authorized_owner(), key.esys_handle, handle, session1=self._session)

    def _set_dictionary_attack(self, wanted: dict[str, int]) -> None:
        with self._authorizations.told_about_lockout():
            self._esys.dictionary_attack_parameters(
                wanted["max_tries"],
                wanted["recovery_time"],
                wanted["lockout_recovery"],
                lock_handle=self._authorizations.authorized("lockout"),
                session1=self._session,
            )

    def _set_auth(self, hierarchy: str) -> None:
        self._authorizations.change(hierarchy, self._wish.auth(hierarchy) or b"")

    def _empty_auth(self, hierarchy: str) -> None:
        self._authorizations.change(hierarchy, b"")

    def _record_version(self, version: int) -> None:
        key_version_record.write(self._esys, version, owner=self._authorized_owner(), session=self._session)

    def _remove_record(self, _subject: None) -> None:
        key_version_record.remove(self._esys, owner=self._authorized_owner(), session=self._session)

    def _clear(self, _subject: None) -> None:
        with self._authorizations.told_about_lockout():
            self._esys.clear(self._authorizations.authorized("lockout"), session1=self._session)
        self._authorizations.standing = dict.fromkeys(HIERARCHIES, NONE)

    # What it looks like before and after

    def read_state(self) -> State:
        """The state of the TPM at this moment."""
        properties = read_properties(self._esys)
        return State(
            properties.hierarchies(),
            dict(self._authorizations.standing),
            properties.dictionary_attack(),
            tuple(read_handles(self._esys, *OWNERS_KEYS)),
            key_version_record.look(self._esys).version,
        )

    def planned_state(self, before: State) -> State:
        """The state that the steps lead to."""
        hierarchies, authorizations = dict(before.hierarchies), dict(before.authorizations)
        state = before
        keys = set(before.persistent_keys)
        for step in self.steps:
            if step.kind in ("set_auth", "empty_auth"):
                hierarchies[step.subject + "_auth_set"] = step.kind == "set_auth"
                authorizations[step.subject] = GIVEN if step.kind == "set_auth" else NONE
            elif step.kind == "set_dictionary_attack":
                state = state._replace(dictionary_attack=step.subject)
            elif step.kind == "persist":
                keys.add(step.subject)
            elif step.kind == "remove":
                keys.discard(step.subject)
            elif step.kind in ("record_version", "remove_record"):
                state = state._replace(recorded_key_version=step.subject)
            elif step.kind == "clear":
                return State.cleared()
        return state._replace(
            hierarchies=hierarchies, authorizations=authorizations, persistent_keys=tuple(sorted(keys))
        )


class State(NamedTuple):
    """What ownership changes in a TPM. No secret is in it.

    *dictionary_attack* is None after a clear, which brings back values that only the chip knows.
    """

    hierarchies: dict[str, bool]
    authorizations: dict[str, str]
    dictionary_attack: dict[str, int | None] | None
    persistent_keys: tuple[int, ...]
    recorded_key_version: int | None

    @classmethod
    def cleared(cls) -> State:
        """What TPM2_Clear leaves."""
        return cls({one + "_auth_set": False for one in HIERARCHIES}, dict.fromkeys(HIERARCHIES, NONE), None, (), None)

    def as_difference(self) -> dict[str, Any]:
        """One side of a difference for people."""
        return {
            **{one + "_auth": word for one, word in self.authorizations.items()},
            **(self.dictionary_attack or {}),
            "persistent_keys": [f"0x{handle:08x}" for handle in self.persistent_keys],
            "recorded_key_version": self.recorded_key_version,
        }


def bring_about(
    esys: Any,
    wish: Wish,
    *,
    check_mode: bool,
    held: EndorsementKey | None = None,
    held_storage_root_key: StorageRootKey | None = None,
) -> dict[str, Any]:
    """Does what *wish* asks for, in check mode nothing but the plan, and returns what the module returns.

    *held* are the keys of an earlier reading, which are not made again.

    Keys: changed, actions (words), hierarchies, authorizations, authorizations_before, recorded_key_version,
    lockout_auth_proven, dictionary_attack, in_lockout, endorsement_key, storage_root_key (None where none is left),
    tpm, unreadable, certificates, diff. Check mode returns what a run would.
    """
    ownership = Ownership(esys, wish, held, held_storage_root_key)
    before = ownership.read_state()
    after = ownership.planned_state(before)
    if not check_mode:
        ownership.apply()
        after = ownership.read_state()
        if ownership.clears:
            after = after._replace(dictionary_attack=None)
    endorsement_key = ownership.endorsement_key._replace(persisted=templates.EK_HANDLE in after.persistent_keys)
    storage_root_key = ownership.storage_root_key
    if storage_root_key is not None:
        storage_root_key = storage_root_key._replace(persisted=templates.SRK_HANDLE in after.persistent_keys)
    return {
        "changed": bool(ownership.steps),
        "actions": [step.words for step in ownership.steps],
        "hierarchies": after.hierarchies,
        "authorizations": after.authorizations,
        "authorizations_before": before.authorizations,
        "recorded_key_version": after.recorded_key_version,
        "lockout_auth_proven": after.authorizations["lockout"] == GIVEN,
        "dictionary_attack": after.dictionary_attack,
        "in_lockout": ownership.properties.in_lockout and not ownership.clears,
        "endorsement_key": endorsement_key.as_result(),
        "storage_root_key": storage_root_key.as_result() if storage_root_key and storage_root_key.persisted else None,
        "tpm": ownership.properties.chip(),
        "unreadable": ownership.unreadable,
        "certificates": ownership.chain,
        "diff": {"before": before.as_difference(), "after": after.as_difference()},
    }


def _persisting(handle: int, what: str) -> Step:
    return Step("persist", handle, f"persist the {what} at 0x{handle:08x}")


_REMOVE_RECORD = Step("remove_record", None, "remove the record of the key version")


def _needs_lockout(step: Step) -> bool:
    return step.kind in ("set_dictionary_attack", "clear") or step.subject == "lockout"
