# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of the TCG EK Credential Profile for an endorsement key certificate, and what it says of the TPM.

TCG EK Credential Profile for TPM Family 2.0, 2.6, section 3.2; RFC 5280, 4.2, for extensions in general.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..tpm import der
from .certificate import (
    BASIC_CONSTRAINTS,
    CERTIFICATE_POLICIES,
    EXTENDED_KEY_USAGE,
    KEY_AGREEMENT,
    KEY_ENCIPHERMENT,
    KEY_USAGE,
    SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_DIRECTORY_ATTRIBUTES,
    Certificate,
)
from .findings import Finding
from .keys import RsaKey, UnknownKey
from .makers import is_software, maker_name, vendor_id
from .names import object_identifier, read_name, text_of

# Rules of the profile that a line may decide to do without, by the codes of their findings.
TOLERABLE = ("basic_constraints", "key_usage", "extended_key_usage", "tpm_attributes", "tpm_specification")

EK_CERTIFICATE = "2.23.133.8.1"
_TPM_MANUFACTURER, _TPM_MODEL, _TPM_VERSION = "2.23.133.2.1", "2.23.133.2.2", "2.23.133.2.3"
_TPM_SPECIFICATION = "2.23.133.2.16"
_DIRECTORY_NAME = 0xA4
# Only these may be critical. Policies restrict nothing here, since none is asked for.
_UNDERSTOOD = {
    BASIC_CONSTRAINTS,
    CERTIFICATE_POLICIES,
    EXTENDED_KEY_USAGE,
    KEY_USAGE,
    SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_DIRECTORY_ATTRIBUTES,
}


@dataclass(frozen=True)
class CertifiedTpm:
    """What a certificate says of the TPM it is about; None where it does not.

    *manufacturer* is the vendor ID, *maker* the name that belongs to it. *firmware_version* is major and minor as in
    TPM_PT_FIRMWARE_VERSION_1, or the text as it stands where it is none.
    """

    manufacturer: str | None
    maker: str | None
    model: str | None
    firmware_version: str | None
    specification: dict[str, Any] | None
    software: bool

    @property
    def told(self) -> str:
        """In words."""
        return " ".join(part for part in (self.maker or self.manufacturer, self.model) if part) or "an unnamed TPM"


def check_extensions(certificate: Certificate, understood: set[str]) -> list[Finding]:
    """Findings about critical extensions that are not *understood*, and about those that stand twice."""
    found = [
        Finding(
            "critical_extension",
            f"has the critical extension {kind}, whose meaning is not known here, so that it must be refused",
        )
        for kind, extension in certificate.extensions.items()
        if extension.critical and kind not in understood
    ]
    found += [
        Finding("repeated_extension", f"has the extension {kind} twice, and the two may say different things")
        for kind in certificate.repeated
    ]
    return found


def check_profile(certificate: Certificate) -> tuple[list[Finding], CertifiedTpm]:
    """What the profile has against the certificate, and what the certificate says of the TPM."""
    found = [*check_extensions(certificate, _UNDERSTOOD), *_check_key(certificate), *_check_constraints(certificate)]
    if certificate.version != 3:
        found.append(Finding("version", f"is an X.509 certificate of version {certificate.version}, not of version 3"))
    if EK_CERTIFICATE not in certificate.extended_key_usage:
        purposes = ", ".join(certificate.extended_key_usage) or "none"
        found.append(
            Finding(
                "extended_key_usage",
                f"is not for an endorsement key: its extended key usage lacks {EK_CERTIFICATE} and has {purposes}",
            )
        )
    tpm, problems = _read_tpm(certificate)
    return found + problems, tpm


