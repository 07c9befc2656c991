# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""An object that every TPM can load and whose name everybody knows, to bind a credential to.

TPM2_ActivateCredential wants an object besides the endorsement key. What is sealed to this one is sealed to the
endorsement key alone, and nobody has to ask the device for a name first. It is an HMAC key that is no secret, loaded
into the null hierarchy with both parts (part 3, 12.3 TPM2_LoadExternal). Its authorization is empty, and
adminWithPolicy is clear, so that the authorization is enough for the role ADMIN that the credential asks for (part 1,
19.2).
"""

from __future__ import annotations

import contextlib
import hashlib
import struct
from collections.abc import Iterator
from typing import Any

from . import templates

_KEYEDHASH, _SHA256, _HMAC = 0x0008, 0x000B, 0x0005
_USER_WITH_AUTH = 1 << 6
# So that a TPM in dictionary attack lockout opens credentials all the same.
_NO_DA = 1 << 10
_SIGN = 1 << 18
# As long as the digest of the name algorithm, as the TPM wants both (part 2, 12.3.2.4).
_SEED, _KEY = (hashlib.sha256(b"tpmfleet known object 1 " + part).digest() for part in (b"seed", b"key"))


def _sized(data: bytes) -> bytes:
    return struct.pack(">H", len(data)) + data


PUBLIC = _sized(
    struct.pack(">HHI", _KEYEDHASH, _SHA256, _USER_WITH_AUTH | _NO_DA | _SIGN)
    + _sized(b"")
    + struct.pack(">HH", _HMAC, _SHA256)
    + _sized(hashlib.sha256(_SEED + _KEY).digest())
)
"""Its TPM2B_PUBLIC."""

NAME = templates.name_of(PUBLIC)
"""Its name."""

_SENSITIVE = _sized(struct.pack(">H", _KEYEDHASH) + _sized(b"") + _sized(_SEED) + _sized(_KEY))


@contextlib.contextmanager
def loaded(esys: Any) -> Iterator[Any]:
    """Its handle, for as long as the context lasts."""
    from tpm2_pytss.constants import ESYS_TR
    from tpm2_pytss.types import TPM2B_PUBLIC, TPM2B_SENSITIVE

    handle = esys.load_external(
        in_public=TPM2B_PUBLIC.unmarshal(PUBLIC)[0],
        in_private=TPM2B_SENSITIVE.unmarshal(_SENSITIVE)[0],
        hierarchy=ESYS_TR.NULL,
    )
    try:
        yield handle
    finally:
        esys.flush_context(handle)
