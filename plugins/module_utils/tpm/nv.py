# Copyright (c) 2026 tpmfleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""NV indices that somebody else defined: read by whoever may, or told why they could not be (TPM 2.0 part 2, 13).

What cannot be read ends nothing here: it is for the caller to say whether he can go on without.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from .connection import RC_AUTH_FAIL, RC_BAD_AUTH, RC_SIZE, RC_VALUE, TpmError
from .properties import Properties, read_handles

_PP_READ = 1 << 16
_OWNER_READ = 1 << 17
_AUTH_READ = 1 << 18
_POLICY_READ = 1 << 19
_NO_DA = 1 << 25
_READ_LOCKED = 1 << 28
_WRITTEN = 1 << 29
_PLATFORM_CREATE = 1 << 30

_SMALLEST_READ = 64
# What makers store is a certificate or a part of their chain; RSA-4096 ones are below 4 KiB.
_LARGEST = 16384


class Owner(NamedTuple):
    """The owner hierarchy with its authorization set, and the session in which that reaches the TPM."""

    handle: Any
    session: Any


class Unreadable(NamedTuple):
    """An NV index that is there and could not be read, and why in words."""

    nv_index: int
    reason: str

    def as_result(self) -> dict[str, str]:
        """The shape in which modules return it."""
        return {"handle": f"0x{self.nv_index:08x}", "reason": self.reason}


class _NotReadError(Exception):
    """The message is the reason."""


class NvReader:
    """Reads indices of one open TPM and remembers in :attr:`unreadable` which it could not read.

    *owner* is the owner's authorization where it is known; an empty one is used by itself.
    """

    def __init__(self, esys: Any, properties: Properties, owner: Owner | None = None) -> None:
        self._esys = esys
        self._properties = properties
        self._owner = owner
        self._at_once = properties.nv_buffer_max
        self._unreadable: dict[int, str] = {}
        self._closed: set[int] = set()
        self._found: dict[int, bytes] = {}

    @property
    def closed(self) -> frozenset[int]:
        """What could not be read for want of the owner's authorization alone."""
        return frozenset(self._closed)

    @property
    def unreadable(self) -> list[Unreadable]:
        """What was asked for, is there, and could not be read."""
        return [Unreadable(index, reason) for index, reason in sorted(self._unreadable.items())]

    def unreadable_results(self) -> list[dict[str, str]]:
        """:attr:`unreadable` as modules return it."""
        return [one.as_result() for one in self.unreadable]

    def defined(self, first: int, last: int) -> list[int]:
        """The indices of *first* to *last* that are there."""
        return read_handles(self._esys, first, last)

    def read(self, index: int) -> bytes | None:
        """What is in *index*; None where it is not there, or could not be read."""
        if index in self._found:
            return self._found[index]
        if index not in self.defined(index, index):
            return None
        try:
            self._found[index] = self._read(index)
            return self._found[index]
        except _NotReadError as error:
            self._unreadable[index] = str(error)
        except TpmError as error:
            # That the TPM is gone, busy or defective is no property of the index, and tells nothing of what is in it.
            if error.is_of_the_tpm:
                raise
            self._unreadable[index] = error.message.rstrip(".")
        return None

    def is_the_owners(self, first: int, last: int) -> bool:
        """Whether only the owner's authorization reads one of the indices *first* to *last*."""
        for index in self.defined(first, last):
            public, _name = self._esys.nv_read_public(self._esys.tr_from_tpmpublic(index))
            if int(public.nvPublic.attributes) & (_OWNER_READ | _AUTH_READ) == _OWNER_READ:
                return True
        return False

    def note(self, index: int, reason: str) -> None:
        """Remembers that what *index* holds is not what it should be."""
        self._unreadable[index] = reason

    def _read(self, index: int) -> bytes:
        handle = self._esys.tr_from_tpmpublic(index)
        public, _name = self._esys.nv_read_public(handle)
        attributes, size = int(public.nvPublic.attributes), int(public.nvPublic.dataSize)
        if not attributes & _WRITTEN:
            raise _NotReadError("it is defined and was never written")
        if attributes & _READ_LOCKED:
            raise _NotReadError("it is locked against reading until the next power cycle, or for good")
        if not 0 < size <= _LARGEST:
            raise _NotReadError(f"it has {size} bytes, which is no size of what belongs there")
        refused = False
        for reader, session in self._readers(handle, attributes):
            try:
                return self._read_as(handle, size, reader, session)
            except TpmError as error:
                if error.code not in (RC_AUTH_FAIL, RC_BAD_AUTH):
                    raise
                refused = True
        if attributes & _OWNER_READ and self._owner is None:
            self._closed.add(index)
        raise _NotReadError("it has an authorization of somebody else's" if refused else self._who_reads(attributes))

    def _readers(self, handle: Any, attributes: int) -> list[tuple[Any, Any]]:
        """Who may try to read it, each with its session. A guess that the TPM would count as an attack is none."""
        from tpm2_pytss.constants import ESYS_TR

        readers: list[tuple[Any, Any]] = []
        if attributes & _AUTH_READ and attributes & _NO_DA:
            readers.append((handle, ESYS_TR.PASSWORD))
        if attributes & _OWNER_READ:
            if self._owner is not None:
                readers.append(self._owner)
            elif not self._properties.owner_auth_set:
                readers.append((ESYS_TR.OWNER, ESYS_TR.PASSWORD))
        # What the maker wrote has an empty authorization; whatever else has one counts wrong guesses.
        if attributes & _AUTH_READ and not attributes & _NO_DA and attributes & _PLATFORM_CREATE:
            readers.append((handle, ESYS_TR.PASSWORD))
        return readers

    @staticmethod
    def _who_reads(attributes: int) -> str:
        if attributes & _AUTH_READ:
            return "somebody defined it with an authorization whose guesses the TPM counts, so that none was tried"
        if attributes & _OWNER_READ:
            return "only the owner authorization reads it, which is set and not at hand here"
        if attributes & _POLICY_READ:
            return "only a policy reads it"
        if attributes & _PP_READ:
            return "only the platform's firmware reads it"
        return "nobody may read it"

    def _read_as(self, handle: Any, size: int, reader: Any, session: Any) -> bytes:
        data = b""
        while len(data) < size:
            wanted = min(self._at_once, size - len(data))
            try:
                part = self._esys.nv_read(
                    nv_index=handle, size=wanted, offset=len(data), auth_handle=reader, session1=session
                )
            except TpmError as error:
                # The chip has a smaller buffer than it tells.
                if error.code not in (RC_VALUE, RC_SIZE) or wanted <= _SMALLEST_READ:
                    raise
                self._at_once = max(_SMALLEST_READ, wanted // 2)
                continue
            if not bytes(part):
                raise _NotReadError(f"the TPM gave {len(data)} of its {size} bytes")
            data += bytes(part)
        return data
