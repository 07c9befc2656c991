# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A TPM maker's signature over its list, checked before a line of the list is believed.

Signatures are those of ssh-keygen(1), -Y sign: OpenSSH is on every controller, since Ansible connects with it, a maker
needs no more than an ordinary key or a token that an SSH agent knows, and whose key counts, for how long, is one line
in a file of allowed signers. An X.509 signature (CMS) would ask for a library that nobody here has, and for a second
set of roots.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Any

from ..outside.files import FileError, lines_of, open_file, read_file
from ..outside.visible import visible
from .findings import TrustError
from .programs import run_program

SUMS = "SHA256SUMS"
_SUM = re.compile(r"([0-9a-fA-F]{64}) [ *](.+)")
_TIMEOUT_SECONDS = 600
# A quarter of a million files.
_MOST_SUMS = 1 << 25
_LONGEST_SUM = 4096 + 80
# A signature has a few hundred bytes, a signer's line not many more.
_MOST_SIGNERS = 1 << 20


def check_signature(content: str, signature: str, *, allowed_signers: str, signer: str | None, namespace: str) -> str:
    """Who signed the file *content*, one of *allowed_signers* (a file) and *signer* where that is given.

    TrustError where it was somebody else, or something else was signed.
    """
    for path, what in ((content, "The list"), (signature, "The signature"), (allowed_signers, "The file of signers")):
        try:
            if path is content:
                open_file(path).close()
            else:
                # ssh-keygen has no bound of its own.
                read_file(path, most=_MOST_SIGNERS)
        except FileError as error:
            raise TrustError(f"{what} {path} {error}. Paths are those of the controller.") from None
    about = ["-f", allowed_signers, "-s", signature]
    found = _ssh_keygen("find-principals", *about)
    names = found.stdout.decode(errors="replace").split()
    candidates = [name for name in names if signer in (None, name)]
    said = found.stderr.decode(errors="replace").strip()
    for name in candidates:
        with open(content, "rb") as stream:
            verified = _ssh_keygen("verify", *about, "-I", name, "-n", namespace, stdin=stream)
        if verified.returncode == 0:
            return name
        said = (verified.stdout + verified.stderr).decode(errors="replace").strip()
    who = f"of {signer}" if signer else f"of anybody in {allowed_signers}"
    if names and not candidates:
        said = f"it is the signature of {', '.join(names)}"
    why = visible(" ".join(said.split()) or "no reason given", most=400)
    raise TrustError(
        f"{signature} is no good signature {who} over {content} ({why})."
        " Do not take in this list: get it again from its maker, and the maker's key by another way."
    )


def signed_sums(path: Path) -> dict[str, str]:
    """File name to SHA-256, from a file as sha256sum(1) writes it."""
    sums = {}
    size = 0
    try:
        with open_file(path) as file:
            for place, line in enumerate(lines_of(file, most=_LONGEST_SUM), start=1):
                parts = _SUM.fullmatch(line.decode("utf-8", errors="replace").rstrip())
                size += len(line)
                if parts is None or size > _MOST_SUMS:
                    why = "is not as sha256sum writes it" if parts is None else "is one of too many"
                    raise TrustError(f"Line {place} of {path} {why}.")
                sums[parts[2].removeprefix("./")] = parts[1].lower()
    except FileError as error:
        raise TrustError(f"The signed list of files {path} {error}.") from None
    return sums


def sha256(data: bytes) -> str:
    """As it stands in such a file."""
    return hashlib.sha256(data).hexdigest()


def _ssh_keygen(operation: str, *arguments: str, **stream: Any) -> Any:
    missing = "checks signatures: install openssh-client."
    return run_program("ssh-keygen", "-Y", operation, *arguments, missing=missing, seconds=_TIMEOUT_SECONDS, **stream)
