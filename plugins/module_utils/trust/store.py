# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificates that the user trusts, and those that only help to reach them, from files.

A certificate whose subject and issuer have one name is a root; all others are intermediates, which are trusted only by
way of a root. A subdirectory that is named after a TPM maker binds the roots in it to that maker: they vouch for no
other maker's TPM.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from ..tpm import der
from .certificate import Certificate, CertificateError, decode_certificate, read_certificate, split_pem
from .findings import TrustError
from .makers import vendor_named

CERTIFICATE_SUFFIXES = (".pem", ".crt", ".cer", ".der")
CRL_SUFFIXES = (".crl", ".pem", ".der")


class Store:
    """Roots and intermediates by their subject; *bound* has the vendor ID to which a root is bound, by fingerprint."""

    def __init__(self) -> None:
        self.roots: dict[str, Certificate] = {}
        self.bound: dict[str, str] = {}
        self._by_subject: dict[object, list[Certificate]] = {}

    def add(self, certificate: Certificate, vendor: str | None = None) -> None:
        """Adds one; in two directories of makers, the first one counts."""
        candidates = self._by_subject.setdefault(certificate.subject.key, [])
        if any(one.data == certificate.data for one in candidates):
            return
        candidates.append(certificate)
        if certificate.is_self_issued:
            self.roots[certificate.sha256] = certificate
            if vendor:
                self.bound[certificate.sha256] = vendor

    def named(self, certificate: Certificate) -> list[Certificate]:
        """Those that bear the name of the issuer of *certificate*."""
        return self._by_subject.get(certificate.issuer.key, [])

    def is_root(self, certificate: Certificate) -> bool:
        """Whether it is one of the trusted roots."""
        return certificate.sha256 in self.roots


def read_store(paths: Iterable[str]) -> Store:
    """The store of what is in *paths*: files (DER, or PEM with one or more certificates) and directories of them.

    TrustError where one of them cannot be read or where there is no root in all of them.
    """
    store = Store()
    places = list(paths)
    for place in places:
        base = Path(place)
        for file in files_in(place, CERTIFICATE_SUFFIXES, "trusted certificates"):
            between = file.relative_to(base).parts[:-1] if base.is_dir() else ()
            vendor = next((found for part in between if (found := vendor_named(part))), None)
            for data in certificates_in(file):
                store.add(data, vendor)
    if places and not store.roots:
        raise TrustError(
            f"There is no root certificate in {', '.join(places)}. A root is one whose subject and issuer are the "
            "same: add the TPM maker's root next to its intermediate certificates."
        )
    return store


def files_in(place: str, suffixes: tuple[str, ...], what: str) -> Iterator[Path]:
    """The file *place*, or the files below the directory *place* whose names end with one of *suffixes*, sorted."""
    path = Path(place)
    if path.is_dir():
        found = sorted(one for one in path.rglob("*") if one.suffix.lower() in suffixes and one.is_file())
        if not found:
            raise TrustError(f"The directory {place} has no {what}: no file in it ends with {', '.join(suffixes)}.")
        yield from found
    elif path.exists():
        yield path
    else:
        raise TrustError(f"There is no {place}, which should hold {what}. Paths are those of the controller.")


def certificates_in(file: Path) -> list[Certificate]:
    """The certificates in one file of trusted certificates; TrustError names what cannot be read."""
    try:
        content = file.read_bytes()
    except OSError as error:
        raise TrustError(f"{file} cannot be read: {error.strerror}.") from None
    try:
        return [read_certificate(data) for data in encoded_in(content)]
    except CertificateError as error:
        raise TrustError(f"{file} cannot be trusted by: a certificate in it {error}.") from None


def encoded_in(content: bytes) -> list[bytes]:
    """The DER of the certificates in a file's *content*: PEM, or DER, of which several may follow each other."""
    if b"-----BEGIN" not in content:
        whole, rest = der.split(content)
        return whole if whole and not rest else [content]
    found = [decode_certificate(one) for one in split_pem(content.decode("latin-1"))]
    if not found:
        raise CertificateError("is PEM of something else than a certificate")
    return found
