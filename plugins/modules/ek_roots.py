# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: ek_roots
short_description: The store of TPM makers' roots, as state
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Makes a directory for C(ek_certificate_roots) of what is at hand, such as Microsoft's package of trusted TPM roots
    or a directory of downloads. It then has exactly the roots whose fingerprints are given, and the intermediate
    certificates of the sources that lead to them.
  - Each certificate lies below the vendor ID of its maker, whatever the sources are called. A root that several makers
    use lies below each of them, and one that is bound to none below C(any).
  - Whom to trust is decided by the fingerprints, which are kept in the inventory. Sources only bring certificates
    along, so that they may come by any way.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.resource_module
options:
  src:
    description:
      - Files and directories of certificates in any form, and archives of them (cabinets, tarballs, ZIP), where the
        task runs. Roots in a directory, or an archive, that is named after a TPM maker are bound to that maker.
    type: list
    elements: path
    required: true
  path:
    description: The directory to make. One that has something in it already has to have been made by this module.
    type: path
    required: true
  fingerprints:
    description: The SHA-256 of each root that is trusted, in hexadecimal, with or without colons.
    type: list
    elements: str
    default: []
  unpinned:
    description:
      - What to do where O(src) has other roots. V(refuse) fails and names them, V(skip) leaves them out.
    type: str
    choices: [refuse, skip]
    default: refuse
  signature_roots:
    description:
      - A PEM file of the authorities below which every cabinet of O(src) has to be signed (Authenticode). Left out, the
        signature is not looked at.
    type: path
requirements:
  - cryptography where the task runs, which is the controller
  - cabextract where there are cabinets, osslsigncode where their signatures are checked
seealso:
  - module: tpmfleet.azure_dps.ek_roots_info
"""

EXAMPLES = r"""
- name: The roots of our TPMs' makers, from Microsoft's package
  tpmfleet.azure_dps.ek_roots:
    src: [/srv/downloads/TrustedTpm.cab]
    path: /etc/tpmfleet/ek-roots
    fingerprints: "{{ lookup('ansible.builtin.file', 'ek-roots.txt').split() }}"
    unpinned: skip
    signature_roots: /etc/tpmfleet/microsoft-code-signing-roots.pem
  delegate_to: localhost
"""

RETURN = r"""
certificates:
  description: What the store has, one line a certificate with its kind, its makers, its fingerprint and its subject.
  returned: success
  type: list
  elements: str
  sample:
    - root IFX 7ab20e1c7bc62d3ce98d2a1ea5ee9e4f4d9b8a0ac1d8b0e8b5ec7c3d2f4a1b60 CN=Infineon OPTIGA(TM) RSA Root CA
added:
  description: What of that was not there before.
  returned: success
  type: list
  elements: str
  sample: []
removed:
  description: What was there before and is no more.
  returned: success
  type: list
  elements: str
  sample: []
left_out:
  description: Certificates of O(src) that are not in the store, by subject and fingerprint.
  returned: success
  type: list
  elements: dict
  sample:
    - subject: CN=Nuvoton TPM Root CA 2110
      sha256: 0b1a3fdb6a6c7b4a0e8a5b1de6f5f1b0c4d3a2918273645546372819fa0b1c2d
unusable:
  description: Files of O(src) that are not used, each with C(path) and C(reason).
  returned: success
  type: list
  elements: dict
  sample: []
signed_by:
  description: Who signed each cabinet, by its path. Empty where nobody had to.
  returned: success
  type: dict
  sample: {}
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.module.trust import needs_cryptography, run, warn_of_notes
from ..module_utils.trust import root_state
from ..module_utils.trust.archives import check_cabinet, is_cabinet, read_sources


def keep(module):
    """The result of the module."""
    needs_cryptography(module)
    params = module.params
    cabinets = [one for one in params["src"] if is_cabinet(one)] if params["signature_roots"] else []
    signed_by = {one: check_cabinet(one, params["signature_roots"]) for one in cabinets}
    source = read_sources(params["src"])
    plan = root_state.plan(source, params["fingerprints"], params["path"], skip_others=params["unpinned"] == "skip")
    warn_of_notes(module, source.notes())
    if plan.changed and not module.check_mode:
        root_state.apply(plan, params["path"])
    result = {
        "changed": plan.changed,
        "certificates": plan.lines,
        "added": sorted(set(plan.lines) - set(plan.before)),
        "removed": sorted(set(plan.before) - set(plan.lines)),
        "left_out": [{"subject": str(one.subject), "sha256": one.sha256} for one in plan.left_out],
        "unusable": [{"path": place, "reason": why} for place, why in source.unusable],
        "signed_by": signed_by,
    }
    if module._diff:
        before, after = ("".join(f"{line}\n" for line in lines) for lines in (plan.before, plan.lines))
        headers = {"before_header": params["path"], "after_header": params["path"]}
        result["diff"] = {"before": before, "after": after, **headers}
    return result


def main():
    module = AnsibleModule(
        argument_spec={
            "src": {"type": "list", "elements": "path", "required": True},
            "path": {"type": "path", "required": True},
            "fingerprints": {"type": "list", "elements": "str", "default": []},
            "unpinned": {"type": "str", "choices": ["refuse", "skip"], "default": "refuse"},
            "signature_roots": {"type": "path"},
        },
        supports_check_mode=True,
    )
    run(module, lambda: keep(module))


if __name__ == "__main__":
    main()
