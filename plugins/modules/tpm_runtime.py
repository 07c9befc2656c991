# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: tpm_runtime
short_description: Give a device what the TPM modules need, or verify that it has it
version_added: 0.1.0
author: tpmfleet contributors (@tpmfleet)
description:
  - Sees to it that the device has the Python library tpm2-pytss and the library for its TCTI, from the distribution's
    packages, or from wheels that the station carries where the line has no network.
  - Where all is there this is verified in one round trip, and nothing else is asked of the device.
  - The role P(tpmfleet.azure_dps.tpm_runtime#role) runs it with the variables of the line.
extends_documentation_fragment:
  - tpmfleet.azure_dps.attributes
  - tpmfleet.azure_dps.attributes.without_diff
options:
  tcti:
    description: How the device's TPM is reached, which says which library is needed.
    type: str
    default: device:/dev/tpmrm0
  source:
    description:
      - V(packages) installs from the distribution by apt or dnf. V(wheels) takes tpm2-pytss from O(wheels_dir), without
        a network; the system's own TPM libraries have to be on the device's image.
    type: str
    choices: [packages, wheels]
    default: packages
  wheels_dir:
    description: A directory on the controller with the wheels. Needed with O(source=wheels).
    type: str
    default: ""
  wheels_venv:
    description:
      - The virtual environment on the device that the wheels are installed into. Empty installs for O(python).
    type: str
    default: ""
  python:
    description:
      - The device's Python that the library is installed for. It has to be C(ansible_python_interpreter) of this task,
        as a virtual environment that is to hold the library cannot run its own installation.
    type: str
    default: /usr/bin/python3
notes:
  - All of it is done by the action plugin of this name.
"""

EXAMPLES = r"""
- name: The device can run the TPM modules
  tpmfleet.azure_dps.tpm_runtime:
  register: tpm_runtime_result
"""

RETURN = r"""
state:
  description: V(verified), V(done), or V(planned) in check mode.
  returned: success
  type: str
  sample: verified
how:
  description: What is there, or would be installed and why, as a sentence.
  returned: success
  type: str
  sample: tpm2-pytss 1.2.0 and libtss2-tcti-device.so.0 for /usr/bin/python3
family:
  description: Whose packages the device takes, such as V(debian) or V(redhat).
  returned: success
  type: str
  sample: debian
"""
