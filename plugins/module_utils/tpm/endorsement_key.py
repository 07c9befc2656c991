# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The endorsement key: found where clients look for it or made from a template, told which, with its certificate.

TCG EK Credential Profile 2.x: section 2.2.1.4 (NV indices), B.3.3 (template), B.5 (certificate chains).
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import der, templates
from .connection import RC_AUTH_FAIL, RC_BAD_AUTH, TpmError
from .properties import Properties, read_handles
from .session import start_unsalted_session

RSA_CERTIFICATE = 0x01C00002
# RSA 2048 and ECC P256 of the low range, then the high range (RSA 2048 to ECC SM2, RSA 3072 and 4096).
KEY_CERTIFICATES = (0x01C00002, 0x01C0000A) + tuple(range(0x01C00012, 0x01C00020, 2))
CERTIFICATE_CHAIN = (0x01C00100, 0x01C001FF)

_NV_OWNER_READ = 1 << 17
_NV_AUTH_READ = 1 << 18
_NV_WRITTEN = 1 << 29
_RSA_DEFAULT_EXPONENT = 65537


class EndorsementKey(NamedTuple):
    """An endorsement key of this TPM.

    *public* is a TPM2B_PUBLIC. *template* is ``tcg``, ``sdk``, or ``other`` where a persistent key came from neither or
    where it was not to be found out. *esys_handle* is valid while the connection lasts.
    """

    public: bytes
    name: bytes
    template: str
    persisted: bool
    certificate: bytes | None
    esys_handle: Any

    @property
    def sha256(self) -> str:
        """SHA-256 of the TPM2B_PUBLIC, in hexadecimal."""
        return hashlib.sha256(self.public).hexdigest()

    @property
    def certificate_matches(self) -> bool | None:
        """Whether the certificate is about this key; None where there is no certificate."""
        return None if self.certificate is None else certifies(self.certificate, self.public)

    def as_result(self) -> dict[str, Any]:
        """The shape in which modules return it."""
        return {
            "public": base64.b64encode(self.public).decode("ascii"),
            "sha256": self.sha256,
            "registration_id": templates.registration_id(self.public),
            "name": self.name.hex(),
            "template": self.template,
            "source": "persistent" if self.persisted else "template",
            "handle": f"0x{templates.EK_HANDLE:08x}" if self.persisted else None,
            "persisted": self.persisted,
            "certificate": None if self.certificate is None else base64.b64encode(self.certificate).decode("ascii"),
            "certificate_nv_index": None if self.certificate is None else f"0x{RSA_CERTIFICATE:08x}",
            "certificate_matches": self.certificate_matches,
        }


def read_endorsement_key(
    esys: Any,
    *,
    properties: Properties,
    template: str = "auto",
    endorsement_auth: bytes = b"",
    identify: bool = True,
    ignore_persistent: bool = False,
) -> EndorsementKey:
    """The endorsement key at 0x81010001, or where there is none the one that *template* makes.

    *template* ``tcg`` or ``sdk`` insists: a persistent key of the other one is a :class:`TpmError`, as every client
    would use that one. ``auto`` takes a persistent key as it is and else makes the ``tcg`` key. Which template a
    persistent key came from is seen from its certificate, else by making the keys again; *identify* false saves the
    latter, which can take minutes. With *ignore_persistent* what is at the handle counts for nothing.
    """
    certificate = read_certificate(esys, RSA_CERTIFICATE, properties.nv_buffer_max)
    maker = _Maker(esys, properties, endorsement_auth)
    if ignore_persistent or not read_handles(esys, templates.EK_HANDLE, templates.EK_HANDLE):
        made = "tcg" if template == "auto" else template
        handle, public = maker.make(made)
        return EndorsementKey(public, templates.name_of(public), made, False, certificate, handle)
    handle = esys.tr_from_tpmpublic(templates.EK_HANDLE)
    public = _checked_persistent(esys, handle)
    can_make = bool(endorsement_auth) or not properties.endorsement_auth_set
    # Where a template is insisted on, a missing authorization is an error; else only the template stays unknown.
    came_from = _template_of(public, certificate, maker if identify and (can_make or template != "auto") else None)
    if template not in ("auto", came_from):
        raise TpmError(
            f"The endorsement key persisted at 0x{templates.EK_HANDLE:08x} is of template '{came_from}', "
            f"not of '{template}'.",
            hint="Clients use the persisted key, so a device enrolled with the other would fail in the field. Ask for "
            "template '{}', or remove the persisted key first.".format("auto" if came_from == "other" else came_from),
        )
    return EndorsementKey(public, templates.name_of(public), came_from, True, certificate, handle)


@contextlib.contextmanager
def endorsement_authorized(esys: Any, properties: Properties, auth: bytes) -> Iterator[Any]:
    """The handle of the endorsement hierarchy with *auth* set, where it has an authorization.

    :class:`TpmError` in words where one is needed and *auth* is empty, or where the TPM refuses it within the context.
    """
    from tpm2_pytss.constants import ESYS_TR

    if properties.endorsement_auth_set and not auth:
        raise TpmError(
            "The endorsement hierarchy of this TPM has an authorization, and none was given.",
            hint="Making or using an endorsement key needs it: set endorsement_auth.",
        )
    esys.tr_set_auth(ESYS_TR.ENDORSEMENT, auth if properties.endorsement_auth_set else b"")
    try:
        yield ESYS_TR.ENDORSEMENT
    except TpmError as error:
        if error.code in (RC_AUTH_FAIL, RC_BAD_AUTH):
            raise TpmError(
                "The endorsement authorization of this TPM is another one than was given.",
                error.rc,
                "Somebody else set it, or it is of another key version.",
            ) from error
        raise


