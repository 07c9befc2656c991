# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How a file for others is signed, and whose signature counts, in the words that modules share."""

from __future__ import annotations


class ModuleDocFragment:
    DOCUMENTATION = r"""
options:
  signing_key:
    description:
      - The SSH key that signs, on the machine where the task runs. Where an agent or a hardware token has the private
        key, it is the file of the public one. Left out, nothing is signed.
      - Nobody is asked for a passphrase. A key that has one belongs into an agent.
    type: path
  signature_namespace:
    description: What the signature is made for, the C(-n) of C(ssh-keygen -Y sign).
    type: str
    default: file
requirements:
  - ssh-keygen of OpenSSH 8.2 or later where the task runs, for signatures
"""

    VERIFIED = r"""
options:
  signer:
    description: Whose signature it has to be. Left out, anybody's in O(allowed_signers).
    type: str
  signature_namespace:
    description: What the signature was made for, the C(-n) of C(ssh-keygen -Y sign).
    type: str
    default: file
requirements:
  - ssh-keygen of OpenSSH 8.2 or later where the task runs, for signatures
"""
