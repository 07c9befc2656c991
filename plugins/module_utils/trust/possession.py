# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The controller's half of a proof of possession: is the key that a device reported really in its TPM?

What is proven: whoever answers has, at this moment, a TPM at hand that holds the private endorsement key and in which
the storage root key is loaded with its private part. That the endorsement key is a TPM's and no program's is for its
certificate or the EK list of the TPM maker to say.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets

from ..tpm import templates
from ..tpm.challenge import NONCE_BYTES, Challenge
from .credential import SECRET_BYTES, make_credential


class PossessionError(Exception):
    """Why possession is not proven, as a sentence to follow the device's name."""


class Proof:
    """One proof for one device. The secret lives in this object alone, and each object has its own."""

    def __init__(self, *, endorsement_key: bytes, storage_root_key: bytes) -> None:
        """Both keys are TPM2B_PUBLIC as the device reported them; :class:`PossessionError` where they cannot be."""
        _check(endorsement_key, templates.ek_public_template(), "an RSA-2048 endorsement key")
        # Any other object with a name would do for the TPM, also one whose private part lies open in a file.
        _check(storage_root_key, templates.srk_public_template(), "an RSA-2048 storage root key")
        self.endorsement_key_sha256 = hashlib.sha256(endorsement_key).hexdigest()
        self._endorsement_key_name = templates.name_of(endorsement_key)
        self._storage_root_key_name = templates.name_of(storage_root_key)
        self._secret = secrets.token_bytes(SECRET_BYTES)
        try:
            credential = make_credential(
                self._secret, endorsement_key=endorsement_key, name=self._storage_root_key_name
            )
        except ValueError as error:
            raise PossessionError(f"nothing can be encrypted to the endorsement key that it reports: {error}") from None
        self.challenge = Challenge(*credential, secrets.token_bytes(NONCE_BYTES))

    @property
    def storage_root_key_name(self) -> str:
        """The name of the storage root key, in hexadecimal."""
        return self._storage_root_key_name.hex()

    def check_recorded(self, name: str) -> None:
        """:class:`PossessionError` unless the storage root key is the one of the recorded *name*, in hexadecimal."""
        if name.lower() != self.storage_root_key_name:
            raise PossessionError(
                f"its storage root key has the name {self.storage_root_key_name}, on record is {name.lower()}: its TPM "
                "was cleared since, or is another one. If that was done on purpose, set "
                "tpmfleet_new_storage_root_key_allowed for this host."
            )

    def check_answer(self, answer: object) -> None:
        """:class:`PossessionError` unless *answer*, in hexadecimal, is the one of the TPM with both keys."""
        expected = self.challenge.answer(
            self._secret,
            endorsement_key_name=self._endorsement_key_name,
            storage_root_key_name=self._storage_root_key_name,
        )
        given = answer if isinstance(answer, str) and answer.isascii() else ""
        if not hmac.compare_digest(given.lower(), expected.hex()):
            raise PossessionError(
                "the answer is not that of the TPM with the endorsement key of SHA-256 "
                f"{self.endorsement_key_sha256} and the storage root key named {self.storage_root_key_name}. Another "
                "TPM answers in its place, or an old answer was repeated."
            )


def _check(public: bytes, template: bytes, what: str) -> None:
    if not templates.is_made_from(public, template):
        raise PossessionError(f"what it reports is not {what}: its type, attributes, policy or size are others")
