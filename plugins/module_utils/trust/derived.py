# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What follows from a key's public area is computed here. What somebody says of it is compared, and never used.

A digest, a name and a registration ID that come beside a key are claims of their own: who has the one and says the
others would be taken for two TPMs at once.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import types
from collections.abc import Callable, Mapping
from typing import Any

from ..tpm import der, templates
from .possession import PossessionError, check_endorsement_key, check_storage_root_key


class WrongClaimError(PossessionError):
    """What is said of a key is not so, as a sentence to follow the device's name."""


def derived_from_endorsement_key(public: bytes) -> dict[str, str]:
    """What follows from *public*, a TPM2B_PUBLIC, under the names of the module's result."""
    return {
        "sha256": hashlib.sha256(public).hexdigest(),
        "name": templates.name_of(public).hex(),
        "registration_id": templates.registration_id(public),
    }


def checked_endorsement_key(said: Any) -> dict[str, Any]:
    """The endorsement key as a device *said* it, in the shape of the module's result, with what follows from it."""
    public = _public(said, "endorsement key", check_endorsement_key)
    certificate = said.get("certificate")
    follows: dict[str, Any] = {**derived_from_endorsement_key(public)}
    follows["certificate_matches"] = None if certificate is None else _certifies(certificate, public)
    return {**said, **_compared(said, follows, "endorsement key")}


def checked_storage_root_key(said: Any) -> dict[str, Any]:
    """The same of the storage root key."""
    public = _public(said, "storage root key", check_storage_root_key)
    return {**said, **_compared(said, {"name": templates.name_of(public).hex()}, "storage root key")}


def checked_record_fields(record: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """(What follows from the keys in a device *record*; the reasons why what it says of them itself cannot be)."""
    fields: dict[str, str] = {}
    reasons: list[str] = []
    for key, words, suffixes in _KEYS_OF_RECORDS:
        beside = {f"{key}_{suffix}" for suffix in suffixes}
        public = record.get(key)
        if public is None:
            reasons += [f"it says {one} and not the key that it is of" for one in sorted(beside) if record.get(one)]
            continue
        try:
            derived = _derived_from_text(public, f"its {words}", _CHECKS[key])
        except WrongClaimError as error:
            reasons.append(str(error))
            continue
        follows = {f"{key}_{suffix}": derived[suffix] for suffix in suffixes}
        reasons += [_wrong(name, record[name], words) for name in follows if _differs(record.get(name), follows[name])]
        fields.update(follows)
    return fields, reasons


_KEYS_OF_RECORDS = (
    ("endorsement_key", "endorsement key", ("sha256", "name")),
    ("storage_root_key", "storage root key", ("name",)),
)
_CHECKS = {"endorsement_key": check_endorsement_key, "storage_root_key": check_storage_root_key}


def _public(said: Any, words: str, check: Callable[[bytes], None]) -> bytes:
    if not isinstance(said, Mapping) or not isinstance(said.get("public"), str):
        raise WrongClaimError(f"it says no {words}.")
    try:
        return _one_form(said["public"], f"what it says for its {words}", check)
    except WrongClaimError as error:
        raise WrongClaimError(f"{error}.") from None


def _derived_from_text(text: Any, words: str, check: Callable[[bytes], None]) -> Mapping[str, str]:
    # Only of a text is there a digest to find it by.
    if not isinstance(text, str):
        return derived_from_endorsement_key(_one_form(text, words, check))
    return _remembered(text, words, check)


@functools.lru_cache(maxsize=2048)
def _remembered(text: str, words: str, check: Callable[[bytes], None]) -> Mapping[str, str]:
    """The same: a batch looks at each key as the device says it and as the ledger has it, while other stations wait."""
    return types.MappingProxyType(derived_from_endorsement_key(_one_form(text, words, check)))


def _one_form(text: Any, words: str, check: Callable[[bytes], None]) -> bytes:
    """The key in *text*, of which there is no other text; WrongClaimError without its end where that is not so."""
    try:
        public = templates.decode_public(text, words)
        check(public)
    except (ValueError, PossessionError) as error:
        raise WrongClaimError(str(error)) from None
    # Base64 with white space in it, or other bits at its end, would be a second text for one key.
    if base64.b64encode(public).decode("ascii") != text:
        raise WrongClaimError(f"{words} is not base64 as everybody writes it")
    return public


def _certifies(certificate: Any, public: bytes) -> bool:
    try:
        wanted = (templates.rsa_modulus(public), 65537)
        return der.certified_rsa_key(base64.b64decode(certificate, validate=True)) == wanted
    except (ValueError, TypeError):
        return False


def _compared(said: Mapping[str, Any], follows: Mapping[str, Any], words: str) -> dict[str, Any]:
    for name, value in follows.items():
        if _differs(said.get(name), value):
            raise WrongClaimError(f"{_wrong(name, said[name], words)}.")
    return dict(follows)


def _differs(said: Any, follows: Any) -> bool:
    if isinstance(said, str) and isinstance(follows, str):
        return said.lower() != follows
    return said is not None and said != follows


def _wrong(name: str, said: Any, words: str) -> str:
    if name == "certificate_matches":
        return f"it says that its certificate is {'' if said else 'not '}that of its {words}, which is not so"
    return f"it says {name} {str(said)[:80]!r} of its {words}, which is another key's"
