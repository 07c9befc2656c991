# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""By what endorsement key certificates are judged, in the words that the modules that judge them share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  ek_certificate_roots:
    description:
      - Files (DER, PEM or PKCS7, with one or more certificates) and directories of them (C(.pem), C(.crt), C(.cer),
        C(.der), C(.p7b), C(.p7c)), where the task runs. A certificate that names itself as its issuer is a trusted
        root, and so is an authority in a directory C(RootCA); others are intermediates.
      - Roots in a directory that is named after a TPM maker, by its TCG vendor ID (C(IFX)) or by its name in short or
        in full (C(STMicro), C(Infineon Technologies)), are trusted for that maker's TPMs only. The directory itself
        counts, and that of a file. A root that lies in several is trusted for the makers of all of them, and for any
        where one of them is no maker's. Other directories' names are warned of, but for C(any).
    type: list
    elements: path
    default: []
  ek_certificate_crls:
    description:
      - Files (DER or PEM) and directories (C(.crl), C(.pem), C(.der)) of certificate revocation lists, indirect ones
        among them. A revoked certificate is refused, and one of which it is not known is remarked on. Nothing is
        fetched.
    type: list
    elements: path
    default: []
  ek_certificate_crls_required:
    description: Whether every certificate below the root has to be covered by a revocation list that is not outdated.
    type: bool
    default: false
  ek_certificate_tolerated:
    description:
      - Rules of the TCG's EK Credential Profile that a TPM maker's certificates may break, since some do. Where one is
        broken it is remarked on.
      - V(basic_constraints) allows them to be missing or not critical, V(key_usage) that the key may be for something
        else, V(extended_key_usage) that it is not said to be an endorsement key, V(tpm_attributes) that maker, model or
        version are missing, V(tpm_specification) that the TPM's specification is unreadable or another one.
    type: list
    elements: str
    choices: [basic_constraints, key_usage, extended_key_usage, tpm_attributes, tpm_specification]
    default: []
  ship_date:
    description:
      - A date at which the certificates have to be valid too, as C(2027-03-31). They have to be valid now in any case.
    type: str
requirements:
  - cryptography where the task runs and certificates are judged, which is the controller
"""
