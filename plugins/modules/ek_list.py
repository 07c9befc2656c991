# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ek_list
short_description: A TPM maker's list of endorsement keys, checked and taken into the ledger
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Reads the list that came with a shipment of TPMs, checks every line, and takes it into the ledger. From then on
    devices are held against it by M(tpmfleet.azure_dps.device_records).
  - A list with a bad line is not taken in at all, and every bad line is told, up to 10,000. Bad are a key that is no
    RSA endorsement key in a form that is known, a key, serial number or device ID that is on the list twice, a key that
    came with another shipment, a certificate that is not that key's, and what a spreadsheet has made of an identity.
  - The list may also be a directory of endorsement key certificates and keys, or a file of them. From a certificate
    the key is rebuilt with the TCG's template.
  - Where O(ek_certificate_roots) is given, a certificate on the list that is not trusted is a bad line too.
  - The maker's signature, if there is one, is checked before anything of the list is believed.
  - The file is streamed, so its size does not matter.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.ledger
  - tpmfleet.azure_dps.ek_certificates
  - tpmfleet.azure_dps.progress
  - tpmfleet.azure_dps.signing.verified
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
    details:
      - RV(added) says how many keys are new, RV(certified) how many have got a certificate.
  idempotent:
    support: full
options:
  src:
    description:
      - The list, where the task runs. Each line is a record with at least C(endorsement_key) or
        C(endorsement_key_certificate), DER in base64. Fields of a device record are kept under their names, others as
        they are.
      - C(endorsement_key) is a TPM2B_PUBLIC or a TPMT_PUBLIC in base64, base64url or hexadecimal, or with
        O(endorsement_key_template) a SubjectPublicKeyInfo (PEM, or DER in base64 or hexadecimal) or the modulus.
      - Its text is UTF-8, with or without a byte order mark, or UTF-16 with one. A line in another code page is told.
      - In a directory every file is a certificate, DER or PEM, or what a tool wrote of an endorsement key, whatever its
        name is, except C(README*), C(SHA256SUMS*) and hidden files.
    type: path
    required: true
  format:
    description:
      - What O(src) is written in.
      - V(jsonl) is one JSON object a line. V(json) is an array of objects, such as the cloud's command line prints with
        C(az iot dps enrollment list), or an object with such an array as C(value).
      - V(csv) is rows with the names of the columns in the first one. V(certificates) is a directory, or a file of
        certificates.
      - V(keys) is what tools print of endorsement keys, that is C(tpm2_readpublic), C(tpm2_print),
        C(tpm_device_provision), PEM, or one key a line. Where the name of a key is printed with it, as by
        C(tpm2_readpublic), it has to be the name of that key.
      - V(auto) takes a directory and a file C(.pem), C(.crt), C(.cer) or C(.der) for certificates, and goes by the name
        (C(.csv), C(.tsv), C(.jsonl)) and by how it begins for any other file.
    type: str
    choices: [auto, jsonl, json, csv, keys, certificates]
    default: auto
  delimiter:
    description:
      - What stands between two cells of CSV. Left out, it is found in the first line.
    type: str
    choices: [comma, semicolon, tab, ",", ";"]
  endorsement_key_template:
    description:
      - The template from which the TPMs made their endorsement keys. It is needed where the list has the modulus of a
        key only, for all else of the key is the template's. It is never guessed.
      - V(tcg) is template L-1 of the TCG for RSA-2048, from which TPMs come with a certificate in NV index 0x01c00002.
      - Keys that are whole are not changed by it. From a certificate the key is rebuilt with V(tcg) in any case, since
        that is what it certifies.
    type: str
    choices: [tcg]
  columns:
    description:
      - For CSV, which column holds which field, as a mapping of field to column. Other columns keep their names.
    type: dict
    default: {}
  maker:
    description: Who made the TPMs. Left out, each line says so in C(maker), or nobody does.
    type: str
    default: ""
  batch:
    description:
      - The shipment. Left out, each line says so in C(batch), or nobody does.
      - A key that comes again under the same maker and batch is verified; under others it is an error.
    type: str
    default: ""
  signature:
    description:
      - A signature over O(src) that was made by C(ssh-keygen -Y sign). Where O(src) is a directory it is a signature
        over the file C(SHA256SUMS) in it, as C(sha256sum) writes it, which has to have every file of the directory.
    type: path
  allowed_signers:
    description:
      - Whose signature counts, in the format of C(ssh-keygen), C(NAME KEYTYPE KEY) a line, where one may also say from
        when to when a key counts. It has to come from the maker by another way than the list.
      - Where it is given, a list without O(signature) is refused.
    type: path
seealso:
  - module: tpmfleet.azure_dps.device_records
  - module: tpmfleet.azure_dps.ek_certificate_info
"""

EXAMPLES = r"""
- name: Take in the list of a shipment
  tpmfleet.azure_dps.ek_list:
    src: /srv/shipments/2026-11/ek-list.csv
    columns:
      endorsement_key: EK_PUB
      tpm_serial_number: TPM_SERIAL
    maker: Example Semiconductors
    batch: "2026-11"
    ledger: /var/lib/tpmfleet/ledger.sqlite
  delegate_to: localhost

