# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Is this the certificate of a genuine TPM, and is it about this endorsement key?"""

from __future__ import annotations

import base64
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime, time, timezone
from typing import Any

from ..outside.files import FileError, read_file
from .certificate import (
    Certificate,
    CertificateError,
    read_certificate,
    strict_complaint,
)
from .encodings import certificates_of, decode_certificates
from .findings import Finding, TrustError
from .limits import MAXIMAL_CHAIN, MAXIMAL_FILE_BYTES
from .makers import guests_of, is_habit
from .path import MissingIssuer, PathFinder, check_validity, told
from .profile import TOLERABLE, CertifiedTpm, check_profile
from .public_area import PublicAreaError, decode_public, key_of
from .revocation import Revocations, read_revocation_lists
from .store import read_store


@dataclass(frozen=True)
class Verdict:
    """What is to be said of one certificate. It is trusted if there is no problem; remarks are told in any case."""

    problems: tuple[Finding, ...]
    remarks: tuple[Finding, ...] = ()
    certificate: Certificate | None = None
    tpm: CertifiedTpm | None = None
    path: tuple[Certificate, ...] = ()
    missing_issuer: MissingIssuer | None = None
    key_matches: bool | None = None

    @property
    def trusted(self) -> bool:
        """Whether it is a genuine TPM's, and this key's where one was given."""
        return not self.problems

    def as_result(self) -> dict[str, Any]:
        """As a module returns it."""
        missing = self.missing_issuer
        return {
            "trusted": self.trusted,
            "problems": [one.as_result() for one in self.problems],
            "remarks": [one.as_result() for one in self.remarks],
            "key_matches": self.key_matches,
            "maker": self.tpm and self.tpm.maker,
            "manufacturer": self.tpm and self.tpm.manufacturer,
            "model": self.tpm and self.tpm.model,
            "firmware_version": self.tpm and self.tpm.firmware_version,
            "specification": self.tpm and self.tpm.specification,
            "software": self.tpm and self.tpm.software,
            "path": [str(one.subject) for one in self.path],
            "missing_issuer": missing
            and {"name": missing.name, "key_identifier": missing.key_identifier, "urls": list(missing.urls)},
            **_described(self.certificate),
        }


@dataclass(frozen=True)
class Rules:
    """By what certificates are judged.

    *roots* and *crls* are paths. *valid_at* is a moment at which they have to be valid too, such as that of shipping.
    *tolerated* are codes of TOLERABLE. With *crls_required* it has to be known of every certificate that it is not
    revoked.
    """

    roots: tuple[str, ...]
    crls: tuple[str, ...] = ()
    crls_required: bool = False
    valid_at: datetime | None = None
    tolerated: Collection[str] = ()
    now: datetime = field(default_factory=lambda: datetime.now(timezone.utc))


