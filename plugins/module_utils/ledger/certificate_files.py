# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A TPM maker's list that is a directory of endorsement key certificates, or a file of them."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..dps.errors import DpsError
from ..trust.certificate import CertificateError
from ..trust.list_signature import SUMS, sha256
from ..trust.store import CERTIFICATE_SUFFIXES, encoded_in

# What may lie beside the certificates. Anything else in the directory is taken for one, whatever its name is.
_BESIDE = (SUMS, "README")


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
                hint="It has to be where the task runs; delegate the task to the controller.",
            )

    def where(self, place: int) -> str:
        """What people call the certificate that was the *place*-th, from 1."""
        return self._places[place - 1]

    def scan(self) -> Iterator[tuple[int, int, Any, str | None]]:
        """As the scan of other lists: (0, place, the record, why it cannot be read or None), one a certificate."""
        missing = dict(self._sums or {})
        for file in self._files():
            name = str(file.relative_to(self._base)) if self._base.is_dir() else file.name
            yield from self._read(file, name, missing.pop(name, None))
        for name in missing:
            yield 0, self._next(name), None, "is in the signed list of files and is not there"

    def close(self) -> None:
        """Nothing to close."""

    def _files(self) -> list[Path]:
        if not self._base.is_dir():
            return [self._base]
        below = (one for one in self._base.rglob("*") if one.is_file())
        return sorted(
            one
            for one in below
            if not one.name.startswith((".", *_BESIDE))
            and not any(part.startswith(".") for part in one.parts[len(self._base.parts) : -1])
        )

    def _read(self, file: Path, name: str, digest: str | None) -> Iterator[tuple[int, int, Any, str | None]]:
        try:
            content = file.read_bytes()
            if self._sums is not None and digest != sha256(content):
                why = "is not in the signed list of files" if digest is None else "was changed since it was signed"
                yield 0, self._next(name), None, why
                return
            encoded = encoded_in(content)
        except OSError as error:
            yield 0, self._next(name), None, f"cannot be read: {error.strerror}"
            return
        except CertificateError as error:
            yield 0, self._next(name), None, str(error)
            return
        for number, data in enumerate(encoded, start=1):
            called = f"{name} ({number})" if len(encoded) > 1 else name
            yield 0, self._next(called), {"endorsement_key_certificate": base64.b64encode(data).decode("ascii")}, None

    def _next(self, name: str) -> int:
        self._places.append(name)
        return len(self._places)