- name: Take in a directory of certificates that its maker signed
  tpmfleet.azure_dps.ek_list:
    src: /srv/shipments/2026-12/certificates
    signature: /srv/shipments/2026-12/certificates/SHA256SUMS.sig
    allowed_signers: /etc/tpmfleet/tpm-makers
    signer: shipping@semiconductors.example
    ek_certificate_roots: [/etc/tpmfleet/ek-roots]
    batch: "2026-12"
    ledger: /var/lib/tpmfleet/ledger.sqlite
  delegate_to: localhost
"""

RETURN = r"""
total:
  description: How many records the list has.
  returned: success
  type: int
  sample: 8
added:
  description: How many of them were not in the ledger.
  returned: success
  type: int
  sample: 8
certified:
  description: How many were in the ledger without a certificate and now have one.
  returned: success
  type: int
  sample: 0
passed_over:
  description:
    - How many certificates are about a key that cannot be enrolled, as only RSA-2048 can. Makers also certify an ECC
      key of each TPM.
  returned: success
  type: int
  sample: 0
signed_by:
  description: Whose signature it is.
  returned: success
  type: str
  sample: shipping@semiconductors.example
remarks:
  description: What is worth knowing of certificates that were taken in, such as that one is no strict DER, up to 100.
  returned: success
  type: list
  elements: dict
  sample: []
ek_list:
  description: Which list it was, for O(tpmfleet.azure_dps.device_records#module:planned_ek_list).
  returned: success
  type: dict
  sample: {"src": "/srv/ek-list.csv", "format": "auto", "batch": "2026-11"}
problems:
  description: Every bad line.
  returned: when lines are bad
  type: list
  elements: dict
  sample:
    - place: 17
      where: line 17
      registration_id: null
      field: endorsement_key
      reason: "is in no form that is known: neither base64 nor base64url, hexadecimal or PEM"
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.dps.errors import DpsError
from ..module_utils.dps.key_forms import TEMPLATES
from ..module_utils.dps.manifest import refusal
from ..module_utils.ledger.ek_list import PLANNED_LIST, Intake, ListedKeys, open_list
from ..module_utils.lists.rows import DELIMITERS
from ..module_utils.lists.source import FORMATS
from ..module_utils.module.ledger import ledger_option, now, run
from ..module_utils.module.progress import progress_of, progress_options
from ..module_utils.module.trust import certificate_options, make_verifier, warn_of_notes
from ..module_utils.trust.findings import TrustError
from ..module_utils.trust.list_signature import SUMS, check_signature, signed_sums
from ..module_utils.trust.listing import CertificateReader


def signed_by(params):
    """Who signed the list, None where nobody has to."""
    if not params["signature"]:
        if params["allowed_signers"]:
            raise TrustError(
                f"The list {params['src']} has no signature, and allowed_signers asks for one. Name its file as "
                "signature; ssh-keygen makes it beside the list, with .sig behind the name."
            )
        return None
    src = Path(params["src"])
    return check_signature(
        str(src / SUMS if src.is_dir() else src),
        params["signature"],
        allowed_signers=params["allowed_signers"],
        signer=params["signer"],
        namespace=params["signature_namespace"],
    )


def take_in(connection, module):
    """The result of the module."""
    params = module.params
    signer = signed_by(params)
    verifier = make_verifier(module) if params["ek_certificate_roots"] else None
    intake = Intake(
        ListedKeys(connection),
        certificates=CertificateReader(verifier),
        maker=params["maker"],
        batch=params["batch"],
        template=params["endorsement_key_template"],
        progress=progress_of(params),
    )
    signed = params["signature"] and Path(params["src"]).is_dir()
    source = open_list(params, sums=signed_sums(Path(params["src"]) / SUMS) if signed else None)
    try:
        intake.take_in(source, at=now())
    finally:
        source.close()
    if not intake.total:
        raise DpsError(f"The list {params['src']} is empty.", hint="Was it cut short on its way?")
    if intake.problems:
        return refusal(intake.problems, total=intake.total, word=source.word, name=params["src"], option="src")
    if verifier:
        warn_of_notes(module, verifier.notes)
    if intake.remarks:
        first = intake.remarks[0].told(source.word)
        module.warn(f"There are remarks on certificates of {params['src']}. The first is on {first}. See remarks.")
    return {
        "changed": bool(intake.added or intake.certified),
        "total": intake.total,
        "added": intake.added,
        "certified": intake.certified,
        "passed_over": intake.passed_over,
        "signed_by": signer,
        "remarks": [one.as_result() for one in intake.remarks],
        "ek_list": {name: params[name] for name in PLANNED_LIST},
    }


def main():
    module = AnsibleModule(
        argument_spec={
            **ledger_option(),
            **certificate_options(),
            "src": {"type": "path", "required": True},
            "format": {"type": "str", "choices": [*FORMATS, "certificates"], "default": "auto"},
            "delimiter": {"type": "str", "choices": list(DELIMITERS)},
            "endorsement_key_template": {"type": "str", "choices": list(TEMPLATES), "no_log": False},
            "columns": {"type": "dict", "default": {}},
            "maker": {"type": "str", "default": ""},
            "batch": {"type": "str", "default": ""},
            "signature": {"type": "path"},
            "allowed_signers": {"type": "path"},
            "signer": {"type": "str"},
            "signature_namespace": {"type": "str", "default": "file"},
            **progress_options(),
        },
        required_by={"signature": ["allowed_signers"], "signer": ["allowed_signers"]},
        supports_check_mode=True,
    )
    run(module, lambda connection: take_in(connection, module))


if __name__ == "__main__":
    main()