class Verifier:
    """Judges any number of certificates by the same rules; TrustError where *rules* cannot be followed."""

    def __init__(self, rules: Rules) -> None:
        unknown = set(rules.tolerated) - set(TOLERABLE)
        if unknown:
            raise TrustError(f"{', '.join(sorted(unknown))} cannot be tolerated; only {', '.join(TOLERABLE)} can.")
        if rules.crls_required and not rules.crls:
            raise TrustError("Revocation has to be known, and no revocation list was given: set ek_certificate_crls.")
        self._rules = rules
        self._store = read_store(rules.roots)
        self._paths = PathFinder(self._store)
        self._revocations = Revocations(read_revocation_lists(rules.crls), rules.now, self._paths)
        self._habits: dict[str, str] = {}
        self._ahead: dict[Any, Verdict] = {}
        self._moments = (rules.now, *([rules.valid_at] if rules.valid_at else []))

    @property
    def notes(self) -> list[str]:
        """What is to be told once: of what is trusted, and of how makers write all their certificates."""
        habits = [
            f"Certificates of {maker} are no strict DER, which is normal for this maker. They were read as they are: "
            f"{complaint}."
            for maker, complaint in self._habits.items()
        ]
        return [*self._store.notes(), *habits]

    def verify_ahead(self, certificate: object, *, chain: object = (), endorsement_key: object = None) -> None:
        """Does the work of a :meth:`verify` that will come, which then costs nothing; a lock may be held by then."""
        key = _in_text(certificate, chain, endorsement_key)
        if key is not None:
            self._ahead[key] = self.verify(certificate, chain=chain, endorsement_key=endorsement_key)

    def verify(self, certificate: object, *, chain: object = (), endorsement_key: object = None) -> Verdict:
        """The verdict on *certificate*, in any of the forms that encodings reads.

        *chain* are certificates, in the same forms or as one bundle, that may help to reach a root. *endorsement_key*
        is the TPM2B_PUBLIC in base64 that the certificate should be about; without it nothing is said about that. A
        device may have sent anything in their place, which is told like any other fault.
        """
        verdict = self._ahead.pop(_in_text(certificate, chain, endorsement_key), None)
        return self._verify(certificate, chain, endorsement_key) if verdict is None else verdict

    def _verify(self, certificate: object, chain: object, endorsement_key: object) -> Verdict:
        try:
            data, read, beside = sort_out(decode_certificates(certificate))
        except CertificateError as error:
            return Verdict(problems=(Finding("unreadable", str(error)),))
        problems, tpm = check_profile(read)
        remarks = self._remarks(read, data, tpm)
        key_matches = None
        if endorsement_key is not None:
            key_matches, mismatch = _match(read, endorsement_key)
            problems += mismatch
        validity = check_validity(read, self._moments)
        problems += [validity] if validity else []
        helpers, unreadable = _helpers(chain)
        helpers += beside
        remarks += unreadable
        path = self._paths.find(read, helpers, self._moments)
        # A weak signature is a fault of the certificate, which has been told.
        problems += [path.problem] if path.problem and path.problem not in problems else []
        if not path.problem:
            problems += self._check_maker(path.certificates[1:], tpm)
            revoked, unknown = self._revocations.check(path.certificates, helpers)
            problems += revoked + (unknown if self._rules.crls_required else [])
            remarks += [] if self._rules.crls_required else unknown
        tolerated = [one for one in problems if one.code in self._rules.tolerated]
        return Verdict(
            problems=tuple(_with_advice(one) for one in problems if one not in tolerated),
            remarks=tuple(remarks + [Finding(one.code, f"{one.message} (tolerated)") for one in tolerated]),
            certificate=read,
            tpm=tpm,
            path=path.certificates,
            missing_issuer=path.missing,
            key_matches=key_matches,
        )

    def _remarks(self, certificate: Certificate, data: bytes, tpm: CertifiedTpm) -> list[Finding]:
        remarks = []
        complaint = strict_complaint(certificate.data)
        if complaint and is_habit(tpm.manufacturer, complaint):
            # News of a maker and not of a unit: told once.
            self._habits.setdefault(str(tpm.maker), complaint)
        elif complaint:
            remarks.append(Finding("lenient", f"was read leniently, as a strict parser refuses it: {complaint}"))
        padding = data[len(certificate.data) :]
        if padding.strip(b"\x00\xff"):
            remarks.append(Finding("trailing_data", f"is followed by {len(padding)} bytes that are not padding"))
        return remarks

    def _check_maker(self, authorities: tuple[Certificate, ...], tpm: CertifiedTpm) -> list[Finding]:
        root = authorities[-1]
        bound = self._store.bound.get(root.sha256)
        if bound is None or tpm.manufacturer in bound.union(*(guests_of(bound, one) for one in authorities)):
            return []
        makers = " and ".join(sorted(bound))
        return [
            Finding("maker", f"is about a TPM of {tpm.told}, and the root {root.subject} is trusted for {makers} only")
        ]


def parse_moment(text: str) -> datetime:
    """A date (its end) or a date and time in ISO 8601, UTC where it says no zone; TrustError where it is neither."""
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise TrustError(f"'{text}' is no date: write it as 2027-03-31, or as 2027-03-31T12:00:00Z.") from None
    if len(text) <= len("2027-03-31"):
        moment = datetime.combine(moment.date(), time(23, 59, 59))
    return moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)


