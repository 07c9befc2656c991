# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Revocation lists that lie in a directory, as a line has no way to its TPM makers' servers.

Like certificates they are read from their own bytes. A list counts if who may issue it signed it, which its name alone
does not prove: the issuer of the certificate, or whom the certificate itself names for that (an indirect list, which
has entries of several issuers). An entry counts for the certificates of the issuer that it is about and for no other's.
Lists of changes only do not clear anybody. RFC 5280, 4.2.1.13, 5 and 6.3.3.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from ..outside.files import FileError, read_file, told_size
from ..tpm import der
from .certificate import CRL_DISTRIBUTION_POINTS, CRL_SIGN, Certificate, Extension, read_extensions, read_time
from .findings import Finding, TrustError
from .keys import SignatureUnknownError, is_signed_by, signature_algorithm
from .limits import (
    MAXIMAL_REVOCATION_BYTES,
    MAXIMAL_REVOCATION_LISTS,
    MAXIMAL_REVOCATION_LISTS_OF_ONE,
    MAXIMAL_SERIAL_BYTES,
    shortened,
)
from .names import Name, NameKey, read_name
from .path import PathFinder, check_validity, told
from .store import CRL_SUFFIXES, files_in

_BEGIN, _END = b"-----BEGIN X509 CRL-----", b"-----END X509 CRL-----"
_AUTHORITY_KEY_IDENTIFIER, _CRL_NUMBER = "2.5.29.35", "2.5.29.20"
_ISSUING_DISTRIBUTION_POINT = "2.5.29.28"
_CERTIFICATE_ISSUER, _REASON_CODE, _INVALIDITY_DATE = "2.5.29.29", "2.5.29.21", "2.5.29.24"
_UNDERSTOOD = (_AUTHORITY_KEY_IDENTIFIER, _CRL_NUMBER, _ISSUING_DISTRIBUTION_POINT)
_UNDERSTOOD_OF_ENTRIES = (_CERTIFICATE_ISSUER, _REASON_CODE, _INVALIDITY_DATE)
_TIMES = (0x17, 0x18)
# Tags of a directoryName, and of reasons and cRLIssuer in a distribution point.
_DIRECTORY_NAME, _SOME_REASONS, _CRL_ISSUER = 0xA4, 0x81, 0xA2
# The object identifier of certificateIssuer, and TRUE, as they stand in an entry.
_CERTIFICATE_ISSUER_WRITTEN, _TRUE_WRITTEN = b"\x06\x03\x55\x1d\x1d", b"\x01\x01"
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
_TAKEN_OFF = 8
# Authorities of one name that may have signed a list, and what is kept of which did.
_MAXIMAL_SIGNERS = 16
_MAXIMAL_KEPT = 10_000


@dataclass(frozen=True)
class Scope:
    """What an issuingDistributionPoint says that a list is for; RFC 5280, 5.2.5. *names* as they are written."""

    names: frozenset[bytes] | None = None
    users: bool = False
    authorities: bool = False
    some_reasons: bool = False
    indirect: bool = False
    attributes: bool = False


@dataclass(frozen=True, eq=False)
class RevocationList:
    """One list. *entries* has, by the name of an issuer and a serial number, where in *written* the entry begins.

    *strange* is whether something critical in it is not understood, so that it clears nobody.
    """

    source: str
    issuer: Name
    this_update: datetime
    next_update: datetime | None
    entries: dict[NameKey, dict[int, int]]
    written: bytes
    scope: Scope
    strange: bool
    tbs: bytes
    signature_algorithm: str
    signature: bytes

    def revoked(self, certificate: Certificate) -> str | None:
        """When and why it says that *certificate* was revoked, in words; None where it does not."""
        at = self.entries.get(certificate.issuer.key, {}).get(certificate.serial_number)
        if at is None or self.scope.attributes:
            return None
        return _told_entry(der.element(self.written, at))

    def is_signed_by(self, issuer: Certificate) -> bool:
        """Whether *issuer* signed it, and may."""
        if not issuer.has_key_usage(CRL_SIGN):
            return False
        try:
            return is_signed_by(issuer.key, self.signature_algorithm, self.signature, self.tbs)
        except SignatureUnknownError:
            return False

    def covers(self, certificate: Certificate, points: list[Point]) -> bool:
        """Whether a certificate that is not on it is known not to be revoked: what it leaves out, it does not cover.

        *points* are the distribution points of *certificate*.
        """
        scope = self.scope
        if self.strange or scope.some_reasons or scope.attributes:
            return False
        if scope.users if certificate.is_ca else scope.authorities:
            return False
        if scope.names is None and self.issuer.key == certificate.issuer.key:
            return True
        return any(self._is_at(one, own=self.issuer.key == certificate.issuer.key) for one in points if one.whole)

    def _is_at(self, point: Point, *, own: bool) -> bool:
        names = self.scope.names
        if point.issuers:
            named = self.issuer.key in point.issuers and self.scope.indirect
            return named and (names is None or bool(names & (point.names or point.written_issuers)))
        return own and bool(names and names & point.names)


