# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the two halves of a proof of possession say to each other. No TPM software is needed to say it.

The controller makes a secret that only one TPM can read, and the device answers with an HMAC by that secret. So the
secret itself is never sent, written or shown. What only that TPM's holder may read travels with the challenge,
encrypted under a key that follows from the secret.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping
from typing import Any, NamedTuple

NONCE_BYTES = 32
_ANSWER_LABEL = b"tpmfleet proof of possession 1"
_SEALING_LABEL = b"tpmfleet sealed message 1"
# AES-GCM's own (NIST SP 800-38D, 8.2). Each key encrypts one message, so that any value does.
_GCM_NONCE_BYTES = 12


class Challenge(NamedTuple):
    """A credential for one TPM, and the nonce that its answer has to cover.

    *credential* is a TPM2B_ID_OBJECT, *encrypted_secret* a TPM2B_ENCRYPTED_SECRET (TPM 2.0 part 2, 12.4.3 and 11.4.33).
    *sealed* is a message that who reads the secret can read, empty for none.
    """

    credential: bytes
    encrypted_secret: bytes
    nonce: bytes
    sealed: bytes = b""

    def as_option(self) -> dict[str, str]:
        """The shape in which a module takes it: base64 of each part."""
        return {name: base64.b64encode(part).decode("ascii") for name, part in self._asdict().items()}

    @classmethod
    def from_option(cls, option: dict[str, Any]) -> Challenge:
        """The opposite; :class:`ValueError` where a part is none."""
        try:
            challenge = cls(*(base64.b64decode(option[name], validate=True) for name in cls._fields))
        except (KeyError, TypeError, binascii.Error) as error:
            raise ValueError("a part of the challenge is missing or is not base64") from error
        for part in (challenge.credential, challenge.encrypted_secret):
            if len(part) < 3 or int.from_bytes(part[:2], "big") != len(part) - 2:
                raise ValueError("a part of the challenge is cut short")
        if len(challenge.nonce) != NONCE_BYTES:
            raise ValueError(f"the nonce of the challenge is {len(challenge.nonce)} bytes long, not {NONCE_BYTES}")
        return challenge

    def answer(self, secret: bytes, *, endorsement_key_name: bytes, bound_to_name: bytes) -> bytes:
        """What the holder of *secret* answers: an HMAC-SHA256 over nonce, keys and challenge.

        All parts but the label have one length each, so that no two contents make the same message.
        """
        return answer_over(
            self.nonce, self.digests(), secret, endorsement_key_name=endorsement_key_name, bound_to_name=bound_to_name
        )

    def digests(self) -> bytes:
        """What an answer covers of it besides the nonce: the SHA-256 of each part, one after another."""
        parts = (self.credential, self.encrypted_secret, self.sealed)
        return b"".join(hashlib.sha256(part).digest() for part in parts)

    def with_sealed(self, secret: bytes, message: bytes) -> Challenge:
        """The challenge with *message*, encrypted and authenticated under *secret*."""
        return self._replace(sealed=self._cipher(secret).encrypt(self.nonce[:_GCM_NONCE_BYTES], message, self._bound()))

    def unsealed(self, secret: bytes) -> bytes:
        """The message that travels with it; :class:`ValueError` where it was changed on the way."""
        from cryptography.exceptions import InvalidTag

        try:
            return self._cipher(secret).decrypt(self.nonce[:_GCM_NONCE_BYTES], self.sealed, self._bound())
        except (InvalidTag, ValueError) as error:
            raise ValueError("what was sealed to the endorsement key was changed on its way") from error

    def _cipher(self, secret: bytes) -> Any:
        # Here, so that answers can be given where the library is not. Where there is tpm2-pytss there is it.
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        return AESGCM(hmac.digest(secret, _SEALING_LABEL + self.nonce, "sha256"))

    def _bound(self) -> bytes:
        return self.credential + self.encrypted_secret


def answer_over(
    nonce: bytes, digests: bytes, secret: bytes, *, endorsement_key_name: bytes, bound_to_name: bytes
) -> bytes:
    """The answer to the challenge with this *nonce* and these *digests*, for who no longer has the challenge."""
    message = b"".join((_ANSWER_LABEL, nonce, endorsement_key_name, bound_to_name, digests))
    return hmac.digest(secret, message, "sha256")


def sealed_endorsement_auth(params: Mapping[str, Any]) -> Challenge | None:
    """What the option ``sealed_endorsement_auth`` among *params* has; None where it was not filled in."""
    option = params.get("sealed_endorsement_auth")
    return Challenge.from_option(option) if option else None
