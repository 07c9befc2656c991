# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Ownership of a TPM: what has to be done to claim or release it is planned, shown, and then done, in that order.

TPM 2.0 has no TakeOwnership. Claimed means: the endorsement and storage root keys are persisted, the dictionary attack
parameters are set, and the hierarchies have the authorizations that were given. Part 1, 13 (hierarchies) and 19.8
(dictionary attacks); part 3, 24.8 TPM2_HierarchyChangeAuth.

The order of the steps is what makes a killed run safe. The owner's authorization can be tried at no risk, the lockout
hierarchy's cannot: one wrong try disables it for the lockout recovery time. So a claim sets the owner's before the
lockout's and a release empties it after the lockout's; an owner's authorization that proves ours then vouches for the
lockout's, at whatever point the power went.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from . import templates
from .connection import RC_AUTH_FAIL, RC_BAD_AUTH, RC_LOCKOUT, TpmError
from .endorsement_key import EndorsementKey, describe_persistent, read_endorsement_key
from .properties import read_handles, read_properties, seconds_in_words
from .session import start_salted_session

HIERARCHIES = ("owner", "endorsement", "lockout")
MAX_AUTH_BYTES = 32

# Enough tries for people's mistakes, few for a program; one is forgiven each ten minutes. The lockout hierarchy, which
# has one try alone, comes back after a day.
CLAIMED_DICTIONARY_ATTACK = {"max_tries": 32, "recovery_time": 600, "lockout_recovery": 86400}


class Wish(NamedTuple):
    """What is asked for. The authorizations are bytes, None where the hierarchy shall have none.

    *state* is ``claimed`` or ``released``. For ``released`` the authorizations are those that the TPM has now.
    *dictionary_attack* holds those of max_tries, recovery_time and lockout_recovery that matter.
    """

    state: str
    owner_auth: bytes | None = None
    endorsement_auth: bytes | None = None
    lockout_auth: bytes | None = None
    lockout_auth_trusted: bool = False
    dictionary_attack: dict[str, int] = {}
    endorsement_key_sha256: str | None = None
    template: str = "auto"
    identify_template: bool = True
    replace_persistent_keys: bool = False
    remove_persistent_keys: bool = False

    def auth(self, hierarchy: str) -> bytes | None:
        """The authorization for one of HIERARCHIES."""
        return {"owner": self.owner_auth, "endorsement": self.endorsement_auth, "lockout": self.lockout_auth}[hierarchy]


class Step(NamedTuple):
    """One change: *kind* and *subject* for the program, *words* for people."""

    kind: str
    subject: Any
    words: str


class StorageRootKey(NamedTuple):
    """The storage root key; *persisted* is whether it is at 0x81000001."""

    public: bytes
    persisted: bool
    esys_handle: Any

    def as_result(self) -> dict[str, Any]:
        """The shape in which modules return it."""
        return {
            "public": base64.b64encode(self.public).decode("ascii"),
            "name": templates.name_of(self.public).hex(),
            "handle": f"0x{templates.SRK_HANDLE:08x}" if self.persisted else None,
            "persisted": self.persisted,
        }


def checked_auth(option: str, value: str | None) -> bytes | None:
    """An authorization as the TPM takes it; :class:`TpmError` for one that a TPM or a client would cut or refuse.

    A TPM strips zero bytes from the end, C clients stop at the first one, and a value may be no longer than the digest
    of the weakest hash in use, SHA-256 (part 1, 19.6.4.3).
    """
    if value is None:
        return None
    data = value.encode("utf-8")
    if not data:
        raise TpmError(f"{option} is empty, which is no authorization.", hint="Leave it out where none is meant.")
    if b"\x00" in data:
        raise TpmError(f"{option} holds a zero byte, which TPMs and clients cut off.", hint="Use printable text.")
    if len(data) > MAX_AUTH_BYTES:
        raise TpmError(
            f"{option} is {len(data)} bytes long; a TPM takes {MAX_AUTH_BYTES} at most.",
            hint="Use 32 characters of base64url, as the filter hierarchy_auth makes.",
        )
    return data


