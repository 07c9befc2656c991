# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Revocation lists that lie in a directory, as a line has no way to its TPM makers' servers.

Like certificates they are read from their own bytes. A list counts if the issuer of the certificate signed it, which
its name alone does not prove. Lists of another party than the issuer, and lists of changes only, are not used.
RFC 5280, 5 and 6.3.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ..tpm import der
from .certificate import CRL_DISTRIBUTION_POINTS, CRL_SIGN, Certificate, Extension, read_extensions, read_time
from .findings import Finding, TrustError
from .keys import SignatureUnknownError, is_signed_by
from .names import Name, read_name
from .path import told
from .store import CRL_SUFFIXES, files_in

_PEM = re.compile(rb"-----BEGIN X509 CRL-----(.*?)-----END X509 CRL-----", re.DOTALL)
_AUTHORITY_KEY_IDENTIFIER, _CRL_NUMBER = "2.5.29.35", "2.5.29.20"
_ISSUING_DISTRIBUTION_POINT = "2.5.29.28"
_TIMES = (0x17, 0x18)
_REASONS = (
    "unspecified",
    "key compromise",
    "compromise of its authority",
    "affiliation changed",
    "superseded",
    "cessation of operation",
    "hold",
    "",
    "taken off the list",
    "privilege withdrawn",
    "compromise of its authority",
)
_REASON_CODE = "2.5.29.21"


@dataclass(frozen=True)
class RevocationList:
    """One list; *revoked* has, by serial number, when and why in words. *scope* is its issuingDistributionPoint."""

    source: str
    issuer: Name
    this_update: datetime
    next_update: datetime | None
    revoked: dict[int, str]
    extensions: dict[str, Extension]
    tbs: bytes
    signature_algorithm: der.Element
    signature: bytes

    def is_signed_by(self, issuer: Certificate) -> bool:
        """Whether *issuer* signed it, and may."""
        if not issuer.has_key_usage(CRL_SIGN):
            return False
        try:
            return is_signed_by(issuer.key, self.signature_algorithm, self.signature, self.tbs)
        except SignatureUnknownError:
            return False

    def covers(self, certificate: Certificate) -> bool:
        """Whether a certificate that is not on it is known not to be revoked: what it leaves out, it does not cover."""
        unknown = [
            kind
            for kind, extension in self.extensions.items()
            if extension.critical and kind not in (_AUTHORITY_KEY_IDENTIFIER, _CRL_NUMBER, _ISSUING_DISTRIBUTION_POINT)
        ]
        scope = self.extensions.get(_ISSUING_DISTRIBUTION_POINT)
        return not unknown and (scope is None or _in_scope(certificate, scope))


def read_revocation_lists(paths: Iterable[str]) -> list[RevocationList]:
    """The lists in files (DER, or PEM with one or more) and directories; TrustError names what cannot be read."""
    found: list[RevocationList] = []
    for place in paths:
        before = len(found)
        for file in files_in(place, CRL_SUFFIXES, "certificate revocation lists"):
            try:
                content = file.read_bytes()
                encoded = [base64.b64decode(one) for one in _PEM.findall(content)]
                if not encoded and b"-----BEGIN" not in content:
                    encoded = [content]
                found += [_read(data, str(file)) for data in encoded]
            except OSError as error:
                raise TrustError(f"{file} cannot be read: {error.strerror}.") from None
            except (ValueError, IndexError, binascii.Error) as error:
                raise TrustError(f"{file} is no certificate revocation list ({error}): replace or remove it.") from None
        if len(found) == before:
            raise TrustError(f"There is no certificate revocation list in {place}.")
    return found


