# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The key version of the lockout authorization, in an NV index that anybody may read (TPM 2.0 part 3, 31).

It stands in where the owner hierarchy has no authorization, so that nothing else tells which lockout authorization is
set. Whoever may write the owner hierarchy can forge it, on such a device anybody: he gains that we try a wrong
authorization, which he could do himself.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

from .connection import TpmError
from .properties import read_handles

# Of the range that TPM owners use as they like (TCG Registry of Reserved TPM 2.0 Handles and Localities, 2.2.2).
INDEX = 0x0180DF50

_MAGIC = b"TFKV"
_FORMAT = ">4sI"
_SIZE = struct.calcsize(_FORMAT)
_ATTRIBUTES = 1 << 1 | 1 << 17 | 1 << 18 | 1 << 25  # ownerwrite, ownerread, authread, noda
_WRITTEN = 1 << 29


class Record(NamedTuple):
    """What is at INDEX: *present* is whether anything is, *version* None where that tells no key version."""

    present: bool
    foreign: bool
    version: int | None


def look(esys: Any) -> Record:
    """The record. A write of it that was cut off leaves one without a version."""
    if not read_handles(esys, INDEX, INDEX):
        return Record(False, False, None)
    index = esys.tr_from_tpmpublic(INDEX)
    public, _name = esys.nv_read_public(index)
    attributes = int(public.nvPublic.attributes)
    if (attributes & ~_WRITTEN, int(public.nvPublic.dataSize)) != (_ATTRIBUTES, _SIZE):
        return Record(True, True, None)
    if not attributes & _WRITTEN:
        return Record(True, False, None)
    magic, version = struct.unpack(_FORMAT, bytes(esys.nv_read(nv_index=index, size=_SIZE, auth_handle=index)))
    return Record(True, magic != _MAGIC, version if magic == _MAGIC else None)


def write(esys: Any, version: int, *, owner: Any, session: Any) -> None:
    """Records *version*, by the authorized handle *owner* in *session*."""
    from tpm2_pytss.constants import TPM2_ALG, TPMA_NV
    from tpm2_pytss.types import TPM2B_NV_PUBLIC, TPMS_NV_PUBLIC

    if read_handles(esys, INDEX, INDEX):
        index = esys.tr_from_tpmpublic(INDEX)
    else:
        wanted = TPMS_NV_PUBLIC(nvIndex=INDEX, nameAlg=TPM2_ALG.SHA256, attributes=TPMA_NV(_ATTRIBUTES), dataSize=_SIZE)
        index = esys.nv_define_space(b"", TPM2B_NV_PUBLIC(wanted), auth_handle=owner, session1=session)
    esys.nv_write(nv_index=index, data=struct.pack(_FORMAT, _MAGIC, version), auth_handle=owner, session1=session)


def remove(esys: Any, *, owner: Any, session: Any) -> None:
    """Takes the record away, by the authorized handle *owner* in *session*."""
    esys.nv_undefine_space(esys.tr_from_tpmpublic(INDEX), auth_handle=owner, session1=session)


def foreign() -> TpmError:
    """The error for a record that cannot be written, because something else is in its place."""
    return TpmError(
        f"What is at NV index 0x{INDEX:08x} is no record of a key version; nothing was changed.",
        hint=f"If nobody needs it, remove it (tpm2_nvundefine 0x{INDEX:08x}).",
    )
