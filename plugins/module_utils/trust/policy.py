# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a line asks of the endorsement key certificates of its devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from .certificate import CertificateError
from .encodings import decode_certificates
from .limits import shortened
from .verification import MISMATCH, Verdict, Verifier, sort_out

POLICIES = ("required", "preferred", "ignored")

_CERTIFICATE, _CHAIN = "endorsement_key_certificate", "endorsement_key_certificate_chain"
_ADVICE = "ask the TPM's maker for it, or take in the maker's list with its certificates (step 1)"


class Judged(NamedTuple):
    """*reasons* stop the device, *remarks* do not.

    *certified* is what a trusted certificate says of the TPM. *software* is whether the certificate, trusted or not,
    says that the TPM is made of software.
    """

    reasons: list[str]
    remarks: list[str]
    certified: dict[str, Any] | None = None
    software: bool = False


class CertificatePolicy:
    """``required``: every device has a certificate that is trusted. ``preferred``: one that is there has to be trusted,
    and a device without one has to be on an EK list of its maker. ``ignored``: nothing is asked.
    """

    def __init__(self, policy: str, verifier: Verifier | None = None) -> None:
        """*verifier* is needed unless *policy* is ``ignored``; ValueError where it is missing."""
        if policy != "ignored" and verifier is None:
            raise ValueError(f"the policy {policy} needs a verifier")
        self.required = policy == "required"
        self._verifier = verifier if policy != "ignored" else None

    @property
    def looks(self) -> bool:
        """Whether certificates are looked at."""
        return self._verifier is not None

    @property
    def notes(self) -> list[str]:
        """What is to be told once of all that was judged."""
        return self._verifier.notes if self._verifier else []

    def verify_ahead(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Verifies the certificates that *records* bring along, before they are judged while other stations wait."""
        for record in records if self._verifier is not None else ():
            certificate = record.get("endorsement_key") and _certificate(record, {}, {})[1]
            if certificate and self._verifier is not None:
                key = record["endorsement_key"]
                self._verifier.verify_ahead(certificate, chain=_chain(record, {}, {}), endorsement_key=key)

    def judge(
        self,
        record: Mapping[str, Any],
        entry: Mapping[str, Any] | None,
        known: Mapping[str, Any] | None = None,
    ) -> Judged:
        """What is to be said of the device of *record*, whose key is on a list of its maker with *entry*.

        A certificate is as good from the maker's list as from the TPM, where some makers leave it out, and from the
        ledger, of a TPM that is *known*: an owned one may not let it be read.
        """
        if self._verifier is None or not record.get("endorsement_key"):
            return Judged([], [])
        damaged, certificate = _certificate(record, known or {}, entry or {})
        if not certificate:
            return Judged(self._without(record, entry), [])
        verdict = self._verifier.verify(
            certificate,
            chain=_chain(record, known or {}, entry or {}),
            endorsement_key=record["endorsement_key"],
        )
        about = record.get("endorsement_key_certificate_about")
        reasons = [
            f"its endorsement key certificate {_mismatch(record, about) if one.code == MISMATCH else one.message}"
            for one in verdict.problems
        ]
        remarks = [f"its endorsement key certificate {one.message}" for one in verdict.remarks]
        if damaged:
            taken = "the one that was recorded, or came with its maker's list, was taken"
            remarks.append(f"its endorsement key certificate, as it is in the TPM, {damaged}; {taken}")
        software = verdict.tpm is not None and verdict.tpm.software
        return Judged(reasons, remarks, _certified(verdict), software)

    def _without(self, record: Mapping[str, Any], entry: Mapping[str, Any] | None) -> list[str]:
        why = record.get("endorsement_key_certificate_missing")
        has_none = f"it has no endorsement key certificate{f' ({shortened(why)})' if why else ''}"
        if self.required:
            return [f"{has_none}, and this line requires one; {_ADVICE}"]
        if entry is None:
            return [f"{has_none}, and no list of its TPM's maker has its key; {_ADVICE}"]
        return []


def without_damaged(record: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """*record* without a certificate that cannot be read, where the one of the TPM that is *known* can."""
    if known.get(_CERTIFICATE) and record.get(_CERTIFICATE) and _damage(record[_CERTIFICATE]):
        return {name: value for name, value in record.items() if name != _CERTIFICATE}
    return dict(record)


def _certificate(
    record: Mapping[str, Any], known: Mapping[str, Any], entry: Mapping[str, Any]
) -> tuple[str | None, object]:
    """(Why the TPM's own cannot be read, where another one is taken for it; the certificate to judge)."""
    own, *others = (one.get(_CERTIFICATE) for one in (record, known, entry))
    if not own:
        return None, next(filter(None, others), None)
    damage = _damage(own)
    other = next((one for one in others if one and not _damage(one)), None) if damage else None
    return (damage, other) if other else (None, own)


def _damage(certificate: object) -> str | None:
    """Why it cannot be read: a TPM's memory may have been half-written; None where it can."""
    try:
        sort_out(decode_certificates(certificate))
    except CertificateError as error:
        return str(error)
    return None


def _chain(record: Mapping[str, Any], known: Mapping[str, Any], entry: Mapping[str, Any]) -> object:
    """What may help to reach a root: what the TPM brings along, or did before, and what its maker's list does."""
    brought = record.get(_CHAIN) or ()
    brought = [brought] if isinstance(brought, str) else brought
    if not isinstance(brought, (list, tuple)):
        return brought
    before, listed = (one.get(_CHAIN) or () for one in (known, entry))
    listed = [listed] if isinstance(listed, str) else listed
    found = [*brought, *before]
    if not isinstance(listed, (list, tuple)):
        return found or listed
    found += listed
    # What is no text is told where it is read.
    once = dict.fromkeys(one for one in found if isinstance(one, str))
    return [*once, *(one for one in found if not isinstance(one, str))]


def _mismatch(record: Mapping[str, Any], about: object) -> str:
    """What to say of a certificate that is about another key, by what the device found out it is *about*."""
    template = record.get("endorsement_key_template") or "other"
    if about in ("tcg", "nv", "sdk"):
        return (
            f"is about this TPM's key of template '{about}', and the key that was read is of template '{template}'; to "
            f"enroll the certified one, set tpmfleet_endorsement_key_template to '{about}', and where the other one is "
            "persisted tpmfleet_replace_persistent_keys"
        )
    if about == "unusable":
        return (
            "is about the key of the template that its maker left in NV memory (0x01c00004), with which no client can "
            "open the service's challenges; for the key that was read there is none. Ask the maker for TPMs with the "
            "TCG's template, or take in the maker's list with the keys of template 'tcg' (step 1) and set "
            "tpmfleet_ek_certificate_policy to ignored"
        )
    if about == "another":
        return "is about another key than the TPM's endorsement key: another TPM's"
    return (
        "is about another key than the TPM's endorsement key: another TPM's, or another key of this one, which could "
        "not be made to compare"
    )


def _certified(verdict: Verdict) -> dict[str, Any] | None:
    if not verdict.trusted or verdict.certificate is None or verdict.tpm is None:
        return None
    return {
        "maker": verdict.tpm.maker,
        "manufacturer": verdict.tpm.manufacturer,
        "model": verdict.tpm.model,
        "firmware_version": verdict.tpm.firmware_version,
        "software": verdict.tpm.software,
        "root": str(verdict.path[-1].subject),
        "certificate_sha256": verdict.certificate.sha256,
    }
