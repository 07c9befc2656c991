# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The rules of the TCG EK Credential Profile for an endorsement key certificate, and what it says of the TPM.

TCG EK Credential Profile for TPM Family 2.0, 2.6, section 3.2; RFC 5280, 4.2, for extensions in general.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import hexdigits
from typing import Any

from ..outside.visible import visible_few
from ..tpm import der
from .certificate import (
    BASIC_CONSTRAINTS,
    CERTIFICATE_POLICIES,
    DIGITAL_SIGNATURE,
    EXTENDED_KEY_USAGE,
    KEY_AGREEMENT,
    KEY_ENCIPHERMENT,
    KEY_USAGE,
    SUBJECT_ALTERNATIVE_NAME,
    SUBJECT_DIRECTORY_ATTRIBUTES,
    Certificate,
    small_number,
)
from .findings import Finding
from .keys import RsaKey, UnknownKey, weakness
from .limits import shortened
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
    TPM_PT_FIRMWARE_VERSION_1, which makers write in eight hexadecimal digits or in four, or the text as it stands where
    it is neither.
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
    strange = [kind for kind, one in certificate.extensions.items() if one.critical and kind not in understood]
    found = []
    if strange:
        found.append(
            Finding(
                "critical_extension",
                f"has the critical extension {visible_few(strange, most=None)}, whose meaning is not known here, so "
                "that it must be refused",
            )
        )
    if certificate.repeated:
        kinds = visible_few(dict.fromkeys(certificate.repeated), most=None)
        found.append(
            Finding("repeated_extension", f"has the extension {kinds} twice, and the two may say different things")
        )
    return found


def check_profile(certificate: Certificate) -> tuple[list[Finding], CertifiedTpm]:
    """What the profile has against the certificate, and what the certificate says of the TPM."""
    found = [*check_extensions(certificate, _UNDERSTOOD), *_check_key(certificate), *_check_constraints(certificate)]
    if certificate.version != 3:
        found.append(Finding("version", f"is an X.509 certificate of version {certificate.version}, not of version 3"))
    if EK_CERTIFICATE not in certificate.extended_key_usage:
        purposes = visible_few(certificate.extended_key_usage, most=None) or "none"
        found.append(
            Finding(
                "extended_key_usage",
                f"is not for an endorsement key: its extended key usage lacks {EK_CERTIFICATE} and has {purposes}",
            )
        )
    weak = weakness(certificate.signature_algorithm)
    if weak:
        found.append(Finding("weak_signature", weak))
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
    if certificate.key_usage is None:
        found.append(Finding("key_usage", f"lacks keyUsage: {word} is missing, which it must say"))
    elif needed not in certificate.key_usage:
        signs = DIGITAL_SIGNATURE in certificate.key_usage
        instead = "; this is a key that signs, such as an attestation key" if signs else ""
        why = f"does not allow what an {key.kind} endorsement key does: {word} is missing{instead}"
        found.append(Finding("key_usage", why))
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
            software=is_software(vendor, manufacturer, model or "", str(certificate.issuer)),
        ),
        problems,
    )


def _directory_name(certificate: Certificate) -> dict[str, str]:
    extension = certificate.extensions.get(SUBJECT_ALTERNATIVE_NAME)
    if extension is None:
        return {}
    names = der.elements(der.element(extension.value).content)
    return {
        kind: shortened(value)
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
                "family": shortened(text_of(family)),
                "level": small_number(level),
                "revision": small_number(revision),
            }
    return None


def _firmware(version: str | None) -> str | None:
    if version is None:
        return None
    prefix, _colon, digits = version.partition(":")
    if prefix.lower() != "id" or len(digits) not in (4, 8) or not set(digits) <= set(hexdigits):
        return version
    half = len(digits) // 2
    return f"{int(digits[:half], 16)}.{int(digits[half:], 16)}"