class Ownership:
    """The plan for one wish on one open TPM, and its execution.

    Making it reads the TPM and makes keys that are not persisted, which stay loaded while the connection lasts; nothing
    is changed before :meth:`apply`.
    """

    def __init__(self, esys: Any, wish: Wish) -> None:
        self._esys = esys
        self._wish = wish
        self.properties = read_properties(esys)
        # What authorizes a hierarchy at this moment.
        self._current = {one: (wish.auth(one) or b"") if self._is_set(one) else b"" for one in HIERARCHIES}
        self._refuse_lockout()
        self._refuse_unknown_auths()
        self._foreign = self._foreign_persistent_keys()
        self.endorsement_key = self._read_endorsement_key()
        self._session = start_salted_session(esys, self.endorsement_key.esys_handle)
        self._prove_auths()
        self.storage_root_key = self._read_storage_root_key()
        self.steps = self._claim() if wish.state == "claimed" else self._release()

    # What stops before anything is changed

    def _is_set(self, hierarchy: str) -> bool:
        return self.properties.hierarchies()[hierarchy + "_auth_set"]

    def _refuse_lockout(self) -> None:
        state = self.properties
        if not state.in_lockout:
            return
        raise TpmError(
            f"The TPM is in dictionary attack lockout: {state.lockout_counter} failed tries, {state.max_tries} are "
            "allowed. Nothing was changed.",
            RC_LOCKOUT,
            f"It forgives one try each {seconds_in_words(state.recovery_time)}, if it has power."
            if state.recovery_time
            else "It has no recovery time: have it reset with the lockout authorization (tpm2_dictionarylockout -c).",
        )

    def _refuse_unknown_auths(self) -> None:
        """Every authorization that is set has to be one that was given."""
        unknown = [one for one in HIERARCHIES if self._is_set(one) and self._wish.auth(one) is None]
        if unknown:
            raise TpmError(
                "This TPM has an owner: {}. No {} was given; nothing was changed.".format(
                    self._set_in_words(), " and no ".join(one + "_auth" for one in unknown)
                ),
                hint="Give what its owner has set, or have it released or cleared.",
            )
        if self._is_set("lockout") and not self._is_set("owner"):
            self._refuse_unvouched_lockout()

    def _refuse_unvouched_lockout(self) -> None:
        """The lockout authorization alone is set, so that nothing proves whose it is, and trying it is a risk."""
        wish = self._wish
        if wish.lockout_auth_trusted:
            return
        if wish.state == "released":
            needed = "releasing it"
        elif wish.owner_auth is not None:
            needed = "claiming it, since a claim of ours sets the owner authorization first,"
        elif self._wanted_dictionary_attack() != self.properties.dictionary_attack():
            needed = "changing the dictionary attack parameters"
        else:
            return
        raise TpmError(
            "The lockout authorization of this TPM is set and the owner authorization is not, so nothing proves that "
            f"lockout_auth is the right one; {needed} would be a guess. Nothing was changed.",
            hint=f"A wrong try disables the lockout hierarchy {_or_reset(self.properties.lockout_recovery)}. If you "
            "are sure, set lockout_auth_trusted.",
        )

    def _set_in_words(self) -> str:
        are_set = [one for one in HIERARCHIES if self._is_set(one)]
        return "the authorization of {} is set".format(", ".join(are_set)) if are_set else "no authorization is set"

    def _read_endorsement_key(self) -> EndorsementKey:
        wish = self._wish
        replacing = wish.state == "claimed" and wish.replace_persistent_keys
        found = self._find_endorsement_key("auto" if replacing else wish.template)
        if replacing and wish.template not in ("auto", found.template):
            self._foreign[templates.EK_HANDLE] = f"it is of template '{found.template}'"
            found = self._find_endorsement_key(wish.template)
        expected = wish.endorsement_key_sha256
        if expected and found.sha256 != expected.lower():
            raise TpmError(
                f"The endorsement key of this TPM has SHA-256 {found.sha256}, expected was {expected.lower()}; nothing "
                "was changed.",
                hint="Another TPM answers, its endorsement seed was changed, or the expected key is of another "
                f"template (this one is of '{found.template}').",
            )
        return found

    def _find_endorsement_key(self, template: str) -> EndorsementKey:
        return read_endorsement_key(
            self._esys,
            properties=self.properties,
            template=template,
            endorsement_auth=self._current["endorsement"],
            identify=self._wish.identify_template,
            ignore_persistent=templates.EK_HANDLE in self._foreign,
        )

    def _foreign_persistent_keys(self) -> dict[int, str]:
        """Handles with something else than belongs there, and what is wrong with it.

        A claim replaces it where that is wished, else it is a :class:`TpmError`; a release leaves it alone.
        """
        foreign = {}
        for handle, template, hierarchy, what in (
            (templates.EK_HANDLE, templates.ek_public_template(), templates.RH_ENDORSEMENT, "RSA-2048 endorsement key"),
            (templates.SRK_HANDLE, templates.srk_public_template(), templates.RH_OWNER, "RSA-2048 storage root key"),
        ):
            if not read_handles(self._esys, handle, handle):
                continue
            _public, problem = describe_persistent(
                self._esys, self._esys.tr_from_tpmpublic(handle), template=template, hierarchy=hierarchy
            )
            if problem is None:
                continue
            if self._wish.state == "claimed" and not self._wish.replace_persistent_keys:
                raise TpmError(
                    f"What is persisted at 0x{handle:08x} is no {what}: {problem}. Nothing was changed.",
                    hint="Every client would take it for one. If nobody needs it, set replace_persistent_keys.",
                )
            foreign[handle] = problem
        return foreign

    def _prove_auths(self) -> None:
        """The owner's and endorsement's authorizations are tried, which no TPM counts; the lockout's never is, here."""
        for hierarchy in ("owner", "endorsement"):
            if self._is_set(hierarchy) and not self._opens(hierarchy):
                raise TpmError(
                    f"This TPM has an owner: {self._set_in_words()}, and {hierarchy}_auth is not the {hierarchy} "
                    "authorization. Nothing was changed, and the lockout authorization was not tried.",
                    RC_BAD_AUTH,
                    "Somebody else owns it, or it was claimed with another key version. Give what its owner has set, "
                    "or have it released or cleared.",
                )

    def _opens(self, hierarchy: str) -> bool:
        """Whether the current authorization opens *hierarchy*, by TPM2_PolicySecret, which changes nothing."""
        from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_SE
        from tpm2_pytss.types import TPMT_SYM_DEF

        policy = self._esys.start_auth_session(
            tpm_key=ESYS_TR.NONE,
            bind=ESYS_TR.NONE,
            session_type=TPM2_SE.TRIAL,
            symmetric=TPMT_SYM_DEF(algorithm=TPM2_ALG.NULL),
            auth_hash=TPM2_ALG.SHA256,
        )
        try:
            self._esys.policy_secret(
                self._authorized(hierarchy),
                policy,
                nonce_tpm=b"",
                cp_hash_a=b"",
                policy_ref=b"",
                expiration=0,
                session1=self._session,
            )
        except TpmError as error:
            if error.code in (RC_AUTH_FAIL, RC_BAD_AUTH):
                return False
            raise
        finally:
            self._esys.flush_context(policy)
        return True

    # Keys and sessions

    def _authorized(self, hierarchy: str) -> Any:
        """The handle of *hierarchy* with its current authorization set."""
        from tpm2_pytss.constants import ESYS_TR

        handle = {"owner": ESYS_TR.OWNER, "endorsement": ESYS_TR.ENDORSEMENT, "lockout": ESYS_TR.LOCKOUT}[hierarchy]
        self._esys.tr_set_auth(handle, self._current[hierarchy])
        return handle

    @contextmanager
    def _encrypting(self) -> Iterator[Any]:
        """The session, with the first parameter of the command encrypted."""
        from tpm2_pytss.constants import TPMA_SESSION

        keep = TPMA_SESSION.CONTINUESESSION
        self._esys.trsess_set_attributes(self._session, keep | TPMA_SESSION.DECRYPT)
        try:
            yield self._session
        finally:
            self._esys.trsess_set_attributes(self._session, keep)

    def _read_storage_root_key(self) -> StorageRootKey | None:
        """The one that is persisted, or for a claim a new one; a TPM makes the same one from the same template."""
        handle = templates.SRK_HANDLE
        persisted = bool(read_handles(self._esys, handle, handle)) and handle not in self._foreign
        if persisted:
            esys_handle = self._esys.tr_from_tpmpublic(handle)
            area, _name, _qualified_name = self._esys.read_public(esys_handle)
            return StorageRootKey(bytes(area.marshal()), True, esys_handle)
        if self._wish.state == "released":
            return None
        from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

        esys_handle, area, _data, _digest, _ticket = self._esys.create_primary(
            TPM2B_SENSITIVE_CREATE(), templates.srk_template(), self._authorized("owner"), session1=self._session
        )
        return StorageRootKey(bytes(area.marshal()), False, esys_handle)

    # The plan

    def _claim(self) -> list[Step]:
        steps = [self._removal(handle) for handle in self._foreign]
        if not self.endorsement_key.persisted:
            steps.append(_persisting(templates.EK_HANDLE, "endorsement key"))
        if self.storage_root_key is not None and not self.storage_root_key.persisted:
            steps.append(_persisting(templates.SRK_HANDLE, "storage root key"))
        steps += self._dictionary_attack_steps()
        for hierarchy in ("endorsement", "owner", "lockout"):
            if self._wish.auth(hierarchy) is not None and not self._is_set(hierarchy):
                steps.append(Step("set_auth", hierarchy, f"set the {hierarchy} authorization"))
        return steps

    def _release(self) -> list[Step]:
        steps = self._dictionary_attack_steps()
        for hierarchy in ("lockout", "endorsement"):
            if self._is_set(hierarchy):
                steps.append(Step("empty_auth", hierarchy, f"empty the {hierarchy} authorization"))
        if self._wish.remove_persistent_keys:
            if self.storage_root_key is not None:
                steps.append(self._removal(templates.SRK_HANDLE))
            if self.endorsement_key.persisted:
                steps.append(self._removal(templates.EK_HANDLE))
        if self._is_set("owner"):
            steps.append(Step("empty_auth", "owner", "empty the owner authorization"))
        return steps

    def _removal(self, handle: int) -> Step:
        what = self._foreign.get(handle)
        return Step("remove", handle, "remove the key at 0x{:08x}{}".format(handle, f" ({what})" if what else ""))

    def _wanted_dictionary_attack(self) -> dict[str, int]:
        return {**self.properties.dictionary_attack(), **self._wish.dictionary_attack}

    def _dictionary_attack_steps(self) -> list[Step]:
        wanted = self._wanted_dictionary_attack()
        if wanted == self.properties.dictionary_attack():
            return []
        if wanted["max_tries"] <= self.properties.lockout_counter:
            raise TpmError(
                f"The TPM counts {self.properties.lockout_counter} failed tries, so that max_tries of "
                f"{wanted['max_tries']} would lock it at once; nothing was changed.",
                hint="Allow more tries, or wait until some are forgiven.",
            )
        words = (
            "set the dictionary attack parameters to {max_tries} tries, {recovery_time} s recovery, "
            "{lockout_recovery} s lockout recovery"
        ).format(**wanted)
        return [Step("set_dictionary_attack", wanted, words)]

    # Its execution

    def apply(self) -> None:
        """Takes the planned steps, each of which the TPM does wholly or not at all."""
        if self._is_set("lockout") and not self._is_set("owner") and any(map(_needs_lockout, self.steps)):
            # Trusted; if wrongly, that shows here, before anything else was changed.
            with self._told_about_lockout():
                if not self._opens("lockout"):
                    raise TpmError("", RC_AUTH_FAIL)
        for step in self.steps:
            getattr(self, "_" + step.kind)(step.subject)

    def _remove(self, handle: int) -> None:
        self._esys.evict_control(
            self._authorized("owner"), self._esys.tr_from_tpmpublic(handle), handle, session1=self._session
        )

    def _persist(self, handle: int) -> None:
        key = self.endorsement_key if handle == templates.EK_HANDLE else self.storage_root_key
        assert key is not None
        self._esys.evict_control(self._authorized("owner"), key.esys_handle, handle, session1=self._session)

    def _set_dictionary_attack(self, wanted: dict[str, int]) -> None:
        with self._told_about_lockout():
            self._esys.dictionary_attack_parameters(
                wanted["max_tries"],
                wanted["recovery_time"],
                wanted["lockout_recovery"],
                lock_handle=self._authorized("lockout"),
                session1=self._session,
            )

    def _set_auth(self, hierarchy: str) -> None:
        self._change_auth(hierarchy, self._wish.auth(hierarchy) or b"")

    def _empty_auth(self, hierarchy: str) -> None:
        self._change_auth(hierarchy, b"")

    def _change_auth(self, hierarchy: str, new: bytes) -> None:
        with self._told_about_lockout(hierarchy == "lockout"), self._encrypting() as session:
            self._esys.hierarchy_change_auth(self._authorized(hierarchy), new, session1=session)
        self._current[hierarchy] = new

    @contextmanager
    def _told_about_lockout(self, lockout: bool = True) -> Iterator[None]:
        """What a refusal means where the lockout hierarchy was used."""
        try:
            yield
        except TpmError as error:
            after = _or_reset(self.properties.lockout_recovery)
            if lockout and error.code in (RC_AUTH_FAIL, RC_BAD_AUTH):
                raise TpmError(
                    f"lockout_auth is not the lockout authorization of this TPM ({self._set_in_words()}).",
                    error.rc,
                    f"The TPM now refuses the lockout hierarchy {after}. Find the right value before the next try.",
                ) from error
            if lockout and error.code == RC_LOCKOUT:
                raise TpmError(
                    "The TPM refuses its lockout hierarchy, because a wrong lockout authorization was tried before.",
                    error.rc,
                    f"A wrong try makes it do so {after}.",
                ) from error
            raise

    # What it looks like before and after

    def read_state(self) -> State:
        """The state of the TPM at this moment."""
        properties = read_properties(self._esys)
        handles = (templates.SRK_HANDLE, templates.EK_HANDLE)
        keys = tuple(one for one in handles if read_handles(self._esys, one, one))
        return State(properties.hierarchies(), properties.dictionary_attack(), keys)

    def planned_state(self, before: State) -> State:
        """The state that the steps lead to."""
        hierarchies = dict(before.hierarchies)
        dictionary_attack = before.dictionary_attack
        keys = set(before.persistent_keys)
        for step in self.steps:
            if step.kind in ("set_auth", "empty_auth"):
                hierarchies[step.subject + "_auth_set"] = step.kind == "set_auth"
            elif step.kind == "set_dictionary_attack":
                dictionary_attack = step.subject
            elif step.kind == "persist":
                keys.add(step.subject)
            elif step.kind == "remove":
                keys.discard(step.subject)
        return State(hierarchies, dictionary_attack, tuple(sorted(keys)))


