# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The TPM as the client uses it: opened for one operation at a time, so that other users of it get their turn."""

from __future__ import annotations

import contextlib
import fcntl
import functools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Callable

from tpm2_pytss.constants import ESYS_TR, TPM2_ALG, TPM2_CAP
from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

from .configuration import Configuration
from .errors import ClientError
from .outside.files import FileError, read_file
from .tpm import credential, templates
from .tpm.connection import TpmError, connect
from .tpm.credential import MalformedError, WrappedKey
from .tpm.endorsement_key import read_endorsement_key
from .tpm.properties import read_properties

_LONGEST_AUTH = 1024


@contextlib.contextmanager
def _in_turn(directory: str) -> Iterator[None]:
    """One process of the client at a time: without a resource manager their keys share the TPM's little room."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise ClientError(f"cannot open {directory}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """TPM errors as the client's own, which keep the TPM side's sentence."""
    try:
        yield
    except TpmError as error:
        raise ClientError(f"TPM: {error}") from error


class _Keys:
    """An open TPM and, each from its first use on, handle and TPM2B_PUBLIC of its two primary keys."""

    def __init__(self, esys: Any, stack: contextlib.ExitStack, template: str, endorsement_auth: bytes) -> None:
        self.esys = esys
        self._stack = stack
        self._template = template
        self._auth = endorsement_auth
        self._endorsement = stack.enter_context(contextlib.ExitStack())

    @functools.cached_property
    def endorsement(self) -> tuple[Any, bytes]:
        """The endorsement key."""
        make = functools.partial(_endorsement_key, self.esys, self._template, self._auth)
        return self._endorsement.enter_context(_primary(self.esys, templates.EK_HANDLE, make))

    def release_endorsement(self) -> None:
        """Makes room: some TPMs hold three keys, and without a resource manager others use the same room."""
        self._endorsement.close()
        self.__dict__.pop("endorsement", None)

    @functools.cached_property
    def storage(self) -> tuple[Any, bytes]:
        """The storage root key."""
        make = functools.partial(_storage_root_key, self.esys)
        return self._stack.enter_context(_primary(self.esys, templates.SRK_HANDLE, make))


class Chip:
    """The TPM of this device. The public keys are TPM2B_PUBLIC; :class:`ClientError` where the TPM does not comply."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._public: tuple[bytes, bytes] | None = None
        self._keys: _Keys | None = None

    @property
    def endorsement_key(self) -> bytes:
        """The TPM2B_PUBLIC of the endorsement key."""
        return self._publics()[0]

    @property
    def storage_root_key(self) -> bytes:
        """The TPM2B_PUBLIC of the storage root key."""
        return self._publics()[1]

    @property
    def default_registration_id(self) -> str:
        """What the stock SDKs make of an endorsement key: base32 of its SHA-256, lower case, unpadded."""
        return templates.registration_id(self.endorsement_key)

    def import_key(self, challenge: bytes) -> WrappedKey:
        """The key of a *challenge* blob, wrapped for this TPM."""
        with self.opened() as keys:
            endorsement, _public = keys.endorsement
            storage, _public = keys.storage
            return credential.import_key(
                keys.esys, endorsement_key=endorsement, storage_root_key=storage, blob=challenge
            )

    def sign(self, key: WrappedKey, data: bytes) -> bytes:
        """HMAC of *data* by *key*."""
        with self.opened() as keys:
            storage, _public = keys.storage
            keys.release_endorsement()
            return credential.sign(keys.esys, storage_root_key=storage, key=key, data=data)

    @contextlib.contextmanager
    def ready_to_sign(self) -> Iterator[None]:
        """The TPM for signatures that wait for nothing but themselves: neither for a turn nor for a primary key."""
        with self.opened() as keys:
            _ready = keys.storage
            keys.release_endorsement()
            yield

    def signs(self, key: WrappedKey) -> bool:
        """Whether this TPM takes *key*. A TPM that is busy, full or not there has not said no to the key."""
        try:
            return bool(self.sign(key, b"proof"))
        except ClientError as error:
            if _is_about_the_key(error.__cause__):
                return False
            raise

    def persist(self, key: WrappedKey, handle: int) -> None:
        """Sees to it that *key* is at *handle*, in place of another HMAC key; anything else there is left alone."""
        with self.opened() as keys:
            esys = keys.esys
            storage, _public = keys.storage
            keys.release_endorsement()
            there, public = _hub_key_at(esys, handle)
            if public == key.public:
                esys.tr_close(there)
                return
            with credential.loaded(esys, storage_root_key=storage, key=key) as new:
                if there is not None:
                    esys.evict_control(ESYS_TR.OWNER, there, handle)
                esys.tr_close(esys.evict_control(ESYS_TR.OWNER, new, handle))

    def evict(self, handle: int) -> None:
        """Sees to it that no HMAC key is at *handle*; anything else there is left alone."""
        with self.opened() as keys:
            there, _public = _hub_key_at(keys.esys, handle)
            if there is not None:
                keys.esys.evict_control(ESYS_TR.OWNER, there, handle)

    def check_persistence(self, handle: int) -> None:
        """Whether a key could be persisted at *handle*: the owner's authorization is right, nothing is in the way."""
        with self.opened() as keys:
            there, _public = _hub_key_at(keys.esys, handle)
            if there is not None:
                keys.esys.tr_close(there)
            with credential.authorized_policy(keys.esys, ESYS_TR.OWNER):
                pass

    def check(self) -> None:
        """Answers a challenge of its own making; :class:`ClientError` says why the service's could not be answered."""
        secret = b"proof"
        with self.opened() as keys:
            endorsement, _public = keys.endorsement
            storage, public = keys.storage
            blob, encrypted = keys.esys.make_credential(endorsement, secret, templates.name_of(public))
            found = credential.activate_credential(
                keys.esys,
                endorsement_key=endorsement,
                bound_to=storage,
                credential=bytes(blob.marshal()),
                secret=bytes(encrypted.marshal()),
            )
        if found != secret:
            raise ClientError("TPM: it activates a credential to something else than the credential")

    @contextlib.contextmanager
    def opened(self) -> Iterator[_Keys]:
        """The TPM for several operations in a row, which then share what they need of it."""
        if self._keys is not None:
            with _told():
                yield self._keys
            return
        files = self._configuration.endorsement_auth_file, self._configuration.owner_auth_file
        turn = _in_turn(self._configuration.state_directory)
        with turn, _told(), connect(self._configuration.tcti, self._configuration.tpm_timeout) as esys:
            endorsement, owner = (_auth(Path(path)) if path else b"" for path in files)
            esys.tr_set_auth(ESYS_TR.ENDORSEMENT, endorsement)
            esys.tr_set_auth(ESYS_TR.OWNER, owner)
            with contextlib.ExitStack() as stack:
                self._keys = _Keys(esys, stack, self._configuration.endorsement_key_template, endorsement)
                try:
                    yield self._keys
                finally:
                    self._keys = None

    def _publics(self) -> tuple[bytes, bytes]:
        if self._public is None:
            with self.opened() as keys:
                self._public = keys.endorsement[1], keys.storage[1]
        return self._public


