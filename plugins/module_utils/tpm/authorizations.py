# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which authorization each hierarchy of a TPM has, found out without a guess that costs anything.

The owner's and the endorsement hierarchy's may be tried as often as one likes. The lockout hierarchy's may not: one
wrong try disables it for the lockout recovery time (part 1, 19.8.5). The TPM tells of it only whether one is set; its
value has a witness:

* the owner's authorization, where one is set: the lockout authorization is of the same owner and key version;
* else the record of the key version (see :mod:`.key_version_record`).

That a witness never lies is the work of the order of the steps: it changes only while the lockout hierarchy has no
authorization, which anybody can see. So a claim lets the witness speak before the lockout authorization is set, a
release takes the lockout authorization away before it silences the witness, and a rotation goes old, none, new. A
witness and the lockout authorization cannot change in one command, so that without the none in between there would be
a point at which a power cut left it open which one is set.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from .connection import RC_AUTH_FAIL, RC_BAD_AUTH, RC_LOCKOUT, TpmError
from .key_version_record import Record
from .ownership_wish import HIERARCHIES, Wish
from .properties import Properties, seconds_in_words

# What a hierarchy can have. GIVEN and PREVIOUS are those of the wish; UNPROVEN is one that nothing tells of.
NONE, GIVEN, PREVIOUS, UNPROVEN = "none", "given", "previous", "unproven"


class Authorizations:
    """The authorization of each hierarchy at this moment, and its use in the session that :meth:`find_out` is given."""

    def __init__(self, esys: Any, properties: Properties, wish: Wish) -> None:
        self._esys = esys
        self._properties = properties
        self._wish = wish
        self._values = dict.fromkeys(HIERARCHIES, b"")
        self._session: Any = None
        self.standing = {one: UNPROVEN if self.is_set(one) else NONE for one in HIERARCHIES}
        """One of NONE, GIVEN, PREVIOUS, UNPROVEN for each of HIERARCHIES."""

    def is_set(self, hierarchy: str) -> bool:
        """Whether the TPM says that *hierarchy* has an authorization."""
        return self._properties.hierarchies()[hierarchy + "_auth_set"]

    def in_words(self) -> str:
        """Which are set."""
        are_set = [one for one in HIERARCHIES if self.is_set(one)]
        return "the authorization of {} is set".format(", ".join(are_set)) if are_set else "no authorization is set"

    def find_out(self, session: Any, record: Record) -> None:
        """Settles :attr:`standing`; :class:`TpmError` where the TPM has another owner than the wish knows of.

        *session* is salted to a key that is known to be the TPM's own. The lockout authorization is not tried.
        """
        self._session = session
        for hierarchy in ("owner", "endorsement"):
            if self.is_set(hierarchy):
                self._try(hierarchy)
        if self.is_set("lockout"):
            self._hear_witness(record)

    def _try(self, hierarchy: str) -> None:
        known = self._wish.known_auths(hierarchy)
        for word, auth in known.items():
            self._values[hierarchy] = auth
            if self.opens(hierarchy):
                self.standing[hierarchy] = word
                return
        # What is cleared may be a stranger's.
        if self._wish.state != "cleared":
            raise TpmError(
                f"This TPM has an owner: {self.in_words()}, and {_none_is(hierarchy, known)} the {hierarchy} "
                "authorization. Nothing was changed, and the lockout authorization was not tried.",
                RC_BAD_AUTH,
                "Somebody else owns it, or it was claimed with another key version. Give what its owner has set, or "
                "have it released or cleared.",
            )

    def _hear_witness(self, record: Record) -> None:
        wish = self._wish
        says = UNPROVEN
        if self.is_set("owner"):
            if wish.owner_auth != wish.previous_owner_auth:
                says = self.standing["owner"]
        elif record.version is not None and wish.key_version is not None:
            says = {wish.key_version: GIVEN, wish.previous_key_version: PREVIOUS}.get(record.version, UNPROVEN)
            if says == UNPROVEN and wish.claims:
                raise TpmError(
                    f"The lockout authorization of this TPM is of key version {record.version}, wanted is "
                    f"{wish.key_version}; nothing was changed.",
                    hint=f"Rotate it, from previous_key_version {record.version}, on the line "
                    "tpmfleet_previous_key_version with the playbook rotate_ownership.",
                )
        known = wish.known_auths("lockout")
        if says == PREVIOUS:
            if PREVIOUS not in known:
                raise TpmError(
                    "The owner or key version of this TPM is the previous one, and so is its lockout authorization, "
                    "but no previous_lockout_auth was given; nothing was changed.",
                    hint="Give it, on the line by tpmfleet_previous_key_version; the same as lockout_auth where that "
                    "does not change.",
                )
            says = GIVEN if known[PREVIOUS] == known[GIVEN] else PREVIOUS
        self.standing["lockout"] = says
        # Where nothing is proven, a rotation that has not begun is what there is to assume.
        self._values["lockout"] = known.get(says) or known.get(PREVIOUS) or known.get(GIVEN) or b""

    def opens(self, hierarchy: str) -> bool:
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
                self.authorized(hierarchy),
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

    def authorized(self, hierarchy: str) -> Any:
        """The handle of *hierarchy* with its current authorization set."""
        from tpm2_pytss.constants import ESYS_TR

        handle = {"owner": ESYS_TR.OWNER, "endorsement": ESYS_TR.ENDORSEMENT, "lockout": ESYS_TR.LOCKOUT}[hierarchy]
        self._esys.tr_set_auth(handle, self._values[hierarchy])
        return handle

    def change(self, hierarchy: str, new: bytes) -> None:
        """Gives *hierarchy* the authorization *new*, empty for none; it crosses the bus encrypted.

        The TPM does it wholly or not at all (part 3, 24.8 TPM2_HierarchyChangeAuth).
        """
        with self.told_about_lockout(hierarchy == "lockout"), self._encrypting():
            self._esys.hierarchy_change_auth(self.authorized(hierarchy), new, session1=self._session)
        self._values[hierarchy] = new
        self.standing[hierarchy] = GIVEN if new else NONE

    @contextmanager
    def _encrypting(self) -> Iterator[None]:
        """The session encrypts the first parameter of the command."""
        from tpm2_pytss.constants import TPMA_SESSION

        keep = TPMA_SESSION.CONTINUESESSION
        self._esys.trsess_set_attributes(self._session, keep | TPMA_SESSION.DECRYPT)
        try:
            yield
        finally:
            self._esys.trsess_set_attributes(self._session, keep)

    @contextmanager
    def told_about_lockout(self, lockout: bool = True) -> Iterator[None]:
        """What a refusal means where the lockout hierarchy was used."""
        try:
            yield
        except TpmError as error:
            after = back_after(self._properties.lockout_recovery)
            if lockout and error.code in (RC_AUTH_FAIL, RC_BAD_AUTH):
                raise TpmError(
                    f"lockout_auth is not the lockout authorization of this TPM ({self.in_words()}).",
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


def _none_is(hierarchy: str, known: dict[str, bytes]) -> str:
    if PREVIOUS in known:
        return f"neither {hierarchy}_auth nor previous_{hierarchy}_auth is"
    return f"{hierarchy}_auth is not"


def back_after(lockout_recovery: int | None) -> str:
    """How long the lockout hierarchy stays away after a wrong try, in words; None where the TPM does not tell it."""
    if lockout_recovery is None:
        return "for its lockout recovery time, which it does not tell"
    # Zero means until TPM2_Startup(CLEAR), so until the next power cycle (part 3, 25.3).
    return f"for {seconds_in_words(lockout_recovery)}" if lockout_recovery else "until the next power cycle"
