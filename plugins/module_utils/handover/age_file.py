# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Files that only who they are for can read: age (age-encryption.org/v1), by the library pyrage.

A recipient is an SSH key that its owner has anyway (Ed25519 or RSA), or a key of age (X25519). The format does not say
who encrypted, nor can a reader tell whom else it was encrypted to: what is inside has to say both, and be signed.
"""

from __future__ import annotations

from ..outside.files import FileError, read_file
from ..outside.visible import visible
from ..trust.findings import TrustError

try:
    import pyrage
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        PublicFormat,
        load_pem_private_key,
        load_ssh_private_key,
    )
except ImportError:
    HAS_AGE = False
else:
    HAS_AGE = True

_AGE_SECRET = "AGE-SECRET-KEY-1"
_MOST_KEY = 64 << 10
_MISSING = (
    "The Python package pyrage is missing on the controller, which encrypts and decrypts files; see requirements.txt."
)


def checked_recipients(given: list[str]) -> list[str]:
    """The recipients in one form, without comments, each once. TrustError where one is none."""
    _look_for_age()
    found: dict[str, None] = {}
    # A file of public keys may have several.
    for text in (line.strip() for one in given for line in one.strip().splitlines() or [""]):
        one = " ".join(text.split()[:2]) if text.startswith("ssh-") else text.lower()
        _recipient(one)
        found[one] = None
    if not found:
        raise TrustError("recipients is empty: say whose key the order is for, or nobody can read it.")
    return list(found)


def encrypted(content: bytes, recipients: list[str]) -> bytes:
    """*content* for *recipients*, of :func:`checked_recipients`."""
    _look_for_age()
    return bytes(pyrage.encrypt(content, [_recipient(one) for one in recipients]))


class Reader:
    """Who reads, by the private key in the file *path*; ``recipient`` is what others encrypt to, in the one form."""

    def __init__(self, path: str) -> None:
        """TrustError where there is no such key, or one that a passphrase guards."""
        _look_for_age()
        try:
            content = read_file(path, most=_MOST_KEY)
        except FileError as error:
            raise TrustError(f"The key {visible(path)} {error}. Paths are those of the controller.") from None
        self._path = path
        secret = _age_secret(content)
        try:
            if secret is not None:
                self._identity = pyrage.x25519.Identity.from_str(secret)
                self.recipient = str(self._identity.to_public())
            else:
                self._identity = pyrage.ssh.Identity.from_buffer(content)
                load = load_ssh_private_key if b"OPENSSH PRIVATE KEY" in content else load_pem_private_key
                public = load(content, None).public_key()
                self.recipient = public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode("ascii")
        # The library's errors share no class of their own below Exception.
        except Exception as error:  # pylint: disable=broad-except
            raise TrustError(
                f"{visible(path)} is no private key that files can be encrypted to ({visible(error, most=120)}): it is "
                "one of SSH (Ed25519 or RSA) without a passphrase, or one that age-keygen makes."
            ) from None

    def decrypted(self, content: bytes) -> bytes:
        """What is in *content*. TrustError, as the end of a sentence about it, where this key does not open it."""
        try:
            return bytes(pyrage.decrypt(content, [self._identity]))
        except pyrage.DecryptError as error:
            if "No matching keys" in str(error):
                raise TrustError(
                    f"is not for the key {visible(self._path)}: it was encrypted to somebody else"
                ) from None
            raise TrustError(f"is no encrypted file, or was cut or edited ({visible(error, most=120)})") from None


def _look_for_age() -> None:
    if not HAS_AGE:
        raise TrustError(_MISSING)


def _age_secret(content: bytes) -> str | None:
    """The first secret key of a file as age-keygen writes it; None for a file that has none."""
    lines = [line.strip() for line in content.decode("utf-8", errors="replace").splitlines()]
    return next((line for line in lines if line.startswith(_AGE_SECRET)), None)


def _recipient(text: str) -> object:
    try:
        if text.startswith("ssh-"):
            return pyrage.ssh.Recipient.from_str(text)
        return pyrage.x25519.Recipient.from_str(text)
    except pyrage.RecipientError as error:
        raise TrustError(
            f"'{visible(text, most=60)}' is no recipient ({visible(error, most=80)}): give a line of an SSH public key "
            "(ssh-ed25519 or ssh-rsa), or a key of age (age1…)."
        ) from None