def _checked_persistent(esys: Any, handle: Any) -> bytes:
    """The public area of what sits at the endorsement key's handle, which has to be an endorsement key."""
    public, problem = describe_persistent(
        esys, handle, template=templates.ek_public_template(), hierarchy=templates.RH_ENDORSEMENT
    )
    if problem:
        raise TpmError(
            f"What is persisted at 0x{templates.EK_HANDLE:08x} is no RSA-2048 endorsement key: {problem}.",
            hint="Every client would take it for one. Remove it (tpm2_evictcontrol) if nobody needs it.",
        )
    return public


def describe_persistent(esys: Any, handle: Any, *, template: bytes, hierarchy: int) -> tuple[bytes, str | None]:
    """The public area behind *handle*, and in words why it is no key of *template* in *hierarchy*, if it is none."""
    area, name, qualified_name = esys.read_public(handle)
    public = bytes(area.marshal())
    if public[2:4] != template[2:4]:
        return public, "it is a key of another type"
    if not templates.is_made_from(public, template):
        return public, "its properties (size, hash, attributes, policy) are others"
    # The TPM computes the qualified name from the key's parents, so that it tells a primary key from a child.
    if bytes(qualified_name) != templates.qualified_name(hierarchy, bytes(name)):
        return public, "it is no primary key of the hierarchy that it should be of"
    return public, None


class _Maker:
    """Makes endorsement keys, which stay loaded as long as the connection or until dropped."""

    def __init__(self, esys: Any, properties: Properties, auth: bytes) -> None:
        self._esys = esys
        self._properties = properties
        self._auth = auth

    def make(self, template: str) -> tuple[Any, bytes]:
        from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

        session = start_unsalted_session(self._esys)
        try:
            with endorsement_authorized(self._esys, self._properties, self._auth) as hierarchy:
                handle, public, _data, _digest, _ticket = self._esys.create_primary(
                    TPM2B_SENSITIVE_CREATE(), templates.ek_template(template), hierarchy, session1=session
                )
        finally:
            self._esys.flush_context(session)
        return handle, bytes(public.marshal())

    def public_of(self, template: str) -> bytes:
        handle, public = self.make(template)
        self._esys.flush_context(handle)
        return public


def _template_of(public: bytes, certificate: bytes | None, maker: _Maker | None) -> str:
    # What the maker certified is made from the TCG's template, by the profile.
    if certificate is not None and certifies(certificate, public):
        return "tcg"
    if maker is not None:
        for template in templates.EK_UNIQUE:
            if maker.public_of(template) == public:
                return template
    return "other"


def certifies(certificate: bytes, public: bytes) -> bool:
    """Whether the DER *certificate* is about the RSA key *public*, a TPM2B_PUBLIC."""
    return der.certified_rsa_key(certificate) == (templates.rsa_modulus(public), _RSA_DEFAULT_EXPONENT)


def read_certificate(esys: Any, index: int, chunk: int) -> bytes | None:
    """The certificate in NV *index* without its padding; None where there is none.

    What is no DER is returned whole: a garbled certificate is not the same as none.
    """
    data = _read_nv(esys, index, chunk)
    if data is None or not data.strip(b"\x00\xff"):
        return None
    try:
        return der.trimmed(data)
    except der.DerError:
        return data


def read_all_certificates(esys: Any, *, properties: Properties) -> list[dict[str, str]]:
    """Every certificate in the NV indices of the profile: key certificates, then the makers' chain.

    A key certificate that is no DER is returned whole, as in :func:`read_certificate`.
    """
    found = []
    for index in read_handles(esys, KEY_CERTIFICATES[0], KEY_CERTIFICATES[-1]):
        certificate = read_certificate(esys, index, properties.nv_buffer_max) if index in KEY_CERTIFICATES else None
        if certificate is not None:
            found.append(_found(index, "endorsement", certificate))
    return found + [_found(index, "chain", one) for index, one in read_chain(esys, properties.nv_buffer_max)]


def read_chain(esys: Any, chunk: int) -> list[tuple[int, bytes]]:
    """The certificates of the makers, each with the NV index in which it ends.

    They lie one after another through all the indices of the chain, so that one may begin in an index and end in the
    next. One that never ends is returned as it is.
    """
    found: list[tuple[int, bytes]] = []
    rest = b""
    index = CERTIFICATE_CHAIN[0]
    for index in read_handles(esys, *CERTIFICATE_CHAIN):
        whole, rest = der.split(rest + (_read_nv(esys, index, chunk) or b""))
        found += [(index, one) for one in whole]
    return found + ([(index, rest)] if rest else [])


def _found(index: int, kind: str, certificate: bytes) -> dict[str, str]:
    encoded = base64.b64encode(certificate).decode("ascii")
    return {"nv_index": f"0x{index:08x}", "kind": kind, "certificate": encoded}


def _read_nv(esys: Any, index: int, chunk: int) -> bytes | None:
    from tpm2_pytss.constants import ESYS_TR

    if index not in read_handles(esys, index, index):
        return None
    handle = esys.tr_from_tpmpublic(index)
    public, _name = esys.nv_read_public(handle)
    attributes = int(public.nvPublic.attributes)
    if not attributes & _NV_WRITTEN:
        return None
    reader = handle if attributes & _NV_AUTH_READ else ESYS_TR.OWNER
    if reader is not handle and not attributes & _NV_OWNER_READ:
        return None
    size = int(public.nvPublic.dataSize)
    data = b""
    while len(data) < size:
        wanted = min(chunk, size - len(data))
        part = bytes(esys.nv_read(nv_index=handle, size=wanted, offset=len(data), auth_handle=reader))
        if not part:
            break
        data += part
    return data
