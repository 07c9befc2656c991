# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a persistent key is, in words: ours, or whose it looks like (TPM 2.0 part 2, 8.3 and 12.2)."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from typing import Any

from . import der, templates

_RSA, _KEYEDHASH, _SYMCIPHER, _ECC = 0x0001, 0x0008, 0x0025, 0x0023
_CURVES = {0x0003: "P-256", 0x0004: "P-384", 0x0005: "P-521", 0x0020: "SM2"}
_CURVE_BITS = {0x0003: 256, 0x0004: 384, 0x0005: 521, 0x0020: 256}
_NULL = 0x0010
_FIXED_TPM = 1 << 1
_USER_WITH_AUTH = 1 << 6
_NO_DA = 1 << 10
_RESTRICTED = 1 << 16
_DECRYPT = 1 << 17
_SIGN = 1 << 18

_SYSTEMD = "systemd (systemd-tpm2-setup) sets up such a one, and disk encryption may depend on it"
_WINDOWS = "an operating system that was there before, such as Windows, may have left it"
_TOOLS = "tpm2-tools make such a one by default, and clevis and others keep theirs so"


def describe_persistent(
    esys: Any, handle: Any, *, made_from: Iterable[bytes], hierarchy: int, serves: Callable[[bytes], bool] | None = None
) -> tuple[bytes, str | None]:
    """The public area behind *handle*, and in words why it is no key of *hierarchy* made from one of *made_from*.

    One that *serves* says yes to counts for made from one of them.
    """
    area, name, qualified_name = esys.read_public(handle)
    public = bytes(area.marshal())
    wanted = list(made_from)
    # The TPM computes the qualified name from the key's parents, so that it tells a primary key from a child.
    primary = bytes(qualified_name) == templates.qualified_name(hierarchy, bytes(name))
    if any(templates.is_made_from(public, template) for template in wanted) or (serves and serves(public)):
        return public, None if primary else "it is no primary key of the hierarchy that it should be of"
    if public[2:4] != wanted[0][2:4]:
        return public, f"it is a key of another type, {_recognised(public, hierarchy)}"
    return public, f"its properties (size, hash, attributes, policy) are others: it is {_recognised(public, hierarchy)}"


def kind_of(public: bytes) -> str:
    """The algorithm of the TPM2B_PUBLIC *public*, as RSA-2048 or ECC P-384."""
    kind, parameters = _parameters(public)
    if kind == _RSA:
        return f"RSA-{_after_scheme(parameters)}"
    if kind == _ECC:
        curve = _after_scheme(parameters)
        return "ECC " + _CURVES.get(curve, f"curve 0x{curve:04x}")
    return {_KEYEDHASH: "keyed hash", _SYMCIPHER: "symmetric"}.get(kind, f"algorithm 0x{kind:04x}")


def is_certified(public: bytes, certificate: bytes) -> bool:
    """Whether the DER *certificate* is about the key *public*, a TPM2B_PUBLIC of any size and curve."""
    kind, parameters = _parameters(public)
    key = der.certified_key(certificate)
    if key is None:
        return False
    if kind == _RSA:
        modulus = int.from_bytes(public[-(_after_scheme(parameters) // 8) :], "big")
        return (der.certified_rsa_key(certificate) or (0,))[0] == modulus
    return kind == _ECC and key == _point(parameters)


def _point(parameters: bytes) -> bytes:
    """The point of an ECC key as certificates have it, uncompressed."""
    at = _after_scheme_at(parameters)
    size = (_CURVE_BITS.get(_after_scheme(parameters), 0) + 7) // 8
    # After the curve comes a key derivation scheme, which has a hash unless it is null.
    at += 4 if parameters[at + 2 : at + 4] == _NULL.to_bytes(2, "big") else 6
    point = b"\x04"
    for _coordinate in "xy":
        end = at + 2 + int.from_bytes(parameters[at : at + 2], "big")
        point += parameters[at + 2 : end].rjust(size, b"\x00")
        at = end
    return point


def _recognised(public: bytes, hierarchy: int) -> str:
    attributes = int.from_bytes(public[6:10], "big")
    kind = kind_of(public)
    article = "an" if kind[0] in "RE" else "a"
    if kind == "keyed hash":
        return f"{article} {kind} object, a sealed secret or an HMAC key of some application"
    if attributes & _SIGN:
        return f"{article} {kind} signing key of some application"
    if not (attributes & _RESTRICTED and attributes & _DECRYPT and attributes & _FIXED_TPM):
        return f"{article} {kind} key of some application"
    if hierarchy == templates.RH_ENDORSEMENT:
        if attributes & _USER_WITH_AUTH:
            return f"{article} {kind} storage key; {_TOOLS}"
        return (
            f"{article} {kind} endorsement key; {_SYSTEMD}" if kind[0] == "E" else f"{article} {kind} endorsement key"
        )
    if kind[0] == "E" and attributes & _NO_DA:
        return f"{article} {kind} storage root key; {_SYSTEMD}"
    if attributes & _NO_DA:
        return f"{article} {kind} storage root key; {_WINDOWS}"
    return f"{article} {kind} storage key; {_TOOLS}"


def _parameters(public: bytes) -> tuple[int, bytes]:
    kind, policy_size = int.from_bytes(public[2:4], "big"), int.from_bytes(public[10:12], "big")
    return kind, public[12 + policy_size :]


def _after_scheme(parameters: bytes) -> int:
    """The number that follows the symmetric algorithm and the scheme: bits of the key, or the curve."""
    at = _after_scheme_at(parameters)
    return int.from_bytes(parameters[at : at + 2], "big")


def _after_scheme_at(parameters: bytes) -> int:
    """Where in *parameters* what follows the scheme begins."""
    numbers = [one for (one,) in struct.iter_unpack(">H", parameters[: len(parameters) & ~1])]
    # TPMT_SYM_DEF_OBJECT is the algorithm alone where it is null, else with bits and mode; a scheme has a hash.
    at = 0 if numbers[:1] == [_NULL] else 2
    at += 2 if numbers[at + 1 : at + 2] == [_NULL] else 3
    return 2 * at
