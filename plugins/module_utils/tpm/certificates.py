# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The certificates that makers leave in a TPM's NV memory, and what they leave beside them.

TCG EK Credential Profile 2.x: section 2.2.1 (NV indices; 2.2.1.6 nonce and template), B.3 and B.4 (templates), B.5
(certificate chains).
"""

from __future__ import annotations

import base64
from typing import Any, NamedTuple

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
# Nonce and template are beside the certificate: at these two for the low range, and there is no nonce in the high one.
_LOW_RANGE = 0x01C00010
CERTIFICATE_CHAIN = (0x01C00100, 0x01C001FF)
_UNIQUE = 256
# A template of the largest key of the profile has some 600 bytes.
_LONGEST_BESIDE = 1024


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


def read_all_certificates(nv: NvReader) -> list[dict[str, Any]]:
    """Every certificate in the NV indices of the profile: key certificates, then the makers' chain.

    A key certificate that is no DER is returned whole, as in :func:`read_certificate`. With it comes what the maker
    left beside it of the key's template, in base64, or None.
    """
    found: list[dict[str, Any]] = []
    there = nv.defined(min(KEY_CERTIFICATES), max(KEY_CERTIFICATES) + 1)
    for index in there:
        certificate = read_certificate(nv, index) if index in KEY_CERTIFICATES else None
        if certificate is None:
            continue
        nonce, template = (index + 1, index + 2) if index < _LOW_RANGE else (None, index + 1)
        beside = {"nonce": nonce if nonce in there else None, "template": template if template in there else None}
        found.append(
            {
                **_found(index, "endorsement", certificate),
                "key": KEY_CERTIFICATES[index],
                **{name: _encoded(_beside(nv, one)) for name, one in beside.items()},
            }
        )
    return found + read_chain_certificates(nv)


def read_chain_certificates(nv: NvReader) -> list[dict[str, str]]:
    """The certificates of :func:`read_chain`, as modules return them."""
    return [_found(index, "chain", one) for index, one in read_chain(nv)]


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


class MakersTemplates(NamedTuple):
    """What the maker's nonce and template make, as TPM2B_PUBLIC.

    *usable* are those of keys that clients can use, the one that the profile means first. *unusable* is a template of
    another kind of key. *unread* is whether a nonce or template is there that could not be read, so that no key can be
    said not to be of it.
    """

    usable: list[bytes]
    unusable: bytes | None
    unread: bool


def makers_templates(nv: NvReader) -> MakersTemplates:
    """What the maker left in the NV memory of *nv*.

    The nonce, padded to 256 bytes with zeros, is the ``unique`` of the template, by the profile; one of its own size is
    tried too. Where only one of the two is there, the other is as in the TCG's template: of a template that is the
    profile's word, of a nonce the profile says nothing.
    """
    stored, nonce = nv.read(RSA_TEMPLATE), nv.read(RSA_NONCE)
    unread = any(one.nv_index in (RSA_TEMPLATE, RSA_NONCE) for one in nv.unreadable)
    template = templates.ek_public_template()
    unusable = None
    if stored is not None:
        try:
            template = templates.ek_template_of(stored)
        except ValueError as error:
            nv.note(RSA_TEMPLATE, str(error))
            unusable, stored = templates.stored_public(stored), None
    made = []
    if nonce is not None and 0 < len(nonce) <= _UNIQUE:
        made += [templates.with_unique(template, nonce.ljust(_UNIQUE, b"\x00")), templates.with_unique(template, nonce)]
    elif nonce is not None:
        nv.note(RSA_NONCE, f"it has {len(nonce)} bytes, which is no size of a nonce")
    if stored is not None:
        made.append(template)
    known = [templates.ek_public_template(name) for name in templates.EK_UNIQUE]
    return MakersTemplates([one for one in dict.fromkeys(made) if one not in known], unusable, unread)


def _found(index: int, kind: str, certificate: bytes) -> dict[str, str]:
    return {"nv_index": f"0x{index:08x}", "kind": kind, "certificate": str(_encoded(certificate))}


def _beside(nv: NvReader, index: int | None) -> bytes | None:
    """The nonce or template in *index*; None where there is none, or something else."""
    if index is None:
        return None
    data = nv.read(index)
    if data is not None and len(data) > _LONGEST_BESIDE:
        nv.note(index, f"it has {len(data)} bytes, which is no size of a nonce or a template")
        return None
    return data


def _encoded(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode("ascii")
