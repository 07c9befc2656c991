# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The endorsement key: found where clients look for it or made from a template, told which, with its certificate.

TCG EK Credential Profile 2.x: section 2.2.1.6 (nonce and template), B.3.3 (template L-1).
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import der, templates
from .certificates import RSA_CERTIFICATE, MakersTemplates, makers_templates, read_certificate
from .connection import RC_AUTH_FAIL, RC_BAD_AUTH, TpmError
from .nv import NvReader
from .persistent_key import describe_persistent, is_certified, kind_of
from .properties import Properties, read_handles
from .session import start_unsalted_session

_RSA_DEFAULT_EXPONENT = 65537
# Handles of endorsement keys (TCG TPM v2.0 Provisioning Guidance, 7.8; EK Credential Profile, 2.2.2).
_ENDORSEMENT_KEYS = (0x81010000, 0x8101FFFF)

# What a certificate can be about besides the key of one of the templates. UNUSABLE is the key of a template in NV
# memory that no client can use.
THIS, UNUSABLE, ANOTHER, UNKNOWN = "this", "unusable", "another", "unknown"


class EndorsementAuthNeededError(TpmError):
    """An endorsement key has to be made or used, the hierarchy has an authorization, and none was given."""

    needs = "endorsement_auth"


class EndorsementKey(NamedTuple):
    """An endorsement key of this TPM.

    *public* is a TPM2B_PUBLIC. *template* is ``tcg``, ``nv``, ``sdk``, or ``other`` where a persistent key came from
    none of them or where it was not to be found out. *esys_handle* is valid while the connection lasts.
    *certificate_about* is THIS, the name of the template whose key the certificate is about, UNUSABLE, ANOTHER for
    another TPM's, or UNKNOWN. *foreign* says why a persistent key counts for nothing, where one was passed over.
    """

    public: bytes
    name: bytes
    template: str
    persisted: bool
    certificate: bytes | None
    esys_handle: Any
    certificate_about: str | None = None
    foreign: str | None = None

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
            "certificate_about": self.certificate_about,
        }


def read_endorsement_key(
    esys: Any,
    *,
    properties: Properties,
    nv: NvReader | None = None,
    template: str = "auto",
    endorsement_auth: bytes = b"",
    identify: bool = True,
    ignore_persistent: bool = False,
    replace_persistent: bool = False,
    certificate: bool = True,
    expected: str | None = None,
    held: EndorsementKey | None = None,
) -> EndorsementKey:
    """The endorsement key at 0x81010001, or where there is none the one that *template* makes.

    ``tcg`` is the key that the certificate is about by the profile: of the TCG's template, or where the maker left a
    nonce or template in NV memory of that one (``nv``). ``sdk``, ``nv`` and ``tcg`` insist: a persistent key of another
    template is a :class:`TpmError`, as every client would use that one. ``auto`` takes a persistent key as it is and
    else makes the ``tcg`` key.

    Which template a persistent key came from is seen from its certificate, else by making the keys again; *identify*
    false saves the latter, which can take minutes. With *ignore_persistent* what is at the handle counts for nothing,
    with *replace_persistent* only where it is not what is wanted. *certificate* is whether the certificate is read.
    *expected* is the SHA-256 of the key in hexadecimal where it is known: of all keys that could be made the one that
    has it is, and a persistent key that has it needs no template. *held* is the key of an earlier reading, which is not
    made again where it would be.
    """
    nv = nv or NvReader(esys, properties)
    reading = _Reading(
        esys,
        maker=_Maker(esys, properties, endorsement_auth, nv),
        certificate=read_certificate(nv, RSA_CERTIFICATE) if certificate else None,
        template=template,
        identify=identify,
        replace=replace_persistent,
        expected=expected.lower() if expected else None,
        held=held,
    )
    return reading.key(persistent=not ignore_persistent)


def describe_endorsement_key(esys: Any, handle: Any, makers: MakersTemplates) -> tuple[bytes, str | None]:
    """The public area behind *handle*, and in words why it is no endorsement key that clients can use."""
    return describe_persistent(
        esys,
        handle,
        made_from=[templates.ek_public_template(), *makers.usable],
        hierarchy=templates.RH_ENDORSEMENT,
        # What the maker's template asks for is not known: whatever clients can use may be of it.
        serves=templates.serves_clients if makers.unread else None,
    )


@contextlib.contextmanager
def endorsement_authorized(esys: Any, properties: Properties, auth: bytes) -> Iterator[Any]:
    """The handle of the endorsement hierarchy with *auth* set, where it has an authorization.

    :class:`TpmError` in words where one is needed and *auth* is empty, or where the TPM refuses it within the context.
    """
    from tpm2_pytss.constants import ESYS_TR

    if properties.endorsement_auth_set and not auth:
        raise EndorsementAuthNeededError(
            "The endorsement hierarchy of this TPM has an authorization, and none was given.",
            hint="Making or using an endorsement key needs it: set endorsement_auth, on the line "
            "tpmfleet_endorsement_auth.",
        )
    may_be_set = properties.endorsement_auth_set or not properties.tells_authorizations
    esys.tr_set_auth(ESYS_TR.ENDORSEMENT, auth if may_be_set else b"")
    try:
        yield ESYS_TR.ENDORSEMENT
    except TpmError as error:
        if error.code in (RC_AUTH_FAIL, RC_BAD_AUTH):
            raise TpmError(
                "The endorsement authorization of this TPM is another one than was given.",
                error.rc,
                "Somebody else set it, or it is of another key version: set endorsement_auth, on the line "
                "tpmfleet_endorsement_auth, to what it is.",
            ) from error
        raise


