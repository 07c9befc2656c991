# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of a proof of possession: is the key that a device reported really in its TPM?

What is proven: whoever answers has, at this moment, a TPM at hand that holds the private endorsement key and, where one
was asked for, in which the storage root key is loaded with its private part. That the endorsement key is a TPM's and no
program's is for its certificate or the EK list of the TPM maker to say. What is sealed with a proof is readable to
nobody else, whether the proof is given in the end or not.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from ..tpm import known_object, templates
from ..tpm.challenge import NONCE_BYTES, Challenge
from .credential import SECRET_BYTES, make_credential


class PossessionError(Exception):
    """Why possession is not proven, as a sentence to follow the device's name."""


class Proof:
    """One proof for one device. The secret lives in this object alone, and each object has its own."""

    def __init__(
        self, *, endorsement_key: bytes, storage_root_key: bytes | None = None, message: bytes | None = None
    ) -> None:
        """Both keys are TPM2B_PUBLIC as the device reported them; :class:`PossessionError` where they cannot be.

        Without a storage root key the challenge is bound to the known object. *message* travels sealed with it.
        """
        check_endorsement_key(endorsement_key)
        if storage_root_key is not None:
            check_storage_root_key(storage_root_key)
        self.endorsement_key = endorsement_key
        self.endorsement_key_sha256 = hashlib.sha256(endorsement_key).hexdigest()
        self._endorsement_key_name = templates.name_of(endorsement_key)
        self._bound_to = known_object.NAME if storage_root_key is None else templates.name_of(storage_root_key)
        self._has_storage_root_key = storage_root_key is not None
        self._secret = secrets.token_bytes(SECRET_BYTES)
        try:
            credential = make_credential(self._secret, key=endorsement_key, name=self._bound_to)
        except ValueError as error:
            raise PossessionError(f"nothing can be encrypted to the endorsement key that it reports: {error}") from None
        challenge = Challenge(*credential, secrets.token_bytes(NONCE_BYTES))
        self.challenge = challenge if message is None else challenge.with_sealed(self._secret, message)

    @property
    def storage_root_key_name(self) -> str | None:
        """The name of the storage root key, in hexadecimal; None where none was asked for."""
        return self._bound_to.hex() if self._has_storage_root_key else None

    def check_recorded(self, name: str) -> None:
        """:class:`PossessionError` unless the storage root key is the one of the recorded *name*, in hexadecimal."""
        if name.lower() != self.storage_root_key_name:
            raise PossessionError(
                f"its storage root key has the name {self.storage_root_key_name}, on record is {name.lower()}: its TPM "
                "was cleared since, or is another one. If that was done on purpose, set "
                "tpmfleet_new_storage_root_key_allowed for this host."
            )

    def check_answer(self, answer: object) -> None:
        """:class:`PossessionError` unless *answer*, in hexadecimal, is the one of the TPM with the keys."""
        expected = self.challenge.answer(
            self._secret, endorsement_key_name=self._endorsement_key_name, bound_to_name=self._bound_to
        )
        given = answer if isinstance(answer, str) and answer.isascii() else ""
        if not hmac.compare_digest(given.lower(), expected.hex()):
            beside = f" and the storage root key named {self._bound_to.hex()}" if self._has_storage_root_key else ""
            raise PossessionError(
                "the answer is not that of the TPM with the endorsement key of SHA-256 "
                f"{self.endorsement_key_sha256}{beside}. The TPM in this device does not hold the endorsement key that "
                "it reports. Another TPM answers in its place, or an old answer was repeated."
            )


def sealed_to_storage_root_key(storage_root_key: bytes, message: bytes) -> Challenge:
    """*message*, which only the TPM with the private part of *storage_root_key*, a TPM2B_PUBLIC, can open.

    Its use takes no authorization, unlike the endorsement key's where that hierarchy has one. It proves nothing here:
    nobody is asked for an answer. :class:`PossessionError` for what is no storage root key.
    """
    check_storage_root_key(storage_root_key)
    secret = secrets.token_bytes(SECRET_BYTES)
    credential = make_credential(secret, key=storage_root_key, name=known_object.NAME)
    return Challenge(*credential, secrets.token_bytes(NONCE_BYTES)).with_sealed(secret, message)


def check_endorsement_key(public: bytes) -> None:
    """:class:`PossessionError` unless *public*, a TPM2B_PUBLIC, has all the properties of an endorsement key.

    So one key has one form: a modulus under another template, or with its exponent spelled out, would be a second name
    for the same TPM.
    """
    _check(public, templates.ek_public_template(), "an RSA-2048 endorsement key")


def check_storage_root_key(public: bytes) -> None:
    """The same of a storage root key."""
    # Any other object with a name would do for the TPM, also one whose private part lies open in a file.
    _check(public, templates.srk_public_template(), "an RSA-2048 storage root key")


def _check(public: bytes, template: bytes, what: str) -> None:
    if not templates.is_made_from(public, template):
        raise PossessionError(f"what it reports is not {what}: its type, attributes, policy or size are others")
    if not templates.has_rsa_modulus(public):
        raise PossessionError(f"what it reports is not {what}: its modulus is even, or shorter than 2048 bits")
