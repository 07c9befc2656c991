# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A device's authorizations, derived from the fleet master key: none is escrowed, each can be made again years later.

HKDF with SHA-256 (RFC 5869). What is derived for is in the info, each part with its length, so that no two of them give
the same bytes. The derivation is a promise to every TPM that was ever claimed with it: a golden vector holds it still.
"""

from __future__ import annotations

import base64

try:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF
except ImportError:
    HAS_CRYPTOGRAPHY = False
else:
    HAS_CRYPTOGRAPHY = True

HIERARCHIES = ("owner", "endorsement", "lockout")
# Which of them an ownership profile sets.
SET_BY = {"fleet": ("owner", "lockout"), "sdk": ("lockout",)}

# Shorter than 32 characters is no key but a password; fewer than 8 different ones was not drawn at random, since of
# 32 random hexadecimal digits that is one in a million million.
LEAST_CHARACTERS = 32
LEAST_DIFFERENT = 8

AUTH_BYTES = 24
"""192 bits, which base64url writes in 32 characters: what fits every TPM, a C string and a TOML file."""

_SALT = b"tpmfleet.azure_dps"
_LABEL = b"hierarchy auth 1"
_ORDER_LABEL = b"work order secret 1"
_CHECK_LABEL = b"master key check 1"
# Enough to notice another key, and far too few to find one by.
_CHECK_BYTES = 4


class MasterKeyError(ValueError):
    """The master key, or what an authorization is wanted for, is refused. The message does not hold the key."""


def checked_master_key(master_key: str) -> bytes:
    """The master key as bytes, without the white space around it, such as a file's last line end.

    Raises:
        MasterKeyError: it is empty, still encrypted, or too weak to guard a fleet.
    """
    text = master_key.strip()
    if not text:
        raise MasterKeyError("the master key is empty; set tpmfleet_master_key to a lookup of your secret store")
    if text.startswith("$ANSIBLE_VAULT;"):
        raise MasterKeyError("the master key is still encrypted; have ansible-vault decrypt it (--vault-id)")
    if len(text) < LEAST_CHARACTERS:
        raise MasterKeyError(
            f"the master key has {len(text)} characters, {LEAST_CHARACTERS} is the least; make one with "
            "'openssl rand -base64 48'"
        )
    if len(set(text)) < LEAST_DIFFERENT:
        raise MasterKeyError(
            f"the master key has {len(set(text))} different characters, so it is not a random one; make one with "
            "'openssl rand -base64 48'"
        )
    return text.encode("utf-8")


def derive(master_key: str, ek_name: str, hierarchy: str, version: int) -> str:
    """The authorization of one hierarchy of one TPM: 32 characters of base64url.

    Args:
        master_key: text of 32 characters at least; its bytes are the keying material, base64 or hexadecimal as written.
        ek_name: the TPM name of the endorsement key in hexadecimal: the hash's algorithm, and that hash of its area.
        hierarchy: one of HIERARCHIES.
        version: the key version, 1 to 4294967295.

    Raises:
        MasterKeyError: any of them is refused, or the library is missing.
    """
    if not HAS_CRYPTOGRAPHY:
        raise MasterKeyError("the Python package cryptography is missing on the controller; see requirements.txt")
    if hierarchy not in HIERARCHIES:
        raise MasterKeyError(f"there is no hierarchy '{hierarchy}'; it is one of {', '.join(HIERARCHIES)}")
    if isinstance(version, bool) or not isinstance(version, int) or not 1 <= version < 2**32:
        raise MasterKeyError(f"the key version is {version!r}; it has to be a whole number of 1 to 4294967295")
    parts = (_LABEL, hierarchy.encode("ascii"), version.to_bytes(4, "big"), _name_bytes(ek_name))
    return base64.urlsafe_b64encode(_derived(master_key, parts, AUTH_BYTES)).decode("ascii")


def derive_order_secret(master_key: str, ek_name: str, number: str) -> bytes:
    """The secret of 32 bytes that the TPM with this endorsement key gives out for the work order *number*.

    MasterKeyError as of :func:`derive`.
    """
    if not HAS_CRYPTOGRAPHY:
        raise MasterKeyError("the Python package cryptography is missing on the controller; see requirements.txt")
    return _derived(master_key, (_ORDER_LABEL, number.encode("utf-8"), _name_bytes(ek_name)), 32)


def master_key_check(master_key: str) -> str:
    """What tells a master key from another one where it is used again: 8 hexadecimal digits, and nothing of the key.

    They are the same for all that is made with the key, so that many of them tell no more than one. MasterKeyError as
    of :func:`derive`.
    """
    if not HAS_CRYPTOGRAPHY:
        raise MasterKeyError("the Python package cryptography is missing on the controller; see requirements.txt")
    return _derived(master_key, (_CHECK_LABEL,), _CHECK_BYTES).hex()


def _derived(master_key: str, parts: tuple[bytes, ...], length: int) -> bytes:
    info = b"".join(len(part).to_bytes(2, "big") + part for part in parts)
    return HKDF(algorithm=SHA256(), length=length, salt=_SALT, info=info).derive(checked_master_key(master_key))


def _name_bytes(ek_name: str) -> bytes:
    try:
        name = bytes.fromhex(ek_name)
    except (TypeError, ValueError):
        name = b""
    # Two bytes of algorithm and a digest: SHA-256, SHA-384 or SHA-512 (part 1, 16).
    if len(name) - 2 not in (32, 48, 64):
        raise MasterKeyError(
            "ek_name is not the name of an endorsement key in hexadecimal, such as the endorsement_key.name that "
            "tpm_endorsement_key_info returns"
        )
    return name
