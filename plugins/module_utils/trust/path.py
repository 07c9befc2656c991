# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The way from a certificate to a trusted root, over intermediates wherever they come from.

RFC 5280, 6.1, without policies and name constraints: none is asked for, and a certificate that makes one critical is
refused. Every way is tried, since makers sign an authority's key more than once. What is told where there is none is
how far the way went that went furthest, and what was missing there.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from .certificate import (
    BASIC_CONSTRAINTS,
    CERTIFICATE_POLICIES,
    EXTENDED_KEY_USAGE,
    KEY_CERT_SIGN,
    KEY_USAGE,
    Certificate,
)
from .findings import Finding
from .keys import RsaKey, SignatureUnknownError, is_signed_by
from .profile import EK_CERTIFICATE, check_extensions
from .store import Store

# No maker has as many authorities on top of each other, nor as many of one name.
_MAXIMAL_LENGTH = 8
_MAXIMAL_CHECKS = 200
# What is learned of signatures. A fleet shares a few authorities; units that bring many cannot fill the memory.
_MAXIMAL_KEPT = 10_000
_ANY_PURPOSE = "2.5.29.37.0"
_UNDERSTOOD = {BASIC_CONSTRAINTS, CERTIFICATE_POLICIES, EXTENDED_KEY_USAGE, KEY_USAGE}


@dataclass(frozen=True)
class MissingIssuer:
    """Which certificate would be needed to go on: its subject, its key's identifier, where its maker publishes it."""

    name: str
    key_identifier: str | None
    urls: tuple[str, ...]
    on_the_chip: bool = False

    @property
    def told(self) -> str:
        """What to do about it."""
        key = f" with key identifier {self.key_identifier}" if self.key_identifier else ""
        if self.on_the_chip:
            # Authorities that are made for one TPM are published nowhere, so that nobody can add them to the roots.
            return (
                f"add the certificate of {self.name}{key} to the chain that comes with it, as it names no address for "
                "it. TPMs with such certificates have their chain in NV memory (index 0x01c00100 and following), which "
                "tpm_endorsement_key_info reads with all_certificates, or a maker's list brings it along "
                "(endorsement_key_certificate_chain). An authority of all the maker's TPMs is not in these: it is "
                "missing in tpmfleet_ek_certificate_roots, and Microsoft's package of TPM roots has most"
            )
        where = f"; its maker publishes it at {' or '.join(self.urls)}" if self.urls else ""
        return f"add the certificate of {self.name}{key} to the roots{where}"


@dataclass(frozen=True)
class Path:
    """*certificates* begin with the one in question and end with the root; where there is no way, *problem* says why.

    *missing* is the issuer that was not found, where that was it.
    """

    certificates: tuple[Certificate, ...] = ()
    problem: Finding | None = None
    missing: MissingIssuer | None = None

    @property
    def root(self) -> Certificate | None:
        """The trusted root that it ends with; None where there is no way to one."""
        return self.certificates[-1] if self.certificates and not self.problem else None


class PathFinder:
    """Finds ways to the roots of *store*. What it learns of intermediates it keeps, as a fleet shares a few of them.

    *checks* is how many signatures it may look at altogether, where what is asked of it has an end.
    """

    def __init__(self, store: Store, *, checks: float = math.inf) -> None:
        self._store = store
        self._checks_left = checks
        self._signed: dict[tuple[str, str], bool | SignatureUnknownError] = {}

    def find(self, certificate: Certificate, helpers: Iterable[Certificate], moments: Iterable[datetime]) -> Path:
        """The way from *certificate*, over *helpers* too, all of it valid at each of *moments*."""
        most = min(_MAXIMAL_CHECKS, self._checks_left)
        search = _Search(self, tuple(helpers), tuple(moments), most)
        way = search.go((certificate,))
        self._checks_left -= search.checks
        return Path(way) if way else search.failure

    @property
    def is_exhausted(self) -> bool:
        """Whether it looked at as many signatures as it may, so that ways may be there that it did not find."""
        return self._checks_left <= 0

    def candidates(self, certificate: Certificate, helpers: tuple[Certificate, ...]) -> list[Certificate]:
        """Who could be the issuer, the likeliest first: by the key's identifier, then roots."""
        known = self._store.named(certificate)
        fresh = [one for one in helpers if one.subject.key == certificate.issuer.key]
        unique = {one.data: one for one in [*known, *fresh]}.values()
        return sorted(unique, key=lambda one: (not _identified(certificate, one), not self.is_root(one)))

    def called(self, name: object) -> list[Certificate]:
        """The authorities of the store whose subject has the key *name*."""
        return self._store.called(name)

    def is_root(self, certificate: Certificate) -> bool:
        """Whether the way ends here."""
        return self._store.is_root(certificate)

    def is_signed(self, certificate: Certificate, issuer: Certificate) -> bool:
        """Whether *issuer* signed *certificate*; SignatureUnknownError where that cannot be told."""
        if not certificate.is_ca:
            return _is_signed(certificate, issuer)
        pair = (certificate.sha256, issuer.sha256)
        if pair not in self._signed:
            if len(self._signed) >= _MAXIMAL_KEPT:
                self._signed.clear()
            try:
                self._signed[pair] = _is_signed(certificate, issuer)
            except SignatureUnknownError as error:
                self._signed[pair] = error
        known = self._signed[pair]
        if isinstance(known, SignatureUnknownError):
            raise known
        return known