class Revocations:
    """Tells whether a certificate is revoked, from *lists*, as of *now*. Without lists, nothing is asked or told."""

    def __init__(self, lists: Iterable[RevocationList], now: datetime) -> None:
        self._now = now
        self._lists: dict[object, list[RevocationList]] = {}
        self._signed: dict[tuple[int, bytes], bool] = {}
        for one in lists:
            self._lists.setdefault(one.issuer.key, []).append(one)

    def check(self, path: tuple[Certificate, ...]) -> tuple[list[Finding], list[Finding]]:
        """(what revokes a certificate of *path*, of which of them it is not known whether they are revoked)."""
        problems: list[Finding] = []
        unknown: list[Finding] = []
        for place, (certificate, issuer) in enumerate(zip(path, path[1:])) if self._lists else ():
            who = "" if not place else f"has an authority, {certificate.subject}, that "
            lists = [one for one in self._lists.get(issuer.subject.key, ()) if self._is_signed(one, issuer)]
            revoked = [one for one in lists if certificate.serial_number in one.revoked]
            if revoked:
                newest = max(revoked, key=lambda one: one.this_update)
                when = newest.revoked[certificate.serial_number]
                problems.append(Finding("revoked", f"{who}was revoked {when}, says {newest.source}"))
            elif why := self._why_unknown(certificate, issuer, lists):
                unknown.append(Finding("revocation_unknown", f"{who}may be revoked: {why}"))
        return problems, unknown

    def _why_unknown(self, certificate: Certificate, issuer: Certificate, lists: list[RevocationList]) -> str | None:
        lists = [one for one in lists if one.covers(certificate)]
        if not lists:
            return f"there is no revocation list of {issuer.subject} that would say so"
        newest = max(lists, key=lambda one: one.this_update)
        if newest.next_update is not None and newest.next_update < self._now:
            return f"{newest.source} should have been replaced by {told(newest.next_update)}"
        return None

    def _is_signed(self, one: RevocationList, issuer: Certificate) -> bool:
        pair = (id(one), issuer.data)
        if pair not in self._signed:
            self._signed[pair] = one.is_signed_by(issuer)
        return self._signed[pair]


def _read(data: bytes, source: str) -> RevocationList:
    tbs, algorithm, bits = der.elements(der.element(data).content)
    if bits.tag != der.BIT_STRING:
        raise der.DerError("it is not built as one")
    fields = der.elements(tbs.content)
    if fields[0].tag == der.INTEGER:
        fields.pop(0)
    inner_algorithm, issuer, this_update, *others = fields
    if inner_algorithm.content != algorithm.content:
        raise der.DerError("it names two signature algorithms")
    next_update = read_time(others.pop(0)) if others and others[0].tag in _TIMES else None
    entries = der.elements(others.pop(0).content) if others and others[0].tag == der.SEQUENCE else []
    listed = der.elements(der.element(others[0].content).content) if others and others[0].tag == der.EXPLICIT_0 else []
    return RevocationList(
        source=source,
        issuer=read_name(issuer.content),
        this_update=read_time(this_update),
        next_update=next_update,
        revoked=dict(map(_entry, entries)),
        extensions=read_extensions(listed)[0],
        tbs=tbs.raw,
        signature_algorithm=algorithm,
        signature=bits.content[1:],
    )


def _entry(one: der.Element) -> tuple[int, str]:
    serial, date, *others = der.elements(one.content)
    when = f"on {told(read_time(date))}"
    if others:
        reason = read_extensions(der.elements(others[0].content))[0].get(_REASON_CODE)
        if reason is not None:
            code = int.from_bytes(der.element(reason.value).content, "big")
            when += f" ({_REASONS[code] if code < len(_REASONS) else f'reason {code}'})"
    return int.from_bytes(serial.content, "big", signed=True), when


def _in_scope(certificate: Certificate, scope: Extension) -> bool:
    # distributionPoint [0], onlyContainsUserCerts [1], onlyContainsCACerts [2], onlySomeReasons [3], indirectCRL [4],
    # onlyContainsAttributeCerts [5]
    parts = {one.tag & 0x1F: one.content for one in der.elements(der.element(scope.value).content)}
    if 3 in parts or any(parts.get(4, b"")) or any(parts.get(5, b"")):
        return False
    if any(parts.get(2 if not certificate.is_ca else 1, b"")):
        return False
    # A list may be for some certificates only; these name one of its distribution points.
    return 0 not in parts or bool(_names(parts[0]) & _points(certificate))


def _points(certificate: Certificate) -> set[bytes]:
    extension = certificate.extensions.get(CRL_DISTRIBUTION_POINTS)
    found: set[bytes] = set()
    for point in der.elements(der.element(extension.value).content) if extension else ():
        for part in der.elements(point.content):
            if part.tag == der.EXPLICIT_0:
                found |= _names(part.content)
    return found


def _names(distribution_point: bytes) -> set[bytes]:
    """The names of a DistributionPointName, as they are written."""
    return {one.raw for choice in der.elements(distribution_point) for one in der.elements(choice.content)}