class State(NamedTuple):
    """What ownership changes in a TPM. No secret is in it."""

    hierarchies: dict[str, bool]
    dictionary_attack: dict[str, int]
    persistent_keys: tuple[int, ...]

    def as_difference(self) -> dict[str, Any]:
        """One side of a difference for people."""
        keys = [f"0x{handle:08x}" for handle in self.persistent_keys]
        return {**self.hierarchies, **self.dictionary_attack, "persistent_keys": keys}


def claim_or_release(esys: Any, wish: Wish, *, check_mode: bool) -> dict[str, Any]:
    """Does what *wish* asks for, in check mode nothing but the plan, and returns what the module returns.

    Keys: changed, actions (words), hierarchies, lockout_auth_proven, dictionary_attack, in_lockout, endorsement_key,
    storage_root_key (None where a release leaves none), tpm, diff. Check mode returns what a run would.
    """
    ownership = Ownership(esys, wish)
    before = ownership.read_state()
    after = ownership.planned_state(before)
    if not check_mode:
        ownership.apply()
        after = ownership.read_state()
    endorsement_key = ownership.endorsement_key._replace(persisted=templates.EK_HANDLE in after.persistent_keys)
    storage_root_key = ownership.storage_root_key
    if storage_root_key is not None:
        storage_root_key = storage_root_key._replace(persisted=templates.SRK_HANDLE in after.persistent_keys)
    return {
        "changed": bool(ownership.steps),
        "actions": [step.words for step in ownership.steps],
        "hierarchies": after.hierarchies,
        # An owner authorization that was proven ours, set before the lockout's, vouches for that.
        "lockout_auth_proven": after.hierarchies["lockout_auth_set"] and after.hierarchies["owner_auth_set"],
        "dictionary_attack": after.dictionary_attack,
        "in_lockout": ownership.properties.in_lockout,
        "endorsement_key": endorsement_key.as_result(),
        "storage_root_key": storage_root_key.as_result() if storage_root_key and storage_root_key.persisted else None,
        "tpm": ownership.properties.chip(),
        "diff": {"before": before.as_difference(), "after": after.as_difference()},
    }


def _persisting(handle: int, what: str) -> Step:
    return Step("persist", handle, f"persist the {what} at 0x{handle:08x}")


def _needs_lockout(step: Step) -> bool:
    return step.kind == "set_dictionary_attack" or step.subject == "lockout"


def _or_reset(lockout_recovery: int) -> str:
    # Zero means until TPM2_Startup(CLEAR), so until the next power cycle (part 3, 25.3).
    return f"for {seconds_in_words(lockout_recovery)}" if lockout_recovery else "until the next power cycle"
