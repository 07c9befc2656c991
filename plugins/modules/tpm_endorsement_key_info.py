# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpm_endorsement_key_info
short_description: The endorsement key of a TPM 2.0, its template and its certificate
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Reads the RSA-2048 endorsement key persisted at C(0x81010001), or makes it from its template for as long as it takes
    to read it.
  - Several templates are in use, and each makes another key. A device that is enrolled with one key and registers
    with the other fails in the field, so the result says which one it is.
  - Some makers leave a nonce or a template in NV memory (C(0x01c00003), C(0x01c00004)). The certificate is then about
    the key that is made with them.
  - Reads the endorsement key certificate from NV memory where the maker has put one, and says whether it is about this
    key. Whether the certificate can be trusted is for the controller to judge.
  - An NV index that cannot be read ends nothing. It is named in RV(unreadable).
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
  - tpmfleet.azure_dps.attributes.actiongroup_tpm
  - tpmfleet.azure_dps.tpm
  - tpmfleet.azure_dps.tpm.reading
seealso:
  - module: tpmfleet.azure_dps.tpm_info
  - module: tpmfleet.azure_dps.tpm_ownership
"""

EXAMPLES = r"""
- name: Read the endorsement key that the certificate certifies
  tpmfleet.azure_dps.tpm_endorsement_key_info:
    template: tcg
  register: ek

- name: Show what to enroll
  ansible.builtin.debug:
    msg: "{{ ek.endorsement_key.registration_id }} {{ ek.endorsement_key.public }}"

- name: Read it with the certificates of its makers
  tpmfleet.azure_dps.tpm_endorsement_key_info:
    all_certificates: true
"""

RETURN = r"""
kept_keys:
  description:
    - The keys that were made for this, as the TPM saved them for itself, so that M(tpmfleet.azure_dps.device_work) need
      not make them again.
  returned: when O(storage_root_key=true)
  type: dict
  contains:
    endorsement_key:
      description: The TPMS_CONTEXT of the endorsement key, in base64.
      type: str
      returned: where none is persisted
      sample: AAAAAAAAAAKAAAAAQAAAAQAAAg...
    template:
      description: The template of that key.
      type: str
      returned: where none is persisted
      sample: tcg
    storage_root_key:
      description: The TPMS_CONTEXT of the storage root key, in base64.
      type: str
      returned: where none is persisted
      sample: AAAAAAAAAAOAAAAAQAAAAQAAAg...
storage_root_key:
  description:
    - The storage root key, as M(tpmfleet.azure_dps.tpm_ownership) returns it.
    - Null where none is persisted and making one takes the owner authorization.
  returned: when O(storage_root_key=true)
  type: dict
  contains:
    public:
      description: The TPM2B_PUBLIC in base64.
      type: str
      returned: success
      sample: AToAAQALAAMEcgAAAAYAgABDABAIAAAAAAABAL...
    name:
      description: The TPM name of the key, in hexadecimal.
      type: str
      returned: success
      sample: 000bd1e7...
    handle:
      description: Where it is persisted.
      type: str
      returned: when persisted, else null
      sample: "0x81000001"
    persisted:
      description: Whether it is persisted.
      type: bool
      returned: success
      sample: true
endorsement_key:
  description: The endorsement key.
  returned: success
  type: dict
  contains:
    public:
      description: The TPM2B_PUBLIC in base64, which is what an enrollment takes.
      type: str
      returned: success
      sample: AToAAQALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAgAAAAAAAEAnhJ2fia4cfVCC0pI...
    sha256:
      description: SHA-256 of the TPM2B_PUBLIC.
      type: str
      returned: success
      sample: 69e8ffd4bcf550f4982e7d4c34159f1ad1a56ce843b6cb12cb8abe2d811d5293
    registration_id:
      description: The registration ID that the stock SDKs make of the key.
      type: str
      returned: success
      sample: nhup7vf46vipjgbopvgdifm7dli2k3hiio3mwewlrk7c3ai5kkjq
    name:
      description: The TPM name of the key, in hexadecimal.
      type: str
      returned: success
      sample: 000b7a8342d660ef09dae14de390b96cbd70b6ece9b22e5748b5052fe04b37e7a1c5
    template:
      description: V(tcg), V(nv), V(sdk), or V(other) where a persisted key came from none or was not identified.
      type: str
      returned: success
      sample: tcg
    source:
      description: V(persistent) where the key was persisted, V(template) where it was made to be read.
      type: str
      returned: success
      sample: template
    handle:
      description: Handle of the persisted key.
      type: str
      returned: when persisted, else null
      sample: "0x81010001"
    persisted:
      description: Whether the key is persisted.
      type: bool
      returned: success
      sample: false
    certificate:
      description: The endorsement key certificate, DER in base64.
      type: str
      returned: when there is one, else null
      sample: MIID8zCCAlugAwIBAgIBAjANBgkqhkiG9w0BAQsFADAYMRYwFAYDVQQDEw1zd3RwbS1sb2NhbGNhMCAXDTI2MTEyNDExMzAx...
    certificate_nv_index:
      description: Where the certificate was found.
      type: str
      returned: when there is one, else null
      sample: "0x01c00002"
    certificate_matches:
      description: Whether the certificate is about this key.
      type: bool
      returned: when there is a certificate, else null
      sample: true
    certificate_about:
      description:
        - Which key the certificate is about. V(this) is the one that was read, V(tcg), V(nv), V(sdk) the one of that
          template, V(another) one that this TPM does not make.
        - V(unusable) is the key of a template in NV memory that no client can use, such as one that signs.
        - V(unknown) where the other keys could not be made to compare, or the certificate is of another kind of key.
      type: str
      returned: when there is a certificate, else null
      sample: this
