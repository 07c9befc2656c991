# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A signature of ssh-keygen(1), -Y sign, over what is handed to another firm.

The key is a file, or its public half where an SSH agent or a token has the other one. Nobody is asked for a passphrase:
nobody may be there to answer.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from typing import Any, BinaryIO

from ..outside.files import FileError, read_file
from ..outside.visible import visible
from ..trust.findings import TrustError

# A token waits for a touch.
_TIMEOUT_SECONDS = 120
_FINGERPRINT = re.compile(r"\bSHA256:[A-Za-z0-9+/]{43}")
_BEGIN = b"-----BEGIN SSH SIGNATURE-----"
_MOST_SIGNERS = 1 << 20


def sign(content: bytes | BinaryIO, key: str, *, namespace: str) -> bytes:
    """The signature over *content*, which may be a file that is read from where it stands, as a file has it.

    TrustError, with what to do, where *key* makes none.
    """
    done = _ssh_keygen("-Y", "sign", "-f", key, "-n", namespace, stdin=content)
    if done.returncode or not done.stdout.startswith(_BEGIN):
        raise TrustError(
            f"Nothing was written: the key {visible(key)} makes no signature ({_said(done)}). A key that has a"
            " passphrase belongs into an SSH agent (ssh-add), and its public half is named instead; an agent asks for"
            " the PIN of a token."
        )
    return done.stdout


def fingerprint(key: str) -> str:
    """The SHA-256 fingerprint of the key in the file *key*, private or public, as ssh-keygen prints it."""
    done = _ssh_keygen("-l", "-E", "sha256", "-f", key)
    found = _FINGERPRINT.search(done.stdout.decode(errors="replace"))
    if done.returncode or found is None:
        raise TrustError(f"{visible(key)} is no SSH key ({_said(done)}). Paths are those of the controller.")
    return found[0]


def fingerprint_of(public_key: str) -> str:
    """The same of *public_key*, a line of a file of one: its type, itself in base64, and whatever follows.

    TrustError where it is none.
    """
    kind, key = (public_key.split() + ["", ""])[:2]
    try:
        blob = base64.b64decode(key, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    # A key says its type once more (RFC 4253, 6.6).
    if not kind or not blob.startswith(len(kind).to_bytes(4, "big") + kind.encode("ascii", "replace")):
        raise TrustError(
            f"'{visible(public_key, most=60)}' is no public key of SSH: give it as ssh-keygen writes it into a file."
        )
    return f"SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode('ascii').rstrip('=')}"


def signing_key_of(content: bytes | BinaryIO, signature: bytes, *, namespace: str) -> str | None:
    """The fingerprint of the key that *signature* over *content* is of, whosever that is; None where it is not good."""
    with tempfile.NamedTemporaryFile() as file:
        file.write(signature)
        file.flush()
        done = _ssh_keygen("-Y", "check-novalidate", "-n", namespace, "-s", file.name, stdin=content)
    found = _FINGERPRINT.search(done.stdout.decode(errors="replace"))
    return found[0] if done.returncode == 0 and found is not None else None


def is_signed_by(content: bytes | BinaryIO, signature: bytes, key_fingerprint: str, *, namespace: str) -> bool:
    """Whether *signature* is one of the key with this fingerprint over *content*."""
    return signing_key_of(content, signature, namespace=namespace) == key_fingerprint


def signer_of(content: bytes, signature: bytes, *, allowed_signers: str, signer: str | None, namespace: str) -> str:
    """Who signed *content*, one of the file *allowed_signers*, and *signer* where that is given.

    TrustError, as the end of a sentence about what is signed, where it was nobody of them.
    """
    try:
        # ssh-keygen has no bound of its own.
        read_file(allowed_signers, most=_MOST_SIGNERS)
    except FileError as error:
        raise TrustError(f"cannot be checked: the file of signers {visible(allowed_signers)} {error}") from None
    with tempfile.NamedTemporaryFile() as file:
        file.write(signature)
        file.flush()
        about = ["-f", allowed_signers, "-s", file.name]
        found = _ssh_keygen("-Y", "find-principals", *about)
        names = found.stdout.decode(errors="replace").split("\n")
        names = [name.strip() for name in names if name.strip()]
        for name in names:
            if signer in (None, name):
                done = _ssh_keygen("-Y", "verify", *about, "-I", name, "-n", namespace, stdin=content)
                if done.returncode == 0:
                    return name
    if names and signer not in (None, *names):
        raise TrustError(f"has the signature of {visible(', '.join(names), most=200)}, and not that of {signer}")
    who = "that is good" if names else f"of anybody in {visible(allowed_signers)}"
    raise TrustError(f"has no signature {who} over what it says")


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return visible(" ".join(done.stderr.decode(errors="replace").split()) or "no reason given", most=400)


def _ssh_keygen(*arguments: str, stdin: bytes | BinaryIO = b"") -> subprocess.CompletedProcess[bytes]:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise TrustError("ssh-keygen is not there, which signs: install openssh-client.")
    given: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": stdin}
    try:
        return subprocess.run(  # pylint: disable=ansible-bad-function
            [program, *arguments],
            **given,
            capture_output=True,
            check=False,
            timeout=_TIMEOUT_SECONDS,
            # Without a terminal and without a window it cannot ask.
            start_new_session=True,
            env={**os.environ, "SSH_ASKPASS_REQUIRE": "never", "LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        raise TrustError(
            f"ssh-keygen was not done within {_TIMEOUT_SECONDS} s. Does a token wait to be touched?"
        ) from None
