# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
name: hierarchy_auth
short_description: The authorization of a TPM's hierarchy, derived from the fleet master key
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Derives the authorization that M(tpmfleet.azure_dps.tpm_ownership) sets in one hierarchy of one TPM. So none has to
    be stored, a device can be taken up again years later from the master key alone, and one device's authorization
    tells nothing of another's.
  - HKDF with SHA-256 (RFC 5869), with the name of the endorsement key, the hierarchy and the key version in the info.
    The master key's text is the keying material, without the white space around it.
  - The result is 32 characters of base64url, 192 bits. It fits every TPM and has no zero byte, which TPMs cut off.
  - A master key that is empty, still encrypted or weak is refused, and no error shows it. Weak is shorter than 32
    characters, or fewer than 8 different characters.
positional: _input
options:
  _input:
    description: The fleet master key, such as C(openssl rand -base64 48) makes it.
    type: str
    required: true
  ek_name:
    description:
      - The TPM name of the endorsement key, in hexadecimal. Either this or O(endorsement_key) is needed.
      - A name that a device says is its own word. Give one that was computed from the key.
    type: str
  endorsement_key:
    description: The TPM2B_PUBLIC of the endorsement key, in base64, of which the name is computed.
    type: str
  hierarchy:
    description: The hierarchy.
    type: str
    choices: [owner, endorsement, lockout]
    required: true
  version:
    description: The key version. Another one is another authorization, which is how they are rotated.
    type: int
    required: true
"""

EXAMPLES = r"""
- name: Claim the TPM with an authorization that can be derived again
  tpmfleet.azure_dps.tpm_ownership:
    endorsement_key: "{{ ek.endorsement_key.public }}"
    lockout_auth: >-
      {{ tpmfleet_master_key | tpmfleet.azure_dps.hierarchy_auth(
           endorsement_key=ek.endorsement_key.public, hierarchy='lockout', version=1) }}
"""

RETURN = r"""
_value:
  description: The authorization. It is a secret; give it to options that are not logged alone.
  type: str
  sample: "h92lUbdwcz8hqvopMVc6CmAYW9jmGVek"
"""

from ansible.errors import AnsibleFilterError

from ..module_utils.tpm.templates import decode_public, name_of
from ..module_utils.trust.hierarchy_auth import derive
from ..plugin_utils.catalogue import explained


def hierarchy_auth(
    master_key: str,
    ek_name: str | None = None,
    hierarchy: str | None = None,
    version: int | None = None,
    *,
    endorsement_key: str | None = None,
) -> str:
    """The authorization; see DOCUMENTATION."""
    if not isinstance(master_key, str):
        kind = type(master_key).__name__
        raise AnsibleFilterError(explained(f"hierarchy_auth: the master key is no text but a {kind}"))
    if (ek_name is None) == (endorsement_key is None):
        raise AnsibleFilterError(explained("hierarchy_auth: give either endorsement_key or ek_name"))
    try:
        name = ek_name if endorsement_key is None else name_of(decode_public(endorsement_key, "endorsement_key")).hex()
        return derive(master_key, name, hierarchy, version)
    except ValueError as error:
        raise AnsibleFilterError(explained(f"hierarchy_auth: {error}")) from None


class FilterModule:
    """The filter, under its name."""

    def filters(self) -> dict:
        return {"hierarchy_auth": hierarchy_auth}