def read_candidate(path: str) -> tuple[str, list[str]]:
    """The certificate in a file and those that are with it there, each as base64 of DER.

    What is no certificate is handed on as it is, so that it is told of like any other.
    """
    try:
        content = read_file(path, most=MAXIMAL_FILE_BYTES)
    except FileError as error:
        raise TrustError(f"The certificate {path} {error}.") from None
    try:
        first, _read, _beside = sort_out(encoded := certificates_of(content))
    except CertificateError:
        return _text(content), []
    return _text(first), [_text(one) for one in encoded if one is not first]


def sort_out(encoded: list[bytes]) -> tuple[bytes, Certificate, list[Certificate]]:
    """(DER of the certificate that *encoded*, a bundle in any order, is about, the same read, the others).

    That is the first that is no authority's. CertificateError where it, or one before it, cannot be read.
    """
    authorities: list[Certificate] = []
    for place, data in enumerate(encoded):
        read = read_certificate(data)
        if not read.is_ca or place == len(encoded) - 1:
            break
        authorities.append(read)
    if read.is_ca and authorities:
        data, read, authorities = encoded[0], authorities[0], [*authorities[1:], read]
    after = [one for one in map(_readable, encoded[place + 1 : place + 1 + MAXIMAL_CHAIN]) if one]
    return data, read, [*authorities[:MAXIMAL_CHAIN], *after]


def _in_text(certificate: object, chain: object, endorsement_key: object) -> tuple[object, ...] | None:
    """What :meth:`Verifier.verify` is asked, to find it again; None where a device sent something else than text."""
    parts = (certificate, endorsement_key, *(chain if isinstance(chain, (list, tuple)) else [chain]))
    return parts if all(isinstance(part, str) for part in parts) else None


def _readable(data: bytes) -> Certificate | None:
    try:
        return read_certificate(data)
    except CertificateError:
        return None


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _with_advice(problem: Finding) -> Finding:
    """*problem* with what a line can do where its maker's certificates are so."""
    if problem.code not in TOLERABLE:
        return problem
    return Finding(
        problem.code,
        f"{problem.message}; where a maker's genuine certificates are so, tpmfleet_ek_certificate_tolerated: "
        f"[{problem.code}] lets them pass",
    )


# The code of the finding that a certificate is about another key than the one it should be about.
MISMATCH = "key_mismatch"


def _match(certificate: Certificate, endorsement_key: object) -> tuple[bool, list[Finding]]:
    try:
        matches = key_of(decode_public(endorsement_key)) == certificate.key
    except PublicAreaError as error:
        return False, [Finding("endorsement_key", f"cannot be compared: the endorsement key {error}")]
    if matches:
        return True, []
    return False, [Finding(MISMATCH, "is about another key than the TPM's endorsement key: another TPM's")]


def _helpers(chain: object) -> tuple[list[Certificate], list[Finding]]:
    if isinstance(chain, str):
        # As a table has it in a cell: a bundle.
        chain = [chain] if chain.strip() else []
    if not isinstance(chain, (list, tuple)):
        return [], [Finding("chain", "comes with a chain that is no list")]
    found: list[Certificate] = []
    remarks: list[Finding] = []
    for place, one in enumerate(chain[:MAXIMAL_CHAIN], start=1):
        if len(found) > MAXIMAL_CHAIN:
            break
        try:
            found += [read_certificate(data) for data in decode_certificates(one)[:MAXIMAL_CHAIN]]
        except CertificateError as error:
            remarks.append(Finding("chain", f"comes with a chain whose certificate {place} {error}"))
    if len(chain) > MAXIMAL_CHAIN or len(found) > MAXIMAL_CHAIN:
        most = f"comes with a chain of more than {MAXIMAL_CHAIN} certificates, of which the first were looked at"
        return found[:MAXIMAL_CHAIN], [Finding("chain", most)]
    return found, remarks


def _described(certificate: Certificate | None) -> dict[str, Any]:
    if certificate is None:
        names = ("subject", "issuer", "serial_number", "not_before", "not_after", "key_type", "key_bits", "sha256")
        return dict.fromkeys(names)
    return {
        "subject": str(certificate.subject),
        "issuer": str(certificate.issuer),
        "serial_number": f"{certificate.serial_number:x}",
        "not_before": told(certificate.not_before),
        "not_after": told(certificate.not_after),
        "key_type": certificate.key.kind,
        "key_bits": certificate.key.bits,
        "sha256": certificate.sha256,
    }
