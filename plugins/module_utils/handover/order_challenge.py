# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The challenge of a work order: made when the order is written, and answered by one TPM, on somebody else's line.

Its secret follows from the fleet master key, the number of the order and the name of the endorsement key, so that the
owner keeps none for a unit, and what another order's challenge gave out answers nothing here. The line gets the digest
of the right answer: it can tell a right one from a wrong one, and make neither.

What an answer proves: the TPM that holds the endorsement key opened this challenge, so after it was made. What else is
said beside it is the word of who says it, that of the storage root key too: its name is not known before the claim.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from ..tpm import known_object, templates
from ..tpm.challenge import NONCE_BYTES, Challenge, answer_over
from ..trust.credential import make_credential
from ..trust.hierarchy_auth import derive_order_secret
from ..trust.possession import PossessionError

_ANSWER_BYTES = 32
_DIGESTS_BYTES = 96
_PARTS = {"answer": _ANSWER_BYTES, "nonce": NONCE_BYTES, "digests": _DIGESTS_BYTES}


def order_challenge(master_key: str, number: str, endorsement_key: bytes, message: bytes) -> tuple[Challenge, str]:
    """(The challenge of the order *number* for *endorsement_key*, a TPM2B_PUBLIC; the SHA-256 of its right answer).

    *message* travels sealed with it. MasterKeyError as of :func:`derive_order_secret`, ValueError for what is no key.
    """
    name = templates.name_of(endorsement_key)
    secret = derive_order_secret(master_key, name.hex(), number)
    credential = make_credential(secret, key=endorsement_key, name=known_object.NAME)
    # Another one each time: the message may be another one, under the same secret.
    challenge = Challenge(*credential, secrets.token_bytes(NONCE_BYTES)).with_sealed(secret, message)
    answer = challenge.answer(secret, endorsement_key_name=name, bound_to_name=known_object.NAME)
    return challenge, hashlib.sha256(answer).hexdigest()


class OrderedProof:
    """A proof on the line, by the *challenge* and the *answer_sha256* that the order has for a unit."""

    def __init__(self, challenge: Mapping[str, Any], answer_sha256: str) -> None:
        """PossessionError where the order's challenge is none."""
        try:
            self.challenge = Challenge.from_option(dict(challenge))
        except ValueError as error:
            raise PossessionError(f"the work order has no challenge for it that is one: {error}.") from None
        self._answer_sha256 = answer_sha256
        self.answer: dict[str, str] = {}

    def check_answer(self, answer: object) -> None:
        """PossessionError unless *answer*, in hexadecimal, is that of its TPM; what the report says of it is kept."""
        given = _hexadecimal(answer, _ANSWER_BYTES)
        if not hmac.compare_digest(hashlib.sha256(given).hexdigest(), self._answer_sha256):
            raise PossessionError(
                "the answer to the work order's challenge is not that of the TPM that the order is for. The TPM in "
                "this device does not hold the endorsement key that it reports, or another TPM answers in its place."
            )
        parts = {"answer": given, "nonce": self.challenge.nonce, "digests": self.challenge.digests()}
        self.answer = {name: value.hex() for name, value in parts.items()}


def is_answered(master_key: str, number: str, endorsement_key: bytes, said: object) -> bool:
    """Whether *said*, the ``answer`` of an :class:`OrderedProof`, is one to the order *number* by the TPM that holds
    *endorsement_key*. MasterKeyError as of :func:`derive_order_secret`.
    """
    if not isinstance(said, Mapping):
        return False
    parts = {name: _hexadecimal(said.get(name), length) for name, length in _PARTS.items()}
    name = templates.name_of(endorsement_key)
    secret = derive_order_secret(master_key, name.hex(), number)
    expected = answer_over(
        parts["nonce"], parts["digests"], secret, endorsement_key_name=name, bound_to_name=known_object.NAME
    )
    return hmac.compare_digest(parts["answer"], expected)


def as_noted(said: Mapping[str, Any]) -> dict[str, str]:
    """What is kept of *said*, an answer that :func:`is_answered` has found right: it may have anything beside."""
    return {name: str(said[name]).lower() for name in _PARTS}


def _hexadecimal(said: object, length: int) -> bytes:
    """The *length* bytes that *said* is in hexadecimal; none of them where it is not."""
    try:
        value = bytes.fromhex(said) if isinstance(said, str) and len(said) == 2 * length else b""
    except ValueError:
        value = b""
    return value if len(value) == length else b""
