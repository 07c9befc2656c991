# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: doctor_station
short_description: What may be wrong with the station, and what mends it
version_added: 1.0.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Looks at the collection itself, libraries, Ansible's settings and output, the ledger, the master key, the store of
    roots, the clock, what the credential may do at the Device Provisioning Service and what is left of its quota, as
    far as it tells, and the ID scope. Nothing is changed.
  - Rights are found by three calls for a random registration ID that no device has.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.info_module
  - tpmfleet.azure_dps.dps
  - tpmfleet.azure_dps.dps.entra
options:
  requirements:
    description: The libraries that have to be there, each as C(name>=version).
    type: list
    elements: str
    default: []
  forks:
    description: How many devices Ansible works on at a time.
    type: int
  facts_as_variables:
    description: Whether Ansible makes variables of facts.
    type: bool
  ledger:
    description: The line's database, a path or an SQLAlchemy URL.
    type: str
  master_key:
    description: The fleet master key. Only looked at here.
    type: str
  ek_certificate_roots:
    description: Files and directories with the certificates of the TPM makers.
    type: list
    elements: path
    default: []
  id_scope:
    description: The ID scope that devices are given.
    type: str
  instance_read:
    description:
      - What M(tpmfleet.azure_dps.dps_instance_info) returned of the instance, or failed with, to compare O(id_scope)
        with its own. Not compared where it is left out.
    type: dict
    default: {}
  stdout_callback:
    description: The callback that shows runs.
    type: str
  units:
    description: How many devices a run is over.
    type: int
  collection:
    description: The directory of this collection, as Ansible found it.
    type: str
  collection_paths:
    description: Where Ansible looks for collections, besides where its Python has packages.
    type: list
    elements: str
    default: []
seealso:
  - module: tpmfleet.azure_dps.dps_instance_info
  - module: tpmfleet.azure_dps.doctor_device
"""

EXAMPLES = r"""
- name: Look at the station
  tpmfleet.azure_dps.doctor_station:
    connection_string: "{{ tpmfleet_dps_connection_string }}"
    ledger: "{{ tpmfleet_ledger }}"
  delegate_to: localhost
  run_once: true
"""

RETURN = r"""
findings:
  description:
    - What was looked at, each with the C(verdict) V(ok), V(attention), V(fault) or V(unknown), the C(cause) in words,
      a C(detail), and what C(mend)s it.
  returned: success
  type: list
  elements: dict
  sample:
    - check: rights
      verdict: ok
      cause: the credential may do what steps need
      detail: EnrollmentRead, RegistrationStatusRead, EnrollmentWrite
      mend: ""
"""

import importlib.util
import sys
from datetime import datetime, timezone

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.doctor import installed, station
from ..module_utils.doctor.control_plane import id_scope
from ..module_utils.doctor.finding import ATTENTION, FAULT, OK, UNKNOWN, finding
from ..module_utils.dps.connection import connection_options
from ..module_utils.dps.credentials import access_from
from ..module_utils.dps.errors import DpsError
from ..module_utils.ledger.database import SQLALCHEMY_IMPORT_ERROR, password_in


def look_at_key(key):
    """The finding about the master key."""
    from ..module_utils.trust.hierarchy_auth import checked_master_key

    return station.master_key(key, checked_master_key)


def look_at_roots(paths):
    """The finding about the store of roots."""
    from ..module_utils.trust.archives import read_sources
    from ..module_utils.trust.findings import TrustError
    from ..module_utils.trust.survey import survey

    if not paths:
        return finding("roots", OK, "no roots are set, so that certificates are not judged")
    try:
        found = survey(read_sources(paths, needs_root=True), datetime.now(timezone.utc))
    except TrustError as error:
        return finding(
            "roots", FAULT, "the store of roots cannot be used", "Do what the detail says.", detail=str(error)
        )
    unusable = found["unusable"]
    if unusable:
        detail = f"{len(unusable)}, such as {unusable[0]['path']}: {unusable[0]['reason']}"
        return finding("roots", ATTENTION, "files in the store of roots are not used", "Remove them.", detail=detail)
    return finding("roots", OK, "the roots can be read", detail=f"{len(found['roots'])} roots")


def look_at_scope(params):
    """The finding about the ID scope."""
    try:
        host = access_from(params).host
    except DpsError:
        # Another finding says so.
        host = ""
    return id_scope(params["id_scope"], host, params["instance_read"])


def look(params):
    """All findings."""
    found = [*station.libraries(params["requirements"]), *station.settings(params), station.ledger(params["ledger"])]
    if params["collection"]:
        found += installed.collection(params["collection"], [*params["collection_paths"], *sys.path])
    found += [*installed.output(params["stdout_callback"], params["units"]), look_at_scope(params)]
    if importlib.util.find_spec("cryptography") is None:
        found.append(finding("roots", UNKNOWN, "key and roots were not looked at, for cryptography is missing"))
    else:
        found += [look_at_key(params["master_key"]), look_at_roots(params["ek_certificate_roots"])]
    return found + station.service(params)


def main():
    module = AnsibleModule(
        argument_spec={
            **connection_options(),
            "requirements": {"type": "list", "elements": "str", "default": []},
            "forks": {"type": "int"},
            "facts_as_variables": {"type": "bool"},
            "ledger": {"type": "str"},
            "master_key": {"type": "str", "no_log": True},
            "ek_certificate_roots": {"type": "list", "elements": "path", "default": []},
            "id_scope": {"type": "str"},
            "instance_read": {"type": "dict", "default": {}},
            "stdout_callback": {"type": "str"},
            "units": {"type": "int"},
            "collection": {"type": "str"},
            "collection_paths": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    place = module.params["ledger"]
    password = password_in(place) if place and SQLALCHEMY_IMPORT_ERROR is None else None
    if password:
        # It belongs elsewhere, and Ansible would show it with the module's arguments.
        module.no_log_values.add(password)
    module.exit_json(changed=False, findings=look(module.params))


if __name__ == "__main__":
    main()