class _Search:
    def __init__(
        self, finder: PathFinder, helpers: tuple[Certificate, ...], moments: tuple[datetime, ...], most: float
    ) -> None:
        self._finder = finder
        self._helpers = helpers
        self._moments = moments
        self._most = most
        self.checks = 0
        self._reached = -1
        self.failure = Path()

    def go(self, way: tuple[Certificate, ...]) -> tuple[Certificate, ...] | None:
        last = way[-1]
        if self._finder.is_root(last):
            return way
        if len(way) > _MAXIMAL_LENGTH:
            self._fail(way, Finding("path", f"has a path of more than {_MAXIMAL_LENGTH} authorities"))
            return None
        problems = []
        deeper = False
        before = {one.data for one in way}
        for issuer in self._finder.candidates(last, self._helpers):
            if issuer.data in before:
                continue
            if self.checks >= self._most:
                self._fail(way, Finding("path", "has too many authorities of one name above it to look at each"))
                return None
            self.checks += 1
            problem = self._problem_of(last, issuer, below=way[1:])
            if problem is None:
                found = self.go((*way, issuer))
                if found:
                    return found
                deeper = True
            # A namesake with another key is not the issuer and was not meant to be.
            elif problem.code != "signature" or _identified(last, issuer):
                problems.append(problem)
        if problems:
            self._fail(way, problems[0])
        elif not deeper:
            self._fail(way, *_missing(way, self._helpers))
        return None

    def _problem_of(
        self, certificate: Certificate, issuer: Certificate, below: tuple[Certificate, ...]
    ) -> Finding | None:
        try:
            signed = self._finder.is_signed(certificate, issuer)
        except SignatureUnknownError as error:
            who = "" if not below else f"has an authority, {certificate.subject}, that "
            return Finding(error.code, f"{who}{error}")
        if not signed:
            return Finding("signature", f"was not signed by {issuer.subject}, which it names: it was changed or forged")
        return check_authority(issuer, below, self._moments)

    def _fail(self, way: tuple[Certificate, ...], problem: Finding, missing: MissingIssuer | None = None) -> None:
        if len(way) > self._reached:
            self._reached = len(way)
            self.failure = Path(way, problem, missing)


def check_authority(issuer: Certificate, below: tuple[Certificate, ...], moments: Iterable[datetime]) -> Finding | None:
    """Why *issuer* may not have issued what is *below* it, authorities only; None where it may."""
    found = check_extensions(issuer, _UNDERSTOOD)
    why = found[0].message if found else None
    if not issuer.is_ca or issuer.version != 3:
        why = "is no certificate authority"
    elif not issuer.has_key_usage(KEY_CERT_SIGN):
        why = "must not sign certificates (keyUsage)"
    elif issuer.path_length is not None and sum(not one.is_self_issued for one in below) > issuer.path_length:
        why = f"allows {issuer.path_length} authorities below it and has more (pathLenConstraint)"
    elif not _may_certify(issuer):
        why = "must not certify endorsement keys (extended key usage)"
    elif isinstance(issuer.key, RsaKey) and issuer.key.is_short:
        why = f"has an RSA key of {issuer.key.bits} bits, which is too short"
    if why:
        return Finding("issuer", f"was issued by {issuer.subject}, which {why}")
    validity = check_validity(issuer, moments)
    return validity and Finding(validity.code, f"was issued by {issuer.subject}, which {validity.message}")


def check_validity(certificate: Certificate, moments: Iterable[datetime]) -> Finding | None:
    """What is wrong where *certificate* is not valid at each of *moments*."""
    for moment in moments:
        if moment < certificate.not_before:
            return Finding("not_yet_valid", f"is not valid before {told(certificate.not_before)}")
        if moment > certificate.not_after:
            return Finding("expired", f"is valid until {told(certificate.not_after)}, not at {told(moment)}")
    return None


def told(moment: datetime) -> str:
    """A moment for people and machines."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _missing(way: tuple[Certificate, ...], helpers: tuple[Certificate, ...]) -> tuple[Finding, MissingIssuer]:
    last = way[-1]
    identifier = last.authority_key_identifier
    on_the_chip = len(way) == 1 and not last.issuer_urls and not helpers
    missing = MissingIssuer(str(last.issuer), identifier.hex() if identifier else None, last.issuer_urls, on_the_chip)
    by_way = f" by way of {', '.join(str(one.subject) for one in way[1:])}" if way[1:] else ""
    return Finding("issuer_missing", f"leads{by_way} to an issuer that is not there: {missing.told}"), missing


def _may_certify(issuer: Certificate) -> bool:
    # Only a critical restriction counts for an authority; RFC 5280, 4.2.1.12, is about keys that issue nothing.
    extension = issuer.extensions.get(EXTENDED_KEY_USAGE)
    restricted = extension is not None and extension.critical
    return not restricted or bool({EK_CERTIFICATE, _ANY_PURPOSE}.intersection(issuer.extended_key_usage))


def _is_signed(certificate: Certificate, issuer: Certificate) -> bool:
    return is_signed_by(issuer.key, certificate.signature_algorithm, certificate.signature, certificate.tbs)


def _identified(certificate: Certificate, issuer: Certificate) -> bool:
    wanted, has = certificate.authority_key_identifier, issuer.key_identifier
    return wanted is None or has is None or wanted == has