def _endorsement_key(esys: Any, template: str, auth: bytes) -> tuple[Any, bytes]:
    """The endorsement key of *template*, made as the line makes it: with what the TPM's maker left in NV memory."""
    made = read_endorsement_key(
        esys,
        properties=read_properties(esys),
        template=template,
        endorsement_auth=auth,
        identify=False,
        ignore_persistent=True,
        # Of several keys that could be made, the certificate says which is meant.
        certificate=template != "sdk",
    )
    return made.esys_handle, made.public


def _storage_root_key(esys: Any) -> tuple[Any, bytes]:
    handle, public, *_creation = esys.create_primary(TPM2B_SENSITIVE_CREATE(), templates.srk_template(), ESYS_TR.OWNER)
    return handle, bytes(public.marshal())


@contextlib.contextmanager
def _primary(esys: Any, persistent: int, make: Callable[[], tuple[Any, bytes]]) -> Iterator[tuple[Any, bytes]]:
    """A primary key and its TPM2B_PUBLIC: the persistent one, else one that *make* makes for as long as it is used.

    The client never persists a key, as that would need the owner authorization; ownership does it in the factory.
    """
    if _persisted(esys, persistent):
        handle = esys.tr_from_tpmpublic(persistent)
        public, _name, _qualified = esys.read_public(handle)
        try:
            yield handle, bytes(public.marshal())
        finally:
            esys.tr_close(handle)
        return
    handle, public = make()
    try:
        yield handle, public
    finally:
        esys.flush_context(handle)


def _hub_key_at(esys: Any, handle: int) -> tuple[Any, bytes]:
    """The HMAC key that is persisted at *handle* and its TPM2B_PUBLIC; (None, b"") where nothing is."""
    if not _persisted(esys, handle):
        return None, b""
    there = esys.tr_from_tpmpublic(handle)
    public, _name, _qualified = esys.read_public(there)
    if public.publicArea.type != TPM2_ALG.KEYEDHASH:
        raise ClientError(f"at 0x{handle:08x} is a key of another kind, which was left alone")
    return there, bytes(public.marshal())


def _is_about_the_key(error: BaseException | None) -> bool:
    """Whether the TPM, or the library, objects to what it was given."""
    return isinstance(error, MalformedError) or (isinstance(error, TpmError) and error.is_of_what_was_given)


def _persisted(esys: Any, handle: int) -> bool:
    _more, found = esys.get_capability(TPM2_CAP.HANDLES, handle, 1)
    return handle in list(found.data.handles)


def _auth(path: Path) -> bytes:
    try:
        return read_file(path, most=_LONGEST_AUTH).strip()
    except FileError as error:
        raise ClientError(f"the authorization {path} {error}") from error
