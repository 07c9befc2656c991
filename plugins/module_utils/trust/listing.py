# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Endorsement key certificates on a TPM maker's list: what a line says by way of its certificate."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any, NamedTuple

from .certificate import Certificate, CertificateError
from .encodings import decode_certificates
from .public_area import PublicAreaError, decode_public, endorsement_key_for, key_of
from .verification import Verifier, sort_out

_FIELD, _CHAIN = "endorsement_key_certificate", "endorsement_key_certificate_chain"


class ListedCertificate(NamedTuple):
    """*record* with what its certificate adds; *problems* and *remarks* are pairs of field and words.

    It is *passed_over* where it is about a key that cannot be enrolled, as makers also certify an ECC key of each TPM.
    """

    record: Mapping[str, Any]
    problems: list[tuple[str, str]]
    remarks: list[tuple[str, str]]
    passed_over: bool = False


class CertificateReader:
    """Reads the certificate in a record of a list, if it has one, and verifies it where there are roots."""

    def __init__(self, verifier: Verifier | None = None) -> None:
        self._verifier = verifier

    def read(self, record: Mapping[str, Any]) -> ListedCertificate:
        """*record* with its endorsement key, which is rebuilt from the certificate where the record has none."""
        text = record.get(_FIELD)
        if not text:
            return ListedCertificate(record, [], [])
        try:
            _data, certificate, beside = sort_out(decode_certificates(text))
        except CertificateError as error:
            return ListedCertificate(record, [(_FIELD, str(error))], [])
        record = {**record, _FIELD: _text(certificate.data)}
        if beside:
            record[_CHAIN] = [*_listed(record.get(_CHAIN)), *(_text(one.data) for one in beside)]
        if not record.get("endorsement_key"):
            try:
                key = endorsement_key_for(certificate.key)
            except PublicAreaError as error:
                return ListedCertificate(record, [], [(_FIELD, f"is passed over: it {error}")], passed_over=True)
            record = {**record, "endorsement_key": _text(key)}
        if self._verifier is None:
            return ListedCertificate(record, self._mismatch(certificate, record), [])
        verdict = self._verifier.verify(
            record[_FIELD], chain=record.get(_CHAIN) or (), endorsement_key=record["endorsement_key"]
        )
        return ListedCertificate(
            record,
            [(_FIELD, one.message) for one in verdict.problems],
            [(_FIELD, one.message) for one in verdict.remarks],
        )

    @staticmethod
    def _mismatch(certificate: Certificate, record: Mapping[str, Any]) -> list[tuple[str, str]]:
        try:
            if key_of(decode_public(record["endorsement_key"])) == certificate.key:
                return []
        except PublicAreaError:
            # What is wrong with the key is told of the key.
            return []
        return [(_FIELD, "is about another key than the endorsement key beside it")]


def _listed(chain: object) -> list[Any]:
    # What is no list is told when it is verified.
    return [chain] if isinstance(chain, str) else list(chain) if isinstance(chain, (list, tuple)) else []


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")