@dataclass(frozen=True)
class Point:
    """A distribution point of a certificate: its names as written, and who issues the list there if not its issuer.

    It is *whole* where it is for every reason.
    """

    names: frozenset[bytes]
    issuers: frozenset[NameKey]
    written_issuers: frozenset[bytes]
    whole: bool


def read_revocation_lists(paths: Iterable[str]) -> list[RevocationList]:
    """The lists in files (DER, or PEM with one or more) and directories; TrustError names what cannot be read."""
    found: list[RevocationList] = []
    left = MAXIMAL_REVOCATION_BYTES
    for place in paths:
        before = len(found)
        for file in files_in(place, CRL_SUFFIXES, "certificate revocation lists"):
            try:
                content = read_file(file, most=left)
            except FileError as error:
                most = f"all lists together may have {told_size(MAXIMAL_REVOCATION_BYTES)}"
                raise TrustError(f"The certificate revocation list {file} {error}; {most}.") from None
            left -= len(content)
            try:
                encoded = [base64.b64decode(one) for one in _in_pem(content)]
                if not encoded and b"-----BEGIN" not in content:
                    encoded = [content]
                if len(found) + len(encoded) > MAXIMAL_REVOCATION_LISTS:
                    raise ValueError(f"with it there are more than {MAXIMAL_REVOCATION_LISTS}")
                found += [_read(data, str(file)) for data in encoded]
            except (ValueError, IndexError, OverflowError, binascii.Error) as error:
                why = shortened(error)
                raise TrustError(f"{file} is no certificate revocation list ({why}): replace or remove it.") from None
        if len(found) == before:
            raise TrustError(f"There is no certificate revocation list in {place}.")
    _check_number(found)
    return found


def _in_pem(content: bytes) -> list[bytes]:
    """What stands between the marks of PEM. ValueError where one has no end, as it might have revoked anything."""
    parts = [part.partition(_END) for part in content.split(_BEGIN)[1:]]
    if not all(end for _body, end, _after in parts):
        raise ValueError("it was cut short")
    return [body for body, _end, _after in parts]


def _check_number(lists: list[RevocationList]) -> None:
    of_one: dict[NameKey, int] = {}
    for one in lists:
        of_one[one.issuer.key] = of_one.get(one.issuer.key, 0) + 1
        if of_one[one.issuer.key] > MAXIMAL_REVOCATION_LISTS_OF_ONE:
            raise TrustError(
                f"There are more than {MAXIMAL_REVOCATION_LISTS_OF_ONE} certificate revocation lists of {one.issuer}, "
                f"the last one in {one.source}: keep the newest."
            )


