# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The TPM as the client uses it: opened for one operation at a time, so that other users of it get their turn."""

from __future__ import annotations

import base64
import contextlib
import hashlib
from pathlib import Path
from typing import Any, Callable, Iterator, Optional, Tuple

from tpm2_pytss.constants import ESYS_TR, TPM2_CAP
from tpm2_pytss.types import TPM2B_SENSITIVE_CREATE

from .configuration import Configuration
from .errors import ClientError
from .tpm import credential, templates
from .tpm.connection import TpmError, connect
from .tpm.credential import WrappedKey


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """TPM errors as the client's own, which keep the TPM side's sentence."""
    try:
        yield
    except TpmError as error:
        raise ClientError("TPM: {0}".format(error)) from error


class Chip:
    """The TPM of this device. The public keys are TPM2B_PUBLIC; :class:`ClientError` where the TPM does not comply."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._public: Optional[Tuple[bytes, bytes]] = None

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
        digest = hashlib.sha256(self.endorsement_key).digest()
        return base64.b32encode(digest).decode().lower().rstrip("=")

    def import_key(self, challenge: bytes) -> WrappedKey:
        """The key of a *challenge* blob, wrapped for this TPM."""
        with _told(), self._open() as esys, self._storage_root_key(esys) as (storage, _), self._endorsement_key(esys) as (
            endorsement,
            _,
        ):
            return credential.import_key(esys, endorsement_key=endorsement, storage_root_key=storage, blob=challenge)

    def sign(self, key: WrappedKey, data: bytes) -> bytes:
        """HMAC of *data* by *key*."""
        with _told(), self._open() as esys, self._storage_root_key(esys) as (storage, _):
            return credential.sign(esys, storage_root_key=storage, key=key, data=data)

    def signs(self, key: WrappedKey) -> bool:
        """Whether *key* can be loaded and used in this TPM."""
        try:
            return bool(self.sign(key, b"proof"))
        except ClientError:
            return False

    def _publics(self) -> Tuple[bytes, bytes]:
        if self._public is None:
            with _told(), self._open() as esys:
                with self._endorsement_key(esys) as (_, endorsement), self._storage_root_key(esys) as (_, storage):
                    self._public = endorsement, storage
        return self._public

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        auth_file = self._configuration.endorsement_auth_file
        with connect(self._configuration.tcti, self._configuration.tpm_timeout) as esys:
            if auth_file:
                esys.tr_set_auth(ESYS_TR.ENDORSEMENT, _auth(Path(auth_file)))
            yield esys

    def _endorsement_key(self, esys: Any) -> Any:
        return _primary(esys, templates.EK_HANDLE, templates.ek_template, ESYS_TR.ENDORSEMENT)

    def _storage_root_key(self, esys: Any) -> Any:
        return _primary(esys, templates.SRK_HANDLE, templates.srk_template, ESYS_TR.OWNER)


@contextlib.contextmanager
def _primary(
    esys: Any, persistent: int, template: Callable[[], Any], hierarchy: Any
) -> Iterator[Tuple[Any, bytes]]:
    """A primary key and its TPM2B_PUBLIC: the persistent one, else made from its template for as long as it is used.

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
    handle, public, *_creation = esys.create_primary(TPM2B_SENSITIVE_CREATE(), template(), hierarchy)
    try:
        yield handle, bytes(public.marshal())
    finally:
        esys.flush_context(handle)


def _persisted(esys: Any, handle: int) -> bool:
    _more, found = esys.get_capability(TPM2_CAP.HANDLES, handle, 1)
    return handle in list(found.data.handles)


def _auth(path: Path) -> bytes:
    try:
        return path.read_bytes().strip()
    except OSError as error:
        raise ClientError("cannot read the endorsement authorization {0}: {1}".format(path, error.strerror)) from error
