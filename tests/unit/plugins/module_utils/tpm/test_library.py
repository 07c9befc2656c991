# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is loaded of tpm2-pytss for TPM commands, and that all of it is there for who wants more."""

from __future__ import annotations

import subprocess
import sys

from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import library

USE = """
import sys
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import connection, library
assert not any(name.startswith("tpm2_pytss") for name in sys.modules)
package = library.load()
package.ESAPI, package.TSS2_Exception
assert "cryptography.x509" not in sys.modules and "tpm2_pytss.FAPI" not in sys.modules
# What takes it: the name of a key is a hash over it.
from tpm2_pytss.types import TPM2B_PUBLIC, TPMT_PUBLIC
from tpm2_pytss.constants import TPM2_ALG
area = TPMT_PUBLIC(type=TPM2_ALG.KEYEDHASH, nameAlg=TPM2_ALG.SHA256)
area.parameters.keyedHashDetail.scheme.scheme = TPM2_ALG.NULL
name = bytes(area.get_name())
import hashlib
assert name == b"\\x00\\x0b" + hashlib.sha256(area.marshal()).digest(), name
assert "cryptography.x509" in sys.modules
from tpm2_pytss.internal import crypto
assert crypto._getname.__module__ == "tpm2_pytss.internal.crypto"
assert library._FUNCTIONS <= set(vars(sys.modules["tpm2_pytss.internal.crypto"])) | {"_get_signature_bytes"}
assert all(type(getattr(crypto, one)).__name__ == "function" for one in library._FUNCTIONS if hasattr(crypto, one))
"""
OTHER = """
import sys
class Odd:
    def find_spec(self, name, path=None, target=None):
        if name == "tpm2_pytss.TCTI":
            assert "cryptography.x509" in sys.modules, "of a version that is not made for it nothing is left out"
sys.meta_path.insert(0, Odd())
from ansible_collections.tpmfleet.azure_dps.plugins.module_utils.tpm import library
assert library.load().ESAPI.__name__ == "ESAPI"
"""


def run(program):
    """Runs it in a process that has loaded nothing."""
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_takes_long_comes_when_it_is_used():
    run(USE)


def test_a_version_that_needs_all_of_it_gets_it():
    run(OTHER)


def test_a_library_that_is_there_is_taken_as_it_is():
    assert library.load() is sys.modules["tpm2_pytss"]