def _check_key(certificate: Certificate) -> list[Finding]:
    key = certificate.key
    if isinstance(key, UnknownKey):
        return [Finding("key", f"is about a key of an algorithm that is not known here ({key.algorithm})")]
    needed, word = {"RSA": (KEY_ENCIPHERMENT, "keyEncipherment"), "ECC": (KEY_AGREEMENT, "keyAgreement")}[key.kind]
    found = []
    if isinstance(key, RsaKey) and key.is_short:
        found.append(Finding("key", f"is about an RSA key of {key.bits} bits, which is too short"))
    if needed not in (certificate.key_usage or ()):
        found.append(Finding("key_usage", f"does not allow what an {key.kind} endorsement key does: {word} is missing"))
    return found


def _check_constraints(certificate: Certificate) -> list[Finding]:
    extension = certificate.extensions.get(BASIC_CONSTRAINTS)
    if extension is None:
        return [Finding("basic_constraints", "lacks basicConstraints, which must say that it is no authority")]
    if certificate.is_ca:
        return [Finding("certificate_authority", "is a certificate authority's and not an endorsement key's")]
    if not extension.critical:
        return [Finding("basic_constraints", "has basicConstraints that are not critical, as they must be")]
    return []


def _read_tpm(certificate: Certificate) -> tuple[CertifiedTpm, list[Finding]]:
    problems = []
    attributes: dict[str, str] = {}
    specification = None
    try:
        attributes = _directory_name(certificate)
    except (der.DerError, ValueError, IndexError):
        problems.append(Finding("tpm_attributes", "has a subjectAltName that cannot be read"))
    else:
        wanted = {_TPM_MANUFACTURER: "manufacturer", _TPM_MODEL: "model", _TPM_VERSION: "version"}
        missing = [word for kind, word in wanted.items() if kind not in attributes]
        if missing:
            problems.append(
                Finding("tpm_attributes", f"does not say the TPM's {', '.join(missing)} in its subjectAltName")
            )
    try:
        specification = _specification(certificate)
    except (der.DerError, ValueError, IndexError):
        problems.append(Finding("tpm_specification", "has subjectDirectoryAttributes that cannot be read"))
    if specification and specification["family"] != "2.0":
        problems.append(
            Finding("tpm_specification", f"is about a TPM of family {specification['family']}, not of family 2.0")
        )
    manufacturer = attributes.get(_TPM_MANUFACTURER, "")
    vendor = vendor_id(manufacturer)
    model = attributes.get(_TPM_MODEL)
    return (
        CertifiedTpm(
            manufacturer=vendor or manufacturer or None,
            maker=maker_name(vendor),
            model=model,
            firmware_version=_firmware(attributes.get(_TPM_VERSION)),
            specification=specification,
            software=is_software(vendor, manufacturer, model or ""),
        ),
        problems,
    )


def _directory_name(certificate: Certificate) -> dict[str, str]:
    extension = certificate.extensions.get(SUBJECT_ALTERNATIVE_NAME)
    if extension is None:
        return {}
    names = der.elements(der.element(extension.value).content)
    return {
        kind: value
        for one in names
        if one.tag == _DIRECTORY_NAME
        for kind, value in read_name(der.element(one.content).content).attributes
    }


def _specification(certificate: Certificate) -> dict[str, Any] | None:
    extension = certificate.extensions.get(SUBJECT_DIRECTORY_ATTRIBUTES)
    for attribute in der.elements(der.element(extension.value).content) if extension else ():
        kind, values = der.elements(attribute.content)
        if object_identifier(kind) == _TPM_SPECIFICATION:
            family, level, revision = der.elements(der.element(values.content).content)
            return {
                "family": text_of(family),
                "level": int.from_bytes(level.content, "big"),
                "revision": int.from_bytes(revision.content, "big"),
            }
    return None


def _firmware(version: str | None) -> str | None:
    if version is None:
        return None
    prefix, _colon, digits = version.partition(":")
    if prefix.lower() != "id" or len(digits) != 8:
        return version
    try:
        number = int(digits, 16)
    except ValueError:
        return version
    return f"{number >> 16}.{number & 0xFFFF}"
