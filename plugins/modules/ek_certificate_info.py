# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ek_certificate_info
short_description: Whether endorsement key certificates are those of genuine TPMs
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Verifies any number of endorsement key certificates to roots of TPM makers, with the rules of the TCG's EK
    Credential Profile, and says of which TPM each one is.
  - Where O(certificates[].endorsement_key) is given, the certificate has to be about that very key.
  - A certificate that is not to be trusted does not fail the task; each has its own verdict. Where an issuer is
    missing, the verdict names it.
  - Certificates are verified as they were written, byte for byte. One that a strict parser refuses is read all the
    same, and the verdict says so in its remarks.
  - Nothing is fetched. Intermediate certificates come from O(ek_certificate_roots), or from the TPM, as
    O(certificates[].chain).
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
  - tpmfleet.azure_dps.ek_certificates
options:
  certificates:
    description: The certificates to verify.
    type: list
    elements: dict
    required: true
    suboptions:
      name:
        description: What the certificate is called in the result, such as the device's host name.
        type: str
      certificate:
        description:
          - The certificate, as PEM, as DER in base64 (also that for addresses) or hexadecimal, or as the JSON that
            Intel's service answers.
        type: str
      path:
        description:
          - A file with the certificate, in any form in which makers hand them out. Further certificates in it, as in a
            bundle, are taken as its chain.
        type: path
      endorsement_key:
        description: The TPM2B_PUBLIC in base64 of the endorsement key that the certificate should be about.
        type: str
      chain:
        description:
          - Certificates that may help to reach a root, DER in base64 or PEM. They are not trusted themselves.
        type: list
        elements: str
        default: []
seealso:
  - module: tpmfleet.azure_dps.ek_roots_info
  - module: tpmfleet.azure_dps.tpm_endorsement_key_info
  - module: tpmfleet.azure_dps.device_records
"""

EXAMPLES = r"""
- name: Verify what a maker sent
  tpmfleet.azure_dps.ek_certificate_info:
    certificates:
      - path: /srv/shipments/2026-11/TF-000001.der
    ek_certificate_roots: [/etc/tpmfleet/ek-roots]
  delegate_to: localhost
  register: verified

- name: Read a TPM's certificate and the chain that its maker put next to it
  tpmfleet.azure_dps.tpm_endorsement_key_info:
    all_certificates: true
  register: ek

- name: Verify that it is this TPM's, and still valid when the device is shipped
  tpmfleet.azure_dps.ek_certificate_info:
    certificates:
      - name: "{{ inventory_hostname }}"
        certificate: "{{ ek.endorsement_key.certificate }}"
        endorsement_key: "{{ ek.endorsement_key.public }}"
        chain: "{{ ek.certificates | selectattr('kind', 'eq', 'chain') | map(attribute='certificate') | list }}"
    ek_certificate_roots: [/etc/tpmfleet/ek-roots]
    ek_certificate_crls: [/etc/tpmfleet/ek-crls]
    ship_date: "2027-03-31"
  delegate_to: localhost
  register: verified

- name: Stop where it is not
  ansible.builtin.assert:
    that: verified.trusted
    fail_msg: "{{ verified.certificates[0].problems | map(attribute='message') | join('; ') }}"
"""

RETURN = r"""
trusted:
  description: Whether every certificate is trusted.
  returned: success
  type: bool
  sample: false