class Revocations:
    """Tells whether a certificate is revoked, from *lists*, as of *now*. Without lists, nothing is asked or told.

    *finder* knows the authorities that may have signed a list without having issued the certificate.
    """

    def __init__(self, lists: Iterable[RevocationList], now: datetime, finder: PathFinder) -> None:
        self._now = now
        self._finder = finder
        self._lists: dict[NameKey, list[RevocationList]] = {}
        self._signed: dict[tuple[int, str], bool] = {}
        for one in lists:
            self._lists.setdefault(one.issuer.key, []).append(one)

    def check(
        self, path: tuple[Certificate, ...], helpers: Iterable[Certificate] = ()
    ) -> tuple[list[Finding], list[Finding]]:
        """(what revokes a certificate of *path*, of which of them it is not known whether they are revoked).

        *helpers* may have signed a list, if they lead to the same root.
        """
        problems: list[Finding] = []
        unknown: list[Finding] = []
        if not self._lists:
            return problems, unknown
        signers = (*path[1:], *helpers)
        for place, (certificate, issuer) in enumerate(zip(path, path[1:])):
            who = "" if not place else f"has an authority, {certificate.subject}, that "
            points = read_points(certificate)
            lists = self._lists_about(points, issuer, path[-1], signers)
            revoked = [(one.this_update, when, one.source) for one in lists if (when := one.revoked(certificate))]
            if revoked:
                _updated, when, source = max(revoked)
                problems.append(Finding("revoked", f"{who}was revoked {when}, says {source}"))
            elif why := self._why_unknown(certificate, points, lists):
                unknown.append(Finding("revocation_unknown", f"{who}may be revoked: {why}"))
        return problems, unknown

    def _lists_about(
        self, points: list[Point], issuer: Certificate, root: Certificate, signers: tuple[Certificate, ...]
    ) -> list[RevocationList]:
        found = [one for one in self._lists.get(issuer.subject.key, ()) if self._is_signed(one, issuer)]
        # Whom the certificate names is believed if its own way leads to the same root; RFC 5280, 6.3.3 (f).
        for name in {issuer.subject.key, *(name for point in points for name in point.issuers)}:
            others = [one for one in self._lists.get(name, ()) if one not in found]
            found += [one for one in others if self._is_issued(one, root, signers)]
        return found

    def _is_issued(self, one: RevocationList, root: Certificate, signers: tuple[Certificate, ...]) -> bool:
        named = [signer for signer in signers if signer.subject.key == one.issuer.key]
        unique = {signer.sha256: signer for signer in (*self._finder.called(one.issuer.key), *named)}
        return any(
            self._is_signed(one, signer) and self._is_below(signer, root, signers)
            for signer in list(unique.values())[:_MAXIMAL_SIGNERS]
        )

    def _is_below(self, signer: Certificate, root: Certificate, signers: tuple[Certificate, ...]) -> bool:
        end = self._finder.find(signer, signers, (self._now,)).root
        return end is not None and end.sha256 == root.sha256 and check_validity(signer, (self._now,)) is None

    def _why_unknown(self, certificate: Certificate, points: list[Point], lists: list[RevocationList]) -> str | None:
        lists = [one for one in lists if one.covers(certificate, points)]
        if not lists:
            named = any(point.issuers for point in points)
            or_other = ", nor of whom the certificate names for it (cRLIssuer)," if named else ""
            return f"there is no revocation list of {certificate.issuer}{or_other} that would say so"
        newest = max(lists, key=lambda one: one.this_update)
        if newest.next_update is not None and newest.next_update < self._now:
            return f"{newest.source} should have been replaced by {told(newest.next_update)}"
        return None

    def _is_signed(self, one: RevocationList, issuer: Certificate) -> bool:
        pair = (id(one), issuer.sha256)
        if pair not in self._signed:
            if len(self._signed) > _MAXIMAL_KEPT:
                self._signed.clear()
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
    written = others.pop(0).content if others and others[0].tag == der.SEQUENCE else b""
    listed = der.elements(der.element(others[0].content).content) if others and others[0].tag == der.EXPLICIT_0 else []
    extensions, _repeated = read_extensions(listed)
    name = read_name(issuer.content)
    entries, strange = _read_entries(written, name.key)
    scope = extensions.get(_ISSUING_DISTRIBUTION_POINT)
    return RevocationList(
        source=source,
        issuer=name,
        this_update=read_time(this_update),
        next_update=next_update,
        entries=entries,
        written=written,
        scope=_read_scope(scope) if scope else Scope(),
        strange=strange or any(one.critical and kind not in _UNDERSTOOD for kind, one in extensions.items()),
        tbs=tbs.raw,
        signature_algorithm=signature_algorithm(algorithm),
        signature=bits.content[1:],
    )


def _read_entries(written: bytes, issuer: NameKey) -> tuple[dict[NameKey, dict[int, int]], bool]:
    """(Where the entries begin, by issuer and serial number; whether one of them has something critical and unknown).

    A list may have hundreds of thousands: of each only the serial number is read, and extensions where they decide.
    """
    current: dict[int, int] = {}
    found = {issuer: current}
    strange = False
    at = 0
    while at < len(written):
        end, serial, serial_end = _bounds(written, at)
        if any(written.find(one, serial_end, end) >= 0 for one in (_CERTIFICATE_ISSUER_WRITTEN, _TRUE_WRITTEN)):
            extensions = _entry_extensions(der.element(written, at))
            critical = {kind for kind, one in extensions.items() if one.critical}
            strange = strange or not critical.issubset(_UNDERSTOOD_OF_ENTRIES)
            named = extensions.get(_CERTIFICATE_ISSUER)
            if named:
                # It holds for the entries that follow too; 5.3.3.
                current = found.setdefault(_first_name(der.element(named.value).content), {})
        current[serial] = at
        at = end
    return found, strange


