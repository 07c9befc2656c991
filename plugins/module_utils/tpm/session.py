# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Sessions in which an authorization reaches the TPM unread (TPM 2.0 part 1, 19.6.6 and 21)."""

from __future__ import annotations

from typing import Any


def start_salted_session(esys: Any, key: Any) -> Any:
    """An HMAC session salted to the decryption key *key* (``ESYS_TR``), able to encrypt parameters.

    Authorizations then never cross the bus to the TPM, and new ones only encrypted, so that a probe on the bus reads
    neither; the one who could answer for an endorsement key has the TPM itself.
    """
    return _start_session(esys, key)


def start_unsalted_session(esys: Any) -> Any:
    """An HMAC session for when there is no key yet to salt it to.

    The authorization does not cross the bus, but a weak one could be found by trying values against a recording.
    """
    from tpm2_pytss.constants import ESYS_TR

    return _start_session(esys, ESYS_TR.NONE)


def _start_session(esys: Any, key: Any) -> Any:
    from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_SE
    from tpm2_pytss.types import TPMT_SYM_DEF, TPMU_SYM_KEY_BITS, TPMU_SYM_MODE

    return esys.start_auth_session(
        tpm_key=key,
        bind=ESYS_TR.NONE,
        session_type=TPM2_SE.HMAC,
        symmetric=TPMT_SYM_DEF(
            algorithm=TPM2_ALG.AES, keyBits=TPMU_SYM_KEY_BITS(aes=128), mode=TPMU_SYM_MODE(aes=TPM2_ALG.CFB)
        ),
        auth_hash=TPM2_ALG.SHA256,
    )