certificates:
  description: The verdicts, in the order of O(certificates). Where a certificate cannot be read its facts are null.
  returned: success
  type: list
  elements: dict
  contains:
    name:
      description: As given, else the path or the place in the list from 1.
      type: str
      returned: success
      sample: rack1-slot01
    trusted:
      description: Whether there is no problem.
      type: bool
      returned: success
      sample: false
    problems:
      description: Why it is not trusted, each with a code and a sentence that goes on after the certificate's name.
      type: list
      elements: dict
      returned: success
      sample:
        - code: issuer_missing
          message: >-
            leads to an issuer that is not there: add the certificate of CN=Infineon OPTIGA(TM) RSA Manufacturing CA 035
            with key identifier 44811316d2149e234219e375fbdeb84630481339 to the roots; its maker publishes it at
            http://pki.infineon.com/OptigaRsaMfrCA035/OptigaRsaMfrCA035.crt
    remarks:
      description: What is worth knowing all the same, in the same shape.
      type: list
      elements: dict
      returned: success
      sample: []
    key_matches:
      description: Whether it is about the given endorsement key.
      type: bool
      returned: when an endorsement key was given, else null
      sample: true
    maker:
      description: Name of the TPM's maker.
      type: str
      returned: where the registry of vendor IDs has one, else null
      sample: IBM
    manufacturer:
      description: TCG vendor ID of the TPM's maker.
      type: str
      returned: when the certificate says so, else null
      sample: IBM
    model:
      description: The TPM's model.
      type: str
      returned: when the certificate says so, else null
      sample: swtpm
    firmware_version:
      description:
        - Major and minor version of the firmware with which the TPM left its maker, as people know it; what the
          certificate says as it stands, where it is in no known form.
      type: str
      returned: when the certificate says so, else null
      sample: "8217.4131"
    specification:
      description: The TPM library specification that the TPM was made to.
      type: dict
      returned: when the certificate says so, else null
      sample: {"family": "2.0", "level": 0, "revision": 164}
    software:
      description: Whether the certificate is about a TPM made of software.
      type: bool
      returned: when the certificate can be read, else null
      sample: true
    path:
      description: Subjects of the certificates from this one to the root, or as far as there are any.
      type: list
      elements: str
      returned: success
      sample: ["CN=lab", "CN=swtpm-localca", "CN=swtpm-localca-rootca"]
    missing_issuer:
      description: Which issuer is missing, and where its maker publishes it.
      type: dict
      returned: when an issuer is missing, else null
      sample:
        name: CN=swtpm-localca
        key_identifier: 44811316d2149e234219e375fbdeb84630481339
        urls: []
    subject:
      description: Its subject.
      type: str
      returned: when the certificate can be read, else null
      sample: CN=lab
    issuer:
      description: Its issuer.
      type: str
      returned: when the certificate can be read, else null
      sample: CN=swtpm-localca
    serial_number:
      description: Its serial number, in hexadecimal.
      type: str
      returned: when the certificate can be read, else null
      sample: "2"
    not_before:
      description: From when it is valid.
      type: str
      returned: when the certificate can be read, else null
      sample: "2026-11-24T15:56:32Z"
    not_after:
      description: Until when it is valid. The end of the year 9999 means for ever.
      type: str
      returned: when the certificate can be read, else null
      sample: "9999-12-31T23:59:59Z"
    key_type:
      description: V(RSA), V(ECC) or V(unknown).
      type: str
      returned: when the certificate can be read, else null
      sample: RSA
    key_bits:
      description: Size of the key.
      type: int
      returned: when the certificate can be read, else null
      sample: 2048
    sha256:
      description: SHA-256 of its DER, the fingerprint.
      type: str
      returned: when the certificate can be read, else null
      sample: ad2837c51813783b9fd971bdce5428258cdc9981f50cf71aa12b4a17776823b9
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.module.trust import certificate_options, make_verifier, run, warn_of_notes
from ..module_utils.trust.verification import read_candidate


def verify(module):
    """The result of the module."""
    verifier = make_verifier(module)
    found = []
    for place, one in enumerate(module.params["certificates"], start=1):
        name = one["name"] or one["path"] or str(place)
        certificate, chain = one["certificate"], one["chain"]
        if one["path"]:
            certificate, beside = read_candidate(one["path"])
            chain = [*chain, *beside]
        verdict = verifier.verify(certificate, chain=chain, endorsement_key=one["endorsement_key"])
        found.append({"name": name, **verdict.as_result()})
    warn_of_notes(module, verifier.notes)
    return {"changed": False, "trusted": all(one["trusted"] for one in found), "certificates": found}


def main():
    module = AnsibleModule(
        argument_spec={
            **certificate_options(),
            "certificates": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {
                    "name": {"type": "str"},
                    "certificate": {"type": "str"},
                    "path": {"type": "path"},
                    "endorsement_key": {"type": "str", "no_log": False},
                    "chain": {"type": "list", "elements": "str", "default": []},
                },
                "required_one_of": [("certificate", "path")],
                "mutually_exclusive": [("certificate", "path")],
            },
        },
        supports_check_mode=True,
    )
    run(module, lambda: verify(module))


if __name__ == "__main__":
    main()
