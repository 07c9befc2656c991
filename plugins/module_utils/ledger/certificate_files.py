# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A TPM maker's list that is a directory of endorsement key certificates and keys, or a file of them."""

from __future__ import annotations

import base64
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..dps.errors import DpsError
from ..lists.reader import Read
from ..lists.tool_output import is_tool_output, keys_in
from ..outside.files import FileError, read_file
from ..trust.certificate import CertificateError, read_certificate
from ..trust.encodings import certificates_of
from ..trust.limits import MAXIMAL_CHAIN
from ..trust.list_signature import SUMS, sha256
from ..trust.store import CERTIFICATE_SUFFIXES

# What may lie beside the certificates. Anything else in the directory is taken for one, whatever its name is.
_BESIDE = (SUMS, "README")
# A file has a certificate and its chain, or the certificates of a whole shipment; larger ones come in several files.
_MOST_BYTES = 16 << 20
_MOST_FILES = 250_000
# The algorithm right behind the head of the sequence; in a certificate there stands its own content.
_SUBJECT_PUBLIC_KEY_INFO = bytes.fromhex("300d06092a864886f70d010101")
_PUBLIC_KEY = re.compile(rb"-----BEGIN (?:RSA )?PUBLIC KEY-----")


def holds_certificates(path: str) -> bool:
    """Whether *path* looks like such a list."""
    return os.path.isdir(path) or path.lower().endswith(CERTIFICATE_SUFFIXES)


class CertificateFiles:
    """The certificates below a directory, sorted by name, or in one file (DER, or PEM with any number of them).

    *sums*, from a signed file, has the SHA-256 of every file that may be in the directory.
    """

    word = "certificate"

    def __init__(self, path: str, *, sums: Mapping[str, str] | None = None) -> None:
        self._base = Path(path)
        self._sums = sums
        self._places: list[str] = []
        if not self._base.exists():
            raise DpsError(
                f"The EK list {path} is not there.",
                hint="Paths are those of the machine where the task runs, which is the controller.",
            )

    def where(self, place: int) -> str:
        """What people call the certificate that was the *place*-th, from 1."""
        return self._places[place - 1]

    def scan(self) -> Iterator[Read]:
        """As the scan of other lists; a certificate cannot be read again."""
        missing = dict(self._sums or {})
        files = self._files()
        if len(files) > _MOST_FILES:
            yield self._told(self._base.name, f"has more than {_MOST_FILES:,} files: give them in several directories")
            return
        for file in files:
            name = str(file.relative_to(self._base)) if self._base.is_dir() else file.name
            yield from self._read(file, name, missing.pop(name, None))
        for name in missing:
            yield self._told(name, "is in the signed list of files and is not there")

    def lost(self) -> list[tuple[int, str, str]]:
        """Nothing: no file tells of another."""
        return []

    def close(self) -> None:
        """Nothing to close."""

    def _files(self) -> list[Path]:
        if not self._base.is_dir():
            return [self._base]
        # A pipe or a socket in it is no certificate either, and told as one.
        below = (one for one in self._base.rglob("*") if not one.is_dir())
        found = (
            one
            for one in below
            if not one.name.startswith((".", *_BESIDE))
            and not any(part.startswith(".") for part in one.parts[len(self._base.parts) : -1])
        )
        return sorted(itertools.islice(found, _MOST_FILES + 1))

    def _leads_out(self, file: Path) -> bool:
        """Whether *file* is a link to what does not lie in the directory, which is nothing that its maker sent."""
        return self._base.is_dir() and file.is_symlink() and not _is_below(self._base, file)

    def _read(self, file: Path, name: str, digest: str | None) -> Iterator[Read]:
        if self._leads_out(file):
            yield self._told(name, "is a link that leads out of the directory: put the file itself there")
            return
        try:
            content = read_file(file, most=_MOST_BYTES)
        except FileError as error:
            yield self._told(name, str(error))
            return
        if self._sums is not None and digest != sha256(content):
            why = "is not in the signed list of files" if digest is None else "was changed since it was signed"
            yield self._told(name, why)
            return
        if _has_keys(content):
            found = keys_in(content)
            for number, (record, reasons) in enumerate(found, start=1):
                called = f"{name} ({number})" if len(found) > 1 else name
                yield Read(0, self._next(called), record, reasons)
            return
        try:
            encoded = certificates_of(content, most=_MOST_BYTES)
        except CertificateError as error:
            yield self._told(name, str(error))
            return
        certificates, authorities = _parted(encoded)
        # One more than are looked at, so that it is told.
        chain = [_text(one) for one in authorities[: MAXIMAL_CHAIN + 1]]
        for number, data in enumerate(certificates, start=1):
            called = f"{name} ({number})" if len(certificates) > 1 else name
            certified: dict[str, Any] = {"endorsement_key_certificate": _text(data)}
            if chain:
                certified["endorsement_key_certificate_chain"] = chain
            yield Read(0, self._next(called), certified, [])

    def _told(self, name: str, reason: str) -> Read:
        return Read(0, self._next(name), None, [("", reason)])

    def _next(self, name: str) -> int:
        self._places.append(name)
        return len(self._places)


def _is_below(base: Path, file: Path) -> bool:
    try:
        return base.resolve() in file.resolve().parents
    except (OSError, RuntimeError):
        # A ring of links, which cannot be read either.
        return True


def _has_keys(content: bytes) -> bool:
    """Whether a file has keys rather than certificates. A certificate in DER is one of a key too, in other words."""
    if content[:1] == b"\x30":
        return _SUBJECT_PUBLIC_KEY_INFO in content[:32]
    if b"-----BEGIN" in content:
        return _PUBLIC_KEY.search(content) is not None and b"-----BEGIN CERTIFICATE-----" not in content
    return is_tool_output(content[:4096])


def _parted(encoded: list[bytes]) -> tuple[list[bytes], list[bytes]]:
    """(Certificates of TPMs, the authorities' that lie with them in one file and belong to each)."""
    parts: tuple[list[bytes], list[bytes]] = ([], [])
    for data in encoded:
        parts[_is_authority(data)].append(data)
    return parts if parts[0] else (encoded, [])


def _is_authority(data: bytes) -> bool:
    try:
        return read_certificate(data).is_ca
    except CertificateError:
        return False


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