def _bounds(written: bytes, at: int) -> tuple[int, int, int]:
    """(The end of the entry at *at*, its serial number, where that ends)."""
    inner = at + 2
    try:
        length = written[at + 1]
        if length & 0x80:
            octets = length & 0x7F
            inner += octets
            length = int.from_bytes(written[at + 2 : inner], "big") if 0 < octets < 5 else -1
        end, size = inner + length, written[inner + 1]
        serial_end = inner + 2 + size
        if written[at] != der.SEQUENCE or written[inner] != der.INTEGER or size > MAXIMAL_SERIAL_BYTES:
            raise der.DerError("an entry in it has no serial number")
        if not serial_end <= end <= len(written):
            raise der.DerError("it was cut short")
    except IndexError:
        raise der.DerError("it was cut short") from None
    return end, int.from_bytes(written[inner + 2 : serial_end], "big", signed=True), serial_end


def _entry_extensions(one: der.Element) -> dict[str, Extension]:
    _serial, _date, *others = der.elements(one.content)
    return read_extensions(der.elements(others[0].content))[0] if others else {}


def _told_entry(one: der.Element) -> str | None:
    """When and why an entry revokes, in words; None where it takes a revocation back."""
    try:
        when = f"on {told(read_time(der.elements(one.content)[1]))}"
        reason = _entry_extensions(one).get(_REASON_CODE)
        code = der.element(reason.value).content[-1] if reason else None
    except (ValueError, IndexError, OverflowError):
        return "at a time that cannot be read"
    if code == _TAKEN_OFF:
        return None
    if code is not None:
        when += f" ({_REASONS[code] if code < len(_REASONS) else f'reason {code}'})"
    return when


def _read_scope(extension: Extension) -> Scope:
    # distributionPoint [0], onlyContainsUserCerts [1], onlyContainsCACerts [2], onlySomeReasons [3], indirectCRL [4],
    # onlyContainsAttributeCerts [5]
    parts = {one.tag & 0x1F: one.content for one in der.elements(der.element(extension.value).content)}
    return Scope(
        names=_names(parts[0]) if 0 in parts else None,
        users=any(parts.get(1, b"")),
        authorities=any(parts.get(2, b"")),
        some_reasons=3 in parts,
        indirect=any(parts.get(4, b"")),
        attributes=any(parts.get(5, b"")),
    )


def read_points(certificate: Certificate) -> list[Point]:
    """The distribution points of *certificate*, whose lists it says are about it; none where they cannot be read."""
    extension = certificate.extensions.get(CRL_DISTRIBUTION_POINTS)
    if extension is None:
        return []
    try:
        return [_point(one) for one in der.elements(der.element(extension.value).content)]
    except (ValueError, IndexError):
        return []


def _point(one: der.Element) -> Point:
    # distributionPoint [0], reasons [1], cRLIssuer [2]
    parts = {part.tag: part.content for part in der.elements(one.content)}
    issuers = der.elements(parts.get(_CRL_ISSUER, b""))
    return Point(
        names=_names(parts[der.EXPLICIT_0]) if der.EXPLICIT_0 in parts else frozenset(),
        issuers=frozenset(_first_name(issuer.raw) for issuer in issuers if issuer.tag == _DIRECTORY_NAME),
        written_issuers=frozenset(issuer.raw for issuer in issuers),
        whole=_SOME_REASONS not in parts,
    )


def _first_name(general_names: bytes) -> NameKey:
    """The first directoryName of *general_names*, to compare; a name that nobody has where there is none."""
    for one in der.elements(general_names):
        if one.tag == _DIRECTORY_NAME:
            return read_name(der.element(one.content).content).key
    return (frozenset({("", general_names.hex())}),)


def _names(distribution_point: bytes) -> frozenset[bytes]:
    """The names of a DistributionPointName, as they are written."""
    return frozenset(one.raw for choice in der.elements(distribution_point) for one in der.elements(choice.content))