class _Reading:
    """One reading of the endorsement key, by the arguments of :func:`read_endorsement_key`."""

    def __init__(
        self,
        esys: Any,
        *,
        maker: _Maker,
        certificate: bytes | None,
        template: str,
        identify: bool,
        replace: bool,
        expected: str | None,
        held: EndorsementKey | None,
    ) -> None:
        self._esys = esys
        self._maker = maker
        self._certificate = certificate
        self._template = template
        self._identify = identify
        self._replace = replace
        self._expected = expected
        self._held = held

    def key(self, *, persistent: bool) -> EndorsementKey:
        """The key, the persistent one if *persistent* and if it is one that serves."""
        foreign = None
        if persistent and read_handles(self._esys, templates.EK_HANDLE, templates.EK_HANDLE):
            key, foreign = self._persistent()
            if key is not None:
                return key
        held = self._held
        if held is not None and not held.persisted and held.sha256 == self._expected:
            name, handle, public = held.template, held.esys_handle, held.public
        else:
            name, handle, public = self._made()
        return self._as_key(public, name, False, handle)._replace(foreign=foreign)

    def _as_key(self, public: bytes, template: str, persisted: bool, handle: Any) -> EndorsementKey:
        about = self._about(public)
        return EndorsementKey(public, templates.name_of(public), template, persisted, self._certificate, handle, about)

    # The persistent key

    def _persistent(self) -> tuple[EndorsementKey | None, str | None]:
        """(The persistent key, or None where it is to be replaced; why it is)."""
        handle = self._esys.tr_from_tpmpublic(templates.EK_HANDLE)
        public, problem = describe_endorsement_key(self._esys, handle, self._maker.makers)
        if problem is None and self._expected and _sha256(public) != self._expected:
            problem = self._not_the_expected_one()
        elif problem and not self._replace:
            raise TpmError(
                f"What is persisted at 0x{templates.EK_HANDLE:08x} is no RSA-2048 endorsement key: {problem}.",
                hint="Every client would take it for one. If nobody needs it, set replace_persistent_keys, on the "
                "line tpmfleet_replace_persistent_keys, and the claim puts the endorsement key in its place.",
            )
        if problem:
            return None, problem
        came_from = self._template_of(public)
        if not self._serves(public, came_from):
            if self._replace:
                return None, f"it is of template '{came_from}'"
            raise self._of_another_template(came_from)
        return self._as_key(public, came_from, True, handle), None

    def _not_the_expected_one(self) -> str | None:
        """Why another key than the expected one is to be replaced; None where this TPM does not make that one."""
        if not self._replace or not self._maker.can_make:
            return None
        for name, template in self._maker.templates("nv", "tcg", "sdk"):
            if _sha256(self._maker.public_of(template)) == self._expected:
                return f"it is not the endorsement key of template '{name}'"
        return None

    def _serves(self, public: bytes, came_from: str) -> bool:
        if self._template in ("auto", came_from) or (self._template, came_from) == ("tcg", "nv"):
            return True
        # Every client uses the key that is persisted. Without the authorization, or without what the maker left, it
        # cannot be said from which template it came, and the key that is expected is known whatever it came from.
        unidentified = came_from == "other" and (not self._maker.can_make or self._maker.makers.unread)
        return unidentified or _sha256(public) == self._expected

    def _of_another_template(self, came_from: str) -> TpmError:
        asked = "auto" if came_from == "other" else came_from
        return TpmError(
            f"The endorsement key persisted at 0x{templates.EK_HANDLE:08x} is of template '{came_from}', "
            f"not of '{self._template}'.",
            hint="Clients use the persisted key, so a device enrolled with the other would fail in the field. Ask for "
            f"template '{asked}', on the line tpmfleet_endorsement_key_template, or have the claim replace it: set "
            "replace_persistent_keys, on the line tpmfleet_replace_persistent_keys.",
        )

    def _template_of(self, public: bytes) -> str:
        # What the maker certified is of the TCG's template or of the maker's own, by the profile.
        if self._certificate is not None and certifies(self._certificate, public):
            return "nv" if self._maker.makers.usable or self._maker.makers.unread else "tcg"
        known = _sha256(public) == self._expected
        if self._identify and self._maker.can_make and not known:
            for name, template in self._maker.templates("nv", "tcg", "sdk"):
                if self._maker.public_of(template) == public:
                    return name
        return "other"

    # A key that is made

    def _made(self) -> tuple[str, Any, bytes]:
        """(Name of the template, handle, TPM2B_PUBLIC) of the key to take where none is persistent."""
        wanted = {"sdk": ["sdk"], "nv": ["nv"]}.get(self._template, ["nv", "tcg"])
        if self._expected and self._template == "auto":
            wanted.append("sdk")
        candidates = self._maker.templates(*wanted)
        if not candidates:
            raise TpmError(
                "This TPM has no nonce and no template of its maker in NV memory, so that there is no key of template "
                "'nv'.",
                hint="Ask for template 'tcg', on the line tpmfleet_endorsement_key_template.",
            )
        if len(candidates) > 1:
            for name, template in candidates:
                handle, public = self._maker.make(template)
                certified = self._certificate is not None and certifies(self._certificate, public)
                if _sha256(public) == self._expected if self._expected else certified:
                    return name, handle, public
                self._esys.flush_context(handle)
        name, template = candidates[0]
        return (name, *self._maker.make(template))

    def _about(self, public: bytes) -> str | None:
        """Which key the certificate is about, found out by making the others where it is not this one."""
        if self._certificate is None:
            return None
        if certifies(self._certificate, public):
            return THIS
        if der.certified_rsa_key(self._certificate) is None or not self._identify or not self._maker.can_make:
            return UNKNOWN
        for name, template in self._maker.templates("nv", "tcg", "sdk"):
            if certifies(self._certificate, self._maker.public_of(template)):
                return name
        makers = self._maker.makers
        if makers.unusable is not None:
            try:
                if certifies(self._certificate, self._maker.public_of(makers.unusable)):
                    return UNUSABLE
            except (TpmError, RuntimeError) as error:
                # Neither the library nor the TPM need take what is in there.
                if isinstance(error, TpmError) and error.is_of_the_tpm:
                    raise
                return UNKNOWN
        return UNKNOWN if makers.unread else ANOTHER


