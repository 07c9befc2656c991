# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificates that the user trusts, and those that only help to reach them, from files.

A certificate whose subject and issuer have one name is a root. So is an authority in a directory RootCA, as Microsoft's
package has it, since some makers publish none above: AMD's for its processors' Pluton has an issuer that nobody outside
has. All others are intermediates, which are trusted only by way of a root. A directory that is named after a TPM maker
binds the roots in it to that maker: they vouch for no other maker's TPM. A root that lies in several places is bound to
the makers of all of them, and to none where one of them has no maker's name.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..outside.files import FileError, read_file
from ..outside.visible import visible_few
from .certificate import Certificate, CertificateError, read_certificate
from .encodings import certificates_of
from .findings import TrustError
from .limits import (
    MAXIMAL_FILE_BYTES,
    MAXIMAL_NAMESAKES,
    MAXIMAL_STORE_CERTIFICATES,
    MAXIMAL_STORE_FILES,
)
from .makers import guests_of, vendors_named

CERTIFICATE_SUFFIXES = (".pem", ".crt", ".cer", ".der", ".p7b", ".p7c")
CRL_SUFFIXES = (".crl", ".pem", ".der")
# What a directory may be called on purpose so that the roots in it are trusted for any maker's TPM.
ANY_MAKER = "any"
# What a directory is called whose authorities are trusted themselves.
_ANCHORS = ("rootca", "rootcas")
# What directories are called that tell of their certificates' kind, not of their maker. Microsoft's and others' words.
_KINDS = ("root", "intermediate", "ca", "cas", "cert", "certificate", "chain", "rootca", "intermediateca")


class Unusable(ValueError):
    """Why a file of a store is not used, as the end of a sentence about it."""


@dataclass
class Store:
    """Roots and intermediates, *places* with the files of each by fingerprint.

    *bound* has the vendor IDs that a root is bound to, by fingerprint; one that is trusted for any TPM is not in it.
    *unusable* has the files that were passed over, with the reason. *unnamed* has directories that are no maker's.
    """

    roots: dict[str, Certificate] = field(default_factory=dict)
    intermediates: dict[str, Certificate] = field(default_factory=dict)
    bound: dict[str, frozenset[str]] = field(default_factory=dict)
    places: dict[str, list[str]] = field(default_factory=dict)
    unusable: list[tuple[str, str]] = field(default_factory=list)
    unnamed: dict[str, int] = field(default_factory=dict)
    _by_subject: dict[object, list[Certificate]] = field(default_factory=dict)

    def add(
        self, certificate: Certificate, vendors: frozenset[str] = frozenset(), place: str = "", *, anchor: bool = False
    ) -> None:
        """Adds one, which lies in *place* and is bound to *vendors* there; to nobody where there are none.

        With *anchor* it is a root whoever issued it.
        """
        fingerprint = certificate.sha256
        known = fingerprint in self.places
        self.places.setdefault(fingerprint, []).append(place)
        # Who has no name issued nothing; certificates of endorsement keys have none.
        if not known and certificate.subject.key:
            self._by_subject.setdefault(certificate.subject.key, []).append(certificate)
        was_root = fingerprint in self.roots
        if not certificate.is_self_issued and not anchor:
            if not was_root:
                self.intermediates[fingerprint] = certificate
            return
        self.intermediates.pop(fingerprint, None)
        self.roots[fingerprint] = certificate
        if not vendors:
            self.bound.pop(fingerprint, None)
        elif not was_root or fingerprint in self.bound:
            self.bound[fingerprint] = self.bound.get(fingerprint, frozenset()) | vendors

    def named(self, certificate: Certificate) -> list[Certificate]:
        """Those that bear the name of the issuer of *certificate*."""
        return self.called(certificate.issuer.key)

    def called(self, name: object) -> list[Certificate]:
        """Those whose subject has the key *name*."""
        return self._by_subject.get(name, [])

    def is_root(self, certificate: Certificate) -> bool:
        """Whether it is one of the trusted roots."""
        return certificate.sha256 in self.roots

    def notes(self) -> list[str]:
        """What its owner should know of it, in sentences."""
        told = []
        if self.unusable:
            files = [f"{place} {why}" for place, why in self.unusable]
            told.append(
                f"Of the trusted certificates {len(files)} files were not used: {visible_few(files, most=None)}."
            )
        if self.unnamed:
            many = visible_few([f"{place} ({count})" for place, count in self.unnamed.items()], most=None)
            told.append(
                "No TPM maker is known by the name of these directories, so that the roots in them are trusted for any "
                f"maker's TPM: {many}. Name each after its maker (vendor ID or name), or '{ANY_MAKER}' where that is "
                "meant."
            )
        return told


