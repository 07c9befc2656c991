# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificates that makers leave in a TPM's NV memory, and what they leave beside them.

TCG EK Credential Profile 2.x: section 2.2.1 (NV indices; 2.2.1.6 nonce and template), B.3 and B.4 (templates), B.5
(certificate chains).
"""

from __future__ import annotations

import base64

from . import der, templates
from .nv import NvReader

RSA_CERTIFICATE = 0x01C00002
RSA_NONCE = 0x01C00003
RSA_TEMPLATE = 0x01C00004
# What the key of each index is: those of the low range, then the high range.
KEY_CERTIFICATES = {
    RSA_CERTIFICATE: "RSA-2048",
    0x01C0000A: "ECC P-256",
    0x01C00012: "RSA-2048",
    0x01C00014: "ECC P-256",
    0x01C00016: "ECC P-384",
    0x01C00018: "ECC P-521",
    0x01C0001A: "ECC SM2",
    0x01C0001C: "RSA-3072",
    0x01C0001E: "RSA-4096",
}
CERTIFICATE_CHAIN = (0x01C00100, 0x01C001FF)
_UNIQUE = 256


def read_certificate(nv: NvReader, index: int) -> bytes | None:
    """The certificate in NV *index* without its padding; None where there is none or it could not be read.

    What is no DER is returned whole: a garbled certificate is not the same as none.
    """
    data = nv.read(index)
    if data is None:
        return None
    if not data.strip(b"\x00\xff"):
        nv.note(index, "it is empty: nothing but padding is in it")
        return None
    try:
        return der.trimmed(data)
    except der.DerError:
        return data


def read_all_certificates(nv: NvReader) -> list[dict[str, str]]:
    """Every certificate in the NV indices of the profile: key certificates, then the makers' chain.

    A key certificate that is no DER is returned whole, as in :func:`read_certificate`.
    """
    found = []
    for index in nv.defined(min(KEY_CERTIFICATES), max(KEY_CERTIFICATES)):
        certificate = read_certificate(nv, index) if index in KEY_CERTIFICATES else None
        if certificate is not None:
            found.append({**_found(index, "endorsement", certificate), "key": KEY_CERTIFICATES[index]})
    return found + [_found(index, "chain", one) for index, one in read_chain(nv)]


def read_chain(nv: NvReader) -> list[tuple[int, bytes]]:
    """The certificates of the makers, each with the NV index in which it ends.

    They lie one after another through all the indices of the chain, so that one may begin in an index and end in the
    next. One that never ends is returned as it is.
    """
    found: list[tuple[int, bytes]] = []
    rest = b""
    index = CERTIFICATE_CHAIN[0]
    for index in nv.defined(*CERTIFICATE_CHAIN):
        whole, rest = der.split(rest + (nv.read(index) or b""))
        found += [(index, one) for one in whole]
    return found + ([(index, rest)] if rest else [])


def makers_templates(nv: NvReader) -> list[bytes]:
    """The templates, as TPM2B_PUBLIC, that the maker's nonce and template make; the one that the profile means first.

    The nonce goes to the beginning of ``unique``, which keeps its size or, by older editions of the profile, has the
    nonce's. Where only one of the two is there, the other is as in the TCG's template.
    """
    stored, nonce = nv.read(RSA_TEMPLATE), nv.read(RSA_NONCE)
    template = templates.ek_public_template()
    if stored is not None:
        try:
            template = templates.ek_template_of(stored)
        except ValueError as error:
            nv.note(RSA_TEMPLATE, str(error))
            stored = None
    made = []
    if nonce is not None and 0 < len(nonce) <= _UNIQUE:
        made += [templates.with_unique(template, nonce.ljust(_UNIQUE, b"\x00")), templates.with_unique(template, nonce)]
    elif nonce is not None:
        nv.note(RSA_NONCE, f"it has {len(nonce)} bytes, which is no size of a nonce")
    if stored is not None:
        made.append(template)
    known = [templates.ek_public_template(name) for name in templates.EK_UNIQUE]
    return [one for one in dict.fromkeys(made) if one not in known]


def _found(index: int, kind: str, certificate: bytes) -> dict[str, str]:
    encoded = base64.b64encode(certificate).decode("ascii")
    return {"nv_index": f"0x{index:08x}", "kind": kind, "certificate": encoded}
