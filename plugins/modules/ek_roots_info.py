# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ek_roots_info
short_description: Which roots of TPM makers a store has, and for whose TPMs each one vouches
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Looks at files, directories and archives of trusted certificates as the line does, and judges no certificate.
  - Lists every root with its fingerprint, until when it is valid and the makers that it is bound to, every intermediate
    with the root that it leads to, and every file that is not used with the reason.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
options:
  ek_certificate_roots:
    description:
      - Files and directories as in O(tpmfleet.azure_dps.ek_certificate_info#module:ek_certificate_roots), and archives
        of them (cabinets, tarballs, ZIP), where the task runs.
    type: list
    elements: path
    required: true
requirements:
  - cryptography where the task runs, which is the controller
  - cabextract where there are cabinets
seealso:
  - module: tpmfleet.azure_dps.ek_roots
  - module: tpmfleet.azure_dps.ek_certificate_info
"""

EXAMPLES = r"""
- name: Look at what came with Microsoft's package of trusted TPM roots
  tpmfleet.azure_dps.ek_roots_info:
    ek_certificate_roots: [/srv/downloads/TrustedTpm.cab]
  delegate_to: localhost
  register: found

- name: Show the fingerprints, to be compared by another way
  ansible.builtin.debug:
    msg: "{{ found.roots | map(attribute='sha256') | zip(found.roots | map(attribute='subject')) | map('join', ' ') }}"
"""

RETURN = r"""
roots:
  description: The roots, by their subjects.
  returned: success
  type: list
  elements: dict
  contains:
    subject:
      description: Its subject.
      type: str
      returned: success
    sha256:
      description: SHA-256 of its DER, the fingerprint.
      type: str
      returned: success
    makers:
      description: Vendor IDs of the makers whose TPMs it vouches for; null where it does for any.
      type: list
      elements: str
      returned: success
    maker_names:
      description: The names of these makers.
      type: list
      elements: str
      returned: success
    not_before:
      description: From when it is valid.
      type: str
      returned: success
    not_after:
      description: Until when it is valid.
      type: str
      returned: success
    expired:
      description: Whether that has passed.
      type: bool
      returned: success
    key_type:
      description: V(RSA), V(ECC) or V(unknown).
      type: str
      returned: success
    key_bits:
      description: Size of its key.
      type: int
      returned: success
    paths:
      description: All places where it lies.
      type: list
      elements: str
      returned: success
    usable:
      description: Whether it can be the end of a path now.
      type: bool
      returned: success
    why_not_usable:
      description: Why not, else null.
      type: str
      returned: success
  sample:
    - subject: CN=Infineon OPTIGA(TM) RSA Root CA
      sha256: 7ab20e1c7bc62d3ce98d2a1ea5ee9e4f4d9b8a0ac1d8b0e8b5ec7c3d2f4a1b60
      makers: [IFX]
      maker_names: [Infineon]
      not_before: "2013-07-26T00:00:00Z"
      not_after: "2043-07-25T23:59:59Z"
      expired: false
      key_type: RSA
      key_bits: 4096
      paths: [/etc/tpmfleet/ek-roots/IFX/RootCA/Infineon-OPTIGA-TM-RSA-Root-CA-7ab20e1c7bc62d3c.crt]
      usable: true
      why_not_usable: null
intermediates:
  description:
    - The other certificates, in the same shape without C(makers), with C(issuer), C(root) (the fingerprint of the root
      that it leads to, else null) and C(why_no_root).
  returned: success
  type: list
  elements: dict
  sample: []
unusable:
  description: Files that are not used, each with C(path) and C(reason).
  returned: success
  type: list
  elements: dict
  sample:
    - path: /etc/tpmfleet/ek-roots/STM/page.crt
      reason: a certificate in it is a web page, as servers send one in the place of a file that they do not have
notes:
  description: What the owner of the store should know, such as directories that are no maker's.
  returned: success
  type: list
  elements: str
  sample: []
"""

from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.module.trust import needs_cryptography, run
from ..module_utils.trust.archives import read_sources
from ..module_utils.trust.survey import survey


def look(module):
    """The result of the module."""
    needs_cryptography(module)
    store = read_sources(module.params["ek_certificate_roots"], needs_root=False)
    return {"changed": False, **survey(store, datetime.now(timezone.utc))}


def main():
    module = AnsibleModule(
        argument_spec={"ek_certificate_roots": {"type": "list", "elements": "path", "required": True}},
        supports_check_mode=True,
    )
    run(module, lambda: look(module))


if __name__ == "__main__":
    main()