def read_store(paths: Iterable[str], *, needs_root: bool = True) -> Store:
    """The store of what is in *paths*: files of certificates in any form, and directories of them.

    TrustError where one of *paths* cannot be read, and where there is no root in all of them unless *needs_root* is
    false. A file in a directory that cannot be used is passed over and told: it can only be missed.
    """
    store = Store()
    places = list(paths)
    count = 0
    for place in places:
        for file in files_in(place, CERTIFICATE_SUFFIXES, "trusted certificates"):
            try:
                found = certificates_in(file)
            except Unusable as error:
                if not os.path.isdir(place):
                    raise TrustError(f"{file} cannot be trusted by: {error}.") from None
                store.unusable.append((str(file), str(error)))
                continue
            count += len(found)
            if count > MAXIMAL_STORE_CERTIFICATES:
                raise TrustError(
                    f"There are more than {MAXIMAL_STORE_CERTIFICATES} certificates in {', '.join(places)}, and a TPM "
                    "maker has a few dozen: keep those of the makers of your TPMs."
                )
            _add(store, place, file, found)
            _check_namesakes(store, found, file)
    if places and needs_root and not store.roots:
        unused = visible_few([f"{one} {reason}" for one, reason in store.unusable], most=None)
        why = f" Not used: {unused}." if unused else ""
        raise TrustError(
            f"There is no root certificate in {', '.join(places)}. A root is one whose subject and issuer are the "
            f"same: add the TPM maker's root next to its intermediate certificates.{why}"
        )
    return store


def _check_namesakes(store: Store, found: list[Certificate], file: Path) -> None:
    for one in found:
        if len(store.called(one.subject.key)) > MAXIMAL_NAMESAKES:
            raise TrustError(
                f"There are more than {MAXIMAL_NAMESAKES} certificates that are all called {one.subject}, the last one "
                f"in {file}. No TPM maker has as many: take out those that did not come from one."
            )


def _add(store: Store, place: str, file: Path, found: list[Certificate]) -> None:
    names = _directories(place, file)
    vendors = next((known for name in names if (known := vendors_named(name))), frozenset())
    for one in found:
        is_root = one.is_self_issued or (one.is_ca and _is_anchors(file))
        guests = guests_of(vendors, one) if is_root and vendors else frozenset()
        store.add(one, vendors | guests, str(file), anchor=is_root)
        own = [name for name in _inner(place, file) if not _is_kind(name)]
        if is_root and not vendors and own and own[0].lower() != ANY_MAKER:
            directory = str(file.parent)
            store.unnamed[directory] = store.unnamed.get(directory, 0) + 1


def _inner(place: str, file: Path) -> list[str]:
    """The directories between *place* and *file*, the innermost first."""
    base = Path(place)
    return list(reversed(file.relative_to(base).parts[:-1])) if base.is_dir() else []


def _directories(place: str, file: Path) -> list[str]:
    """The names by which *file* may be known as a maker's, the innermost first.

    Those below *place*, *place* itself or the parent of a file, and the next one above where that only tells a kind.
    """
    names = _inner(place, file)
    above = Path(os.path.abspath(place))
    if not above.is_dir():
        above = above.parent
    while _is_kind(above.name) and above != above.parent:
        above = above.parent
    return [*names, above.name]


def _is_anchors(file: Path) -> bool:
    """Whether *file* lies in a directory of authorities that are trusted themselves."""
    name = Path(os.path.abspath(file)).parent.name
    return "".join(filter(str.isalpha, name.lower())) in _ANCHORS


def _is_kind(name: str) -> bool:
    words = "".join(letter if letter.isalpha() else " " for letter in name.lower()).split()
    return bool(words) and all(word.removesuffix("s") in _KINDS for word in words)


def files_in(place: str, suffixes: tuple[str, ...], what: str) -> Iterator[Path]:
    """The file *place*, or the files below the directory *place* whose names end with one of *suffixes*, sorted."""
    path = Path(place)
    if path.is_dir():
        found = []
        for directory, _directories_below, names in os.walk(path):
            found += [Path(directory, name) for name in names if name.lower().endswith(suffixes)]
            if len(found) > MAXIMAL_STORE_FILES:
                raise TrustError(f"The directory {place} has more than {MAXIMAL_STORE_FILES} files of {what}.")
        if not found:
            raise TrustError(f"The directory {place} has no {what}: no file in it ends with {', '.join(suffixes)}.")
        yield from sorted(found)
    elif path.exists():
        yield path
    else:
        raise TrustError(f"There is no {place}, which should hold {what}. Paths are those of the controller.")


def certificates_in(file: Path) -> list[Certificate]:
    """The certificates in one file of trusted certificates; Unusable says what is wrong with it."""
    try:
        return [read_certificate(data) for data in certificates_of(read_file(file, most=MAXIMAL_FILE_BYTES))]
    except FileError as error:
        raise Unusable(str(error)) from None
    except CertificateError as error:
        raise Unusable(f"a certificate in it {error}") from None