class _Maker:
    """Makes endorsement keys, which stay loaded as long as the connection or until dropped."""

    def __init__(self, esys: Any, properties: Properties, auth: bytes, nv: NvReader) -> None:
        self._esys = esys
        self._properties = properties
        self._auth = auth
        self._nv = nv
        self._publics: dict[bytes, bytes] = {}
        self.can_make = bool(auth) or not properties.endorsement_auth_set

    @functools.cached_property
    def makers(self) -> MakersTemplates:
        """What the chip's maker left in NV memory."""
        return makers_templates(self._nv)

    def templates(self, *names: str) -> list[tuple[str, bytes]]:
        """The templates of *names* with their name, in this order."""
        found: list[tuple[str, bytes]] = []
        for name in names:
            made_from = self.makers.usable if name == "nv" else [templates.ek_public_template(name)]
            found += [(name, template) for template in made_from]
        return found

    def make(self, template: bytes) -> tuple[Any, bytes]:
        from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

        session = start_unsalted_session(self._esys)
        try:
            with endorsement_authorized(self._esys, self._properties, self._auth) as hierarchy:
                handle, area, _data, _digest, _ticket = self._esys.create_primary(
                    TPM2B_SENSITIVE_CREATE(), templates.as_pytss(template), hierarchy, session1=session
                )
        finally:
            self._esys.flush_context(session)
        public = bytes(area.marshal())
        self._publics[template] = public
        return handle, public

    def public_of(self, template: bytes) -> bytes:
        """The TPM2B_PUBLIC of the key of *template*, which does not stay loaded."""
        if template not in self._publics:
            handle, _public = self.make(template)
            self._esys.flush_context(handle)
        return self._publics[template]


def read_persistent_keys(esys: Any) -> list[dict[str, str]]:
    """Every persistent key at the handles of endorsement keys: what it is, and its TPM2B_PUBLIC."""
    found = []
    for handle in read_handles(esys, *_ENDORSEMENT_KEYS):
        area, name, _qualified_name = esys.read_public(esys.tr_from_tpmpublic(handle))
        public = bytes(area.marshal())
        found.append(
            {
                "handle": f"0x{handle:08x}",
                "key": kind_of(public),
                "public": base64.b64encode(public).decode("ascii"),
                "name": bytes(name).hex(),
            }
        )
    return found


def with_handles(certificates: list[dict[str, Any]], keys: list[dict[str, str]]) -> list[dict[str, Any]]:
    """*certificates*, as :func:`read_all_certificates` returns them, each with where the key is among *keys* that it is
    about; *keys* as :func:`read_persistent_keys` returns them.
    """

    def handle_of(certificate: str) -> str | None:
        data = base64.b64decode(certificate)
        about = (key["handle"] for key in keys if is_certified(base64.b64decode(key["public"]), data))
        return next(about, None)

    return [
        {**one, "handle": handle_of(one["certificate"])} if one["kind"] == "endorsement" else one
        for one in certificates
    ]


def _sha256(public: bytes) -> str:
    return hashlib.sha256(public).hexdigest()


def certifies(certificate: bytes, public: bytes) -> bool:
    """Whether the DER *certificate* is about the RSA key *public*, a TPM2B_PUBLIC."""
    return der.certified_rsa_key(certificate) == (templates.rsa_modulus(public), _RSA_DEFAULT_EXPONENT)
