# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What can be asked of a TPM's ownership, and what of that is refused before the TPM is touched."""

from __future__ import annotations

from typing import NamedTuple

from .connection import TpmError

HIERARCHIES = ("owner", "endorsement", "lockout")
STATES = ("claimed", "rotated", "released", "cleared")
MAX_AUTH_BYTES = 32
# Persistent keys of the owner and the endorsement hierarchy; above them are the platform's (part 2, 7.8).
OWNERS_KEYS = (0x81000000, 0x817FFFFF)

# Enough tries for people's mistakes, few for a program; one is forgiven each ten minutes. The lockout hierarchy, which
# has one try alone, comes back after a day.
CLAIMED_DICTIONARY_ATTACK = {"max_tries": 32, "recovery_time": 600, "lockout_recovery": 86400}


class Wish(NamedTuple):
    """What is asked for. The authorizations are bytes, None where the hierarchy shall have none.

    *state* is one of STATES. For ``released`` and ``cleared`` the authorizations are those that the TPM has now; for
    ``rotated`` the previous ones are those that it may have now. *dictionary_attack* holds those of max_tries,
    recovery_time and lockout_recovery that matter. *clear_confirmation* is the SHA-256 of the endorsement key of the
    TPM that is to be cleared, in hexadecimal. *remove_handles* are persistent keys that a release removes besides those
    of *remove_persistent_keys*.
    """

    state: str
    owner_auth: bytes | None = None
    endorsement_auth: bytes | None = None
    lockout_auth: bytes | None = None
    previous_owner_auth: bytes | None = None
    previous_endorsement_auth: bytes | None = None
    previous_lockout_auth: bytes | None = None
    key_version: int | None = None
    previous_key_version: int | None = None
    lockout_auth_trusted: bool = False
    dictionary_attack: dict[str, int] = {}
    endorsement_key_sha256: str | None = None
    template: str = "auto"
    identify_template: bool = True
    read_certificate: bool = True
    replace_persistent_keys: bool = False
    remove_persistent_keys: bool = False
    remove_handles: tuple[int, ...] = ()
    clear_confirmation: str | None = None

    @property
    def claims(self) -> bool:
        """Whether the TPM shall be owned afterwards."""
        return self.state in ("claimed", "rotated")

    def auth(self, hierarchy: str) -> bytes | None:
        """The authorization for one of HIERARCHIES."""
        return {"owner": self.owner_auth, "endorsement": self.endorsement_auth, "lockout": self.lockout_auth}[hierarchy]

    def previous_auth(self, hierarchy: str) -> bytes | None:
        """The authorization that one of HIERARCHIES may have before a rotation."""
        return {
            "owner": self.previous_owner_auth,
            "endorsement": self.previous_endorsement_auth,
            "lockout": self.previous_lockout_auth,
        }[hierarchy]

    def known_auths(self, hierarchy: str) -> dict[str, bytes]:
        """Every authorization that the hierarchy may have, ``given`` before ``previous``."""
        both = {"given": self.auth(hierarchy), "previous": self.previous_auth(hierarchy)}
        return {word: auth for word, auth in both.items() if auth is not None}


def checked_handle(option: str, value: str) -> int:
    """The handle of a persistent key of the owner's; :class:`TpmError` for what is none."""
    try:
        handle = int(value, 16)
    except ValueError:
        handle = 0
    if not OWNERS_KEYS[0] <= handle <= OWNERS_KEYS[1]:
        raise TpmError(
            f"{option} has {value}, which is no handle of a persistent key of the owner's.",
            hint="These are 0x{:08x} to 0x{:08x}.".format(*OWNERS_KEYS),
        )
    return handle


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


def refuse_contradictions(wish: Wish) -> None:
    """:class:`TpmError` for a wish that no TPM could fulfil safely, whatever state it is in."""
    if wish.state != "rotated":
        given = [name for name in _PREVIOUS if getattr(wish, name) is not None]
        if given:
            raise TpmError(f"{' and '.join(given)} is for state 'rotated' alone.")
        return
    pairs = [(one, wish.previous_auth(one), wish.auth(one)) for one in HIERARCHIES]
    if not any(previous for _hierarchy, previous, _new in pairs):
        raise TpmError("A rotation needs an authorization to come from; no previous one was given.")
    for hierarchy, previous, new in pairs:
        if previous is not None and new is None:
            raise TpmError(
                f"previous_{hierarchy}_auth was given and no {hierarchy}_auth.",
                hint="A rotation goes from one authorization to another; state 'released' takes them away.",
            )
    if wish.key_version is not None and wish.key_version == wish.previous_key_version:
        raise TpmError(f"key_version and previous_key_version are both {wish.key_version}; nothing would rotate.")
    if wish.previous_lockout_auth not in (None, wish.lockout_auth) and not _has_witness(wish):
        raise TpmError(
            "Nothing would tell after a power cut which lockout authorization is set: the owner authorization is "
            + ("the same before and after." if wish.owner_auth else "left out, and so is key_version."),
            hint="Rotate the owner authorization with it."
            if wish.owner_auth
            else "Give key_version and previous_key_version, on the line tpmfleet_key_version and "
            "tpmfleet_previous_key_version, which are recorded in the TPM.",
        )


_PREVIOUS = tuple(f"previous_{one}_auth" for one in HIERARCHIES) + ("previous_key_version",)


def _has_witness(wish: Wish) -> bool:
    if wish.owner_auth is None:
        return wish.key_version is not None
    return wish.owner_auth != wish.previous_owner_auth