unreadable:
  description: NV indices that are there and could not be read. One that was not asked for is not among them.
  returned: success
  type: list
  elements: dict
  contains:
    handle:
      description: The NV index.
      type: str
      returned: success
      sample: "0x01c00002"
    reason:
      description: Why, in words.
      type: str
      returned: success
      sample: only the owner authorization reads it, which is set and not at hand here
  sample: []
persistent_keys:
  description: The keys at the handles of endorsement keys, from C(0x81010000) to C(0x8101ffff).
  returned: when O(all_certificates=true)
  type: list
  elements: dict
  contains:
    handle:
      description: Where it is persisted.
      type: str
      returned: success
      sample: "0x81010016"
    key:
      description: What kind of key it is.
      type: str
      returned: success
      sample: ECC P-384
    public:
      description: The TPM2B_PUBLIC in base64.
      type: str
      returned: success
      sample: AHoAIwALAAMAsgAgg3GXZ0SEs/gakMyNRqXXJP1S124GUgtk8qHaGzMUaaoABgCAAEMAEAADABAAIP...
    name:
      description: The TPM name of the key, in hexadecimal.
      type: str
      returned: success
      sample: 000b7a8342d660ef09dae14de390b96cbd70b6ece9b22e5748b5052fe04b37e7a1c5
certificates:
  description: The certificates in NV memory, in the order of their indices.
  returned: when O(all_certificates=true)
  type: list
  elements: dict
  contains:
    nv_index:
      description: Where it was found.
      type: str
      returned: success
      sample: "0x01c00016"
    kind:
      description: V(endorsement) for the certificate of an endorsement key, V(chain) for one of its makers.
      type: str
      returned: success
      sample: endorsement
    key:
      description: The kind of key that belongs to the index.
      type: str
      returned: for the certificate of an endorsement key
      sample: ECC P-384
    handle:
      description: Where the key that the certificate is about is persisted; null where it is not.
      type: str
      returned: for the certificate of an endorsement key
      sample: "0x81010016"
    nonce:
      description:
        - The nonce that the maker left beside the certificate, in base64, padded with zeros the C(unique) of the key's
          template. Null where there is none, as always beside the keys of the high range.
      type: str
      returned: for the certificate of an endorsement key
      sample: bm9uY2Utb2YtdGhlLW1ha2Vy
    template:
      description:
        - The template of the key that the maker left beside the certificate, a TPMT_PUBLIC in base64. Null where there
          is none, and the key is made from the default template of the profile.
      type: str
      returned: for the certificate of an endorsement key
      sample: ACMACwADALIAIIN...
    certificate:
      description: DER in base64.
      type: str
      returned: success
      sample: MIIDRDCCAaygAwIBAgIBAzANBgkqhkiG9w0BAQsFADAYMRYwFAYDVQQDEw1zd3RwbS1sb2NhbGNhMCAXDTI2MTEyNDExMzAx...
tpm:
  description: The chip, as the device record has it.
  returned: success
  type: dict
  sample: {"manufacturer": "IBM", "model": "SWTPM", "firmware_version": "8217.4131.22.13878", "tpm_type": "software"}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.module.reading import read, reading_options
from ..module_utils.module.tpm import connection_options, run


def main():
    module = AnsibleModule(argument_spec={**connection_options(), **reading_options()}, supports_check_mode=True)
    run(module, lambda esys: read(esys, module.params).result)


if __name__ == "__main__":
    main()
